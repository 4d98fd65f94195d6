//! The simulated network as a machine: sockets tell it what programs do, time tells it what
//! arrives. It has no clock; `traffic.rs` holds what happens on the way.

use std::{
    collections::{BTreeMap, VecDeque},
    io,
    net::IpAddr,
    task::{Context, Poll, Waker},
};

use peerstage_core::address::Address;
use rand_chacha::{
    ChaCha8Rng,
    rand_core::{Rng, SeedableRng},
};
use tokio::io::ReadBuf;

use super::{
    config::{Bandwidth, Latency, Placement, SimConfig},
    congestion::Congestion,
    end::{End, EndId, Finish, Payload, Segment, Side, State},
    host::Host,
    rules::{Packet, Rules},
    trace::Trace,
};

/// Microseconds since the network began.
pub(super) type Micros = u64;

/// What is to happen at some time.
pub(super) enum Event {
    /// The line of a host is free for the next segment.
    Send { host: IpAddr, generation: u64 },
    /// A segment reached the receiver's line.
    Arrive(Segment),
    /// The receiver's line has let one segment through.
    Receive { host: IpAddr, generation: u64 },
    /// A lost segment is tried again.
    Resend(Segment),
    /// An end learns that the other is no more.
    Reset { to: EndId, packet: Packet },
    /// A sender learns that bytes arrived.
    Acknowledge { to: EndId, bytes: usize },
    /// A writer learns that bytes were read.
    Credit { to: EndId, bytes: usize },
}

/// A port with a listener.
#[derive(Default)]
pub(super) struct Port {
    pub(super) id: u64,
    pub(super) waiting: VecDeque<EndId>,
    pub(super) acceptor: Option<Waker>,
}

/// The whole network.
pub(super) struct Fabric {
    pub(super) config: SimConfig,
    pub(super) rng: ChaCha8Rng,
    pub(super) hosts: BTreeMap<IpAddr, Host>,
    pub(super) ports: BTreeMap<Address, Port>,
    pub(super) ends: BTreeMap<EndId, End>,
    pub(super) rules: Rules,
    pub(super) trace: Trace,
    events: BTreeMap<(Micros, u64), Event>,
    next_id: u64,
    /// Tasks to wake, once the lock is released.
    pub(super) wakes: Vec<Waker>,
    /// Wakers to drop, once the lock is released: the last of a task may drop sockets with it.
    pub(super) retired: Vec<Waker>,
}

impl Fabric {
    pub(super) fn new(seed: u64, config: SimConfig) -> Self {
        Fabric {
            config,
            rng: ChaCha8Rng::seed_from_u64(seed),
            hosts: BTreeMap::new(),
            ports: BTreeMap::new(),
            ends: BTreeMap::new(),
            rules: Rules::default(),
            trace: Trace::default(),
            events: BTreeMap::new(),
            next_id: 0,
            wakes: Vec::new(),
            retired: Vec::new(),
        }
    }

    /// When something happens next.
    pub(super) fn deadline(&self) -> Option<Micros> {
        self.events.first_key_value().map(|((at, _), _)| *at)
    }

    /// Lets everything happen that is due.
    pub(super) fn on_deadline(&mut self, now: Micros) {
        while let Some(entry) = self.events.first_entry() {
            let (at, _) = *entry.key();
            if at > now {
                return;
            }
            let event = entry.remove();
            self.on_event(at, event);
        }
    }

    pub(super) fn schedule(&mut self, at: Micros, event: Event) {
        let id = self.fresh_id();
        self.events.insert((at, id), event);
    }

    pub(super) fn fresh_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    /// A number between 0 and `bound` inclusive. The bias of the remainder is below 2^-40 for
    /// all bounds used here.
    pub(super) fn draw(&mut self, bound: u64) -> u64 {
        if bound == 0 { 0 } else { self.rng.next_u64() % bound.saturating_add(1) }
    }

    // Hosts.

    /// The host at `ip` with its life; a new one gets its place drawn by the weights.
    pub(super) fn on_host(&mut self, ip: IpAddr, placement: Option<Placement>) -> u64 {
        if !self.hosts.contains_key(&ip) {
            let placement = placement.unwrap_or_else(|| self.draw_placement());
            self.hosts.insert(ip, Host::new(placement));
        } else if let (Some(host), Some(placement)) = (self.hosts.get_mut(&ip), placement) {
            host.placement = placement;
        }
        self.hosts.get(&ip).map_or(0, |host| host.life)
    }

