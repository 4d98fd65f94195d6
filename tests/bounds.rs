//! What a node keeps to while it is fast: bytes a second, queues, and what each peer gets. Counts
//! and virtual time, but for the one story about resident memory.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a story that goes wrong must fail loudly"
)]

#[path = "bounds/crowd.rs"]
mod crowd;
#[path = "attacks/hostile.rs"]
mod hostile;
#[path = "process/mod.rs"]
mod process;
#[path = "bounds/rates.rs"]
mod rates;
#[path = "bounds/scene.rs"]
mod scene;
#[path = "bounds/sockets.rs"]
mod sockets;
