//! What a chain holds: the handle on a running network, and the builder that starts it.

mod builder;
mod handle;
mod root;

pub use builder::{Builder, StartError};
pub use handle::{Network, SendError};
pub(crate) use root::{Root, RootParts};
