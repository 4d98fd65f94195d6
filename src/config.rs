//! The configuration of a node: strict, layered, and every value knows where it came from.
//!
//! Layers are applied in order, each over those before it: the defaults, TOML files,
//! environment variables `PEERSTAGE_SECTION__KEY`, flags `section.key=value`. This package reads
//! neither files nor the environment: the shell hands their contents over.
//!
//! ```
//! use peerstage_core::config::Layers;
//!
//! let error = Layers::new()
//!     .file("node.toml", "[network]\nmax_pears = 3\n")
//!     .load()
//!     .expect_err("a typo");
//! assert_eq!(
//!     error.to_string(),
//!     "node.toml:2:1: unknown key \"max_pears\" in [network]; did you mean \"max_peers\"?"
//! );
//! ```
//!
//! # Security
//! Provided: nothing is ignored: an unknown key, a value of the wrong type, a number outside its
//! limits or a contradiction between two keys is an error that says where; no key holds a
//! secret, only the path of its file, so a configuration can be shown.
//! Not provided: whether files exist, may be read, or hold what they should.

mod discovery;
mod error;
#[doc(hidden)]
pub mod fuzz;
mod layers;
mod names;
mod network;
mod operation;
mod own_address;
mod peer_address;
mod render;
mod schema;
mod size;
mod span;
mod spread;
mod standing;
mod stun_server;
#[cfg(test)]
mod tests;
mod validate;
mod values;

use serde::{Deserialize, Serialize};

pub use discovery::Discovery;
pub use error::{ConfigError, Fault, Origin, Problem};
pub use layers::{Layers, Resolved};
pub use names::{ANCESTOR_NAMES, AncestorName};
pub use network::{Limits, Nat, Network, Node};
pub use operation::{Admin, Log, Metrics, Store};
pub use own_address::OwnAddress;
pub use peer_address::{ParsePeerAddressError, PeerAddress};
pub use render::{annotated_default, reference};
pub use schema::Key;
pub use size::{ParseSizeError, Size};
pub use span::{ParseSpanError, Span};
pub use spread::{Gossip, Relay, Timeouts};
pub use standing::{Scoring, Trust};
pub use stun_server::{ParseStunServerError, StunServer};
pub use values::{
    Backend, Field, LanMode, LogFormat, LogLevel, Optional, PostQuantum, Role, Text, UplinkKind,
};

use crate::{
    identity::NetworkId,
    kinds::{Kind, RelayMode},
};

/// What the environment variables of the configuration start with.
pub const VARIABLE_PREFIX: &str = "PEERSTAGE_";

/// Declares the sections once, for the struct and for the list of them.
macro_rules! config {
    ($($section:ident: $Section:ident),+ $(,)?) => {
        /// Everything that can be configured. [`Config::default`] is a node that runs.
        #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
        #[serde(default, deny_unknown_fields)]
        pub struct Config {
            $(#[doc = concat!("Section `[", stringify!($section), "]`.")]
            pub $section: $Section,)+
        }

        /// Every section: its name, what it is for, its keys.
        pub(crate) const SECTIONS: &[Section] = &[$(Section {
            name: stringify!($section),
            about: $Section::ABOUT,
            keys: $Section::KEYS,
        }),+];
    };
}
config! {
    node: Node,
    network: Network,
    discovery: Discovery,
    nat: Nat,
    scoring: Scoring,
    trust: Trust,
    relay: Relay,
    gossip: Gossip,
    timeouts: Timeouts,
    limits: Limits,
    store: Store,
    admin: Admin,
    metrics: Metrics,
    log: Log,
}

/// One section, for whoever walks over all keys.
pub(crate) struct Section {
    name: &'static str,
    about: &'static [&'static str],
    keys: &'static [Key],
}

/// Every key of every section, in the order of the default file.
pub fn keys() -> impl Iterator<Item = &'static Key> {
    SECTIONS.iter().flat_map(|section| section.keys)
}

impl Config {
    /// Checks every limit and every rule between keys, for configurations built in code.
    ///
    /// # Errors
    /// Every problem there is.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let problems = validate::problems(self, &std::collections::BTreeMap::new());
        ConfigError::from_problems(problems)
    }

    /// The id of the network: the genesis hash, else the SHA-256 of the name.
    #[must_use]
    pub fn network_id(&self) -> NetworkId {
        match self.network.genesis.as_option() {
            Some(genesis) => genesis.0,
            None => NetworkId::from_name(&self.network.name),
        }
    }

    /// How a kind spreads; `None` for messages between two neighbours.
    #[must_use]
    pub fn relay_mode(&self, kind: Kind) -> Option<RelayMode> {
        match kind {
            Kind::Block => Some(self.relay.block),
            Kind::Transaction => Some(self.relay.transaction),
            Kind::Proposal => Some(self.relay.proposal),
            Kind::Vote => Some(self.relay.vote),
            Kind::Custom => Some(self.relay.custom),
            other => other.row().relay,
        }
    }

    /// The longest body of a kind, bytes: the configured limit, else the wire format's.
    #[must_use]
    pub fn body_max(&self, kind: Kind) -> usize {
        let configured = match kind {
            Kind::Block => self.limits.block_size.as_usize(),
            Kind::Transaction => self.limits.transaction_size.as_usize(),
            Kind::Custom => self.limits.custom_size.as_usize(),
            _ => usize::MAX,
        };
        configured.min(kind.row().body_max)
    }

    /// A path of the configuration, relative to the data directory unless it is absolute.
    #[must_use]
    pub fn path(&self, path: &std::path::Path) -> std::path::PathBuf {
        self.node.data_dir.join(path)
    }
}
