//! Who is refused, why and until when: by identity, and by host and network group once several
//! identities of one were banned.
//!
//! # Security
//! Provided: a new key at the same address runs out of identities, a new address with the same
//! key stays banned, spelling an address differently changes nothing.
//! Not provided: protection from an attacker with many hosts in many groups.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv6Addr},
};

use serde::{Deserialize, Serialize};

use super::history::tidy_reason;
use crate::{
    address::{Address, NetworkGroup},
    identity::NodeId,
    time::{Millis, Time},
};

/// Who ordered a ban.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BanOrigin {
    /// The score crossed the line.
    Score,
    /// The operator or the chain software.
    Operator,
}

/// One ban, as it is stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BanRecord {
    /// Who.
    pub peer: NodeId,
    /// Where it was connected from, if known.
    pub address: Option<Address>,
    /// When it began.
    pub since: Time,
    /// When it ends; [`Time::NEVER`] if it does not.
    pub until: Time,
    /// Why, in a line.
    pub reason: String,
    /// By whom.
    pub origin: BanOrigin,
}

/// Why a peer is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    /// It is banned itself.
    Identity {
        /// Until when.
        until: Time,
    },
    /// Too many identities of its host are banned.
    Host {
        /// How many.
        banned: usize,
    },
    /// Too many identities of its network group are banned.
    Group {
        /// How many.
        banned: usize,
    },
}

/// Bans held at most; the ban that ends first makes room, automatic ones before the operator's.
pub const BANS_MAX: usize = 16_384;

/// All the bans, and how many identities are banned per host and group.
#[derive(Clone, Debug, Default)]
pub(super) struct BanBook {
    bans: BTreeMap<NodeId, BanRecord>,
    endings: BTreeSet<(Time, NodeId)>,
    hosts: BTreeMap<IpAddr, usize>,
    groups: BTreeMap<NetworkGroup, usize>,
    count_private: bool,
}

/// What one party owns at least: an IPv4 address, or a /64 of IPv6 (RFC 6177).
#[must_use]
pub fn host_of(address: &Address) -> IpAddr {
    match address.ip() {
        IpAddr::V4(ip) => IpAddr::V4(ip),
        IpAddr::V6(ip) => {
            let [a, b, c, d, ..] = ip.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
    }
}

impl BanBook {
    /// An empty book. Private addresses are shared by whole test networks, so they count
    /// towards host and group only if asked for.
    pub(super) fn new(count_private: bool) -> Self {
        BanBook { count_private, ..BanBook::default() }
    }

    /// Writes a ban down, in place of an earlier one of the same peer. Returns whose ban had to
    /// make room, if the book is full.
    pub(super) fn insert(&mut self, mut ban: BanRecord) -> Option<NodeId> {
        ban.reason = tidy_reason(&ban.reason);
        self.remove(ban.peer);
        let evicted = if self.bans.len() >= BANS_MAX { self.evict() } else { None };
        if let Some(address) = self.counted(&ban) {
            *self.hosts.entry(host_of(&address)).or_default() += 1;
            *self.groups.entry(address.group()).or_default() += 1;
        }
        self.endings.insert((ban.until, ban.peer));
        self.bans.insert(ban.peer, ban);
        evicted
    }

    fn counted(&self, ban: &BanRecord) -> Option<Address> {
        // Whoever a relay carried is no identity of the relay's host.
        let counts = |address: &Address| self.count_private || address.is_routable();
        ban.address.filter(|address| !address.is_circuit() && counts(address))
    }

    fn evict(&mut self) -> Option<NodeId> {
        let automatic = |(_, peer): &&(Time, NodeId)| {
            self.bans.get(peer).is_some_and(|ban| ban.origin == BanOrigin::Score)
        };
        let first = self.endings.iter().find(automatic).or_else(|| self.endings.first());
        let peer = first.map(|(_, peer)| *peer)?;
        self.remove(peer);
        Some(peer)
    }

    /// Strikes a ban out.
    pub(super) fn remove(&mut self, peer: NodeId) -> Option<BanRecord> {
        let ban = self.bans.remove(&peer)?;
        self.endings.remove(&(ban.until, peer));
        if let Some(address) = self.counted(&ban) {
            release(&mut self.hosts, &host_of(&address));
            release(&mut self.groups, &address.group());
        }
        Some(ban)
    }

    /// The ban of a peer, over or not.
    pub(super) fn get(&self, peer: &NodeId) -> Option<&BanRecord> {
        self.bans.get(peer)
    }

    /// All bans, by identity.
    pub(super) fn iter(&self) -> impl Iterator<Item = &BanRecord> {
        self.bans.values()
    }

    /// How many identities of this address' host and group are banned.
    pub(super) fn counts(&self, address: &Address) -> (usize, usize) {
        (
            self.hosts.get(&host_of(address)).copied().unwrap_or(0),
            self.groups.get(&address.group()).copied().unwrap_or(0),
        )
    }

    /// When the next ban ends.
    pub(super) fn next_ending(&self) -> Option<Time> {
        self.endings.first().map(|(until, _)| *until).filter(|until| *until < Time::NEVER)
    }

    /// Strikes out and returns a ban that is over.
    pub(super) fn take_ended(&mut self, now: Time) -> Option<BanRecord> {
        let (until, peer) = *self.endings.first()?;
        if until > now || until == Time::NEVER {
            return None;
        }
        self.remove(peer)
    }
}

fn release<K: Ord>(counts: &mut BTreeMap<K, usize>, key: &K) {
    let left = match counts.get_mut(key) {
        Some(count) => {
            *count = count.saturating_sub(1);
            *count
        }
        None => return,
    };
    if left == 0 {
        counts.remove(key);
    }
}

impl BanOrigin {
    /// The name in logs and documents.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            BanOrigin::Score => "score",
            BanOrigin::Operator => "operator",
        }
    }
}

