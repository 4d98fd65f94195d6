//! One authenticated connection: greeting, liveness, class checks and rates.
//!
//! Feeds on the plaintext of records, in order; hands up whole messages that passed every check
//! which needs no other peer's state. The first message of both sides is [`Kind::Hello`].
//!
//! # Security
//! Provided: nothing is delivered before the greeting; every kind is held to its length, lane,
//! sender and rate; empty and tiny records are counted (attack row 6); a peer that starts a
//! message and then trickles is cut off (row 5); pings are answered within their own rate only.
//! Not provided: encryption ([`crate::noise`]), and any judgement of what messages say.

mod action;

pub use action::{Action, End, Terms, Violation};

use crate::{
    circuits::{CircuitClose, CircuitCredit, CircuitId, CircuitOpen},
    codec,
    frame::{Assembler, FrameError, Message},
    identity::{PublicKey, Purpose},
    kinds::{KINDS, Kind, Lane, Sender},
    lanes::plain,
    messages::{
        Disconnect, DiscoveryHeader, Hello, Ping, RequestHeader, ResponseHeader, RoutedHeader,
        Takes, Topic, validator_proof_message,
    },
    rate::{SLOWEST_BYTES_PER_SECOND, TokenBucket},
    reason::CloseReason,
    time::{Millis, Time, earliest},
};

/// How many bursts above its own pace a sender may arrive before it counts as a flood: covers
/// bytes that queued in the network and arrive at once.
const BURST_TOLERANCE: u32 = 2;
/// Records a peer may send at once, and each second (attack row 6: 100,000 a second offered).
const RECORDS_BURST: u32 = 40_000;
/// See [`RECORDS_BURST`]. Honest senders fill records, so this is 40 times what one needs.
const RECORDS_PER_SECOND: u32 = 20_000;
/// A read of a lane's stream below this counts as a record, bytes: more than a vote on its own.
const TINY_READ: usize = 512;
/// How long an unfinished message may take before its speed is looked at (attack row 5).
const TRICKLE_GRACE_MS: Millis = 10_000;
/// How often a node that reads slowly pings within the time that an answer may take.
const PINGS_A_TIMEOUT: Millis = 3;

/// The machine of one connection.
#[derive(Debug)]
pub struct Connection {
    terms: Terms,
    assembler: Assembler,
    messages: Vec<Message>,
    buckets: [TokenBucket; KINDS.len()],
    records: TokenBucket,
    started: Time,
    greeted: bool,
    validator: Option<PublicKey>,
    /// The nonce and time of the ping that waits for its answer.
    ping: Option<(u64, Time)>,
    next_ping: Time,
    ping_nonce: u64,
    trickle: Option<(Time, u64)>,
    last_heard: Time,
    partial_record: bool,
    /// The other side has said its last word and sends nothing more of its own accord.
    parted: bool,
    ended: bool,
}

impl Connection {
    /// A connection whose handshake has just ended. `nonce` starts the sequence of ping nonces.
    pub fn new(now: Time, terms: Terms, hello: &Hello, nonce: u64, out: &mut Vec<Action>) -> Self {
        if let Ok(body) = codec::encode(hello) {
            out.push(Action::Send(plain(Kind::Hello, body)));
        }
        let factor = u32::from(hello.pace.rate_factor.max(1));
        Connection {
            assembler: Assembler::default(),
            messages: Vec::new(),
            buckets: KINDS.map(|row| row.bucket(now, factor, BURST_TOLERANCE)),
            records: TokenBucket::new(
                now,
                RECORDS_PER_SECOND.saturating_mul(factor),
                RECORDS_BURST.saturating_mul(factor),
            ),
            started: now,
            greeted: false,
            validator: None,
            ping: None,
            next_ping: now.plus(terms.ping_interval),
            ping_nonce: nonce,
            trickle: None,
            last_heard: now,
            partial_record: false,
            parted: false,
            ended: false,
            terms,
        }
    }

    /// The validator key the peer proved to speak for.
    #[must_use]
    pub fn validator(&self) -> Option<PublicKey> {
        self.validator
    }

    /// The plaintext of the next record.
    pub fn on_record(&mut self, now: Time, record: &[u8], out: &mut Vec<Action>) {
        if self.ended {
            return;
        }
        if !self.records.take(now, 1) {
            return self.end(Violation::TooManyRecords.into(), out);
        }
        let mut messages = std::mem::take(&mut self.messages);
        let framed = self.assembler.on_record(now, record, &mut messages);
        self.on_framed(now, (messages, framed), record.len() as u64, out);
    }

