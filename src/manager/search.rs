//! Looking for peers: whom to dial now.

use super::{
    Action, LinkKind, Manager, NameId, Phase,
    dialler::{Attempt, DialPurpose, Place, backoff, jittered},
};
use crate::{
    address::Address,
    book::BookEntry,
    identity::{NodeId, PublicKey},
    reason::CloseReason,
    time::{Millis, Time},
};

/// While something is missing, places are looked for this often, ms.
const LOOK_INTERVAL: Millis = 1_000;

impl Manager {
    /// A name of the configuration has been looked up: it leads there, as if that had been given at
    /// the start. False if there are too many targets.
    pub fn on_name_resolved(
        &mut self,
        now: Time,
        target: super::Target,
        (name, persistent): (NameId, bool),
        out: &mut Vec<Action>,
    ) -> bool {
        let why = if persistent { DialPurpose::Persistent } else { DialPurpose::Bootstrap };
        let added = self.dialler.add_configured(now, target, (why, Some(name)));
        self.reassign_slots();
        self.look_for_peers(now, out);
        added
    }

    /// A name of the configuration leads to this address no longer: it is forgotten, unless its node is
    /// connected there. Whether it is still dialled for that name.
    pub fn on_name_moved(&mut self, address: &Address, name: NameId) -> bool {
        let peers = &self.peers;
        let stays = self.dialler.forget_moved(address, name, |peer| peers.contains(peer));
        self.reassign_slots();
        stays
    }

    /// DNS or the local network has named a place: it is dialled while there are too few peers, as a
    /// bootstrap node, but no oftener than any stranger's. One behind a relay is not: for it the
    /// relay would be dialled as if the operator had named that.
    pub fn on_found(&mut self, now: Time, target: super::Target, out: &mut Vec<Action>) {
        if target.address.is_circuit() {
            return;
        }
        self.dialler.add_found(now, target);
        self.look_for_peers(now, out);
    }

    /// Dials whatever is missing and may be dialled now: first whom the operator named, then
    /// validators, then anybody, then the bootstrap nodes while there are too few peers.
    pub(super) fn look_for_peers(&mut self, now: Time, out: &mut Vec<Action>) {
        if self.phase != Phase::Running || now < self.starts {
            return;
        }
        // Anchors come first: whoever made us restart did not know of them.
        let missing = self.dial_anchors(now, out)
            | self.dial_targets(now, DialPurpose::Persistent, out)
            | self.dial_validators(now, out)
            | self.dial_anybody(now, out)
            | (self.is_lonely() && self.dial_targets(now, DialPurpose::Bootstrap, out));
        self.next_look = if missing {
            now.plus(jittered(&self.config, &mut self.rng, LOOK_INTERVAL).max(1))
        } else {
            Time::NEVER
        };
    }

    fn ordinary(&self) -> usize {
        self.peers.census().inbound().saturating_add(self.peers.census().outbound())
    }

    /// Whether there are fewer peers, of any kind, than the node needs to live well.
    pub(super) fn is_lonely(&self) -> bool {
        self.peers.len() < self.config.min_peers
    }

    /// How many more ordinary peers should be dialled.
    pub(super) fn missing_outbound(&self) -> usize {
        let below = self.config.min_peers.saturating_sub(self.ordinary());
        let wished =
            self.config.wished_outbound.max(self.peers.census().outbound().saturating_add(below));
        let dialling = self.dialler.in_flight().filter(|(_, attempt)| {
            matches!(attempt.purpose, DialPurpose::Ordinary | DialPurpose::Bootstrap)
        });
        let taken = self.peers.census().outbound().saturating_add(dialling.count());
        wished.min(self.outbound_max()).saturating_sub(taken)
    }

    /// Whether records of more nodes would be of use.
    pub(super) fn wants_peers(&self) -> bool {
        self.is_lonely()
            || self.peers.census().outbound() < self.config.wished_outbound.min(self.outbound_max())
            || self.missing_validators().next().is_some()
    }

