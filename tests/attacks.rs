//! Rows of the attack table against whole nodes: on real sockets where bytes matter, in virtual
//! time where waiting does.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that meets the unexpected must fail loudly"
)]

#[path = "attacks/ends.rs"]
mod ends;
#[path = "attacks/floods.rs"]
mod floods;
#[path = "attacks/handshake.rs"]
mod handshake;
#[path = "attacks/hostile.rs"]
mod hostile;
#[path = "attacks/machine.rs"]
mod machine;
#[path = "attacks/node.rs"]
mod node;
#[path = "attacks/patience.rs"]
mod patience;
#[path = "process/mod.rs"]
mod process;
#[path = "attacks/session.rs"]
mod session;
#[path = "attacks/slow.rs"]
mod slow;