    fn draw_placement(&mut self) -> Placement {
        let regions = match &self.config.latency {
            Latency::Constant(_) => Vec::new(),
            Latency::Regions(matrix) => matrix.weights().to_vec(),
        };
        let lines: Vec<u32> = self.config.lines.iter().map(|(weight, _)| *weight).collect();
        let region = self.draw_weighted(&regions);
        let line = self.draw_weighted(&lines);
        let bandwidth = self.config.lines.get(line).map_or(Bandwidth::default(), |(_, b)| *b);
        Placement { region, bandwidth }
    }

    fn draw_weighted(&mut self, weights: &[u32]) -> usize {
        let total: u64 = weights.iter().map(|weight| u64::from(*weight)).sum();
        let mut left = self.draw(total.saturating_sub(1));
        for (index, weight) in weights.iter().enumerate() {
            match left.checked_sub(u64::from(*weight)) {
                Some(rest) => left = rest,
                None => return index,
            }
        }
        0
    }

    fn living_host(&mut self, ip: IpAddr, life: u64) -> io::Result<&mut Host> {
        self.hosts
            .get_mut(&ip)
            .filter(|host| host.life == life)
            .ok_or_else(|| io::Error::new(io::ErrorKind::NotConnected, "the host has crashed"))
    }

    // Listeners.