impl BanRecord {
    /// The ban as it holds after a restart. It never lasts longer than it was given: if the
    /// clock went back meanwhile, it starts again now.
    #[must_use]
    pub fn restored(mut self, now: Time) -> Self {
        if self.since > now {
            let length: Millis = self.until.since(self.since);
            self.until = if self.until == Time::NEVER { Time::NEVER } else { now.plus(length) };
            self.since = now;
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ban(n: u16, address: &str, until: u64, origin: BanOrigin) -> BanRecord {
        let mut id = [0; 32];
        id[..2].copy_from_slice(&n.to_be_bytes());
        BanRecord {
            peer: NodeId(id),
            address: Some(address.parse().unwrap()),
            since: Time(0),
            until: Time(until),
            reason: "test".into(),
            origin,
        }
    }

    /// Attack row 24: one host is one host, however its address is spelled.
    #[test]
    fn identities_are_counted_by_canonical_host_and_group() {
        let mut book = BanBook::new(false);
        book.insert(ban(1, "8.1.2.3:1", 10, BanOrigin::Score));
        book.insert(ban(2, "[::ffff:8.1.2.3]:2", 10, BanOrigin::Score));
        book.insert(ban(3, "8.1.9.9:3", 10, BanOrigin::Score));
        book.insert(ban(3, "8.1.9.9:4", 20, BanOrigin::Score));
        assert_eq!(book.counts(&"8.1.2.3:9".parse().unwrap()), (2, 3));
        book.insert(ban(4, "[2a01:4f8:1:2::5]:1", 10, BanOrigin::Score));
        assert_eq!(book.counts(&"[2a01:4f8:1:2:3::7]:9".parse().unwrap()), (1, 1));
        while book.take_ended(Time(20)).is_some() {}
        assert!(book.hosts.is_empty() && book.groups.is_empty() && book.endings.is_empty());
    }

    /// Nobody gets a relay refused by misbehaving through it.
    #[test]
    fn whoever_came_through_a_relay_does_not_count_at_its_host() {
        let mut book = BanBook::new(true);
        book.insert(ban(1, "/ip4/8.1.2.3/tcp/1/p2p-circuit", 10, BanOrigin::Score));
        assert_eq!(book.counts(&"8.1.2.3:1".parse().unwrap()), (0, 0));
    }

    #[test]
    fn private_addresses_count_only_if_asked_for() {
        for (count_private, counts) in [(false, (0, 0)), (true, (1, 1))] {
            let mut book = BanBook::new(count_private);
            book.insert(ban(1, "127.0.0.1:1", 10, BanOrigin::Score));
            assert_eq!(book.counts(&"127.0.0.1:2".parse().unwrap()), counts);
        }
    }

    #[test]
    fn a_full_book_forgets_the_automatic_ban_that_ends_first() {
        let mut book = BanBook::new(false);
        book.insert(ban(0, "8.8.8.8:1", 1, BanOrigin::Operator));
        for n in 1..BANS_MAX as u16 {
            assert_eq!(book.insert(ban(n, "8.8.8.8:1", 10 + u64::from(n), BanOrigin::Score)), None);
        }
        let evicted = book.insert(ban(60_000, "8.8.8.8:1", 10, BanOrigin::Score));
        assert_eq!(evicted, Some(ban(1, "8.8.8.8:1", 0, BanOrigin::Score).peer));
        assert_eq!(book.iter().count(), BANS_MAX);
        assert!(book.iter().any(|ban| ban.origin == BanOrigin::Operator));
    }

    /// Attack row 32: a clock that jumped does not change how long a ban lasts.
    #[test]
    fn a_ban_keeps_its_length_when_the_clock_went_back() {
        let mut given = ban(1, "8.8.8.8:1", 90_000, BanOrigin::Score);
        given.since = Time(80_000);
        assert_eq!(given.clone().restored(Time(500)).until, Time(10_500));
        assert_eq!(given.restored(Time(85_000)).until, Time(90_000));
    }
}
