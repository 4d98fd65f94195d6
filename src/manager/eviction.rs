//! Who makes room when the inbound places are full.
//!
//! # Security
//! Provided: whoever fills the inbound places must, to displace an honest peer, outlast, outrun
//! and outserve it, and be in neighbourhoods picked by a secret key (after Bitcoin's rules;
//! attack row 21). Whoever a relay carries goes first: one host can come through many relays and
//! so from any neighbourhood. Validators and persistent peers have places of their own and are never
//! candidates.
//! Not provided: an open door in a network where every inbound place is protected; the
//! newcomer is refused then.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Place,
    config::{
        EVICTION_GRACE, EVICTION_PROTECTED, EVICTION_PROTECTED_GROUPS, EVICTION_PROTECTED_NOVEL,
    },
    peers::{Peer, Peers},
};
use crate::{
    address::NetworkGroup,
    identity::NodeId,
    time::{Millis, Time},
};

impl Peers {
    /// Who makes room for an inbound newcomer from `group`: the newest unprotected peer of the
    /// most crowded neighbourhood, if that is more crowded than the newcomer's own.
    pub(super) fn victim(&self, now: Time, key: &[u8; 32], group: NetworkGroup) -> Option<NodeId> {
        let inbound = self.iter().filter(|peer| {
            peer.view.place == Place::Inbound && now.since(peer.view.since) >= EVICTION_GRACE
        });
        let mut candidates: Vec<&Peer> = inbound.collect();
        // Nobody knows where they are, so they have nothing that protects them.
        let relayed = candidates.iter().filter(|peer| peer.view.address.is_circuit());
        if let Some(newest) = relayed.max_by_key(|p| (p.view.since, p.view.peer)) {
            return Some(newest.view.peer);
        }
        protect_groups(&mut candidates, key);
        protect(&mut candidates, EVICTION_PROTECTED, |p| Some((p.view.since, p.view.peer)));
        protect(&mut candidates, EVICTION_PROTECTED, |p| {
            p.latency.map(|latency: Millis| (latency, p.view.since, p.view.peer))
        });
        for which in [0, 1] {
            protect(&mut candidates, EVICTION_PROTECTED_NOVEL, |p| {
                let last = p.novel.get(which).copied().flatten()?;
                Some((std::cmp::Reverse(last), p.view.peer))
            });
        }
        let mut crowds: BTreeMap<NetworkGroup, usize> = BTreeMap::new();
        for peer in &candidates {
            let crowd = crowds.entry(peer.view.group).or_insert(0);
            *crowd = crowd.saturating_add(1);
        }
        // Among equal crowds the secret key picks, or low-numbered neighbourhoods were never picked.
        let (most, count) = crowds.iter().max_by_key(|(of, count)| (**count, rank(key, of)))?;
        if *count <= self.census().in_group(false, group) {
            return None;
        }
        let crowd = candidates.iter().filter(|p| p.view.group == *most);
        crowd.max_by_key(|p| (p.view.since, p.view.peer)).map(|p| p.view.peer)
    }
}

/// Takes out the first few by rank; those without a rank stay.
fn protect<K: Ord>(candidates: &mut Vec<&Peer>, count: usize, rank: impl Fn(&Peer) -> Option<K>) {
    let mut ranked: Vec<(K, NodeId)> =
        candidates.iter().filter_map(|peer| Some((rank(peer)?, peer.view.peer))).collect();
    ranked.sort_unstable();
    let safe: BTreeSet<NodeId> = ranked.into_iter().take(count).map(|(_, peer)| peer).collect();
    candidates.retain(|peer| !safe.contains(&peer.view.peer));
}

/// Takes out the oldest peer of each of a few neighbourhoods that a secret key picks: an attacker
/// can't know which it would have to be in.
fn protect_groups(candidates: &mut Vec<&Peer>, key: &[u8; 32]) {
    let mut oldest: BTreeMap<NetworkGroup, &Peer> = BTreeMap::new();
    for peer in candidates.iter() {
        let known = oldest.entry(peer.view.group).or_insert(peer);
        if (peer.view.since, peer.view.peer) < (known.view.since, known.view.peer) {
            *known = peer;
        }
    }
    let mut ranked: Vec<([u8; 32], NodeId)> =
        oldest.iter().map(|(group, peer)| (rank(key, group), peer.view.peer)).collect();
    ranked.sort_unstable();
    let safe: BTreeSet<NodeId> =
        ranked.into_iter().take(EVICTION_PROTECTED_GROUPS).map(|(_, peer)| peer).collect();
    candidates.retain(|peer| !safe.contains(&peer.view.peer));
}

/// An order of neighbourhoods that nobody can know.
fn rank(key: &[u8; 32], group: &NetworkGroup) -> [u8; 32] {
    *blake3::keyed_hash(key, &group.0).as_bytes()
}
