//! What happens to segments on their way: turns, loss, order, resets, crashes.

use std::{io, net::IpAddr};

use super::{
    config::{BACKLOG, GIVE_UP_MS, RTO_CONNECT_MS, RTO_MAX_MS},
    congestion::Congestion,
    end::{End, EndId, Finish, Payload, Segment, Side, State},
    fabric::{Event, Fabric, Micros},
    rules::{Packet, PacketKind},
    trace::Mark,
};

use peerstage_core::address::Address;

pub(super) const US_PER_MS: u64 = 1_000;

impl Fabric {
    pub(super) fn on_event(&mut self, now: Micros, event: Event) {
        match event {
            Event::Send { host, generation } => self.on_line_free(now, host, generation),
            Event::Arrive(segment) => self.on_arrived(now, segment),
            Event::Receive { host, generation } => self.on_received(now, host, generation),
            Event::Resend(segment) => self.on_resend(now, segment),
            Event::Reset { to, packet } => self.on_reset(now, to, &packet),
            Event::Acknowledge { to, bytes } => {
                if let Some(end) = self.ends.get_mut(&to) {
                    end.congestion.on_acknowledged(bytes, self.config.window_bytes);
                    self.enqueue(now, to);
                }
            }
            Event::Credit { to, bytes } => {
                if let Some(end) = self.ends.get_mut(&to) {
                    end.outstanding = end.outstanding.saturating_sub(bytes);
                    self.wakes.extend(end.writer.take());
                }
            }
        }
    }

    // Leaving.

    /// An end has something to send: it queues for its host's line.
    pub(super) fn enqueue(&mut self, now: Micros, id: EndId) {
        let Some(end) = self.ends.get_mut(&id) else { return };
        if end.queued || !end.has_more() {
            return;
        }
        let ip = end.local.ip();
        let Some(host) = self.hosts.get_mut(&ip) else { return };
        end.queued = true;
        host.sending.push_back(id);
        if !host.send_scheduled {
            host.send_scheduled = true;
            let (at, generation) = (now.max(host.line_free_at), host.generation);
            self.schedule(at, Event::Send { host: ip, generation });
        }
    }

    /// A program wants to send, perhaps after a silence.
    pub(super) fn on_wish(&mut self, now: Micros, id: EndId) {
        let Some(end) = self.ends.get(&id) else { return };
        let timeout_us = self.timeout_us(end.local, end.remote);
        if let Some(end) = self.ends.get_mut(&id) {
            end.congestion.on_wish(now, timeout_us);
        }
    }

    /// One segment of the end whose turn it is enters the line.
    fn on_line_free(&mut self, now: Micros, ip: IpAddr, generation: u64) {
        let Some(host) = self.hosts.get_mut(&ip).filter(|host| host.generation == generation)
        else {
            return;
        };
        host.send_scheduled = false;
        let mut departs = now;
        if let Some(id) = host.sending.pop_front()
            && let Some(end) = self.ends.get_mut(&id)
        {
            end.queued = false;
            if let Some((sequence, payload)) = end.next_piece(now, self.config.segment_bytes) {
                let (kind, bytes) = (payload.kind(), payload.bytes().len());
                departs = now + host.up_us(bytes);
                host.line_free_at = departs;
                if end.has_more() {
                    end.queued = true;
                    host.sending.push_back(id);
                }
                let packet = Packet { from: end.local, to: end.remote, kind, bytes };
                let (first_sent, losses) = (departs, 0);
                self.launch(
                    departs,
                    Segment { from: id, packet, sequence, payload, first_sent, losses },
                );
            }
        }
        if let Some(host) = self.hosts.get_mut(&ip)
            && !host.sending.is_empty()
        {
            host.send_scheduled = true;
            self.schedule(departs, Event::Send { host: ip, generation });
        }
    }

    /// A segment sets out: the rules decide whether it arrives.
    fn launch(&mut self, now: Micros, segment: Segment) {
        self.trace.packet(now, Mark::Sent, &segment.packet, &[]);
        match self.rules.judge(&segment.packet, &mut self.rng) {
            Some(delay_ms) => {
                let trip = self.jittered_trip_us(&segment.packet);
                let at = now + trip + delay_ms.saturating_mul(US_PER_MS);
                self.schedule(at, Event::Arrive(segment));
            }
            None => self.lose(now, segment),
        }
    }

