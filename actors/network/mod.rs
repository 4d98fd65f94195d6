//! What a chain holds: the handle on a running network, and the builder that starts it.

mod builder;
mod core;
mod discovery;
mod handle;
mod names;
mod parts;
mod reach;
mod root;
mod settings;
mod stage;

pub use builder::{Builder, StartError};
pub use discovery::FindError;
pub use handle::{Network, SendError, Stopped};
pub(crate) use parts::inspect_store;
pub(crate) use reach::{NamedNode, Transports};
