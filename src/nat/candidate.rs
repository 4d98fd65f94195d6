//! Addresses at which strangers may try, and how they are known.

use crate::address::Address;

/// What made an address known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The operator's configuration.
    Configured,
    /// The node listens at this very address.
    Listening,
    /// The node listens everywhere, and this is one of the machine's addresses.
    Interface,
    /// The router maps it to us.
    Mapped,
    /// STUN servers see our UDP port there.
    Stun,
    /// Peers see us there.
    Peers,
}

impl Origin {
    /// In a word, for people and programs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Origin::Configured => "configured",
            Origin::Listening => "listening",
            Origin::Interface => "interface",
            Origin::Mapped => "mapped",
            Origin::Stun => "stun",
            Origin::Peers => "peers",
        }
    }

    /// Whether it is surely ours. What others say of us may be somebody else's, and such an address
    /// must not be struck from our own book.
    #[must_use]
    pub const fn is_certain(self) -> bool {
        matches!(self, Origin::Configured | Origin::Listening | Origin::Interface | Origin::Mapped)
    }
}

/// An address at which strangers may try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Where.
    pub address: Address,
    /// How it is known.
    pub origin: Origin,
}