    /// A segment is lost: it is sent again after the retransmission timeout, which doubles
    /// (RFC 6298 section 5.5), until the sender gives the connection up.
    fn lose(&mut self, now: Micros, mut segment: Segment) {
        self.trace.packet(now, Mark::Lost, &segment.packet, &[]);
        let give_up_at = segment.first_sent + GIVE_UP_MS * US_PER_MS;
        if now >= give_up_at {
            let Packet { from, to, .. } = segment.packet;
            self.send_reset(now, segment.from.other(), from, to);
            return self.fail(segment.from, io::ErrorKind::TimedOut);
        }
        let first = match segment.packet.kind {
            PacketKind::Connect => RTO_CONNECT_MS * US_PER_MS,
            _ => self.timeout_us(segment.packet.from, segment.packet.to),
        };
        if let Some(end) = self.ends.get_mut(&segment.from) {
            end.congestion.on_loss(now, first);
        }
        let timeout = first.saturating_mul(1 << segment.losses.min(16));
        segment.losses += 1;
        let at = (now + timeout.min(RTO_MAX_MS * US_PER_MS)).min(give_up_at);
        self.schedule(at, Event::Resend(segment));
    }

    fn on_resend(&mut self, now: Micros, segment: Segment) {
        if self.is_alive(segment.from) {
            self.launch(now, segment);
        }
    }

    // Arriving.

    /// A segment is at the receiver's line, which may be narrow.
    fn on_arrived(&mut self, now: Micros, segment: Segment) {
        let ip = segment.packet.to.ip();
        let Some(host) = self.hosts.get_mut(&ip) else {
            // No such host: nobody answers.
            return self.lose(now, segment);
        };
        let wait = host.down_us(segment.packet.bytes);
        if wait == 0 && !host.receive_scheduled {
            return self.deliver(now, segment);
        }
        host.arriving.push_back(segment);
        if !host.receive_scheduled {
            host.receive_scheduled = true;
            let generation = host.generation;
            self.schedule(now + wait, Event::Receive { host: ip, generation });
        }
    }

    fn on_received(&mut self, now: Micros, ip: IpAddr, generation: u64) {
        let Some(host) = self.hosts.get_mut(&ip).filter(|host| host.generation == generation)
        else {
            return;
        };
        let arrived = host.arriving.pop_front();
        host.receive_scheduled = !host.arriving.is_empty();
        if let Some(next) = host.arriving.front() {
            let at = now + host.down_us(next.packet.bytes);
            self.schedule(at, Event::Receive { host: ip, generation });
        }
        if let Some(segment) = arrived {
            self.deliver(now, segment);
        }
    }

    /// A segment is with the receiving system, which puts it in its place.
    fn deliver(&mut self, now: Micros, segment: Segment) {
        self.trace.packet(now, Mark::Arrived, &segment.packet, segment.payload.bytes());
        if let Payload::Syn = segment.payload {
            return self.on_syn(now, segment);
        }
        let id = segment.from.other();
        let Packet { from, to, .. } = segment.packet;
        if !self.is_alive(id) {
            if let Payload::Finish = segment.payload {
                return self.on_finish_delivered(segment.from);
            }
            if !self.send_reset(now, segment.from, to, from) {
                self.lose(now, segment);
            }
            return;
        }
        let bytes = segment.packet.bytes;
        if bytes > 0 {
            let at = now + self.trip_us(to.ip(), from.ip());
            self.schedule(at, Event::Acknowledge { to: segment.from, bytes });
        }
        if let Some(end) = self.ends.get_mut(&id) {
            end.early.insert(segment.sequence, segment.payload);
        }
        while let Some(end) = self.ends.get_mut(&id)
            && let Some(payload) = end.early.remove(&end.expected)
        {
            end.expected += 1;
            self.on_payload(now, id, payload);
        }
    }

    /// The next piece in order.
    fn on_payload(&mut self, now: Micros, id: EndId, payload: Payload) {
        let Some(end) = self.ends.get_mut(&id) else { return };
        match payload {
            Payload::Syn => {}
            Payload::SynAck => {
                end.state = State::Open;
                end.push_control(Payload::Ack);
                self.wakes.extend(end.reader.take());
                self.enqueue(now, id);
            }
            Payload::Ack => {
                end.state = State::Open;
                let local = end.local;
                match self.ports.get_mut(&local) {
                    Some(port) => {
                        port.waiting.push_back(id);
                        self.trace.stats.connections += 1;
                        self.wakes.extend(port.acceptor.take());
                    }
                    None => self.abandon(now, id),
                }
            }
            // Nobody will ever read this (RFC 2525 section 2.17).
            Payload::Data(_) if end.released => self.abandon(now, id),
            Payload::Data(bytes) => {
                end.received.push_back(bytes);
                self.wakes.extend(end.reader.take());
            }
            Payload::Finish => {
                end.ended = true;
                self.wakes.extend(end.reader.take());
                self.on_finish_delivered(id.other());
            }
        }
    }

