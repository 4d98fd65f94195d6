//! Frames: pieces of messages inside an encrypted record, one lane each.
//!
//! The assembler reads records where they were decrypted and copies what it keeps, once: the
//! pieces of a long message into its body, all small messages of a record together.
//!
//! A record holds whole frames. A frame is `lane u8 | flags u8 | length u16 LE | payload`; the
//! first frame of a message starts with the message head `kind u8 | header length u8 |
//! body length u32 LE` and the whole header. Lanes interleave, messages of one lane don't.
//!
//! # Security
//! Provided: a length beyond the kind's limit is refused before anything is allocated for it
//! (attack row 4); memory grows with the bytes that arrive, at most [`GROW_AHEAD`] in front of
//! them (row 5, the rule of Bitcoin Core's `net.cpp`).
//! Not provided: rate limits and deadlines; those are [`crate::connection`]'s.

use bytes::{Bytes, BytesMut};

use crate::{
    header::Header,
    kinds::{Kind, LANES, Lane},
    time::Time,
};

/// Bytes of a frame's header.
pub const FRAME_HEADER: usize = 4;
/// Bytes of a message's head, in its first frame.
pub const MESSAGE_HEAD: usize = 6;
/// The longest plaintext of a record: 65,535 less the tag's 16 (Noise revision 34, section 3).
pub const RECORD_MAX: usize = 65_519;
/// The longest payload of a frame, so that a frame always fits a record.
pub const FRAME_PAYLOAD_MAX: usize = RECORD_MAX - FRAME_HEADER;
/// How far a buffer may grow in front of the bytes received, bytes.
pub const GROW_AHEAD: usize = 256 * 1024;

/// Messages up to this length that arrive in one record share one copy of it, bytes. Whoever
/// keeps one copies it again ([`keep`]): a slice keeps its whole record alive, and a
/// peer could make a cache of small messages hold 600 times their size.
pub const COPY_MAX: usize = 16 * 1024;

/// Flag: the frame starts a message.
pub const FLAG_FIRST: u8 = 1;
/// Flag: the frame ends a message.
pub const FLAG_LAST: u8 = 2;

/// Why a record's plaintext is refused. Each ends the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// A frame's header or payload is cut short.
    #[error("a frame is cut short")]
    Truncated,
    /// No such lane.
    #[error("there is no lane {0}")]
    UnknownLane(u8),
    /// Reserved flag bits are set.
    #[error("reserved flag bits are set")]
    UnknownFlags,
    /// A frame continues a message that never started, or starts one inside another.
    #[error("a frame is out of order on its lane")]
    OutOfOrder,
    /// No such kind.
    #[error("there is no message kind {0}")]
    UnknownKind(u8),
    /// Longer than any header.
    #[error("a header of {0} bytes is longer than any")]
    HeaderTooLong(u8),
    /// A frame of another lane than its stream's.
    #[error("a frame of lane {0} on the stream of another")]
    WrongStream(u8),
    /// The kind travels in another lane.
    #[error("{0} travels in another lane")]
    WrongLane(Kind),
    /// The body would be longer than its kind allows.
    #[error("a {kind} of {length} bytes is longer than it may be")]
    Oversized {
        /// The kind.
        kind: Kind,
        /// The claimed length, bytes.
        length: u32,
    },
    /// The message ends before, or goes on after, its claimed length.
    #[error("a message is not as long as it said")]
    WrongLength,
}

/// A whole message as it arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// What it is.
    pub kind: Kind,
    /// Its header.
    pub header: Header,
    /// Its body: up to [`COPY_MAX`] a slice of its record's copy, beyond memory of its own.
    pub body: Bytes,
    /// When its first byte arrived.
    pub first_byte: Time,
}

/// A body with memory of its own, to be kept for as long as it takes.
#[must_use]
pub fn keep(body: &Bytes) -> Bytes {
    if body.len() <= COPY_MAX { Bytes::copy_from_slice(body) } else { body.clone() }
}

#[derive(Debug)]
struct Partial {
    kind: Kind,
    header: Header,
    body: BytesMut,
    body_length: usize,
    first_byte: Time,
}

/// A message's head and header, as the start of its first frame's payload has them.
struct Head {
    kind: Kind,
    header: Header,
    body_length: usize,
    /// Bytes of head and header.
    length: usize,
}

/// One record while it is read, and the copy that its small messages share.
struct Source<'a> {
    record: &'a [u8],
    /// The copy and where in the record it starts.
    copied: Option<(usize, Bytes)>,
}

/// A frame's place in its record.
#[derive(Clone, Copy)]
struct Frame {
    lane: Lane,
    flags: u8,
    /// Where its payload starts and ends.
    start: usize,
    end: usize,
}

/// Puts messages back together, one at a time on each lane.
#[derive(Debug, Default)]
pub struct Assembler {
    partial: [Option<Box<Partial>>; LANES],
}

