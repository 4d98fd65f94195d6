//! Hole punching: two nodes behind NATs send to each other at the same moment, so that each NAT
//! takes what comes for an answer to what went out.
//!
//! The node that wants the connection offers its addresses in a sealed message that common peers
//! carry; the other answers with its own; half a round trip after a last word both send probes,
//! and whoever hears one answers to where it came from, as a NAT may show another port than was
//! told. The opener then dials the address that it heard from.
//!
//! Sources: Ford, Srisuresh, Kegel, Peer-to-Peer Communication Across NATs (USENIX 2005) section 3;
//! libp2p's Direct Connection Upgrade through Relay (start by measured round trip); RFC 8445
//! section 7.3.1.3 (peer-reflexive addresses).
//!
//! # Security
//! Provided: an offer is sealed and signed by its sender, so carriers neither read nor change it; a
//! probe counts only with 96 bits that both sides derive from the offer's nonce and their ids; a
//! connection that comes of it is authenticated like any other. What others can make us send is
//! bounded, whatever they offer and forge: to [`super::TARGETS_MAX`] addresses that a stranger could have,
//! two of them of one network, and two that are heard from, of which each is dialled once; so many
//! datagrams to one machine, whoever names it (the `budget` module); for [`ANSWERED_MAX`] offers at
//! once, one a second. Our own punches have places and datagrams of their own, so offers take none
//! of them. Addresses of a LAN are neither told nor sent to. Banned nodes and connected ones get no
//! answer.
//! Not provided: answers for honest nodes while somebody with many ids takes them all; secrecy of
//! our public addresses towards whoever sends an offer: the answer tells them, as our record does.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
};

use super::{
    Mapping, PunchAction, PunchMessage, PunchOutcome, PunchStep, Punched,
    attempt::{Attempt, HEARD_MAX, Phase, targets},
    backoff::Backoff,
    budget::{self, Budget},
    own::Own,
    punch::{code_of, mapping_of},
    roster::Roster,
    stun::TransactionId,
};
use crate::{
    address::{Address, TransportKind},
    book::TokenBucket,
    codec::Capped,
    identity::NodeId,
    time::{Millis, Time, earliest},
};
use rand::RngExt;
use rand_chacha::ChaCha20Rng;

/// Tries of one punch. Of the successes that were measured in the field, 97.6 % are the first one
/// (arXiv 2510.27500).
const ROUNDS: u32 = 3;
/// Punches of our own at once, and others' that are answered at once.
pub const OPENED_MAX: usize = 4;
/// See [`OPENED_MAX`].
pub const ANSWERED_MAX: usize = 4;
/// Offers that are answered at once and then per 1000 s, all together. A guess: an honest node is
/// wanted less often.
const ANSWERS_BURST: u64 = 8;
const ANSWERS_PER_1000_S: u64 = 1_000;
/// The least time between two offers of one peer that are answered, doubled with each punch that
/// no connection came of, and the longest, ms.
const OFFER_GAPS: [Millis; 2] = [1_000, 60_000];
/// After a punch that failed: the first wait, doubled each time, and the longest, ms.
const PAUSES: [Millis; 2] = [5_000, 10 * 60 * 1_000];
/// IPs of our own that are remembered, so that it is noticed when there is another one.
const PLACES_MAX: usize = 16;

/// The machine.
#[derive(Clone, Debug)]
pub(super) struct Puncher {
    roster: Roster,
    allow_private: bool,
    noise_key: [u8; 32],
    rng: ChaCha20Rng,
    pub(super) own: Own,
    attempts: BTreeMap<NodeId, Attempt>,
    /// Whom we punched in vain.
    waits: Backoff,
    /// Whose offers were answered.
    answered: Backoff,
    answers: TokenBucket,
    /// What our own punches send, and what others' do.
    pub(super) opened_budget: Budget,
    pub(super) answered_budget: Budget,
    /// Where we were believed to be in this network.
    places: BTreeSet<IpAddr>,
}

