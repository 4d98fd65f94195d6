//! Carrying out the manager machine's orders.

use peerstage_core::{
    address::NetworkGroup, kademlia::Contact, manager::PeerView, nat::Candidate, race,
    relay::PeerInfo, time::earliest,
};

use super::{
    exchange::{peers_message, record_message},
    *,
};
use crate::{discovery::ToDiscovery, peer::PeerUp, peer_store::Entry};

impl NetworkManager {
    fn close(
        &mut self,
        id: SessionId,
        reason: CloseReason,
        retry_after: u64,
        hints: &[SignedRecord],
    ) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        session.refused = Some(reason);
        session.wanted = None;
        if let Some(greeted) = &session.greeting {
            // The end of one that had its slot is shown with its score and age; visits are counted.
            if session.admitted.is_none() && !greeted.visit {
                let (peer, address) = (greeted.peer, session.address);
                let what = What::ConnectionRefused { peer, address, reason };
                tell("event", &self.links.events, Event { at: self.clock.now(), what });
            }
            if !hints.is_empty() {
                greeted.outbox.push(peers_message(hints));
            }
            let _ = greeted.orders.try_send(PeerOrder::Close(reason, retry_after));
        }
    }

    /// The addresses that are tried for one: its own, what the operator's name for it stands for,
    /// and of the node's record the same machine over other transports and one machine of the
    /// other family. Not more, or one record could send us to many strangers. A feeler tests the
    /// one address.
    fn candidates(
        &self,
        link: LinkKind,
        address: Address,
        expected: Option<NodeId>,
    ) -> Vec<Address> {
        let kinds = &self.opening.transports.kinds;
        let usable = |address: &Address| kinds.contains(&address.transport());
        if link == LinkKind::Feeler {
            return race::in_order(Some(address).filter(usable));
        }
        let book = self.machine.book();
        let record = expected.and_then(|node| book.record(&node));
        let recorded = record.into_iter().flat_map(|record| record.record().addresses.iter());
        let recorded = recorded.copied().filter(|a| a.is_routable() || book.is_exempt(*a));
        let recorded: Vec<Address> = recorded.collect();
        let is_other = |a: &&Address| a.ip().is_ipv6() != address.ip().is_ipv6();
        let other = recorded.iter().find(is_other).map(Address::ip);
        let near = |a: &Address| a.ip() == address.ip() || Some(a.ip()) == other;
        let named = self.named.get(&address).into_iter().flatten().copied();
        let all = [address].into_iter().chain(named).chain(recorded.into_iter().filter(near));
        race::in_order(all.filter(usable))
    }

    fn peer_up(&mut self, id: SessionId, view: &PeerView) {
        let (now, group) = (self.clock.now(), self.group_of(view.address));
        let Some(session) = self.sessions.get_mut(&id) else { return };
        session.admitted = Some(now);
        let Some(greeted) = &session.greeting else { return };
        let PeerView { peer, address, outbound, validator, blocks_only, .. } = *view;
        let info = PeerInfo { peer, validator, outbound, blocks_only };
        let (outbox, noise_key) = (greeted.outbox.clone(), greeted.noise_key);
        // Whoever wants only blocks is asked for no nodes.
        if !blocks_only {
            let record = (*greeted.record).clone();
            let contact = Contact { session: id, record, address, outbound, visit: false, group };
            self.opening.links.discovery_up(contact, outbox.clone());
        }
        self.opening.links.up(PeerUp { session: id, info, noise_key, outbox });
        let _ = greeted.orders.try_send(PeerOrder::Accept);
        let remote = address;
        let seen = Seen::At { peer, remote, outbound, observed: greeted.observed };
        let _ = self.links.seen.push_control(seen);
        let agent = greeted.agent.clone();
        // Shown from there, as its end is: one queue keeps the two in order.
        let seen = Observation::Connected { peer, address, outbound, validator, agent };
        let _ = self.links.observations.push(seen);
        self.show_peers();
    }

    fn peer_down(
        &self,
        (peer, session): (NodeId, SessionId),
        address: Address,
        closure: Closure,
        connected_ms: u64,
    ) {
        self.show_peers();
        self.opening.links.down(peer, session);
        self.opening.links.discovery_down(session);
        let _ = self.links.seen.push_control(Seen::Gone(peer));
        let gone = Observation::Disconnected { peer, address, closure, connected_ms };
        let _ = self.links.observations.push(gone);
    }

    /// Shows the end of the older of two connections of a peer, before the newer one.
    fn replaced(&self, peer: NodeId, older: SessionId) {
        let Some(session) = self.sessions.get(&older) else { return };
        let now = self.clock.now();
        let connected_ms = now.since(session.admitted.unwrap_or(now));
        let gone = Observation::Replaced { peer, address: session.address, connected_ms };
        let _ = self.links.observations.push(gone);
    }

    fn show_peers(&self) {
        let outbound = self.machine.peers().filter(|peer| peer.outbound).count();
        let inbound = self.machine.peers().count().saturating_sub(outbound);
        // Counts of peers are far below 2^53.
        metrics::gauge!("peerstage_peers", "direction" => "in").set(inbound as f64);
        metrics::gauge!("peerstage_peers", "direction" => "out").set(outbound as f64);
        for kind in &self.opening.transports.kinds {
            let of = || self.machine.peers().filter(|peer| peer.address.transport() == *kind);
            let (out, all) = (of().filter(|peer| peer.outbound).count(), of().count());
            let show = |direction, count: usize| {
                let labels = [("direction", direction), ("transport", kind.name())];
                metrics::gauge!("peerstage_connections", &labels).set(count as f64);
            };
            show("in", all.saturating_sub(out));
            show("out", out);
        }
    }

    fn ask_for_peers(&self, peer: &NodeId, count: u8) {
        if let (Some(outbox), Ok(body)) =
            (self.outbox_of(peer), codec::encode(&PeersRequest { count }))
        {
            outbox.push(peerstage_core::lanes::plain(Kind::PeersRequest, body));
        }
    }

    fn keep(&self, entry: Entry) {
        tell("keep", &self.links.store, Keep(vec![entry]));
    }

    /// Strangers should try these addresses from now on. Told at most every few seconds, however
    /// often they change.
    pub(super) fn take_own_addresses(&mut self, now: Time, candidates: &[Candidate]) {
        let mut told = Told::of(candidates, |address| self.machine.book().is_usable(*address));
        told.behind_nat &= self.machine.punches();
        if told == self.told {
            return;
        }
        if told.addresses != self.told.addresses {
            self.event(What::AddressesTold { addresses: told.addresses.clone() });
        }
        for own in candidates.iter().filter(|own| own.origin.is_certain()) {
            self.machine.on_listening(now, own.address);
        }
        self.told = told;
        self.next_record = now.max(self.last_record.plus(self.record_gap));
    }

    pub(super) fn refresh_record(&mut self, now: Time) {
        (self.last_record, self.record_gap) = (now, RECORD_GAP);
        self.next_record = now.plus(RECORD_REFRESH);
        let record = match self.own.sign_record(self.clock.wall(), &self.told) {
            Ok(record) => ToDiscovery::OwnRecord(Box::new(record)),
            Err(error) => return tracing::error!(%error, "our own record can't be signed"),
        };
        let _ = self.opening.links.discovery.push_control(record);
        let record = self.own.record();
        for session in self.sessions.values().filter(|session| session.admitted.is_some()) {
            let Some(greeted) = &session.greeting else { continue };
            // Nobody asks those that we hear blocks from, and they ask nobody.
            if self.machine.peer(&greeted.peer).is_some_and(|view| !view.blocks_only) {
                greeted.outbox.push(record_message(&record));
            }
        }
    }

    /// The neighbourhood of an address, where limits make sense.
    fn group_of(&self, address: Address) -> Option<NetworkGroup> {
        let book = self.machine.book();
        (!book.is_exempt(address)).then(|| book.group_of(&address))
    }

    /// A visit is let in: discovery may use it, and nobody else.
    fn visit_up(&mut self, id: SessionId, address: Address, outbound: bool) {
        let group = self.group_of(address);
        let Some(greeted) = self.sessions.get_mut(&id).and_then(|s| s.greeting.as_mut()) else {
            return;
        };
        greeted.visit = true;
        let record = (*greeted.record).clone();
        let contact = Contact { session: id, record, address, outbound, visit: true, group };
        self.opening.links.discovery_up(contact, greeted.outbox.clone());
        let _ = greeted.orders.try_send(PeerOrder::AcceptVisit);
        let direction = if outbound { "out" } else { "in" };
        metrics::counter!("peerstage_visits_total", "direction" => direction).increment(1);
    }

    /// Carries out what the machine orders about visits.
    fn on_visit(&mut self, action: &Action) {
        match *action {
            Action::VisitUp { session, address, outbound, .. } => {
                self.visit_up(session, address, outbound);
            }
            Action::VisitDown { session } => {
                self.opening.links.discovery_down(session);
            }
            Action::VisitFailed { peer, blame } => {
                let failed = ToDiscovery::VisitFailed { peer, blame };
                let _ = self.opening.links.discovery.push_control(failed);
            }
            _ => {}
        }
    }

    fn cancel_dial(&mut self, attempt: DialId, reason: CloseReason) {
        let name = match reason {
            CloseReason::HandshakeTimeout => "connection_timeout",
            other => other.name(),
        };
        if let Some((id, _)) = self.dials.get(&attempt).copied() {
            if let Some(session) = self.sessions.get(&id) {
                self.dial_failed(session, name);
            }
            self.close(id, reason, 0, &[]);
        }
    }
}

