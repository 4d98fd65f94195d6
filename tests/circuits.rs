//! Nodes that can't dial each other and a peer that carries what they say: whole networks of real
//! nodes on the simulator, in virtual time.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a story that goes wrong must fail loudly"
)]

#[path = "attacks/hostile.rs"]
mod hostile;
#[path = "circuits/scene.rs"]
mod scene;
#[path = "circuits/talking.rs"]
mod talking;
#[path = "circuits/trouble.rs"]
mod trouble;
#[path = "circuits/upgrading.rs"]
mod upgrading;
#[path = "circuits/wiretap.rs"]
mod wiretap;