    /// Whole frames from the stream of one lane, where each lane has its own. There are no
    /// records to count then, only reads that brought next to nothing.
    pub fn on_frames(&mut self, now: Time, lane: Lane, frames: &[u8], out: &mut Vec<Action>) {
        if self.ended {
            return;
        }
        if frames.len() < TINY_READ && !self.records.take(now, 1) {
            return self.end(Violation::TooManyRecords.into(), out);
        }
        let mut messages = std::mem::take(&mut self.messages);
        let framed = self.assembler.on_stream(now, lane, frames, &mut messages);
        self.on_framed(now, (messages, framed), frames.len() as u64, out);
    }

    /// The peer opened a stream that belongs to no lane.
    pub fn on_stray_stream(&mut self, out: &mut Vec<Action>) {
        if !self.ended {
            self.end(Violation::StrayStream.into(), out);
        }
    }

    fn on_framed(
        &mut self,
        now: Time,
        (mut messages, framed): (Vec<Message>, Result<(), FrameError>),
        length: u64,
        out: &mut Vec<Action>,
    ) {
        self.last_heard = now;
        for message in messages.drain(..) {
            if let Err(end) = self.on_message(now, message, out) {
                return self.end(end, out);
            }
        }
        self.messages = messages;
        if let Err(error) = framed {
            return self.end(Violation::Frame(error).into(), out);
        }
        self.watch_trickle(now, length);
    }

    /// Bytes arrived that end no record: `pending` of a record wait for the rest of it. A record
    /// that trickles is watched like a message that does.
    pub fn on_partial_record(&mut self, now: Time, bytes: usize, pending: bool) {
        self.partial_record = pending;
        self.last_heard = now;
        self.watch_trickle(now, bytes as u64);
    }

    /// When the machine wants to be woken.
    #[must_use]
    pub fn deadline(&self) -> Option<Time> {
        if self.ended || self.parted {
            return None;
        }
        let hello = (!self.greeted).then(|| self.started.plus(self.terms.hello_timeout));
        let ping = match self.ping {
            Some((_, sent)) => self.unanswered(sent).min(self.repeat_at(sent)),
            None => self.next_ping,
        };
        let idle = self.last_heard.plus(self.terms.idle_timeout);
        let trickle = self.trickle.map(|(since, _)| since.plus(TRICKLE_GRACE_MS));
        earliest(earliest(hello, Some(ping.min(idle))), trickle)
    }

    /// The time of [`Connection::deadline`] has come.
    pub fn on_deadline(&mut self, now: Time, out: &mut Vec<Action>) {
        if self.ended || self.parted {
            return;
        }
        if !self.greeted && now >= self.started.plus(self.terms.hello_timeout) {
            return self.end(End::HelloTimeout, out);
        }
        if let Some((since, bytes)) = self.trickle {
            let age = now.since(since);
            if age >= TRICKLE_GRACE_MS {
                if bytes.saturating_mul(1000) / age.max(1) < SLOWEST_BYTES_PER_SECOND {
                    return self.end(End::TooSlow, out);
                }
                self.trickle = Some((now, 0));
            }
        }
        if now >= self.last_heard.plus(self.terms.idle_timeout) {
            return self.end(End::Idle, out);
        }
        match self.ping {
            Some((_, sent)) if now >= self.unanswered(sent) => self.end(End::PingTimeout, out),
            Some((_, sent)) if now >= self.repeat_at(sent) => self.send_ping(now, out),
            None if now >= self.next_ping => self.send_ping(now, out),
            _ => {}
        }
    }

    /// When a ping that is not answered ends the connection.
    fn unanswered(&self, sent: Time) -> Time {
        sent.max(self.last_heard).plus(self.terms.ping_timeout)
    }

    /// Whoever reads slowly hears the answer late, and the other's pings too: it says that it
    /// lives by pinging again.
    fn repeat_at(&self, sent: Time) -> Time {
        if self.terms.reads_slowly {
            sent.plus((self.terms.ping_timeout / PINGS_A_TIMEOUT).max(1))
        } else {
            Time(u64::MAX)
        }
    }

    fn end(&mut self, end: End, out: &mut Vec<Action>) {
        self.ended = true;
        out.push(Action::End(end));
    }

    fn send_ping(&mut self, now: Time, out: &mut Vec<Action>) {
        self.ping_nonce = self.ping_nonce.wrapping_add(1);
        self.ping = Some((self.ping_nonce, now));
        if let Ok(body) = codec::encode(&Ping { nonce: self.ping_nonce }) {
            out.push(Action::Send(plain(Kind::Ping, body)));
        }
    }

    /// Remembers how fast an unfinished message or record grows.
    fn watch_trickle(&mut self, now: Time, length: u64) {
        let unfinished = !self.terms.reads_slowly
            && (self.partial_record || self.assembler.oldest_unfinished().is_some());
        self.trickle = match self.trickle {
            _ if !unfinished => None,
            None => Some((now, length)),
            Some((since, bytes)) => Some((since, bytes.saturating_add(length))),
        };
    }

