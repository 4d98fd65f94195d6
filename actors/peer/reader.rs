//! The reading half of a connection: bytes from the socket, opened as records.
//!
//! A silent peer costs no buffer: those of one thread are shared by all its peers, and a record
//! is decrypted where it was read.

use std::{
    cell::RefCell,
    io,
    ops::Range,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::BytesMut;
use futures_util::Stream;
use peerstage_core::{
    kinds::Lane,
    noise::{Opened, Opener, RECORD_HEADER_LEN, RECORD_LEN_MAX, TransportError},
};
use tokio::io::{AsyncRead, ReadBuf, ReadHalf};

use super::limits::ReadLimit;
use crate::{shell::ByteBudget, transport::Io};

/// The most one read takes from the socket, bytes: two full records. More would keep the other
/// peers of the thread waiting.
pub(super) const READ_MAX: usize = 128 * 1024;
/// A read behind the start of a record whose rest it brings, bytes.
const BUFFER: usize = READ_MAX + RECORD_HEADER_LEN + RECORD_LEN_MAX;
/// Bytes read before the other tasks of the thread have their turn.
pub(super) const TURN: usize = 256 * 1024;
/// Buffers a thread keeps for the next read. A buffer is in use only while one read is handled.
const SPARE_MAX: usize = 2;
/// The start of a record may keep this much memory between reads, bytes.
pub(super) const TAIL_KEPT: usize = 1024;

thread_local! {
    static SPARE: RefCell<Vec<Buffer>> = const { RefCell::new(Vec::new()) };
}

#[derive(Default)]
struct Buffer {
    bytes: Box<[u8]>,
    records: Vec<Range<usize>>,
}

/// What one read brought, decrypted. Gives its buffer back when dropped.
pub(super) struct Plaintext {
    buffer: Buffer,
    /// Bytes that came from the socket.
    pub(super) read: usize,
    /// Whether the start of a record waits for its rest.
    pub(super) pending: bool,
    /// The lane whose stream it came from, where each has one: frames then, instead of records.
    pub(super) lane: Option<Lane>,
}

impl Plaintext {
    /// The plaintext of each record, in order.
    pub(super) fn records(&self) -> impl Iterator<Item = &[u8]> {
        let Buffer { bytes, records } = &self.buffer;
        records.iter().map(|range| bytes.get(range.clone()).unwrap_or_default())
    }

    /// Room for what a lane's stream brings.
    pub(super) fn space(&mut self) -> &mut [u8] {
        &mut self.buffer.bytes
    }

    /// The first so many bytes are whole frames.
    pub(super) fn set_frames(&mut self, length: usize) {
        self.buffer.records.clear();
        if length > 0 {
            self.buffer.records.push(0..length);
        }
    }

    /// Bytes of plaintext.
    pub(super) fn len(&self) -> usize {
        self.buffer.records.iter().map(Range::len).sum()
    }

    pub(super) fn take() -> Self {
        let spare = SPARE.with_borrow_mut(Vec::pop);
        let buffer = spare.unwrap_or_else(|| Buffer {
            bytes: vec![0; BUFFER].into_boxed_slice(),
            records: Vec::new(),
        });
        Plaintext { buffer, read: 0, pending: false, lane: None }
    }
}

impl Drop for Plaintext {
    fn drop(&mut self) {
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.records.clear();
        // The thread may be ending, and its spares gone.
        let _ = SPARE.try_with(|spare| {
            if let Ok(mut spare) = spare.try_borrow_mut()
                && spare.len() < SPARE_MAX
            {
                spare.push(buffer);
            }
        });
    }
}

/// What the reader tells its actor.
pub(super) enum Arrived {
    /// Records.
    Records(Plaintext),
    /// A record that fails its tag, or is none.
    Refused(TransportError),
    /// A stream that belongs to no lane.
    StrayStream,
    /// Every lane but that of the goodbye has ended, and all they brought was handed over.
    LanesEnded,
    /// The socket has ended.
    Lost(io::Error),
}

/// Reads the socket while the peer's budget has room: a peer whose messages are not yet dealt
/// with is not read, so its sender waits and nobody else does.
pub(super) struct Reader {
    io: ReadHalf<Box<dyn Io>>,
    opener: Opener,
    budget: ByteBudget,
    limit: Option<ReadLimit>,
    /// The start of a record whose rest has not come yet.
    tail: Vec<u8>,
    /// Bytes that came with the end of the handshake and are not looked at yet.
    leftover: bool,
    turn: usize,
    /// Told once the records in front of the bad one have been handed on.
    refused: Option<TransportError>,
    ended: bool,
}

impl Reader {
    /// Reads `leftover` first, then the socket.
    pub(super) fn new(
        io: ReadHalf<Box<dyn Io>>,
        opener: Opener,
        budget: ByteBudget,
        limit: Option<ReadLimit>,
        leftover: BytesMut,
    ) -> Self {
        let (tail, leftover) = (leftover.to_vec(), !leftover.is_empty());
        Reader { io, opener, budget, limit, tail, leftover, turn: 0, refused: None, ended: false }
    }

    /// Reads behind the tail; how many bytes came.
    fn poll_read(&mut self, cx: &mut Context<'_>, space: &mut [u8]) -> Poll<io::Result<usize>> {
        if std::mem::take(&mut self.leftover) {
            return Poll::Ready(Ok(0));
        }
        let mut buffer = ReadBuf::new(space);
        ready!(Pin::new(&mut self.io).poll_read(cx, &mut buffer))?;
        match buffer.filled().len() {
            0 => Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
            count => Poll::Ready(Ok(count)),
        }
    }

    /// Opens every whole record at the front of `filled` bytes; what is left becomes the tail.
    fn open(&mut self, plain: &mut Plaintext, filled: usize) {
        let Buffer { bytes, records } = &mut plain.buffer;
        let mut at = 0;
        while let Some(rest) = bytes.get_mut(at..filled) {
            match self.opener.open_in_place(rest) {
                Ok(Some(Opened { text, consumed })) => {
                    records.push(at + text.start..at + text.end);
                    at += consumed;
                }
                Ok(None) => break,
                Err(error) => {
                    self.refused = Some(error);
                    return;
                }
            }
        }
        let rest = bytes.get(at..filled).unwrap_or_default();
        plain.pending = !rest.is_empty();
        if rest.is_empty() && self.tail.capacity() > TAIL_KEPT {
            self.tail = Vec::new();
        }
        self.tail.extend_from_slice(rest);
    }
}

impl Stream for Reader {
    type Item = Arrived;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Arrived>> {
        if self.ended {
            return Poll::Ready(None);
        }
        if let Some(error) = self.refused.take() {
            self.ended = true;
            return Poll::Ready(Some(Arrived::Refused(error)));
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
        let mut plain = Plaintext::take();
        let kept = self.tail.len();
        // The handshake never leaves more than a buffer holds; a record's start never is more.
        let space = plain.buffer.bytes.get_mut(kept..).unwrap_or_default();
        let at_once = self.limit.as_ref().map_or(READ_MAX, ReadLimit::at_once);
        let space_len = space.len().min(READ_MAX).min(at_once);
        let space = space.get_mut(..space_len).unwrap_or_default();
        let read = match self.poll_read(cx, space) {
            Poll::Ready(Ok(read)) => read,
            Poll::Ready(Err(error)) => {
                self.ended = true;
                return Poll::Ready(Some(Arrived::Lost(error)));
            }
            Poll::Pending => {
                self.limit.iter().for_each(ReadLimit::found_nothing);
                return Poll::Pending;
            }
        };
        if let Some(limit) = &mut self.limit {
            limit.read(read, space_len);
        }
        let tail = std::mem::take(&mut self.tail);
        if let Some(front) = plain.buffer.bytes.get_mut(..kept) {
            front.copy_from_slice(&tail);
        }
        self.tail = tail;
        self.tail.clear();
        plain.read = if read == 0 { kept } else { read };
        self.turn = self.turn.saturating_add(plain.read);
        self.open(&mut plain, kept + read);
        Poll::Ready(Some(Arrived::Records(plain)))
    }
}