impl Shell for NetworkManager {
    type Action = Action;

    clock_and_timer!();

    fn deadline(&self) -> Option<Time> {
        earliest(self.machine.deadline(), Some(self.next_record))
    }

    fn on_deadline(&mut self, now: Time, out: &mut Vec<Action>) {
        if now >= self.next_record {
            self.refresh_record(now);
        }
        self.machine.on_deadline(now, out);
    }

    fn perform(&mut self, action: Action, _: &mut Context<Self>) {
        match action {
            Action::VisitUp { .. } | Action::VisitDown { .. } | Action::VisitFailed { .. } => {
                self.on_visit(&action);
            }
            Action::Dial { attempt, link, address, expected } => {
                let (session, wanted) = self.new_session(address, Direction::Outbound(attempt));
                self.dials.insert(attempt, (session, link));
                let candidates = self.candidates(link, address, expected);
                for candidate in &candidates {
                    let _ = self.links.seen.push_control(Seen::Dialled(*candidate));
                }
                self.opening.dial((attempt, link), session, candidates, expected, wanted);
            }
            // A full queue drops it: the next dial orders it again.
            Action::Punch { peer } => drop(self.links.seen.push(Seen::Wanted(peer))),
            Action::CancelDial { attempt, reason } => self.cancel_dial(attempt, reason),
            // The socket is at hand where the attempt is made known: see the accepted stream.
            Action::Accept { .. } => {}
            Action::Close { session, reason, retry_after, records } => {
                self.close(session, reason, retry_after, &records);
            }
            Action::PeerUp { peer, session, replaces, .. } => {
                if let Some(older) = replaces {
                    self.replaced(peer, older);
                }
                if let Some(view) = self.machine.peer(&peer).cloned() {
                    self.peer_up(session, &view);
                }
                if let Some(older) = replaces {
                    self.opening.links.discovery_down(older);
                }
            }
            Action::PeerDown { peer, session, closure, age } => {
                let address = self.sessions.get(&session).map(|session| session.address);
                let known = address.or(self.last_address);
                if let Some(address) = known {
                    self.peer_down((peer, session), address, closure, age);
                }
            }
            Action::DialFailed { .. } => {}
            Action::RequestPeers { peer, count } => self.ask_for_peers(&peer, count),
            Action::SeekRecord { peer } => {
                let _ = self.opening.links.discovery.push_control(ToDiscovery::Missing(peer));
            }
            Action::SendPeers { peer, records } => {
                if let Some(outbox) = self.outbox_of(&peer) {
                    outbox.push(peers_message(&records));
                }
            }
            Action::PersistAddress(entry) => self.keep(Entry::Address(entry)),
            Action::ForgetAddress(address) => self.keep(Entry::ForgetAddress(address)),
            Action::PersistAnchors(anchors) => self.keep(Entry::Anchors(anchors)),
            Action::PersistRecord(record) => {
                self.tell_records(&[record.record.public_key.node_id()]);
                self.keep(Entry::Record(record));
            }
            Action::ForgetRecord(node) => self.keep(Entry::ForgetRecord(node)),
            Action::PenaliseRecord { peer, .. } => {
                let fault = Fault::InvalidRecord;
                let _ = self.links.observations.push(Observation::Fault { peer, fault });
            }
        }
    }
}
