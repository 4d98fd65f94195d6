//! One entry point a fuzz target (`fuzz/`, `tests/fuzz_smoke.rs`). Any input is a case; they
//! panic only when a promise is broken.

use bytes::{Bytes, BytesMut};

pub use crate::{
    circuits::fuzzing::fuzz_circuits as circuits,
    config::fuzz::fuzz_config as config,
    handshake::fuzzing::{
        fuzz_handshake_initiator as handshake_initiator,
        fuzz_handshake_responder as handshake_responder,
    },
    header::Header,
    kademlia::fuzzing::fuzz_discovery as discovery,
    noise::fuzzing::fuzz_record as record,
};
use crate::{
    circuits::{CircuitClose, CircuitCredit, CircuitId, CircuitOpen, OtherEnd},
    codec,
    connection::{Action, Connection, Terms},
    frame::{Assembler, GROW_AHEAD, RECORD_MAX},
    identity::{Keypair, NetworkId, NodeId, Purpose},
    kademlia::{Answer, Query},
    kinds::{KINDS, Kind, LANES, Sender},
    lanes::Lanes,
    messages::{
        Disconnect, DiscoveryHeader, GossipHeader, Hello, Inventory, MessageId, Outgoing, Peers,
        PeersRequest, Ping, RequestHeader, ResponseHeader, ResponseStatus, RoutedHeader, Signed,
        Takes, Topic, ValidatorProof, validator_proof_message,
    },
    record::SignedRecord,
    relay::{self, Inbound, PeerInfo, PeerSet, Relay, RelayConfig, Verdict},
    requests::{RequestConfig, Requests},
    time::Time,
};

/// An answer is read, or named for what is wrong; a request of ours is no answer.
pub fn stun(input: &[u8]) {
    if let Ok(answer) = crate::nat::read_answer(input) {
        let request = crate::nat::binding_request(answer.id);
        assert!(crate::nat::read_answer(&request).is_err());
    }
}

const NET: NetworkId = NetworkId([9; 32]);
const REMOTE: NodeId = NodeId([2; 32]);
const NOW: Time = Time(1_700_000_000_000);

/// The input as a list of small decisions; zeros when it has run out.
struct Script<'a>(&'a [u8]);

