//! One end of a simulated connection, and the segments that travel between two ends.

use std::{
    collections::{BTreeMap, VecDeque},
    io,
    task::Waker,
};

use bytes::{Bytes, BytesMut};
use peerstage_core::address::Address;

use super::{
    congestion::Congestion,
    fabric::Micros,
    rules::{Packet, PacketKind},
};

/// Which end of which connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct EndId {
    pub(super) connection: u64,
    pub(super) side: Side,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Side {
    Dialler,
    Acceptor,
}

impl EndId {
    pub(super) fn other(self) -> EndId {
        let side = match self.side {
            Side::Dialler => Side::Acceptor,
            Side::Acceptor => Side::Dialler,
        };
        EndId { side, ..self }
    }
}

/// How far an end has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// The three packets that open a connection are on their way.
    Opening,
    Open,
    /// Every further call answers with this error.
    Failed(io::ErrorKind),
}

/// Whether the writer has ended its direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Finish {
    Open,
    /// It travels after the last byte.
    Queued,
    Sent,
    Delivered,
}

/// What a segment carries. All of it is delivered in order and repeated until it arrives.
#[derive(Clone, Debug)]
pub(super) enum Payload {
    Syn,
    SynAck,
    Ack,
    Data(Bytes),
    Finish,
}

impl Payload {
    pub(super) fn kind(&self) -> PacketKind {
        match self {
            Payload::Syn | Payload::SynAck | Payload::Ack => PacketKind::Connect,
            Payload::Data(_) => PacketKind::Data,
            Payload::Finish => PacketKind::Finish,
        }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        if let Payload::Data(bytes) = self { bytes } else { &[] }
    }
}

/// A piece of a stream on its way.
#[derive(Clone, Debug)]
pub(super) struct Segment {
    pub(super) from: EndId,
    pub(super) packet: Packet,
    pub(super) sequence: u64,
    pub(super) payload: Payload,
    pub(super) first_sent: Micros,
    pub(super) losses: u32,
}

/// One end of a connection: what the kernel keeps for a socket.
pub(super) struct End {
    pub(super) local: Address,
    pub(super) remote: Address,
    pub(super) state: State,
    /// The program has closed it; what is unsent still travels.
    pub(super) released: bool,

    controls: VecDeque<Payload>,
    unsent: BytesMut,
    pub(super) finish: Finish,
    next_sequence: u64,
    /// Bytes written here and not yet known to be read over there.
    pub(super) outstanding: usize,
    pub(super) congestion: Congestion,
    /// It waits in its host's queue for the line.
    pub(super) queued: bool,

    pub(super) expected: u64,
    pub(super) early: BTreeMap<u64, Payload>,
    pub(super) received: VecDeque<Bytes>,
    pub(super) ended: bool,
    /// Bytes read here that the writer has not been told of.
    pub(super) uncredited: usize,

    pub(super) reader: Option<Waker>,
    pub(super) writer: Option<Waker>,
}

impl End {
    /// An end whose first packet is `hello`; `expected` is the next sequence from the other.
    pub(super) fn opening(
        (local, remote): (Address, Address),
        hello: Payload,
        expected: u64,
        congestion: Congestion,
    ) -> Self {
        End {
            local,
            remote,
            state: State::Opening,
            released: false,
            controls: VecDeque::from([hello]),
            unsent: BytesMut::new(),
            finish: Finish::Open,
            next_sequence: 0,
            outstanding: 0,
            congestion,
            queued: false,
            expected,
            early: BTreeMap::new(),
            received: VecDeque::new(),
            ended: false,
            uncredited: 0,
            reader: None,
            writer: None,
        }
    }

    pub(super) fn push_control(&mut self, payload: Payload) {
        self.controls.push_back(payload);
    }

    /// Takes as many of these bytes as `room` allows.
    pub(super) fn push_bytes(&mut self, parts: &[io::IoSlice<'_>], room: usize) -> usize {
        let mut left = room;
        for part in parts {
            let (taken, _) = part.split_at(left.min(part.len()));
            self.unsent.extend_from_slice(taken);
            left -= taken.len();
        }
        self.outstanding += room - left;
        room - left
    }

    pub(super) fn has_more(&self) -> bool {
        !self.controls.is_empty()
            || self.congestion.allowed(self.unsent.len()) > 0
            || (self.finish == Finish::Queued && self.unsent.is_empty())
    }

    /// The next piece for the line, with its sequence.
    pub(super) fn next_piece(
        &mut self,
        now: Micros,
        segment_bytes: usize,
    ) -> Option<(u64, Payload)> {
        let payload = if let Some(control) = self.controls.pop_front() {
            control
        } else if !self.unsent.is_empty() {
            let length = self.congestion.allowed(self.unsent.len()).min(segment_bytes);
            if length == 0 {
                return None;
            }
            self.congestion.on_sent(now, length);
            Payload::Data(self.unsent.split_to(length).freeze())
        } else if self.finish == Finish::Queued {
            self.finish = Finish::Sent;
            Payload::Finish
        } else {
            return None;
        };
        let sequence = self.next_sequence;
        self.next_sequence += 1;
        Some((sequence, payload))
    }

    /// Forgets everything that still wanted to travel.
    pub(super) fn fail(&mut self, kind: io::ErrorKind) {
        self.state = State::Failed(kind);
        self.controls.clear();
        self.unsent = BytesMut::new();
        self.early.clear();
        if self.finish == Finish::Queued {
            self.finish = Finish::Sent;
        }
    }
}