    /// Validators of the set that are not connected, if this node is one itself.
    fn missing_validators(&self) -> impl Iterator<Item = PublicKey> {
        let own = self.identity.validator.filter(|own| self.validators.contains(own));
        self.validators.iter().copied().filter(move |key| {
            own.is_some_and(|own| own != *key) && !self.peers.census().has_validator(key)
        })
    }

    pub(super) fn has_room(&self) -> bool {
        let dials = self.dialler.in_flight().filter(|(_, a)| a.purpose != DialPurpose::Visit);
        dials.count() < self.config.max_dialling
    }

    /// Dials the operator's targets that are not connected; whether any is missing.
    fn dial_targets(&mut self, now: Time, purpose: DialPurpose, out: &mut Vec<Action>) -> bool {
        let mut missing = false;
        for index in 0..self.dialler.targets.len() {
            let Some(target) = self.dialler.targets.get(index) else { break };
            let known = target.expected.or(target.met);
            if target.purpose() != purpose
                || known.is_some_and(|peer| self.peers.contains(&peer))
                || self.book.is_own(&target.address)
            {
                continue;
            }
            missing = true;
            let (address, expected) = (target.address, target.expected);
            let banned = known.is_some_and(|peer| self.bans.has_peer(now, &peer));
            let full = purpose == DialPurpose::Bootstrap && self.missing_outbound() == 0;
            let exempt = self.book.is_exempt(address);
            let verified = self.book.get(&address).is_some_and(BookEntry::is_verified);
            let stranger = target.is_found() && !verified;
            let place = Place { address, expected, stranger, exempt };
            if target.next <= now && !banned && !full {
                self.dial(now, place, purpose, out);
            }
        }
        missing
    }

    /// A validator dials every validator whose node it knows; whether any is missing.
    fn dial_validators(&mut self, now: Time, out: &mut Vec<Action>) -> bool {
        let missing: Vec<PublicKey> = self.missing_validators().collect();
        for key in &missing {
            let Some(node) = self.book.node_of_validator(key) else { continue };
            if node == self.identity.node || self.peers.contains(&node) {
                continue;
            }
            for address in self.book.addresses_of(&node) {
                if let Some(place) = self.place(now, &address, &node) {
                    self.dial(now, place, DialPurpose::Validator, out);
                }
            }
        }
        !missing.is_empty()
    }

    fn place(&self, now: Time, address: &Address, node: &NodeId) -> Option<Place> {
        let entry = self.book.get(address)?;
        let may = entry.next_dial <= now && !self.bans.has_peer(now, node);
        may.then(|| self.place_of(entry))
    }

    pub(super) fn place_of(&self, entry: &BookEntry) -> Place {
        Place {
            address: entry.address,
            expected: entry.peer,
            stranger: !entry.is_verified(),
            exempt: self.book.is_exempt(entry.address),
        }
    }

    /// Dials random entries of the book, for everything or for blocks alone; whether more peers
    /// are missing.
    fn dial_anybody(&mut self, now: Time, out: &mut Vec<Action>) -> bool {
        let full = std::iter::repeat_n(DialPurpose::Ordinary, self.missing_outbound());
        let blocks_only = std::iter::repeat_n(DialPurpose::BlocksOnly, self.missing_blocks_only());
        for purpose in full.chain(blocks_only) {
            if !self.has_room() {
                break;
            }
            let mut rng = self.rng.clone();
            let direct = |entry: &BookEntry| {
                let fits = purpose != DialPurpose::BlocksOnly || !self.is_named(entry);
                fits && !entry.address.is_circuit() && self.is_wanted(now, entry)
            };
            let drawn = self.book.draw(&mut rng, direct);
            // No relay is burdened while somebody can be reached without one.
            let drawn = match drawn {
                None if purpose == DialPurpose::Ordinary => {
                    let relays = self.relays();
                    let relayed = |entry: &BookEntry| {
                        entry.address.relay().is_some_and(|relay| relays.contains_key(&relay))
                            && self.is_wanted(now, entry)
                    };
                    self.book.draw(&mut rng, relayed)
                }
                drawn => drawn,
            };
            let place = drawn.map(|entry| self.place_of(entry));
            self.rng = rng;
            let Some(place) = place else { break };
            self.dial(now, place, purpose, out);
        }
        let blocks_only = self.peers.census().of(super::Place::BlocksOnly);
        self.peers.census().outbound() < self.config.wished_outbound.min(self.outbound_max())
            || self.ordinary() < self.config.min_peers
            || blocks_only < self.config.blocks_only_outbound
    }