impl Source<'_> {
    fn frame_at(&self, at: usize) -> Result<Frame, FrameError> {
        let header = self.record.get(at..).and_then(|rest| rest.first_chunk::<FRAME_HEADER>());
        let [lane, flags, low, high] = *header.ok_or(FrameError::Truncated)?;
        let start = at + FRAME_HEADER;
        let end = start + usize::from(u16::from_le_bytes([low, high]));
        if end > self.record.len() {
            return Err(FrameError::Truncated);
        }
        let lane = Lane::from_byte(lane).ok_or(FrameError::UnknownLane(lane))?;
        if flags & !(FLAG_FIRST | FLAG_LAST) != 0 {
            return Err(FrameError::UnknownFlags);
        }
        Ok(Frame { lane, flags, start, end })
    }

    fn bytes(&self, start: usize, end: usize) -> &[u8] {
        self.record.get(start..end).unwrap_or_default()
    }

    /// A whole body: a slice of the copy that the record's small messages share, or its own.
    fn body(&mut self, start: usize, end: usize) -> Bytes {
        if end.saturating_sub(start) > COPY_MAX {
            return Bytes::copy_from_slice(self.bytes(start, end));
        }
        let record = self.record;
        let (from, copy) = self.copied.get_or_insert_with(|| {
            (start, Bytes::copy_from_slice(record.get(start..).unwrap_or_default()))
        });
        copy.slice(start.saturating_sub(*from)..end.saturating_sub(*from))
    }
}

impl Assembler {
    /// Takes the frames of one record and adds every message they complete to `out`.
    ///
    /// # Errors
    /// [`FrameError`]; the assembler must not be used any more.
    pub fn on_record(
        &mut self,
        now: Time,
        record: &[u8],
        out: &mut Vec<Message>,
    ) -> Result<(), FrameError> {
        let mut source = Source { record, copied: None };
        let mut at = 0;
        while at < record.len() {
            let frame = source.frame_at(at)?;
            at = frame.end;
            out.extend(self.on_frame(now, frame, &mut source)?);
        }
        Ok(())
    }

    /// Takes whole frames from the stream of one lane and adds every message they complete to
    /// `out`.
    ///
    /// # Errors
    /// [`FrameError`]; the assembler must not be used any more.
    pub fn on_stream(
        &mut self,
        now: Time,
        lane: Lane,
        frames: &[u8],
        out: &mut Vec<Message>,
    ) -> Result<(), FrameError> {
        let mut source = Source { record: frames, copied: None };
        let mut at = 0;
        while at < frames.len() {
            let frame = source.frame_at(at)?;
            if frame.lane != lane {
                return Err(FrameError::WrongStream(frame.lane as u8));
            }
            at = frame.end;
            out.extend(self.on_frame(now, frame, &mut source)?);
        }
        Ok(())
    }

    /// When the first byte of the oldest unfinished message arrived.
    #[must_use]
    pub fn oldest_unfinished(&self) -> Option<Time> {
        self.partial.iter().flatten().map(|partial| partial.first_byte).min()
    }

    /// Bytes reserved for unfinished messages.
    #[must_use]
    pub fn reserved_bytes(&self) -> usize {
        self.partial.iter().flatten().map(|partial| partial.body.capacity()).sum()
    }

    fn on_frame(
        &mut self,
        now: Time,
        Frame { lane, flags, start, end }: Frame,
        source: &mut Source<'_>,
    ) -> Result<Option<Message>, FrameError> {
        let last = flags & FLAG_LAST != 0;
        let cell = self.partial.get_mut(lane as usize).ok_or(FrameError::OutOfOrder)?;
        if flags & FLAG_FIRST != 0 {
            if cell.is_some() {
                return Err(FrameError::OutOfOrder);
            }
            let Head { kind, header, body_length, length } = head(lane, source.bytes(start, end))?;
            let start = start + length;
            if last {
                if end - start != body_length {
                    return Err(FrameError::WrongLength);
                }
                let body = source.body(start, end);
                return Ok(Some(Message { kind, header, body, first_byte: now }));
            }
            let body = BytesMut::new();
            let partial = Partial { kind, header, body, body_length, first_byte: now };
            return go_on(cell.insert(Box::new(partial)), source.bytes(start, end)).map(|()| None);
        }
        let partial = cell.as_mut().ok_or(FrameError::OutOfOrder)?;
        go_on(partial, source.bytes(start, end))?;
        if !last {
            return Ok(None);
        }
        match cell.take() {
            Some(whole) if whole.body.len() == whole.body_length => Ok(Some(Message {
                kind: whole.kind,
                header: whole.header,
                body: whole.body.freeze(),
                first_byte: whole.first_byte,
            })),
            _ => Err(FrameError::WrongLength),
        }
    }
}

/// Reads a message's head and header.
fn head(lane: Lane, payload: &[u8]) -> Result<Head, FrameError> {
    let [kind, header_length, a, b, c, d] =
        *payload.first_chunk::<MESSAGE_HEAD>().ok_or(FrameError::Truncated)?;
    let kind = Kind::from_byte(kind).ok_or(FrameError::UnknownKind(kind))?;
    let row = kind.row();
    if row.lane != lane {
        return Err(FrameError::WrongLane(kind));
    }
    let length = u32::from_le_bytes([a, b, c, d]);
    let body_length = usize::try_from(length).unwrap_or(usize::MAX);
    if body_length > row.body_max {
        return Err(FrameError::Oversized { kind, length });
    }
    let length = MESSAGE_HEAD + usize::from(header_length);
    let header = payload.get(MESSAGE_HEAD..length).ok_or(FrameError::Truncated)?;
    let header = Header::new(header).ok_or(FrameError::HeaderTooLong(header_length))?;
    Ok(Head { kind, header, body_length, length })
}

/// Adds a piece of the body.
fn go_on(partial: &mut Partial, piece: &[u8]) -> Result<(), FrameError> {
    let left = partial.body_length.saturating_sub(partial.body.len());
    if piece.len() > left {
        return Err(FrameError::WrongLength);
    }
    if partial.body.capacity().saturating_sub(partial.body.len()) < piece.len() {
        partial.body.reserve(left.min(GROW_AHEAD));
    }
    partial.body.extend_from_slice(piece);
    Ok(())
}

#[cfg(test)]
mod tests;
