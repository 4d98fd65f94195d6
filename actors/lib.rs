//! The Peerstage network layer.