impl<'a> Script<'a> {
    fn byte(&mut self) -> u8 {
        let Some((byte, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *byte
    }

    fn number(&mut self) -> usize {
        usize::from(u16::from_le_bytes([self.byte(), self.byte()]))
    }

    fn bytes(&mut self, length: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(length.min(self.0.len()));
        self.0 = rest;
        taken
    }

    fn kind(&mut self) -> Kind {
        let index = usize::from(self.byte()) % KINDS.len();
        KINDS.get(index).map_or(Kind::Ping, |row| row.kind)
    }
}

/// The bytes of records, the first byte times 8 the length of each.
///
/// # Panics
/// If a message passes its limits or lane, or more is reserved than arrived and may be ahead.
pub fn frame(data: &[u8]) {
    let mut script = Script(data);
    let record_len = usize::from(script.byte()).saturating_mul(8).max(1);
    let (mut assembler, mut out, mut received) = (Assembler::default(), Vec::new(), 0usize);
    for record in script.0.chunks(record_len) {
        received += record.len();
        let framed = assembler.on_record(NOW, record, &mut out);
        assert!(assembler.reserved_bytes() <= 2 * received + LANES * GROW_AHEAD);
        if framed.is_err() {
            break;
        }
    }
    for message in out {
        assert!(message.body.len() <= message.kind.row().body_max);
        assert!(message.body.len() + message.header.len() <= received);
    }
}

/// Byte 0 is the kind, byte 1 the header's length with its highest bit for an honest header, the
/// rest header and body; through the codec, the relay and the requests.
///
/// # Panics
/// If a value does not encode to what it decodes from, or a machine orders something for a
/// message that it must not.
pub fn message(data: &[u8]) {
    let mut script = Script(data);
    let (kind, steer) = (script.kind(), script.byte());
    let header = match steer {
        0x80.. => honest_header(kind, steer & 7),
        length => Header::new(script.bytes(length.into())).unwrap_or_default(),
    };
    let body = Bytes::copy_from_slice(script.0);
    decode_both(kind, &header, &body);
    if body.len() > kind.row().body_max {
        return;
    }
    let mut asked = Vec::new();
    let mut requests = Requests::new(RequestConfig::default(), [3; 32]);
    requests.on_peer_up(NOW, REMOTE, &mut asked);
    match kind {
        Kind::Request => requests.on_request(NOW, REMOTE, &header, body, &mut asked),
        Kind::Response => requests.on_response(NOW, REMOTE, &header, body, &mut asked),
        _ => relayed(kind, header, body),
    }
    requests.on_deadline(NOW.plus(1 << 32), &mut asked);
}

fn honest_header(kind: Kind, hops: u8) -> Header {
    let topic = Topic(if kind == Kind::Custom { 1 } else { 0 });
    match kind {
        Kind::Request => Header::of(&RequestHeader { id: 1, topic, deadline_ms: 1000 }),
        Kind::Response => Header::of(&ResponseHeader { id: 1, status: ResponseStatus::Ok }),
        Kind::DiscoveryQuery | Kind::DiscoveryAnswer => Header::of(&DiscoveryHeader { id: 1 }),
        Kind::Routed => Header::of(&RoutedHeader { to: own().node_id(), hops }),
        Kind::CircuitOpen => {
            let other = OtherEnd::From(REMOTE);
            Header::of(&CircuitOpen { circuit: CircuitId(hops.into()), other })
        }
        Kind::CircuitOpened | Kind::CircuitData => Header::of(&CircuitId(hops.into())),
        Kind::CircuitCredit => {
            Header::of(&CircuitCredit { circuit: CircuitId(1), bytes: hops.into() })
        }
        Kind::CircuitClose => Header::of(&CircuitClose { circuit: CircuitId(1), reason: hops }),
        _ if kind.row().relay.is_some() => GossipHeader { hops, topic }.into(),
        _ => Header::EMPTY,
    }
}

fn own() -> Keypair {
    Keypair::from_seed(&[1; 32])
}

/// Whatever decodes must encode to a value's one spelling, which decodes to the same value.
fn one_spelling<T: serde::Serialize + serde::de::DeserializeOwned + PartialEq>(bytes: &[u8]) {
    let Ok(value) = codec::decode::<T>(bytes, bytes.len()) else { return };
    let spelled = codec::encode(&value).unwrap_or_default();
    let again = codec::decode_canonical::<T>(&spelled, spelled.len());
    assert!(again.is_ok_and(|again| again == value), "a value that is not its own encoding");
}

fn decode_both(kind: Kind, header: &[u8], body: &Bytes) {
    match kind {
        Kind::Hello => one_spelling::<Hello>(body),
        Kind::Ping | Kind::Pong => one_spelling::<Ping>(body),
        Kind::Takes => one_spelling::<Takes>(body),
        Kind::Disconnect => one_spelling::<Disconnect>(body),
        Kind::PeersRequest => one_spelling::<PeersRequest>(body),
        Kind::Peers => {
            one_spelling::<Peers>(body);
            if let Ok(record) = SignedRecord::decode(body) {
                assert_eq!(record.encode().unwrap_or_default(), body.as_ref());
                let _ = record.verify(&NET, NOW);
            }
        }
        Kind::Have | Kind::Want => one_spelling::<Inventory>(body),
        Kind::Request => one_spelling::<RequestHeader>(header),
        Kind::Response => one_spelling::<ResponseHeader>(header),
        Kind::DiscoveryQuery => one_spelling::<Query>(body),
        Kind::DiscoveryAnswer => one_spelling::<Answer>(body),
        Kind::Routed => one_spelling::<RoutedHeader>(header),
        Kind::CircuitOpen => one_spelling::<CircuitOpen>(header),
        Kind::CircuitOpened | Kind::CircuitData => one_spelling::<CircuitId>(header),
        Kind::CircuitCredit => one_spelling::<CircuitCredit>(header),
        Kind::CircuitClose => one_spelling::<CircuitClose>(header),
        Kind::Proposal | Kind::Vote => {
            one_spelling::<GossipHeader>(header);
            let valid = Signed::parse(body).map(|signed| signed.verify(kind, &NET));
            assert!(valid.is_some() || body.len() < crate::messages::SIGNED_PREFIX);
        }
        Kind::Block | Kind::Transaction | Kind::Custom => one_spelling::<GossipHeader>(header),
    }
}

/// The message meets a relay twice, and time passes.
fn relayed(kind: Kind, header: Header, body: Bytes) {
    let (mut relay, mut out) =
        (Relay::new(RelayConfig::default(), NET, own(), Some(own().public()), [4; 32]), Vec::new());
    relay.set_validators([own().public()].into());
    let info = PeerInfo {
        peer: REMOTE,
        validator: Some(own().public()),
        outbound: false,
        blocks_only: false,
    };
    let Some(slot) = relay.on_peer_up(NOW, info, &mut out) else { return };
    let id = MessageId::of(kind, Topic(0), &body);
    let message = Inbound { kind, header, body, id, first_byte: NOW };
    for now in [NOW, NOW.plus(1)] {
        relay.on_message(now, now, slot, message.clone(), &mut out);
    }
    let mut judged = 0;
    for action in std::mem::take(&mut out) {
        match action {
            relay::Action::Judge { ticket, .. } => {
                judged += 1;
                relay.on_verdict(NOW, ticket, Verdict::Accept, &mut out);
            }
            relay::Action::Verify { ticket, .. } => relay.on_verified(NOW, ticket, true, &mut out),
            relay::Action::Send { to, .. } => {
                assert_eq!(to, PeerSet::one(slot), "there is nobody else");
            }
            _ => {}
        }
    }
    assert!(judged <= 1 || kind == Kind::Custom, "the chain is asked once");
    relay.on_deadline(NOW.plus(1 << 32), &mut out);
}

/// A peer that finished the handshake, then does what the script says.
///
/// # Panics
/// If anything is delivered before the greeting or after the end, over a limit, or without the
/// role it takes.
pub fn connection(data: &[u8]) {
    let mut script = Script(data);
    let mut now = NOW;
    let mut out = Vec::new();
    let mut machine = Connection::new(now, terms(), &hello(false), 5, &mut out);
    let mut honest = Lanes::new(now, 8 << 20);
    let (mut greeted, mut ended) = (false, false);
    out.clear();
    while !script.0.is_empty() && !ended {
        let step = script.byte();
        match step % 8 {
            0 => honest.push(greeting(step & 0x80 != 0)),
            1 | 2 => honest.push(said(&mut script)),
            3 => {
                let length = script.number().min(RECORD_MAX);
                let record = script.bytes(length);
                machine.on_record(now, record, &mut out);
                continue_or_end(&machine, &mut out, &mut greeted, &mut ended);
                continue;
            }
            4 => {
                now = machine.deadline().unwrap_or(now).max(now);
                machine.on_deadline(now, &mut out);
                continue_or_end(&machine, &mut out, &mut greeted, &mut ended);
                continue;
            }
            _ => {
                now = now.plus(script.byte().into());
                continue;
            }
        };
        let mut record = BytesMut::new();
        honest.fill(now, &mut record, RECORD_MAX);
        if step & 0x40 != 0 {
            let at = script.number().checked_rem(record.len()).unwrap_or(0);
            let change = script.byte();
            record.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= change);
        }
        machine.on_record(now, &record, &mut out);
        continue_or_end(&machine, &mut out, &mut greeted, &mut ended);
    }
    out.clear();
    machine.on_record(now, &[2, 3, 0, 0], &mut out);
    machine.on_deadline(now, &mut out);
    assert!(!ended || out.is_empty(), "nothing comes after the end");
}

fn continue_or_end(
    machine: &Connection,
    out: &mut Vec<Action>,
    greeted: &mut bool,
    ended: &mut bool,
) {
    for action in out.drain(..) {
        assert!(!*ended, "nothing comes after the end");
        match action {
            Action::Greeted(_) => {
                assert!(!*greeted, "one greeting");
                *greeted = true;
            }
            Action::Deliver(message) => {
                assert!(*greeted, "nothing before the greeting");
                let row = message.kind.row();
                assert!(message.body.len() <= row.body_max);
                assert!(row.sender == Sender::Anyone || machine.validator().is_some());
            }
            Action::End(_) => *ended = true,
            Action::Send(_) | Action::RoundTrip(_) | Action::LastWord | Action::Takes(_) => {}
        }
    }
    assert_eq!(machine.deadline().is_none(), *ended);
}

fn said(script: &mut Script<'_>) -> Outgoing {
    let (kind, steer) = (script.kind(), script.byte());
    let header = match steer {
        0x80.. => honest_header(kind, steer & 7),
        length => Header::new(script.bytes(length.into())).unwrap_or_default(),
    };
    let length = script.number();
    Outgoing { kind, header, body: Bytes::copy_from_slice(script.bytes(length)) }
}

fn terms() -> Terms {
    Terms {
        network: NET,
        remote: REMOTE,
        handshake_hash: [3; 32],
        ping_interval: 20_000,
        ping_timeout: 10_000,
        idle_timeout: 60_000,
        hello_timeout: 5_000,
        reads_slowly: false,
    }
}

fn hello(validator: bool) -> Hello {
    let signed = validator_proof_message(&REMOTE, &[3; 32]);
    let proof = || ValidatorProof {
        key: own().public(),
        signature: own().sign(Purpose::ValidatorSession, &NET, &signed),
    };
    Hello {
        agent: codec::Text::cut("fuzz/1"),
        record: codec::Capped::default(),
        height: 0,
        observed: crate::address::Address::new([1, 2, 3, 4].into(), 5),
        metadata: codec::Capped::default(),
        validator: validator.then(proof),
        pace: Default::default(),
        purpose: Default::default(),
    }
}

fn greeting(validator: bool) -> Outgoing {
    crate::lanes::plain(Kind::Hello, codec::encode(&hello(validator)).unwrap_or_default())
}
