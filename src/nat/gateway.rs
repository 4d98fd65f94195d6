//! What the router maps for this node, and when to ask it again.
//!
//! Sources: RFC 6886 section 3.3 and RFC 6887 section 11.2.1 (leases, to be renewed by half of
//! their life), UPnP WANIPConnection:2 section 2.5.16.
//!
//! # Security
//! Provided: an outside address that no stranger could reach is not told: there is a second NAT.
//! Not provided: trust in the router; on a hostile LAN it can claim any address.

use std::{collections::BTreeMap, fmt, net::SocketAddr};

use super::NatConfig;
use crate::{
    address::{Address, TransportKind},
    time::{Millis, Time, earliest},
};

/// The first wait after a refusal, doubled each time, and the longest, ms. Guesses: a router that
/// starts is back in a minute, and one that can't will not learn it within the hour.
const RETRY: Millis = 60_000;
const RETRY_MAX: Millis = 60 * 60 * 1_000;
/// The longest wait between two looks at a mapping that is granted, ms: a router that has a new
/// address, or has lost its state, is noticed within a minute.
const CHECK: Millis = 45_000;
/// The shortest life that is believed, ms, so that no router makes us ask without end.
const LIFE_MIN: Millis = 120_000;

/// Who granted a mapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// Port Control Protocol, RFC 6887.
    Pcp,
    /// NAT Port Mapping Protocol, RFC 6886.
    NatPmp,
    /// UPnP Internet Gateway Device.
    Upnp,
}

impl Method {
    /// As its standard spells it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Method::Pcp => "PCP",
            Method::NatPmp => "NAT-PMP",
            Method::Upnp => "UPnP",
        }
    }
}

/// A mapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Granted {
    /// Outside.
    pub external: SocketAddr,
    /// For how long, ms.
    pub life: Millis,
    /// By which protocol.
    pub method: Method,
}

/// What the router did about a port.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Gateway {
    /// It was not asked: no need, or not wanted.
    #[default]
    NotAsked,
    /// It is asked.
    Asked,
    /// It maps the port.
    Mapped {
        /// From here.
        external: Address,
        /// By this protocol.
        method: Method,
    },
    /// It maps the port to an address that is not public either: there is another NAT.
    DoubleNat {
        /// Its own outside address.
        external: Address,
    },
    /// It can't or won't.
    Refused(String),
}

impl fmt::Display for Gateway {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Gateway::NotAsked => f.write_str("not asked"),
            Gateway::Asked => f.write_str("asked, no answer yet"),
            Gateway::Mapped { external, method } => {
                write!(f, "maps {external} by {}", method.name())
            }
            Gateway::DoubleNat { external } => {
                write!(f, "maps {external}, which is not public: there is another NAT behind it")
            }
            Gateway::Refused(reason) => write!(f, "refuses: {reason}"),
        }
    }
}

/// A port that is to be mapped.
#[derive(Clone, Debug)]
struct Lease {
    port: u16,
    state: Gateway,
    /// When a mapping that is not renewed ends.
    until: Time,
    next: Time,
    failures: u32,
}

/// All of them.
#[derive(Clone, Debug)]
pub(super) struct Leases {
    by_transport: BTreeMap<TransportKind, Lease>,
}

impl Leases {
    /// A mapping for each transport: of the first port that others could reach through a router.
    pub(super) fn new(config: &NatConfig) -> Self {
        let mut by_transport = BTreeMap::new();
        let wanted = |l: &&Address| l.ip().is_ipv4() && !l.ip().is_loopback();
        for listening in config.listening.iter().filter(wanted) {
            let (port, state) = (listening.port(), Gateway::NotAsked);
            let (until, next) = (Time::ZERO, Time::NEVER);
            let lease = Lease { port, state, until, next, failures: 0 };
            by_transport.entry(listening.transport()).or_insert(lease);
        }
        Leases { by_transport }
    }

    /// The network is another one: all is asked for again, or nothing.
    pub(super) fn reset(&mut self, now: Time, wanted: bool) {
        for lease in self.by_transport.values_mut() {
            lease.state = Gateway::NotAsked;
            lease.failures = 0;
            lease.next = if wanted { now } else { Time::NEVER };
        }
    }

    /// What to ask for now.
    pub(super) fn due(&mut self, now: Time) -> Vec<(TransportKind, u16)> {
        let mut due = Vec::new();
        for (transport, lease) in &mut self.by_transport {
            if lease.next <= now {
                // The answer says when next; without one, in a while.
                lease.next = now.plus(RETRY);
                if !matches!(lease.state, Gateway::Mapped { .. }) || now >= lease.until {
                    lease.state = Gateway::Asked;
                }
                due.push((*transport, lease.port));
            }
        }
        due
    }

    pub(super) fn on_granted(
        &mut self,
        now: Time,
        transport: TransportKind,
        granted: Result<Granted, String>,
        allow_private: bool,
    ) {
        let Some(lease) = self.by_transport.get_mut(&transport) else { return };
        match granted {
            Ok(Granted { external, life, method }) => {
                let external = Address::from(external).over(transport);
                let usable = external.is_routable() || (allow_private && external.is_dialable());
                lease.state = if usable {
                    Gateway::Mapped { external, method }
                } else {
                    Gateway::DoubleNat { external }
                };
                lease.failures = 0;
                let life = life.max(LIFE_MIN);
                lease.until = now.plus(life);
                lease.next = now.plus(CHECK.min(life / 2));
            }
            Err(reason) => {
                let factor = 1u64.checked_shl(lease.failures).unwrap_or(u64::MAX);
                lease.next = now.plus(RETRY.saturating_mul(factor).min(RETRY_MAX));
                // A renewal that fails ends nothing: the mapping lives on for the rest of its time.
                if matches!(lease.state, Gateway::Mapped { .. }) && now < lease.until {
                    lease.next = lease.next.min(lease.until);
                } else {
                    lease.state = Gateway::Refused(reason);
                }
                lease.failures = lease.failures.saturating_add(1).min(u64::BITS);
            }
        }
    }

    pub(super) fn external(&self, transport: TransportKind) -> Option<Address> {
        match self.by_transport.get(&transport)?.state {
            Gateway::Mapped { external, .. } => Some(external),
            _ => None,
        }
    }

    pub(super) fn gateways(&self) -> Vec<(TransportKind, Gateway)> {
        self.by_transport.iter().map(|(kind, lease)| (*kind, lease.state.clone())).collect()
    }

    pub(super) fn deadline(&self) -> Option<Time> {
        self.by_transport.values().map(|lease| lease.next).fold(None, |a, b| earliest(a, Some(b)))
    }
}
