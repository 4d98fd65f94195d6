//! How many peers have which place, address, neighbourhood and validator, kept up to date with
//! each that comes and goes: no decision walks over all peers.

use std::{collections::BTreeMap, net::IpAddr};

use super::{PeerView, Place};
use crate::{
    address::{Address, NetworkGroup},
    identity::PublicKey,
};

/// The counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Census {
    places: BTreeMap<Place, usize>,
    /// Peers without a reserved place, whether we chose them and where. Those that chose us and
    /// that a relay carries are nowhere.
    groups: BTreeMap<(bool, NetworkGroup), usize>,
    /// Ordinary peers that dialled us.
    ips: BTreeMap<IpAddr, usize>,
    /// Those of them that a relay carries, by its IP; they are not in `ips`.
    relays: BTreeMap<IpAddr, usize>,
    relayed: usize,
    validators: BTreeMap<PublicKey, usize>,
    addresses: BTreeMap<Address, usize>,
}

fn count<K: Ord>(counts: &mut BTreeMap<K, usize>, key: K, more: bool) {
    let known = counts.entry(key);
    match known {
        std::collections::btree_map::Entry::Vacant(free) if more => {
            free.insert(1);
        }
        std::collections::btree_map::Entry::Vacant(_) => {}
        std::collections::btree_map::Entry::Occupied(mut known) => {
            let change = if more { usize::saturating_add } else { usize::saturating_sub };
            *known.get_mut() = change(*known.get(), 1);
            if *known.get() == 0 {
                known.remove();
            }
        }
    }
}

/// Whether a peer is one of those of its neighbourhood.
pub(super) fn counts_in_group(view: &PeerView) -> bool {
    let relayed = view.place == Place::Inbound && view.address.is_circuit();
    !view.place.is_reserved() && !relayed
}

impl Census {
    pub(super) fn add(&mut self, view: &PeerView) {
        self.change(view, true);
    }

    pub(super) fn remove(&mut self, view: &PeerView) {
        self.change(view, false);
    }

    fn change(&mut self, view: &PeerView, more: bool) {
        count(&mut self.places, view.place, more);
        count(&mut self.addresses, view.address, more);
        if let Some(key) = view.validator {
            count(&mut self.validators, key, more);
        }
        let relayed = view.place == Place::Inbound && view.address.is_circuit();
        if counts_in_group(view) {
            count(&mut self.groups, (view.chosen, view.group), more);
        }
        if relayed {
            let change = if more { usize::saturating_add } else { usize::saturating_sub };
            self.relayed = change(self.relayed, 1);
            count(&mut self.relays, view.address.ip(), more);
        } else if view.place == Place::Inbound {
            count(&mut self.ips, view.address.ip(), more);
        }
    }

    /// Peers with a place of this kind.
    pub(super) fn of(&self, place: Place) -> usize {
        self.places.get(&place).copied().unwrap_or(0)
    }

    /// Ordinary peers that dialled us.
    pub(super) fn inbound(&self) -> usize {
        self.of(Place::Inbound)
    }

    /// Ordinary peers that we dialled.
    pub(super) fn outbound(&self) -> usize {
        self.of(Place::Outbound)
    }

    /// Peers in a neighbourhood that we chose, or that chose us; those with reserved places left
    /// out.
    pub(super) fn in_group(&self, chosen: bool, group: NetworkGroup) -> usize {
        self.groups.get(&(chosen, group)).copied().unwrap_or(0)
    }

    /// Ordinary inbound peers with this address's IP.
    pub(super) fn with_ip(&self, address: &Address) -> usize {
        self.ips.get(&address.ip()).copied().unwrap_or(0)
    }

    /// Ordinary inbound peers that relays carry.
    pub(super) fn relayed(&self) -> usize {
        self.relayed
    }

    /// Those of them that the relay at this address carries.
    pub(super) fn through(&self, address: &Address) -> usize {
        self.relays.get(&address.ip()).copied().unwrap_or(0)
    }

    /// Whether a connected peer speaks for this validator.
    pub(super) fn has_validator(&self, key: &PublicKey) -> bool {
        self.validators.contains_key(key)
    }

    /// Whether a peer is connected at this very address.
    pub(super) fn has_address(&self, address: &Address) -> bool {
        self.addresses.contains_key(address)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{
        SessionId,
        peers::{Peer, Peers},
    };
    use super::*;
    use crate::{identity::NodeId, time::Time};

    const PLACES: [Place; 5] =
        [Place::Inbound, Place::Outbound, Place::BlocksOnly, Place::Persistent, Place::Validator];

    fn view(peer: u8, session: u64, place: Place, host: u8, outbound: bool) -> PeerView {
        let direct = Address::new(IpAddr::from([50 + host % 3, 1, 1, host]), 1);
        let relayed = session.is_multiple_of(3).then(|| direct.through()).flatten();
        let address = relayed.unwrap_or(direct);
        PeerView {
            peer: NodeId([peer; 32]),
            session: SessionId(session),
            address,
            group: address.group(),
            outbound,
            punched: false,
            chosen: outbound,
            since: Time(1),
            place,
            blocks_only: place == Place::BlocksOnly,
            validator: peer.is_multiple_of(2).then_some(PublicKey([host; 32])),
        }
    }

    proptest! {
        /// Whoever comes, goes, moves or is exchanged: the counts are those of a walk over all.
        #[test]
        fn the_census_is_what_a_walk_would_count(
            steps in proptest::collection::vec((0..4u8, 0..8u8, 0..5usize, any::<u8>(), any::<bool>()), 0..80)
        ) {
            let mut peers = Peers::default();
            for (session, (step, peer, place, host, outbound)) in steps.into_iter().enumerate() {
                let (id, place) = (NodeId([peer; 32]), PLACES[place]);
                let new = view(peer, session as u64, place, host % 6, outbound);
                match step {
                    0 => peers.insert(Peer::new(Time(1), new, [0; 32])),
                    1 => drop(peers.remove(&id)),
                    2 => peers.set_place(&id, place),
                    _ => drop(peers.replace(Time(2), [1; 32], new)),
                }
                let mut walked = Census::default();
                peers.iter().for_each(|peer| walked.add(&peer.view));
                prop_assert_eq!(peers.census(), &walked);
                let inbound = peers.iter().filter(|p| p.view.place == Place::Inbound).count();
                prop_assert_eq!(walked.inbound(), inbound);
                for peer in peers.iter() {
                    let of_group = peers.iter().filter(|p| {
                        counts_in_group(&p.view)
                            && p.view.chosen == peer.view.chosen
                            && p.view.group == peer.view.group
                    });
                    let counted = walked.in_group(peer.view.chosen, peer.view.group);
                    prop_assert_eq!(counted, of_group.count());
                    let same_ip = |relayed: bool| peers.iter().filter(move |p| {
                        let address = p.view.address;
                        p.view.place == Place::Inbound
                            && (address.ip(), address.is_circuit()) == (peer.view.address.ip(), relayed)
                    });
                    prop_assert_eq!(walked.with_ip(&peer.view.address), same_ip(false).count());
                    prop_assert_eq!(walked.through(&peer.view.address), same_ip(true).count());
                    prop_assert!(walked.has_address(&peer.view.address));
                    prop_assert_eq!(peers.of_session(peer.view.session), Some(peer.view.peer));
                }
            }
        }
    }
}