    fn on_syn(&mut self, now: Micros, segment: Segment) {
        let Packet { from, to, .. } = segment.packet;
        let open = self.ports.get(&to).is_some_and(|port| port.waiting.len() < BACKLOG);
        if open {
            let id = EndId { side: Side::Acceptor, ..segment.from };
            let congestion = Congestion::new(self.config.congestion_control);
            self.ends.insert(id, End::opening((to, from), Payload::SynAck, 1, congestion));
            self.enqueue(now, id);
        } else if self.send_reset(now, segment.from, to, from) {
            self.trace.stats.refused += 1;
        } else {
            self.lose(now, segment);
        }
    }

    fn on_finish_delivered(&mut self, id: EndId) {
        if let Some(end) = self.ends.get_mut(&id) {
            end.finish = Finish::Delivered;
            if end.released {
                self.remove(id);
            }
        }
    }

    // Ending.

    /// Tells the end `to` that the connection is no more; whether the rules let it through.
    pub(super) fn send_reset(
        &mut self,
        now: Micros,
        to: EndId,
        from_address: Address,
        to_address: Address,
    ) -> bool {
        let kind = PacketKind::Reset;
        let packet = Packet { from: from_address, to: to_address, kind, bytes: 0 };
        self.trace.packet(now, Mark::Sent, &packet, &[]);
        let Some(delay_ms) = self.rules.judge(&packet, &mut self.rng) else {
            self.trace.packet(now, Mark::Lost, &packet, &[]);
            return false;
        };
        let at = now + self.jittered_trip_us(&packet) + delay_ms.saturating_mul(US_PER_MS);
        self.schedule(at, Event::Reset { to, packet });
        true
    }

    fn on_reset(&mut self, now: Micros, to: EndId, packet: &Packet) {
        self.trace.packet(now, Mark::Arrived, packet, &[]);
        let Some(end) = self.ends.get(&to) else { return };
        match end.state {
            State::Opening => self.fail(to, io::ErrorKind::ConnectionRefused),
            State::Open => self.fail(to, io::ErrorKind::ConnectionReset),
            State::Failed(_) => {}
        }
    }

    fn fail(&mut self, id: EndId, kind: io::ErrorKind) {
        let Some(end) = self.ends.get_mut(&id) else { return };
        // An acceptor's end that never opened has no owner who would remove it.
        let orphan = end.released || (id.side == Side::Acceptor && end.state == State::Opening);
        end.fail(kind);
        self.wakes.extend(end.reader.take());
        self.wakes.extend(end.writer.take());
        self.trace.stats.resets += 1;
        if orphan {
            self.remove(id);
        }
    }

    /// A host crashes: its sockets are dead, its peers are told, its listeners are gone.
    pub(super) fn on_crash(&mut self, now: Micros, ip: IpAddr) {
        let Some(host) = self.hosts.get_mut(&ip) else { return };
        host.life += 1;
        host.sending.clear();
        self.trace.crashed(now, ip);
        let listening: Vec<Address> =
            self.ports.keys().filter(|address| address.ip() == ip).copied().collect();
        for address in listening {
            self.close_port(now, address);
        }
        let local = |end: &&EndId| self.ends.get(end).is_some_and(|end| end.local.ip() == ip);
        let dead: Vec<EndId> = self.ends.keys().filter(local).copied().collect();
        for id in dead {
            if let Some(end) = self.ends.get(&id)
                && !matches!(end.state, State::Failed(_))
            {
                let (from, to) = (end.local, end.remote);
                self.send_reset(now, id.other(), from, to);
                self.fail(id, io::ErrorKind::ConnectionAborted);
            }
        }
    }

    fn is_alive(&self, id: EndId) -> bool {
        self.ends.get(&id).is_some_and(|end| !matches!(end.state, State::Failed(_)))
    }
}
