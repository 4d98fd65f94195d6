//! Whole networks of real nodes: the simulated ones in virtual time, one on TCP, one on QUIC.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a story that goes wrong must fail loudly"
)]

#[path = "cluster/anchors.rs"]
mod anchors;
#[path = "cluster/byzantine.rs"]
mod byzantine;
#[path = "cluster/connections.rs"]
mod connections;
#[path = "cluster/discovery.rs"]
mod discovery;
#[path = "cluster/dns.rs"]
mod dns;
#[path = "cluster/faults.rs"]
mod faults;
#[path = "attacks/hostile.rs"]
mod hostile;
#[path = "cluster/lan.rs"]
mod lan;
#[path = "cluster/meeting.rs"]
mod meeting;
#[path = "cluster/seeds.rs"]
mod seeds;
#[path = "cluster/sessions.rs"]
mod sessions;
#[path = "cluster/traffic.rs"]
mod traffic;
#[path = "cluster/validators.rs"]
mod validators;