impl Puncher {
    pub(super) fn new(
        node: NodeId,
        allow_private: bool,
        noise_key: [u8; 32],
        rng: ChaCha20Rng,
    ) -> Self {
        Puncher {
            roster: Roster::new(node),
            allow_private,
            noise_key,
            rng,
            own: Own::default(),
            attempts: BTreeMap::new(),
            waits: Backoff::new(PAUSES, 1),
            answered: Backoff::new(OFFER_GAPS, ROUNDS),
            answers: TokenBucket::new(Time::ZERO, ANSWERS_BURST, ANSWERS_PER_1000_S),
            opened_budget: Budget::new(budget::OPENED_MAX),
            answered_budget: Budget::new(budget::ANSWERED_MAX),
            places: BTreeSet::new(),
        }
    }

    /// Where we are now. On the internet at an IP that is new: everybody may be tried again. One
    /// peer's word does not make that so, nor does one that is silent for a while.
    pub(super) fn set_own(&mut self, own: Own) {
        if own.believed.iter().any(|ip| !self.places.contains(ip)) {
            self.waits.clear();
        }
        if self.places.len() >= PLACES_MAX {
            self.places.clear();
        }
        self.places.extend(&own.believed);
        self.own = own;
    }

    /// This is another network: everybody may be tried again.
    pub(super) fn move_on(&mut self) {
        self.places.clear();
        self.waits.clear();
    }

    /// A node is banned until then; a time that is over lifts the ban.
    pub(super) fn on_banned(&mut self, now: Time, node: NodeId, until: Time) {
        self.roster.on_banned(now, node, until);
        self.attempts.retain(|peer, _| self.roster.is_candidate(now, peer));
    }

    /// Whether something was sent to this machine lately, so that its NAT and ours let it in.
    pub(super) fn was_sent(&self, now: Time, ip: IpAddr) -> bool {
        self.opened_budget.was_sent(now, ip) || self.answered_budget.was_sent(now, ip)
    }

    /// A connection with this peer is wanted, and it may not be reachable.
    pub(super) fn want(&mut self, now: Time, peer: NodeId, out: &mut Vec<PunchAction>) {
        let is_idle = !self.waits.waits(now, &peer) && !self.attempts.contains_key(&peer);
        let is_full = self.count(true, &peer) >= OPENED_MAX;
        if !is_idle || is_full || self.own.told.is_empty() || !self.roster.is_candidate(now, &peer)
        {
            return;
        }
        let mut started = Attempt::new(now, true, [0; 16], [self.roster.own(), peer]);
        self.offer(now, peer, &mut started, out);
        self.attempts.insert(peer, started);
    }

    /// The peer is connected, however that came about.
    pub(super) fn on_connected(
        &mut self,
        now: Time,
        (peer, remote): (NodeId, Address),
        out: &mut Vec<PunchAction>,
    ) {
        self.roster.on_connected(peer);
        self.waits.forget(&peer);
        self.answered.forget(&peer);
        self.opened_budget.on_answered(remote.ip());
        self.answered_budget.on_answered(remote.ip());
        if let Some(ended) = self.attempts.remove(&peer) {
            let by_it = remote.transport() == TransportKind::Quic && ended.reached(remote.ip());
            let outcome = if by_it { PunchOutcome::Connected } else { PunchOutcome::Unneeded };
            out.push(self.ended(now, peer, &ended, outcome));
        }
    }

    /// The peer's connection is gone.
    pub(super) fn on_gone(&mut self, peer: &NodeId) {
        self.roster.on_gone(peer);
    }

    /// A message of a punch arrived, sealed and signed by `peer`.
    pub(super) fn on_message(
        &mut self,
        now: Time,
        peer: NodeId,
        message: PunchMessage,
        out: &mut Vec<PunchAction>,
    ) {
        match message.step {
            PunchStep::Offer => self.on_offer(now, peer, message, out),
            PunchStep::Answer => self.on_answer(now, peer, message, out),
            PunchStep::Go => {
                let waiting = |tried: &&mut Attempt| {
                    !tried.opener && tried.nonce == message.nonce && tried.phase == Phase::Waiting
                };
                if let Some(tried) = self.attempts.get_mut(&peer).filter(waiting) {
                    tried.start(now);
                    self.on_deadline(now, out);
                }
            }
        }
    }

