//! The reading half of a QUIC connection: frames from the streams of the lanes.
//!
//! A lane that has lost a packet waits for it alone. Only the control lane is read before the
//! greeting, since what was sent behind it may arrive in front of it on another. For the same reason
//! the end of the control lane is not the connection's while a last word was heard and other lanes
//! have not ended.

use std::{
    cell::Cell,
    io,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
};

use futures_util::Stream;
use peerstage_core::{
    frame::{FRAME_HEADER, FRAME_PAYLOAD_MAX},
    kinds::{LANES, Lane},
};

use super::{
    limits::ReadLimit,
    reader::{Arrived, Plaintext, READ_MAX, TAIL_KEPT, TURN},
};
use crate::{
    shell::ByteBudget,
    transport::quic::{LanesIn, NewStream},
};

/// The lanes beside lane 0, which goes first.
const OTHERS: [Lane; LANES - 1] = [Lane::Blocks, Lane::Control, Lane::Transactions, Lane::Bulk];

/// The start of a frame whose rest has not come yet.
#[derive(Default)]
struct Tail {
    /// As long as what is known to come: the frame's header, or the frame.
    bytes: Vec<u8>,
    filled: usize,
}

impl Tail {
    /// Keeps the start of a frame.
    fn keep(&mut self, start: &[u8]) {
        self.bytes.clear();
        self.bytes.extend_from_slice(start);
        self.filled = start.len();
        self.stretch();
    }

    /// Makes room for as much of the frame as is known of.
    fn stretch(&mut self) {
        let known = match frame_length(self.bytes.get(..self.filled).unwrap_or_default()) {
            Some(length) => length,
            None if self.filled > 0 => FRAME_HEADER,
            None => 0,
        };
        self.bytes.resize(known.max(self.filled), 0);
    }

    /// Where the rest of the frame goes; empty if the frame is whole.
    fn missing(&mut self) -> &mut [u8] {
        self.bytes.get_mut(self.filled..).unwrap_or_default()
    }

    fn clear(&mut self) {
        self.filled = 0;
        self.bytes.clear();
        if self.bytes.capacity() > TAIL_KEPT {
            self.bytes = Vec::new();
        }
    }
}

/// The length of the frame that begins here, if so much of it is there.
fn frame_length(bytes: &[u8]) -> Option<usize> {
    let [_, _, low, high] = *bytes.first_chunk::<FRAME_HEADER>()?;
    // A frame longer than any is cut there: what follows is no frame, and is refused as such.
    let payload = usize::from(u16::from_le_bytes([low, high]));
    Some(FRAME_HEADER + payload)
}

/// How many bytes at the front are whole frames.
fn whole_frames(bytes: &[u8]) -> usize {
    let mut at = 0;
    while let Some(rest) = bytes.get(at..)
        && let Some(length) = frame_length(rest)
        && length <= rest.len()
    {
        at += length;
    }
    at
}

/// What the actor has heard, as far as its reader must know.
#[derive(Default)]
pub(super) struct Heard {
    /// The peer has introduced itself.
    pub(super) greeting: Cell<bool>,
    /// It sends nothing new; what it sent before counts.
    pub(super) last_word: Cell<bool>,
}

/// Reads the streams while the peer's budget has room, as [`super::reader::Reader`] does.
pub(super) struct LaneReader {
    lanes: LanesIn,
    tails: [Tail; LANES],
    heard: Rc<Heard>,
    /// The next of [`OTHERS`] to be looked at first.
    next: usize,
    budget: ByteBudget,
    limit: Option<ReadLimit>,
    turn: usize,
    /// Lanes that have ended, but for the control lane; and whether that has.
    over: usize,
    control_over: bool,
    ended: bool,
}

impl LaneReader {
    pub(super) fn new(
        lanes: LanesIn,
        heard: Rc<Heard>,
        budget: ByteBudget,
        limit: Option<ReadLimit>,
    ) -> Self {
        LaneReader {
            lanes,
            tails: Default::default(),
            heard,
            next: 0,
            budget,
            limit,
            turn: 0,
            over: 0,
            control_over: false,
            ended: false,
        }
    }

