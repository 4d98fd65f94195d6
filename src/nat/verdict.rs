//! Whether strangers reach a node, and why.

use super::{Candidate, Gateway, Mapping, NatTraversal, Origin};
use crate::{
    address::TransportKind,
    time::{Millis, Time},
};

/// How long silence means nothing, ms. A guess: peers' feelers and newcomers find a node within
/// minutes.
pub(super) const PATIENCE: Millis = 30 * 60 * 1_000;

/// Whether strangers reach this node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Verdict {
    /// No stranger has come, and it is too early to say why.
    #[default]
    Unknown,
    /// No stranger has come, though an address of the machine is told: a firewall may be in the
    /// way, or all who are there have been dialled by this node.
    Untested,
    /// Strangers came, and an address of the machine is public.
    Public,
    /// Strangers came, through the router's mapping.
    Mapped,
    /// Strangers came, through a router that somebody else set up.
    Forwarded,
    /// Nobody came, but the NAT shows every peer the same UDP port.
    Punchable,
    /// Nobody came: this node reaches others, others don't reach it.
    OutboundOnly,
}

impl Verdict {
    /// In a word, for people and programs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Verdict::Unknown => "unknown",
            Verdict::Untested => "untested",
            Verdict::Public => "public",
            Verdict::Mapped => "mapped",
            Verdict::Forwarded => "forwarded",
            Verdict::Punchable => "punchable",
            Verdict::OutboundOnly => "outbound_only",
        }
    }

    /// Why, in a sentence.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self {
            Verdict::Unknown => "no stranger has come yet",
            Verdict::Untested => {
                "an address of this machine is told and no stranger has come: is a firewall in the \
                 way? In a small network it may be that nobody is left who could"
            }
            Verdict::Public => "strangers come to an address of this machine",
            Verdict::Mapped => "strangers come through the port that the router maps",
            Verdict::Forwarded => "strangers come through a router that forwards the port",
            Verdict::Punchable => "no stranger comes; the NAT shows everybody the same UDP port",
            Verdict::OutboundOnly => {
                "no stranger comes: forward the port, or let the router map it"
            }
        }
    }
}

impl NatTraversal {
    pub(super) fn verdict(
        &self,
        now: Time,
        transport: TransportKind,
        all: &[Candidate],
    ) -> Verdict {
        let has = |origins: &[Origin]| {
            all.iter().any(|candidate| {
                candidate.address.transport() == transport && origins.contains(&candidate.origin)
            })
        };
        let own = has(&[Origin::Configured, Origin::Listening, Origin::Interface]);
        if self.strangers.came(transport) {
            return match (own, has(&[Origin::Mapped])) {
                (true, _) => Verdict::Public,
                (false, true) => Verdict::Mapped,
                (false, false) => Verdict::Forwarded,
            };
        }
        if now.since(self.since) < PATIENCE {
            return Verdict::Unknown;
        }
        let same_port = self.mapping(true) == Mapping::EndpointIndependent;
        match transport {
            _ if own => Verdict::Untested,
            TransportKind::Quic if same_port => Verdict::Punchable,
            _ => Verdict::OutboundOnly,
        }
    }
}

/// What is known, for people.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reachability {
    /// For each transport that is listened with.
    pub verdicts: Vec<(TransportKind, Verdict)>,
    /// Where strangers are told to try.
    pub candidates: Vec<Candidate>,
    /// What STUN servers say of IPv4.
    pub mapping: Mapping,
    /// What the router says.
    pub gateways: Vec<(TransportKind, Gateway)>,
}
