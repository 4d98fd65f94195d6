//! The decisions of Peerstage, without IO: state machines, wire formats and cryptography.
//!
//! Every machine here is a plain struct. Its inputs are methods named as facts (`on_frame`,
//! `on_closed`) that take the time as an argument and a list to write orders into; its outputs
//! are one enum of orders; `deadline()` and `on_deadline()` carry all its timers. Nothing in
//! this package reads a clock, draws entropy, does IO or depends on the order of a hash table,
//! so everything replays from a seed.
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

pub mod address;
mod backend;
pub mod book;
pub mod bootstrap;
pub mod circuits;
pub mod codec;
pub mod config;
pub mod connection;
pub mod coordinate;
pub mod frame;
#[doc(hidden)]
pub mod fuzzing;
pub mod handshake;
pub mod header;
pub mod identity;
pub mod kademlia;
pub mod kinds;
pub mod lanes;
pub mod manager;
pub mod messages;
pub mod nat;
pub mod noise;
pub mod race;
pub mod rate;
pub mod reason;
pub mod record;
pub mod relay;
pub mod requests;
pub mod scoring;
pub mod sealed;
pub mod shares;
pub mod time;