    /// Whether a node is said to be there that more than blocks is wanted from: a validator of the
    /// set, whom the overlay needs whole, or one that the operator names.
    fn is_named(&self, entry: &BookEntry) -> bool {
        let Some(peer) = entry.peer else { return false };
        let validator = self.book.record(&peer).and_then(crate::record::VerifiedRecord::validator);
        self.dialler.is_persistent(&peer)
            || validator.is_some_and(|key| self.validators.contains(&key))
    }

    /// Whether a book entry may be dialled now and would be allowed to stay.
    pub(super) fn is_wanted(&self, now: Time, entry: &BookEntry) -> bool {
        // The map of autonomous systems is asked last.
        let has_room = || self.group_has_room(&entry.address, None);
        let place = self.place_of(entry);
        entry.next_dial <= now
            && entry.peer.is_none_or(|peer| {
                peer != self.identity.node
                    && !self.peers.contains(&peer)
                    && !self.bans.has_peer(now, &peer)
            })
            && (place.exempt || !self.bans.has_seat(&entry.address))
            && (entry.address.is_circuit() || !self.peers.census().has_address(&entry.address))
            && self.dialler.may_dial(now, &place)
            && (place.exempt || has_room())
    }

    /// Whether another peer of our choice may be in the neighbourhood of an address. Attempts at `but`
    /// do not count.
    pub(super) fn group_has_room(&self, address: &Address, but: Option<&NodeId>) -> bool {
        let group = self.book.group_of(address);
        let counts = |attempt: &Attempt| {
            attempt.purpose != DialPurpose::Visit
                && (but.is_none() || attempt.expected.as_ref() != but)
                && self.book.group_of(&attempt.address) == group
        };
        let dialling = self.dialler.in_flight().filter(|(_, attempt)| counts(attempt)).count();
        self.peers.census().in_group(true, group).saturating_add(dialling)
            < self.config.max_outbound_per_group
    }

    /// Dials, if it may be; whether it was.
    pub(super) fn dial(
        &mut self,
        now: Time,
        place: Place,
        purpose: DialPurpose,
        out: &mut Vec<Action>,
    ) -> bool {
        let Some((place, purpose)) = self.first_hop(now, place, purpose) else { return false };
        if !self.has_room() || !self.dialler.may_dial(now, &place) || !self.dialler.rate.take(now) {
            return false;
        }
        self.give_up_dials(CloseReason::Duplicate, out, |attempt| {
            let same = place.expected.is_some() && attempt.expected == place.expected;
            attempt.purpose == DialPurpose::Visit && (same || attempt.address == place.address)
        });
        let failures = self.book.get(&place.address).map_or(0, |entry| entry.failures);
        let next = now.plus(backoff(&self.config, &mut self.rng, failures));
        self.book.on_dialled(now, &place.address, next);
        let attempt = self.dialler.start(&self.config, now, place, purpose);
        let Place { address, expected, .. } = place;
        let link = purpose.link();
        out.push(Action::Dial { attempt, link, address, expected });
        if let Some(peer) = expected.filter(|_| link == LinkKind::Full) {
            self.punch_if_needed(now, peer, out);
        }
        true
    }
}
