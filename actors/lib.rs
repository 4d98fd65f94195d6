//! The actors of Peerstage and the handle on them, [`Network`]; the README follows.
//!
#![doc = include_str!("../README.md")]

// The localnet mounts an example, which names the library as any user does.
extern crate self as peerstage;

pub mod admin;
pub mod bridge;
pub mod circuits;
pub mod clock;
pub mod discovery;
pub mod events;
pub mod identity_file;
pub mod localnet;
pub mod manager;
pub mod nat;
mod network;
pub mod node;
mod own;
pub mod payload;
pub mod peer;
pub mod peer_store;
pub mod relay;
pub mod requests;
pub mod scoring;
pub mod shell;
pub mod status;
pub mod store;
#[cfg(feature = "testkit")]
pub mod testkit;
pub mod transport;
mod upgrade;

pub use bridge::{Notice, Subscription};
pub use events::{Event, What};
pub use network::{Builder, FindError, Network, SendError, StartError, Stopped};
pub use payload::{
    Block, Delivery, Inbound, Payload, PayloadError, Proposal, Transaction, Verdict, Vote,
};
pub use peerstage_core as core;
pub use peerstage_core::{
    config::Config,
    identity::{Keypair, NetworkId, NodeId, PublicKey},
    kinds::{Kind, RelayMode},
    messages::{MessageId, Topic},
    requests::Target,
    scoring::Report,
};
pub use requests::{Reply, RequestError};
