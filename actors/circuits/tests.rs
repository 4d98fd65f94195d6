//! The connections below circuits, as the actor keeps them.

use peerstage_core::{circuits::CircuitsConfig, lanes::plain, record::Capabilities};

use super::*;
use crate::shell::Fatal;

fn peer(number: u64, at: &str) -> CircuitPeer {
    let address: Address = at.parse().unwrap();
    CircuitPeer {
        session: SessionId(number),
        peer: NodeId([1; 32]),
        address,
        group: address.group(),
        outbound: true,
        capabilities: Capabilities::RELAY.with(Capabilities::CIRCUITS),
    }
}

fn actor() -> (Circuits, QueueStream<Accepted>) {
    let (accepted, incoming) = Queue::new("accepted", 8);
    let (observations, _) = Queue::new("observations", 8);
    let machine = Machine::new(NodeId([0; 32]), CircuitsConfig::default());
    let links = CircuitLinks { accepted, observations };
    let lifeline = Fatal::new(|_| ()).lifeline("circuits");
    let actor = Circuits::new(machine, links, Queue::new("circuits", 8), Clock::system(), lifeline);
    (actor, incoming)
}

fn hears(actor: &mut Circuits, input: ToCircuits) {
    let mut out = Vec::new();
    actor.hear(input, Time(1), &mut out);
    out.into_iter().for_each(|action| actor.carry_out(action));
}

/// A peer that replaces its connection again and again costs one connection; what waited on those
/// before is not kept, and none of them is dialled through.
#[test]
fn of_a_peers_connections_the_last_one_is_kept() {
    let (mut actor, _incoming) = actor();
    let mut kept = Vec::new();
    for number in 0..1_000 {
        let outbox = Outbox::new(Time(1), 1 << 20);
        outbox.push(plain(Kind::Ping, vec![0; 8]));
        let at = format!("8.8.8.8:{}", 1_000 + number);
        hears(&mut actor, ToCircuits::Up(peer(number, &at), outbox.clone()));
        kept.push(outbox);
    }
    assert_eq!((actor.below.len(), actor.current.len()), (1, 1));
    let (answer, mut answered) = oneshot::channel();
    let dial = CircuitDial { relay: NodeId([1; 32]), to: NodeId([2; 32]), answer };
    hears(&mut actor, ToCircuits::Dial(dial));
    let waits = |outbox: &Outbox| outbox.bytes();
    assert!(kept.iter().rev().skip(1).all(|old| waits(old) < waits(&kept[999])));
    let key = *actor.waiting.keys().next().unwrap();
    actor.carry_out(Action::Opened(key));
    let link = answered.try_recv().unwrap().unwrap();
    assert_eq!(link.remote.to_string(), "/ip4/8.8.8.8/tcp/1999/p2p-circuit");
    // The ends of the others come late, or are of those that nobody has told of before.
    (0..999).for_each(|number| hears(&mut actor, ToCircuits::Down(SessionId(number))));
    assert_eq!(actor.below.len(), 1);
    hears(&mut actor, ToCircuits::Down(SessionId(999)));
    assert_eq!((actor.below.len(), actor.current.len()), (0, 0));
    assert_eq!(actor.machine.counts(), (0, 0));
}

/// An answer for which nothing is there any more ends the circuit.
#[test]
fn a_circuit_that_nobody_waits_for_is_closed() {
    let (mut actor, _incoming) = actor();
    hears(&mut actor, ToCircuits::Up(peer(1, "8.8.8.8:1"), Outbox::new(Time(1), 1 << 20)));
    let (answer, _) = oneshot::channel();
    let dial = CircuitDial { relay: NodeId([1; 32]), to: NodeId([2; 32]), answer };
    hears(&mut actor, ToCircuits::Dial(dial));
    let key = *actor.waiting.keys().next().unwrap();
    actor.waiting.clear();
    actor.carry_out(Action::Opened(key));
    assert_eq!(actor.machine.counts(), (0, 0));
}