    fn poll_arrived(&mut self, cx: &mut Context<'_>) -> Poll<Arrived> {
        loop {
            match self.lanes.poll_new(cx) {
                Poll::Ready(Ok(NewStream::Lane)) => {}
                Poll::Ready(Ok(NewStream::Stray)) => return Poll::Ready(Arrived::StrayStream),
                Poll::Ready(Err(error)) => return Poll::Ready(Arrived::Lost(error)),
                Poll::Pending => break,
            }
        }
        ready!(self.budget.poll_room(cx));
        if self.turn >= TURN {
            self.turn = 0;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        // Last: whoever is let read and doesn't has lost its turn among all peers.
        if let Some(limit) = &mut self.limit {
            ready!(limit.poll_ready(cx));
        }
        let arrived = self.poll_lanes(cx);
        if arrived.is_pending() {
            self.limit.iter().for_each(ReadLimit::found_nothing);
        }
        arrived
    }

    fn poll_lanes(&mut self, cx: &mut Context<'_>) -> Poll<Arrived> {
        if self.control_over && self.over == OTHERS.len() {
            return Poll::Ready(Arrived::Lost(io::ErrorKind::UnexpectedEof.into()));
        }
        if !self.heard.greeting.get() {
            return self.poll_lane(Lane::Control, cx);
        }
        if let Poll::Ready(arrived) = self.poll_lane(Lane::Consensus, cx) {
            return Poll::Ready(arrived);
        }
        for step in 0..OTHERS.len() {
            let at = (self.next + step) % OTHERS.len();
            let Some(lane) = OTHERS.get(at) else { continue };
            if let Poll::Ready(arrived) = self.poll_lane(*lane, cx) {
                self.next = at + 1;
                return Poll::Ready(arrived);
            }
        }
        Poll::Pending
    }

    fn poll_lane(&mut self, lane: Lane, cx: &mut Context<'_>) -> Poll<Arrived> {
        match ready!(self.poll_read(lane, cx)) {
            Ok(Some(plain)) => Poll::Ready(Arrived::Records(plain)),
            Ok(None) if lane == Lane::Control && self.waits_for_others() => {
                self.lanes.forget(lane);
                self.control_over = true;
                Poll::Pending
            }
            // A direction ends with the lane that carries the goodbye.
            Ok(None) if lane == Lane::Control => {
                Poll::Ready(Arrived::Lost(io::ErrorKind::UnexpectedEof.into()))
            }
            Ok(None) => {
                self.lanes.forget(lane);
                self.over += 1;
                if self.over == OTHERS.len() {
                    return Poll::Ready(Arrived::LanesEnded);
                }
                Poll::Pending
            }
            Err(error) => Poll::Ready(Arrived::Lost(error)),
        }
    }

    /// Whether lanes still bring what was sent before a last word.
    fn waits_for_others(&self) -> bool {
        self.heard.last_word.get() && self.over < OTHERS.len()
    }

    /// Reads what is there of one lane, as far as whole frames; `None` at its end.
    fn poll_read(
        &mut self,
        lane: Lane,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<Option<Plaintext>>> {
        let mut at_once = self.limit.as_ref().map_or(READ_MAX, ReadLimit::at_once).min(READ_MAX);
        let Some(tail) = self.tails.get_mut(lane as usize) else { return Poll::Pending };
        let mut read = 0;
        // First the rest of the frame that has begun, where it is kept.
        while at_once > 0 && !tail.missing().is_empty() {
            let missing = tail.missing();
            let space = missing.len().min(at_once);
            let space = missing.get_mut(..space).unwrap_or_default();
            match self.lanes.poll_read(lane, cx, space)? {
                Poll::Ready(0) => return Poll::Ready(Ok(None)),
                Poll::Ready(count) => {
                    (tail.filled, read) = (tail.filled + count, read + count);
                    at_once -= count;
                    tail.stretch();
                }
                Poll::Pending => break,
            }
        }
        let mut plain = Plaintext::take();
        plain.lane = Some(lane);
        if tail.missing().is_empty() {
            // Then, behind it, what else there is.
            let start = tail.filled;
            if let Some(front) = plain.space().get_mut(..start) {
                front.copy_from_slice(&tail.bytes);
            }
            let rest = plain.space().get_mut(start..).unwrap_or_default();
            let space = rest.len().min(at_once);
            let space = rest.get_mut(..space).unwrap_or_default();
            let more = match self.lanes.poll_read(lane, cx, space)? {
                Poll::Ready(0) if read == 0 && !space.is_empty() => return Poll::Ready(Ok(None)),
                Poll::Ready(count) => count,
                Poll::Pending => 0,
            };
            read += more;
            let filled = start + more;
            let whole = whole_frames(plain.space().get(..filled).unwrap_or_default());
            tail.clear();
            tail.keep(plain.space().get(whole..filled).unwrap_or_default());
            plain.set_frames(whole);
        }
        if read == 0 {
            return Poll::Pending;
        }
        self.turn = self.turn.saturating_add(read);
        if let Some(limit) = &mut self.limit {
            // One lane says nothing of what waits on the others.
            limit.read(read, read);
        }
        plain.read = read;
        plain.pending = self.tails.iter().any(|tail| tail.filled > 0);
        Poll::Ready(Ok(Some(plain)))
    }
}

impl Stream for LaneReader {
    type Item = Arrived;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Arrived>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let arrived = ready!(self.poll_arrived(cx));
        self.ended = !matches!(arrived, Arrived::Records(_) | Arrived::LanesEnded);
        Poll::Ready(Some(arrived))
    }
}

const _: () = assert!(FRAME_HEADER + FRAME_PAYLOAD_MAX <= READ_MAX);

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(payload: usize) -> Vec<u8> {
        let [low, high] = u16::try_from(payload).unwrap().to_le_bytes();
        let mut frame = vec![0, 3, low, high];
        frame.resize(FRAME_HEADER + payload, 7);
        frame
    }

    #[test]
    fn whole_frames_end_where_the_next_is_cut() {
        let two = [frame(0), frame(5)].concat();
        assert_eq!(whole_frames(&two), two.len());
        for cut in 0..FRAME_HEADER + 5 {
            let part = [&two[..], &frame(5)[..cut]].concat();
            assert_eq!(whole_frames(&part), two.len(), "{cut}");
        }
    }

    #[test]
    fn a_tail_grows_by_its_header_and_then_to_its_frame() {
        let whole = frame(5);
        let mut tail = Tail::default();
        assert!(tail.missing().is_empty());
        tail.keep(&whole[..2]);
        assert_eq!(tail.missing().len(), 2);
        tail.missing().copy_from_slice(&whole[2..4]);
        tail.filled += 2;
        tail.stretch();
        assert_eq!(tail.missing().len(), 5);
        tail.clear();
        assert!(tail.missing().is_empty());
    }
}
