//! The Peerstage network layer.

pub mod identity_file;
pub mod store;
pub mod clock;
#[cfg(feature = "testkit")]
pub mod testkit;
pub mod transport;
