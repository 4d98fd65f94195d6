//! Where a cluster runs.

use std::{
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
};

use crate::transport::{
    TcpTransport, Transport,
    sim::{SimConfig, SimNetwork},
};

/// Where a cluster runs.
#[derive(Clone)]
pub enum World {
    /// On a simulated network, in virtual time: see [`crate::testkit::run_virtual`].
    Simulated(SimNetwork),
    /// On TCP over loopback, in real time, each node on threads of its own.
    Loopback,
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
            World::Loopback => Ipv4Addr::LOCALHOST,
        })
    }

    pub(super) fn transport(&self, ip: IpAddr) -> Arc<dyn Transport> {
        match self {
            World::Simulated(network) => Arc::new(network.host(ip)),
            World::Loopback => Arc::new(TcpTransport),
        }
    }
}