    fn on_offer(
        &mut self,
        now: Time,
        peer: NodeId,
        message: PunchMessage,
        out: &mut Vec<PunchAction>,
    ) {
        let PunchMessage { nonce, mapping, noise_key, candidates, .. } = message;
        let known = self.attempts.get(&peer);
        // Two offers that cross: that of the node with the lower id counts, for both sides.
        let crosses = known.is_some_and(|ours| ours.opener);
        let loses = crosses && self.roster.own() < peer;
        let began = known.map_or(now, |known| known.began);
        let is_full = self.count(false, &peer) >= ANSWERED_MAX;
        if loses || is_full || self.own.told.is_empty() || !self.roster.is_candidate(now, &peer) {
            return;
        }
        let targets = self.targets(&candidates);
        let room = self.answered_budget.has_room(now, targets.len().saturating_add(HEARD_MAX));
        // Ours has lost against it: whoever waits for our answer is wanted.
        let early = !crosses && self.answered.waits(now, &peer);
        if targets.is_empty() || !room || early || !self.answers.take(now) {
            return;
        }
        self.answered.on_vain(now, peer);
        let mut tried = Attempt::new(now, false, nonce, [self.roster.own(), peer]);
        (tried.began, tried.theirs) = (began, mapping_of(mapping));
        tried.targets = targets;
        self.attempts.insert(peer, tried);
        let answer = self.message(nonce, PunchStep::Answer);
        out.push(PunchAction::Tell(peer, Some(noise_key), answer));
    }

    fn on_answer(
        &mut self,
        now: Time,
        peer: NodeId,
        message: PunchMessage,
        out: &mut Vec<PunchAction>,
    ) {
        let waiting = |tried: &&Attempt| {
            tried.opener && tried.nonce == message.nonce && tried.phase == Phase::Waiting
        };
        let Some(tried) = self.attempts.get(&peer).filter(waiting) else { return };
        let starts = now.plus(now.since(tried.offered) / 2);
        let targets = self.targets(&message.candidates);
        // So much was sent there in vain that nothing may be now: another round would be no better.
        let worth = targets.iter().any(|to| self.opened_budget.allows(now, to.ip()));
        if !worth && let Some(mut tried) = self.attempts.remove(&peer) {
            tried.theirs = mapping_of(message.mapping);
            return self.failed(now, peer, &tried, out);
        }
        out.push(PunchAction::Tell(peer, None, self.message(message.nonce, PunchStep::Go)));
        if let Some(tried) = self.attempts.get_mut(&peer) {
            tried.targets = targets;
            tried.theirs = mapping_of(message.mapping);
            tried.start(starts);
        }
        self.on_deadline(now, out);
    }

    /// A probe came. False if nobody waits for it.
    pub(super) fn on_probe(
        &mut self,
        now: Time,
        from: SocketAddr,
        id: TransactionId,
        out: &mut Vec<PunchAction>,
    ) -> bool {
        let is_meant = |tried: &Attempt| tried.expects == id && tried.listens();
        let found = self.attempts.iter().find(|(_, tried)| is_meant(tried));
        let Some((peer, tried)) = found.map(|(peer, tried)| (*peer, tried)) else { return false };
        let from = Address::from(from).over(TransportKind::Quic);
        // Whoever knows the nonce can send a probe in anybody's name.
        let is_news = !tried.heard.contains(&from.socket()) && tried.heard.len() < HEARD_MAX;
        if !is_news || !self.is_target(&from) {
            return true;
        }
        let Some(tried) = self.attempts.get_mut(&peer) else { return true };
        tried.heard.push(from.socket());
        if tried.opener {
            tried.lengthen(now);
        }
        let opener = tried.opener;
        // To where it came from: a NAT may show another port than the one that was told.
        if self.probe(now, peer, from.socket(), out) && opener {
            out.push(PunchAction::Dial(peer, from));
        }
        true
    }

