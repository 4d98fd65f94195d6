//! The fuzz target of circuits: three peers that say anything.

use bytes::{Bytes, BytesMut};

use super::{
    Action, CircuitClose, CircuitCredit, CircuitId, CircuitKey, CircuitOpen, CircuitPeer,
    CircuitReason, Circuits, CircuitsConfig, OtherEnd, WINDOW, sessions::Use,
};
use crate::{
    address::Address, header::Header, identity::NodeId, kinds::Kind, manager::SessionId,
    record::Capabilities, time::Time,
};

const PEERS: u8 = 3;

fn node(number: u8) -> NodeId {
    NodeId([number; 32])
}

fn arrives(machine: &mut Circuits, now: Time, number: u8, out: &mut Vec<Action>) {
    let address = Address::new([8, number, 1, 1].into(), 1);
    machine.on_session_up(
        now,
        CircuitPeer {
            session: SessionId(number.into()),
            peer: node(number),
            address,
            group: address.group(),
            outbound: number.is_multiple_of(2),
            capabilities: Capabilities::CIRCUITS.with(Capabilities::RELAY),
        },
        out,
    );
}

/// Checks an order; the circuit, if one was offered.
fn allowed(action: Action) -> Option<CircuitKey> {
    match action {
        Action::Offered { key, .. } => return Some(key),
        Action::Send { session, message } => {
            assert!(session.0 < u64::from(PEERS), "to a peer");
            assert!(message.body.len() <= message.kind.row().body_max);
        }
        Action::Received(_, bytes) => assert!(bytes.len() <= WINDOW as usize),
        _ => {}
    }
    None
}

/// Byte 0 of each step of four says what happens, the others to whom, to which circuit and how
/// much.
///
/// # Panics
/// If anything is sent to nobody, a circuit has more under way than its window, there are more
/// circuits than the quotas allow, or the counts of circuits by connection, identity and
/// neighbourhood are not those of a walk over all; or if anything is left when all have gone.
pub fn fuzz_circuits(data: &[u8]) {
    let mut now = Time(1);
    let config = CircuitsConfig { carried_max: 4, bytes_max: 1 << 18, ..Default::default() };
    let (mut machine, mut out) = (Circuits::new(node(PEERS), config), Vec::new());
    (0..PEERS).for_each(|number| arrives(&mut machine, now, number, &mut out));
    let mut keys: Vec<CircuitKey> = Vec::new();
    for step in data.chunks_exact(4) {
        let [what, who, circuit, much] = *step else { continue };
        let (number, circuit) = (who % PEERS, CircuitId(u32::from(circuit) % 16));
        let (session, other) = (SessionId(number.into()), node(who / PEERS % (PEERS + 2)));
        let (bytes, key) = (u32::from(much) << 8, keys.get(usize::from(much)).copied());
        let mut body = Bytes::new();
        let mut say = |kind, header: Header, body: &Bytes, out: &mut Vec<Action>| {
            machine.on_message(now, session, (kind, &header), body, out);
        };
        match what % 16 {
            0 => {
                let open = CircuitOpen { circuit, other: OtherEnd::To(other) };
                say(Kind::CircuitOpen, Header::of(&open), &body, &mut out);
            }
            1 => {
                let open = CircuitOpen { circuit, other: OtherEnd::From(other) };
                say(Kind::CircuitOpen, Header::of(&open), &body, &mut out);
            }
            2 => say(Kind::CircuitOpened, Header::of(&circuit), &body, &mut out),
            3..=5 => {
                body = Bytes::from(vec![7; usize::from(much) << 6]);
                say(Kind::CircuitData, Header::of(&circuit), &body, &mut out);
            }
            6 | 7 => {
                let credit = CircuitCredit { circuit, bytes };
                say(Kind::CircuitCredit, Header::of(&credit), &body, &mut out);
            }
            8 => {
                let close = CircuitClose { circuit, reason: much };
                say(Kind::CircuitClose, Header::of(&close), &body, &mut out);
            }
            9 => keys.extend(machine.dial(now, &node(number), other, &mut out).ok()),
            10 => key.into_iter().for_each(|key| machine.accept(key, &mut out)),
            11 => key.into_iter().for_each(|key| {
                machine.send(key, &mut BytesMut::zeroed(usize::from(much) << 8), &mut out);
            }),
            12 => key.into_iter().for_each(|key| machine.on_read(key, 1 << 14, &mut out)),
            13 => key.into_iter().for_each(|key| {
                machine.close(now, key, CircuitReason::Done, &mut out);
            }),
            14 => {
                machine.on_session_down(now, session, &mut out);
                arrives(&mut machine, now, number, &mut out);
            }
            _ => {
                now = now.plus(u64::from(much) << 4);
                machine.on_deadline(now, &mut out);
            }
        }
        out.drain(..).for_each(|action| keys.extend(allowed(action)));
        let (ends, carried) = machine.counts();
        assert!(carried <= 4, "quotas hold");
        assert!(ends <= 2 * usize::from(PEERS) * super::CIRCUITS_PER_SESSION_MAX);
        check(&machine);
        assert!(machine.deadline().is_none_or(|at| at > now), "deadlines are served");
    }
    (0..PEERS).for_each(|n| machine.on_session_down(now, SessionId(n.into()), &mut out));
    assert_eq!((machine.counts(), machine.deadline()), ((0, 0), None), "nothing is left");
    check(&machine);
}

/// Checks the machine's counts against each other.
fn check(machine: &Circuits) {
    let (ends, carried) = machine.counts();
    assert_eq!(machine.quotas.counts(), [carried; 3], "each circuit counts once by each count");
    let used = || machine.sessions.values().flat_map(|on| on.circuits.values());
    assert_eq!(used().filter(|using| matches!(using, Use::End(_))).count(), ends);
    assert_eq!(used().filter(|using| matches!(using, Use::Leg(..))).count(), 2 * carried);
    let windows = machine.carried.values().flat_map(|carried| carried.sendable);
    assert!(windows.into_iter().all(|left| left <= WINDOW), "no window grows");
}