    pub(super) fn on_listen(
        &mut self,
        (ip, life): (IpAddr, u64),
        wanted: Address,
    ) -> io::Result<(Address, u64)> {
        if wanted.ip() != ip && !wanted.ip().is_unspecified() {
            return Err(io::ErrorKind::AddrNotAvailable.into());
        }
        let host = self.living_host(ip, life)?;
        let port = if wanted.port() == 0 { host.ephemeral_port() } else { wanted.port() };
        let address = Address::new(ip, port);
        if self.ports.contains_key(&address) {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        let id = self.fresh_id();
        self.ports.insert(address, Port { id, ..Port::default() });
        Ok((address, id))
    }

    pub(super) fn poll_accept(
        &mut self,
        address: Address,
        id: u64,
        cx: &Context<'_>,
    ) -> Poll<io::Result<(EndId, Address)>> {
        let Some(port) = self.ports.get_mut(&address).filter(|port| port.id == id) else {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        };
        while let Some(end) = port.waiting.pop_front() {
            match self.ends.get(&end) {
                Some(found) if found.state == State::Open => {
                    return Poll::Ready(Ok((end, found.remote)));
                }
                // Reset while it waited.
                _ => drop(self.ends.remove(&end)),
            }
        }
        park(&mut port.acceptor, cx, &mut self.retired);
        Poll::Pending
    }

    pub(super) fn on_listener_dropped(&mut self, now: Micros, address: Address, id: u64) {
        if self.ports.get(&address).is_some_and(|port| port.id == id) {
            self.close_port(now, address);
        }
    }

    pub(super) fn close_port(&mut self, now: Micros, address: Address) {
        let Some(port) = self.ports.remove(&address) else { return };
        self.wakes.extend(port.acceptor);
        for end in port.waiting {
            self.abandon(now, end);
        }
    }

    // Connections.

    pub(super) fn on_dial(
        &mut self,
        now: Micros,
        (ip, life): (IpAddr, u64),
        remote: Address,
    ) -> io::Result<(EndId, Address)> {
        let local = Address::new(ip, self.living_host(ip, life)?.ephemeral_port());
        let id = EndId { connection: self.fresh_id(), side: Side::Dialler };
        let congestion = Congestion::new(self.config.congestion_control);
        self.ends.insert(id, End::opening((local, remote), Payload::Syn, 0, congestion));
        self.enqueue(now, id);
        Ok((id, local))
    }

    pub(super) fn poll_opened(&mut self, id: EndId, cx: &Context<'_>) -> Poll<io::Result<()>> {
        let Some(end) = self.ends.get_mut(&id) else { return Poll::Ready(Err(gone())) };
        match end.state {
            State::Open => Poll::Ready(Ok(())),
            State::Failed(kind) => Poll::Ready(Err(kind.into())),
            State::Opening => {
                park(&mut end.reader, cx, &mut self.retired);
                Poll::Pending
            }
        }
    }

    pub(super) fn poll_read(
        &mut self,
        now: Micros,
        id: EndId,
        cx: &Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Some(end) = self.ends.get_mut(&id) else { return Poll::Ready(Err(gone())) };
        let before = buffer.remaining();
        while let Some(front) = end.received.front_mut() {
            let length = front.len().min(buffer.remaining());
            buffer.put_slice(&front.split_to(length));
            if !front.is_empty() {
                break;
            }
            end.received.pop_front();
        }
        let taken = before - buffer.remaining();
        if taken > 0 || before == 0 {
            end.uncredited += taken;
            // A window update at every quarter of the window, as kernels avoid small ones.
            if end.uncredited >= self.config.window_bytes / 4 && !end.ended {
                let bytes = std::mem::take(&mut end.uncredited);
                let (from, to) = (end.local.ip(), end.remote.ip());
                let at = now + self.trip_us(from, to);
                self.schedule(at, Event::Credit { to: id.other(), bytes });
            }
            return Poll::Ready(Ok(()));
        }
        match end.state {
            State::Failed(kind) => Poll::Ready(Err(kind.into())),
            _ if end.ended => Poll::Ready(Ok(())),
            _ => {
                park(&mut end.reader, cx, &mut self.retired);
                Poll::Pending
            }
        }
    }

    pub(super) fn poll_write(
        &mut self,
        now: Micros,
        id: EndId,
        cx: &Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let Some(end) = self.ends.get_mut(&id) else { return Poll::Ready(Err(gone())) };
        if let State::Failed(kind) = end.state {
            return Poll::Ready(Err(kind.into()));
        }
        if end.finish != Finish::Open {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        if parts.iter().all(|part| part.is_empty()) {
            return Poll::Ready(Ok(0));
        }
        let room = self.config.window_bytes.saturating_sub(end.outstanding);
        if room == 0 {
            park(&mut end.writer, cx, &mut self.retired);
            return Poll::Pending;
        }
        let taken = end.push_bytes(parts, room);
        self.on_wish(now, id);
        self.enqueue(now, id);
        Poll::Ready(Ok(taken))
    }

    /// The program writes no more; what it wrote still travels.
    pub(super) fn on_shutdown(&mut self, now: Micros, id: EndId) -> io::Result<()> {
        let end = self.ends.get_mut(&id).ok_or_else(gone)?;
        if let State::Failed(kind) = end.state {
            return Err(kind.into());
        }
        if end.finish == Finish::Open {
            end.finish = Finish::Queued;
            self.enqueue(now, id);
        }
        Ok(())
    }

    /// The program has dropped the stream: as close(2), a reset if bytes were left unread.
    pub(super) fn on_stream_dropped(&mut self, now: Micros, id: EndId) {
        let Some(end) = self.ends.get_mut(&id) else { return };
        end.released = true;
        match end.state {
            State::Failed(_) => self.remove(id),
            State::Open if end.received.is_empty() => {
                if end.finish == Finish::Open {
                    end.finish = Finish::Queued;
                    self.enqueue(now, id);
                } else if end.finish == Finish::Delivered {
                    self.remove(id);
                }
            }
            State::Open | State::Opening => self.abandon(now, id),
        }
    }

    /// Ends a connection at once, telling the other side.
    pub(super) fn abandon(&mut self, now: Micros, id: EndId) {
        if let Some(end) = self.ends.get(&id) {
            let (from, to) = (end.local, end.remote);
            self.send_reset(now, id.other(), from, to);
            self.remove(id);
        }
    }

    pub(super) fn remove(&mut self, id: EndId) {
        if let Some(end) = self.ends.remove(&id) {
            self.retired.extend(end.reader);
            self.retired.extend(end.writer);
        }
    }
}

/// Leaves the caller's waker, unless it is there already.
fn park(slot: &mut Option<Waker>, cx: &Context<'_>, retired: &mut Vec<Waker>) {
    if !slot.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
        retired.extend(slot.replace(cx.waker().clone()));
    }
}

fn gone() -> io::Error {
    io::ErrorKind::NotConnected.into()
}