    /// Sends a probe, if the try and the machine there have any left; whether it was.
    fn probe(
        &mut self,
        now: Time,
        peer: NodeId,
        to: SocketAddr,
        out: &mut Vec<PunchAction>,
    ) -> bool {
        let Some(tried) = self.attempts.get_mut(&peer) else { return false };
        let budget = if tried.opener { &mut self.opened_budget } else { &mut self.answered_budget };
        if budget.allows(now, to.ip())
            && let Some(probe) = tried.take_probe()
        {
            out.push(PunchAction::Probe(to, probe));
            return budget.take(now, to.ip());
        }
        false
    }

    pub(super) fn on_deadline(&mut self, now: Time, out: &mut Vec<PunchAction>) {
        let is_due = |tried: &Attempt| tried.next.min(tried.until) <= now;
        let due = self.attempts.iter().filter(|(_, tried)| is_due(tried));
        let due: Vec<NodeId> = due.map(|(peer, _)| *peer).collect();
        for peer in due {
            let Some(tried) = self.attempts.get_mut(&peer) else { continue };
            if tried.until > now {
                for to in tried.on_turn(now) {
                    self.probe(now, peer, to, out);
                }
                continue;
            }
            let Some(mut tried) = self.attempts.remove(&peer) else { continue };
            if tried.opener && tried.rounds < ROUNDS {
                self.offer(now, peer, &mut tried, out);
                self.attempts.insert(peer, tried);
            } else {
                self.failed(now, peer, &tried, out);
            }
        }
    }

    pub(super) fn deadline(&self) -> Option<Time> {
        let next = self.attempts.values().map(|tried| tried.next.min(tried.until));
        next.fold(None, |a, b| earliest(a, Some(b)))
    }

    /// Tries of one kind, with others than this peer.
    fn count(&self, opener: bool, but: &NodeId) -> usize {
        let of_kind = |(peer, tried): &(&NodeId, &Attempt)| tried.opener == opener && *peer != but;
        self.attempts.iter().filter(of_kind).count()
    }

    /// Another round: a new nonce, so that nothing of the last one is taken for this one's.
    fn offer(&mut self, now: Time, peer: NodeId, tried: &mut Attempt, out: &mut Vec<PunchAction>) {
        let (began, rounds) = (tried.began, tried.rounds.saturating_add(1));
        *tried = Attempt::new(now, true, self.rng.random(), [self.roster.own(), peer]);
        (tried.began, tried.rounds) = (began, rounds);
        let offer = self.message(tried.nonce, PunchStep::Offer);
        out.push(PunchAction::Tell(peer, None, offer));
    }

    fn message(&self, nonce: [u8; 16], step: PunchStep) -> PunchMessage {
        let tells = step != PunchStep::Go;
        let candidates = Capped::first(self.own.told.iter().copied().filter(|_| tells));
        let (mapping, noise_key) = (code_of(self.own.mapping), self.noise_key);
        PunchMessage { nonce, step, mapping, noise_key, candidates }
    }

    /// The other side's addresses that are worth a datagram.
    fn targets(&self, candidates: &[Address]) -> Vec<SocketAddr> {
        targets(candidates.iter().filter(|address| self.is_target(address)))
    }

    /// Whether an address is one that a stranger to us could have.
    fn is_target(&self, address: &Address) -> bool {
        let private = || self.allow_private && address.is_dialable() && !address.ip().is_loopback();
        address.transport() == TransportKind::Quic && (address.is_routable() || private())
    }

    fn ended(
        &self,
        now: Time,
        peer: NodeId,
        tried: &Attempt,
        outcome: PunchOutcome,
    ) -> PunchAction {
        let took = now.since(tried.began);
        let mappings: [Mapping; 2] = [self.own.mapping, tried.theirs];
        PunchAction::Ended(Punched { peer, outcome, took, mappings })
    }

    fn failed(&mut self, now: Time, peer: NodeId, tried: &Attempt, out: &mut Vec<PunchAction>) {
        out.push(self.ended(now, peer, tried, PunchOutcome::Failed));
        if tried.opener {
            self.waits.on_vain(now, peer);
        }
    }
}
