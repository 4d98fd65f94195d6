//! Who is banned, and which IPs have sent too many who were.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv6Addr},
};

use super::config::{BANNED_PER_IP_MAX, BANS_MAX};
use crate::{identity::NodeId, time::Time};

/// Bans in force. Judged elsewhere (scoring, operator), kept elsewhere (store), enforced here.
#[derive(Clone, Debug, Default)]
pub(super) struct Bans {
    peers: BTreeMap<NodeId, Ban>,
    /// Banned identities by IP; as many as there are bans.
    ips: BTreeMap<IpAddr, u32>,
}

#[derive(Clone, Debug)]
struct Ban {
    until: Time,
    ip: Option<IpAddr>,
}

/// What one household or machine has: an IPv4 address, a /64 of IPv6 (RFC 6177).
fn household(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(ip) => {
            let [a, b, c, d, ..] = ip.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
        v4 => v4,
    }
}

impl Bans {
    /// Bans an identity, seen at `ip`.
    pub(super) fn add(&mut self, peer: NodeId, until: Time, ip: Option<IpAddr>) {
        let earlier = self.peers.get(&peer).and_then(|ban| ban.ip);
        self.remove(&peer);
        if self.peers.len() >= BANS_MAX {
            let soonest = self.peers.iter().min_by_key(|(_, ban)| ban.until).map(|(p, _)| *p);
            soonest.iter().for_each(|peer| self.remove(peer));
        }
        let ip = ip.map(household).or(earlier);
        if let Some(ip) = ip {
            let count = self.ips.entry(ip).or_insert(0);
            *count = count.saturating_add(1);
        }
        self.peers.insert(peer, Ban { until, ip });
    }

    pub(super) fn remove(&mut self, peer: &NodeId) {
        let Some(ip) = self.peers.remove(peer).and_then(|ban| ban.ip) else { return };
        if let Some(count) = self.ips.get_mut(&ip) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.ips.remove(&ip);
            }
        }
    }

    /// Ends those whose time is over.
    pub(super) fn expire(&mut self, now: Time) {
        let over: Vec<NodeId> =
            self.peers.iter().filter(|(_, ban)| ban.until <= now).map(|(peer, _)| *peer).collect();
        over.iter().for_each(|peer| self.remove(peer));
    }

    pub(super) fn has_peer(&self, now: Time, peer: &NodeId) -> bool {
        self.peers.get(peer).is_some_and(|ban| ban.until > now)
    }

    /// Whether so many of this IP were banned that nobody else from it is let in (row 24).
    pub(super) fn has_ip(&self, ip: IpAddr) -> bool {
        self.ips.get(&household(ip)).is_some_and(|count| *count >= BANNED_PER_IP_MAX)
    }
}
