//! What happened in the network: counters for people, one digest for "the same again".

use std::{collections::BTreeMap, net::IpAddr};

use peerstage_core::address::Address;

use super::rules::Packet;

/// Traffic of one host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HostStats {
    /// Payload bytes that left the host, repetitions included.
    pub bytes_out: u64,
    /// Payload bytes that reached the host.
    pub bytes_in: u64,
    /// Packets that left the host, repetitions included.
    pub segments_out: u64,
    /// Packets that reached the host.
    pub segments_in: u64,
    /// Packets of the host that a rule dropped.
    pub segments_lost: u64,
}

/// Traffic of the whole network.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SimStats {
    /// By host.
    pub hosts: BTreeMap<IpAddr, HostStats>,
    /// Connections that were opened and accepted by the other side's system.
    pub connections: u64,
    /// Requests to connect where nobody listened.
    pub refused: u64,
    /// Connection ends that were told of a reset or gave up.
    pub resets: u64,
}

/// What happened to a packet, as a byte of the digest.
#[derive(Clone, Copy, Debug)]
pub(super) enum Mark {
    Sent = 1,
    Lost = 2,
    Arrived = 3,
}

/// Counters and digest.
#[derive(Default)]
pub(super) struct Trace {
    hasher: blake3::Hasher,
    pub(super) stats: SimStats,
}

impl Trace {
    pub(super) fn packet(&mut self, at_us: u64, mark: Mark, packet: &Packet, payload: &[u8]) {
        let bytes = u64::try_from(packet.bytes).unwrap_or(u64::MAX);
        let host = if let Mark::Arrived = mark { packet.to.ip() } else { packet.from.ip() };
        let host = self.stats.hosts.entry(host).or_default();
        match mark {
            Mark::Sent => {
                host.bytes_out += bytes;
                host.segments_out += 1;
            }
            Mark::Lost => host.segments_lost += 1,
            Mark::Arrived => {
                host.bytes_in += bytes;
                host.segments_in += 1;
            }
        }
        self.hasher.update(&at_us.to_le_bytes());
        self.hasher.update(&[mark as u8, packet.kind as u8]);
        self.address(packet.from);
        self.address(packet.to);
        self.hasher.update(&bytes.to_le_bytes());
        if let Mark::Arrived = mark {
            self.hasher.update(blake3::hash(payload).as_bytes());
        }
    }

    pub(super) fn crashed(&mut self, at_us: u64, host: IpAddr) {
        self.hasher.update(&at_us.to_le_bytes());
        self.hasher.update(&[0xff]);
        self.address(Address::new(host, 0));
    }

    pub(super) fn digest(&self) -> [u8; 32] {
        *self.hasher.finalize().as_bytes()
    }

    fn address(&mut self, address: Address) {
        let ip = match address.ip() {
            IpAddr::V4(ip) => ip.to_ipv6_mapped(),
            IpAddr::V6(ip) => ip,
        };
        self.hasher.update(&ip.octets());
        self.hasher.update(&address.port().to_le_bytes());
    }
}
