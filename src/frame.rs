//! Frames: pieces of messages inside an encrypted record, one lane each.
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

use bytes::{Buf, Bytes, BytesMut};

use crate::{
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

/// Messages up to this length get memory of their own, bytes: a slice of what was read keeps all
/// of that alive, and a peer could make a cache of small messages hold 600 times their size. A
/// longer one keeps at most four times its length.
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
    /// Its header's bytes.
    pub header: Bytes,
    /// Its body: a slice of the record if it came in one frame longer than [`COPY_MAX`].
    pub body: Bytes,
    /// When its first byte arrived.
    pub first_byte: Time,
}

#[derive(Debug)]
struct Partial {
    kind: Kind,
    header: Bytes,
    body: BytesMut,
    body_length: usize,
    first_byte: Time,
}

/// Puts messages back together, one at a time on each lane.
#[derive(Debug, Default)]
pub struct Assembler {
    partial: [Option<Partial>; LANES],
}

impl Assembler {
    /// Takes the frames of one record and adds every message they complete to `out`.
    ///
    /// # Errors
    /// [`FrameError`]; the assembler must not be used any more.
    pub fn on_record(
        &mut self,
        now: Time,
        mut record: Bytes,
        out: &mut Vec<Message>,
    ) -> Result<(), FrameError> {
        while !record.is_empty() {
            let [lane, flags, low, high] = *record.first_chunk().ok_or(FrameError::Truncated)?;
            let length = usize::from(u16::from_le_bytes([low, high]));
            record.advance(FRAME_HEADER);
            if length > record.len() {
                return Err(FrameError::Truncated);
            }
            let payload = record.split_to(length);
            let lane = Lane::from_byte(lane).ok_or(FrameError::UnknownLane(lane))?;
            out.extend(self.on_frame(now, lane, flags, payload)?);
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
        lane: Lane,
        flags: u8,
        payload: Bytes,
    ) -> Result<Option<Message>, FrameError> {
        if flags & !(FLAG_FIRST | FLAG_LAST) != 0 {
            return Err(FrameError::UnknownFlags);
        }
        let last = flags & FLAG_LAST != 0;
        let cell = self.partial.get_mut(lane as usize).ok_or(FrameError::OutOfOrder)?;
        if flags & FLAG_FIRST != 0 {
            if cell.is_some() {
                return Err(FrameError::OutOfOrder);
            }
            let payload = if last && payload.len() <= COPY_MAX {
                Bytes::copy_from_slice(&payload)
            } else {
                payload
            };
            let (partial, rest) = begin(now, lane, payload)?;
            if last {
                return if rest.len() == partial.body_length {
                    let Partial { kind, header, first_byte, .. } = partial;
                    Ok(Some(Message { kind, header, body: rest, first_byte }))
                } else {
                    Err(FrameError::WrongLength)
                };
            }
            return go_on(cell.insert(partial), &rest).map(|()| None);
        }
        let partial = cell.as_mut().ok_or(FrameError::OutOfOrder)?;
        go_on(partial, &payload)?;
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

/// Reads a message's head and header; what is left is the start of its body.
fn begin(now: Time, lane: Lane, mut payload: Bytes) -> Result<(Partial, Bytes), FrameError> {
    let [kind, header_length, a, b, c, d] = *payload.first_chunk().ok_or(FrameError::Truncated)?;
    payload.advance(MESSAGE_HEAD);
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
    let header_length = usize::from(header_length);
    if header_length > payload.len() {
        return Err(FrameError::Truncated);
    }
    let header = payload.split_to(header_length);
    let body = BytesMut::new();
    Ok((Partial { kind, header, body, body_length, first_byte: now }, payload))
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
