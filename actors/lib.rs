//! The Peerstage network layer.

pub mod clock;
#[cfg(feature = "testkit")]
pub mod testkit;
pub mod transport;