    fn on_message(
        &mut self,
        now: Time,
        message: Message,
        out: &mut Vec<Action>,
    ) -> Result<(), End> {
        let kind = message.kind;
        if (kind == Kind::Hello) == self.greeted && kind != Kind::Disconnect {
            return Err(Violation::OutOfTurn(kind).into());
        }
        let paid = self.buckets.get_mut(kind.index()).is_some_and(|bucket| bucket.take(now, 1));
        if !paid {
            return Err(Violation::TooMany(kind).into());
        }
        if kind.row().sender == Sender::Validator && self.validator.is_none() {
            return Err(Violation::WrongRole(kind).into());
        }
        match kind {
            Kind::Hello => self.on_hello(now, &message, out),
            Kind::Ping => {
                let ping: Ping = body_of(&message)?;
                let body = codec::encode(&ping).map_err(|_| Violation::Malformed(kind))?;
                out.push(Action::Send(plain(Kind::Pong, body)));
                Ok(())
            }
            Kind::Pong => {
                let pong: Ping = body_of(&message)?;
                if let Some((_, sent)) = self.ping.filter(|(nonce, _)| *nonce == pong.nonce) {
                    self.ping = None;
                    self.next_ping = now.plus(self.terms.ping_interval);
                    out.push(Action::RoundTrip(now.since(sent)));
                }
                Ok(())
            }
            Kind::Takes => {
                let takes: Takes = body_of(&message)?;
                out.push(Action::Takes(takes.bytes_per_second));
                Ok(())
            }
            Kind::Disconnect => {
                let Disconnect { reason, retry_after_ms } = body_of(&message)?;
                if reason == CloseReason::Upgraded.code() && self.greeted {
                    // Other lanes may still bring what was sent before it.
                    self.parted = true;
                    out.push(Action::LastWord);
                    return Ok(());
                }
                Err(End::Remote { reason, retry_after_ms })
            }
            _ => {
                check_header(&message)?;
                out.push(Action::Deliver(message));
                Ok(())
            }
        }
    }

    fn on_hello(&mut self, now: Time, message: &Message, out: &mut Vec<Action>) -> Result<(), End> {
        let hello: Hello = body_of(message)?;
        if let Some(proof) = &hello.validator {
            let signed = validator_proof_message(&self.terms.remote, &self.terms.handshake_hash);
            let network = &self.terms.network;
            if !proof.key.verify(Purpose::ValidatorSession, network, &signed, &proof.signature) {
                return Err(Violation::FalseProof.into());
            }
            self.validator = Some(proof.key);
        }
        self.greeted = true;
        // The first ping goes out with the greeting, so that a young peer has a latency at once.
        self.next_ping = now;
        out.push(Action::Greeted(Box::new(hello)));
        self.send_ping(now, out);
        Ok(())
    }
}

/// Decodes a connection message, which has a body and no header.
fn body_of<T>(message: &Message) -> Result<T, End>
where
    T: serde::Serialize + serde::de::DeserializeOwned,
{
    let malformed = End::Violation(Violation::Malformed(message.kind));
    if !message.header.is_empty() {
        return Err(malformed);
    }
    codec::decode_canonical(&message.body, message.kind.row().body_max).map_err(|_| malformed)
}

/// Refuses a header that is not what its kind has.
fn check_header(message: &Message) -> Result<(), End> {
    let header = &message.header;
    let well_formed = match message.kind {
        Kind::Block | Kind::Transaction | Kind::Proposal | Kind::Vote | Kind::Custom => {
            // Only custom messages have a topic: another spelling would be another id.
            let topic_allowed = message.kind == Kind::Custom;
            header.gossip().is_some_and(|header| topic_allowed || header.topic == Topic(0))
        }
        Kind::Request => header.read::<RequestHeader>().is_some(),
        Kind::Response => header.read::<ResponseHeader>().is_some(),
        Kind::DiscoveryQuery | Kind::DiscoveryAnswer => header.read::<DiscoveryHeader>().is_some(),
        Kind::Routed => header.read::<RoutedHeader>().is_some(),
        Kind::CircuitOpen => header.read::<CircuitOpen>().is_some(),
        Kind::CircuitOpened | Kind::CircuitData => header.read::<CircuitId>().is_some(),
        Kind::CircuitCredit => header.read::<CircuitCredit>().is_some(),
        Kind::CircuitClose => header.read::<CircuitClose>().is_some(),
        Kind::PeersRequest | Kind::Peers | Kind::Have | Kind::Want => header.is_empty(),
        Kind::Hello | Kind::Ping | Kind::Pong | Kind::Takes | Kind::Disconnect => header.is_empty(),
    };
    if well_formed { Ok(()) } else { Err(Violation::Malformed(message.kind).into()) }
}

#[cfg(test)]
mod tests;
