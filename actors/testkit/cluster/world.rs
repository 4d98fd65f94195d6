//! Where a cluster runs.

use std::{
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
};

use peerstage_core::address::TransportKind;

use crate::transport::{
    Transport,
    sim::{SimConfig, SimNetwork},
};

/// Where a cluster runs.
#[derive(Clone)]
pub enum World {
    /// On a simulated network, in virtual time: see [`crate::testkit::run_virtual`].
    Simulated(SimNetwork),
    /// On TCP over loopback, in real time, each node on threads of its own.
    Loopback,
    /// On QUIC over loopback, as the above.
    LoopbackQuic,
}

impl World {
    /// A simulated network of its own. Inside [`crate::testkit::run_virtual`] only.
    #[must_use]
    pub fn simulated(seed: u64, config: SimConfig) -> Self {
        World::Simulated(SimNetwork::new(seed, config))
    }

    /// The address of the host with this number: each simulated one is in a network group of its
    /// own, up to 65,536 of them.
    #[must_use]
    pub fn ip(&self, index: usize) -> IpAddr {
        let [high, low] = u16::try_from(index).unwrap_or(u16::MAX).to_be_bytes();
        IpAddr::V4(match self {
            // 24 is where public addresses begin that no special range interrupts up to 91.
            World::Simulated(_) => Ipv4Addr::new(24 + high % 64, low, high / 64, 1),
            World::Loopback | World::LoopbackQuic => Ipv4Addr::LOCALHOST,
        })
    }

    /// What a node uses instead of what its configuration says.
    pub(super) fn transport(&self, ip: IpAddr) -> Option<Arc<dyn Transport>> {
        match self {
            World::Simulated(network) => Some(Arc::new(network.host(ip))),
            World::Loopback | World::LoopbackQuic => None,
        }
    }

    /// What the configuration of a node says about it.
    pub(super) fn kinds(&self) -> Vec<TransportKind> {
        match self {
            World::Simulated(_) | World::Loopback => vec![TransportKind::Tcp],
            World::LoopbackQuic => vec![TransportKind::Quic],
        }
    }

    pub(super) fn is_simulated(&self) -> bool {
        matches!(self, World::Simulated(_))
    }
}
