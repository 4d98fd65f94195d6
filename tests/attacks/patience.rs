//! Attacks that take time, in virtual time.
