//! Who is banned, and which IPs have sent too many who were.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv6Addr},
};

use super::config::{BANNED_PER_IP_MAX, BANNED_PER_RELAY_MAX, BANS_MAX};
use crate::{address::Address, identity::NodeId, time::Time};

/// Bans in force. Judged elsewhere (scoring, operator), kept elsewhere (store), enforced here.
#[derive(Clone, Debug, Default)]
pub(super) struct Bans {
    peers: BTreeMap<NodeId, Ban>,
    /// Banned identities by where they were; as many as there are bans.
    seats: BTreeMap<Seat, u32>,
}

/// Where somebody was who was banned. A relay is not to blame for whom it carries, so those that
/// came through it count apart from those that were there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Seat {
    At(IpAddr),
    Through(IpAddr),
}

fn seat(address: &Address) -> Seat {
    let ip = household(address.ip());
    if address.is_circuit() { Seat::Through(ip) } else { Seat::At(ip) }
}

#[derive(Clone, Debug)]
struct Ban {
    until: Time,
    seat: Option<Seat>,
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
    /// Bans an identity, seen at `address`.
    pub(super) fn add(&mut self, peer: NodeId, until: Time, address: Option<Address>) {
        let earlier = self.peers.get(&peer).and_then(|ban| ban.seat);
        self.remove(&peer);
        if self.peers.len() >= BANS_MAX {
            let soonest = self.peers.iter().min_by_key(|(_, ban)| ban.until).map(|(p, _)| *p);
            soonest.iter().for_each(|peer| self.remove(peer));
        }
        let seat = address.as_ref().map(seat).or(earlier);
        if let Some(seat) = seat {
            let count = self.seats.entry(seat).or_insert(0);
            *count = count.saturating_add(1);
        }
        self.peers.insert(peer, Ban { until, seat });
    }

    pub(super) fn remove(&mut self, peer: &NodeId) {
        let Some(seat) = self.peers.remove(peer).and_then(|ban| ban.seat) else { return };
        if let Some(count) = self.seats.get_mut(&seat) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.seats.remove(&seat);
            }
        }
    }

    /// Ends those whose time is over.
    pub(super) fn expire(&mut self, now: Time) {
        let over: Vec<NodeId> =
            self.peers.iter().filter(|(_, ban)| ban.until <= now).map(|(peer, _)| *peer).collect();
        over.iter().for_each(|peer| self.remove(peer));
    }

    pub(super) fn all(&self) -> impl Iterator<Item = (NodeId, Time)> {
        self.peers.iter().map(|(peer, ban)| (*peer, ban.until))
    }

    pub(super) fn has_peer(&self, now: Time, peer: &NodeId) -> bool {
        self.peers.get(peer).is_some_and(|ban| ban.until > now)
    }

    /// Whether so many of this IP were banned that nobody else from it is let in (row 24).
    pub(super) fn has_ip(&self, ip: IpAddr) -> bool {
        self.count(Seat::At(household(ip))) >= BANNED_PER_IP_MAX
    }

    /// Whether nobody else from there is let in: from this IP, or through the relay at it.
    pub(super) fn has_seat(&self, address: &Address) -> bool {
        let most = if address.is_circuit() { BANNED_PER_RELAY_MAX } else { BANNED_PER_IP_MAX };
        self.count(seat(address)) >= most
    }

    fn count(&self, seat: Seat) -> u32 {
        self.seats.get(&seat).copied().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(number: u32) -> NodeId {
        let mut id = [0; 32];
        id[..4].copy_from_slice(&number.to_le_bytes());
        NodeId(id)
    }

    /// Attack row 24: a /64 is one household, its neighbour is another.
    #[test]
    fn a_household_of_ipv6_is_a_slash_64() {
        let mut bans = Bans::default();
        for number in 0..BANNED_PER_IP_MAX {
            let there = format!("[2a01:4f8:1:2::{number:x}]:1").parse().ok();
            bans.add(node(number), Time(10), there);
        }
        assert!(bans.has_ip("2a01:4f8:1:2:ffff::1".parse().unwrap()));
        assert!(!bans.has_ip("2a01:4f8:1:3::1".parse().unwrap()));
        bans.expire(Time(10));
        assert!(!bans.has_ip("2a01:4f8:1:2::1".parse().unwrap()));
        assert!(bans.seats.is_empty());
    }

    #[test]
    fn bans_are_capped_and_the_longest_stay() {
        let mut bans = Bans::default();
        for number in 0..10_000u32 {
            let there = Address::new(IpAddr::from(number.to_be_bytes()), 1);
            bans.add(node(number), Time(1 + u64::from(number)), Some(there));
        }
        assert_eq!((bans.peers.len(), bans.seats.len()), (BANS_MAX, BANS_MAX));
        assert!(bans.has_peer(Time(0), &node(9_999)));
        assert!(!bans.has_peer(Time(0), &node(0)));
        bans.add(node(9_999), Time::NEVER, None);
        assert_eq!(bans.seats.len(), BANS_MAX, "the IP it was seen at stays");
    }
}
