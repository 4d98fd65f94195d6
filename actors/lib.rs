//! The Peerstage network layer.

pub mod identity_file;
pub mod store;
