//! Carrying out the manager machine's orders.

use peerstage_core::{
    address::{NetworkGroup, TransportKind},
    circuits::CircuitPeer,
    kademlia::Contact,
    manager::PeerView,
    nat::Candidate,
    race,
    relay::PeerInfo,
    time::earliest,
};

use super::{
    exchange::{peers_message, record_message},
    racing::Ways,
    *,
};
use crate::{circuits::ToCircuits, discovery::ToDiscovery, peer::PeerUp, peer_store::Entry};

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
    /// and of the node's record the same machine over other transports, one machine of the other
    /// family, and ways through relays that are peers. Not more, or one record could send us to
    /// many strangers. A feeler tests the one address.
    fn candidates(&self, link: LinkKind, address: Address, expected: Option<NodeId>) -> Ways {
        let kinds = &self.opening.transports.kinds;
        let usable = |address: &Address| kinds.contains(&address.transport().carrier());
        if link == LinkKind::Feeler {
            let addresses = race::in_order(Some(address).filter(usable));
            return Ways { addresses, ..Ways::default() };
        }
        let book = self.machine.book();
        let record = expected.and_then(|node| book.record(&node));
        let recorded = record.into_iter().flat_map(|record| record.record().addresses.iter());
        let recorded = recorded.copied().filter(|a| a.is_routable() || book.is_exempt(*a));
        let recorded: Vec<Address> = recorded.collect();
        let is_other = |a: &&Address| a.ip().is_ipv6() != address.ip().is_ipv6();
        let other = recorded.iter().find(is_other).map(Address::ip);
        // Whoever is a peer already is dialled to be reached without a relay.
        let relayed = link == LinkKind::Full
            && expected.is_some_and(|node| self.machine.peer(&node).is_none());
        let near = |a: &Address| match a.is_circuit() {
            true => relayed,
            false => a.ip() == address.ip() || Some(a.ip()) == other,
        };
        let named = self.named.get(&address).into_iter().flatten().copied();
        let all = [address].into_iter().chain(named).chain(recorded.into_iter().filter(near));
        let all: Vec<Address> = all.filter(usable).collect();
        let relay = |address: &Address| Some((*address, self.machine.relay_of(address)?));
        let circuits = all.iter().filter(|address| self.circuits && address.is_circuit());
        let relays: BTreeMap<Address, NodeId> = circuits.filter_map(relay).collect();
        let usable = |address: &Address| !address.is_circuit() || relays.contains_key(address);
        Ways { addresses: race::in_order(all.into_iter().filter(usable)), relays }
    }

    fn begin_dial(
        &mut self,
        attempt: DialId,
        link: LinkKind,
        address: Address,
        expected: Option<NodeId>,
    ) {
        let (session, wanted) = self.new_session(address, Direction::Outbound(attempt));
        self.dials.insert(attempt, (session, link));
        let ways = self.candidates(link, address, expected);
        for way in ways.addresses.iter().filter(|way| !way.is_circuit()) {
            let _ = self.links.seen.push_control(Seen::Dialled(*way));
        }
        self.opening.dial((attempt, link), session, ways, expected, wanted);
    }

    /// Where others reach a peer that carries circuits, if it is one.
    fn relay_address(&self, greeted: &Greeted, view: &PeerView) -> Option<Address> {
        // Others reach it where this node did, now or before.
        let book = self.machine.book();
        let met = |address: &&Address| {
            let entry = book.get(address);
            let is_it = entry.is_some_and(|e| e.is_verified() && e.peer == Some(view.peer));
            is_it && !address.is_circuit()
        };
        let record = greeted.record.record();
        let serves = self.circuits && record.capabilities.contains(Capabilities::RELAY);
        let recorded = || record.addresses.iter().find(met).copied();
        if !serves || view.blocks_only || view.address.is_circuit() {
            return None;
        }
        if view.outbound { Some(view.address) } else { recorded() }
    }

    fn peer_up(&mut self, id: SessionId, view: &PeerView, replaces: Option<SessionId>) {
        let (now, near) = (self.clock.now(), self.group_of(view.address));
        let is_retiring = |older: &SessionId| self.sessions.get(older).is_some_and(|s| s.retiring);
        let upgrades = replaces.filter(is_retiring);
        let Some(session) = self.sessions.get_mut(&id) else { return };
        session.admitted = Some(now);
        let Some(greeted) = &session.greeting else { return };
        let PeerView { peer, address, outbound, validator, blocks_only, group, .. } = *view;
        // Of use to the relay is whom this node has chosen, whoever dialled.
        let info = PeerInfo { peer, validator, outbound: view.chosen, blocks_only };
        let (outbox, noise_key) = (greeted.outbox.clone(), greeted.noise_key);
        // Whoever wants only blocks is asked for no nodes, and carries nothing.
        if !blocks_only {
            let (session, record) = (id, (*greeted.record).clone());
            let capabilities = record.record().capabilities;
            let peer = CircuitPeer { session, peer, address, group, outbound, capabilities };
            let _ = self.opening.links.circuits.push_control(ToCircuits::Up(peer, outbox.clone()));
            let contact = Contact { session, record, address, outbound, visit: false, group: near };
            self.opening.links.discovery_up(contact, outbox.clone());
        }
        self.opening.links.up(PeerUp { session: id, info, noise_key, outbox, upgrades });
        let _ = greeted.orders.try_send(PeerOrder::Accept);
        let Some(greeted) = self.sessions.get(&id).and_then(|s| s.greeting.as_ref()) else {
            return;
        };
        // Through a relay a peer sees the relay, and comes from nowhere.
        if !address.is_circuit() {
            let (remote, relay) = (address, self.relay_address(greeted, view));
            let seen = Seen::At { peer, remote, outbound, observed: greeted.observed, relay };
            let _ = self.links.seen.push_control(seen);
        }
        let agent = greeted.agent.clone();
        // Shown from there, as its end is: one queue keeps the two in order.
        let seen = Observation::Connected { peer, address, outbound, validator, agent };
        let _ = self.links.observations.push(seen);
        self.show_peers();
        if let Some(older) = upgrades {
            self.retire(older);
        }
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
        let _ = self.opening.links.circuits.push_control(ToCircuits::Down(session));
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
        let direct = self.opening.transports.kinds.iter().copied();
        for kind in direct.clone().chain(direct.filter_map(TransportKind::circuit)) {
            let of = || self.machine.peers().filter(|peer| peer.address.transport() == kind);
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
                self.begin_dial(attempt, link, address, expected);
            }
            // A full queue drops it: the next dial orders it again.
            Action::Punch { peer } => drop(self.links.seen.push(Seen::Wanted(peer))),
            Action::CancelDial { attempt, reason } => self.cancel_dial(attempt, reason),
            // The socket is at hand where the attempt is made known: see the accepted stream.
            Action::Accept { .. } | Action::DialFailed { .. } => {}
            Action::Close { session, reason, retry_after, records } => {
                self.close(session, reason, retry_after, &records);
            }
            Action::Retire { session } => self.mark_retiring(session),
            Action::HearOut { session, peer } => self.hear_out(session, peer),
            Action::PeerUp { peer, session, replaces, .. } => {
                if let Some(older) = replaces {
                    self.replaced(peer, older);
                }
                if let Some(view) = self.machine.peer(&peer).cloned() {
                    self.peer_up(session, &view, replaces);
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
