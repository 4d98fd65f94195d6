//! Peers that come and go: their slots, and what is left of them.

use super::*;

fn inbound(kind: Kind, body: &[u8], at: Time) -> Inbound {
    let Outgoing { kind, header, body } =
        Relay::outgoing(kind, 0, Topic(0), &Bytes::copy_from_slice(body));
    Inbound { kind, id: MessageId::of(kind, Topic(0), &body), header, body, first_byte: at }
}

fn relay() -> Relay {
    Relay::new(RelayConfig::default(), NET, keypair(0), None, [3; 32])
}

fn up(relay: &mut Relay, n: usize, out: &mut Vec<Action>) -> PeerSlot {
    let info = PeerInfo {
        peer: keypair(n).node_id(),
        validator: None,
        outbound: false,
        blocks_only: false,
    };
    relay.on_peer_up(START, info, out).unwrap()
}

#[test]
fn the_lowest_free_slot_is_given_and_a_left_one_only_after_it_was_cleared() {
    let (mut relay, mut out) = (relay(), Vec::new());
    let slots: Vec<usize> = (1..=4).map(|n| up(&mut relay, n, &mut out).index()).collect();
    assert_eq!(slots, [0, 1, 2, 3]);
    let mut seen = BTreeSet::new();
    for n in 5..105 {
        let slot = up(&mut relay, n, &mut out);
        seen.insert(slot.index());
        relay.on_peer_down(START, slot, &mut out);
        relay.on_peer_down(START, slot, &mut out);
    }
    assert_eq!(seen, (4..68).collect(), "64 wait, then all are free again, the lowest first");
    assert_eq!(relay.status().peers, 4);
}

#[test]
fn we_are_no_peer_and_who_comes_back_gets_another_slot() {
    let (mut relay, mut out) = (relay(), Vec::new());
    let own = PeerInfo {
        peer: keypair(0).node_id(),
        validator: None,
        outbound: true,
        blocks_only: false,
    };
    assert_eq!(relay.on_peer_up(START, own, &mut out), None);
    let first = up(&mut relay, 1, &mut out);
    let second = up(&mut relay, 1, &mut out);
    assert_ne!(first, second);
    assert_eq!((relay.status().peers, relay.slot(&keypair(1).node_id())), (1, Some(second)));
    relay.on_message(START, START, first, inbound(Kind::Block, b"x", START), &mut out);
    let mut counts = Vec::new();
    relay.take_counts(&mut |_, reason, _| counts.push(reason));
    assert_eq!(counts, [DropReason::UnknownPeer]);
}

/// A new peer in an old slot: not blamed for what the old one sent, not thought to have what it
/// had, not credited for what it did, and sent what it lacks.
#[test]
fn a_new_peer_inherits_nothing() {
    let (mut relay, mut out) = (relay(), Vec::new());
    let sender = up(&mut relay, 1, &mut out);
    let waiting = [inbound(Kind::Block, b"bad", START), inbound(Kind::Transaction, b"1", START)];
    for message in waiting.clone() {
        relay.on_message(START, START, sender, message, &mut out);
    }
    let tickets: Vec<VerdictTicket> = out
        .drain(..)
        .filter_map(|action| match action {
            Action::Judge { ticket, .. } => Some(ticket),
            _ => None,
        })
        .collect();
    relay.on_peer_down(START, sender, &mut out);
    // The slots of all who left are cleared when the 65th peer after them comes.
    for n in 2..65 {
        let slot = up(&mut relay, n, &mut out);
        relay.on_peer_down(START, slot, &mut out);
    }
    let heir = up(&mut relay, 100, &mut out);
    assert_eq!(heir, sender);
    relay.on_verdict(START, tickets[0], Verdict::Reject("bad".into()), &mut out);
    assert_eq!(out, [], "nobody is there to be blamed");
    relay.on_verdict(START, tickets[1], Verdict::Accept, &mut out);
    let to: Vec<PeerSet> = out
        .drain(..)
        .filter_map(|action| match action {
            Action::Send { to, .. } => Some(to),
            _ => None,
        })
        .collect();
    assert_eq!(to, [PeerSet::one(heir)], "it is sent what the old peer sent us");
    relay.take_credits(&mut |node, _, _, _| assert_ne!(node, keypair(100).node_id()));
    let [_, copy] = waiting;
    for _ in 0..2 {
        relay.on_message(START, START, heir, copy.clone(), &mut out);
    }
    assert_eq!(out, [], "two copies from it are its first two");
}

/// A peer that left still answers for what it sent, until its slot is cleared.
#[test]
fn leaving_does_not_save_from_blame() {
    let (mut relay, mut out) = (relay(), Vec::new());
    let sender = up(&mut relay, 1, &mut out);
    relay.on_message(START, START, sender, inbound(Kind::Block, b"bad", START), &mut out);
    let Some(Action::Judge { ticket, .. }) = out.pop() else { panic!("{out:?}") };
    relay.on_peer_down(START, sender, &mut out);
    relay.on_verdict(START, ticket, Verdict::Reject("bad".into()), &mut out);
    let [Action::Penalise { peer, fault, .. }] = &out[..] else { panic!("{out:?}") };
    assert_eq!((*peer, *fault), (keypair(1).node_id(), RelayFault::InvalidBlock));
}

/// What comes after its time is counted by its kind.
#[test]
fn a_late_verdict_is_counted_by_its_kind() {
    let (mut relay, mut out) = (relay(), Vec::new());
    let sender = up(&mut relay, 1, &mut out);
    for kind in [Kind::Transaction, Kind::Block] {
        relay.on_message(START, START, sender, inbound(kind, b"slow", START), &mut out);
        let Some(Action::Judge { ticket, .. }) = out.pop() else { panic!("{out:?}") };
        assert_eq!(ticket.kind(), Some(kind));
        for _ in 0..2 {
            relay.on_verdict(START, ticket, Verdict::Ignore, &mut out);
        }
        let mut late = Vec::new();
        relay.take_counts(&mut |kind, reason, count| {
            if reason == DropReason::LateVerdict {
                late.push((kind, count));
            }
        });
        assert_eq!(late, [(kind, 1)]);
    }
    relay.on_verdict(START, VerdictTicket(0), Verdict::Ignore, &mut out);
}

/// A body that is a slice of a large buffer is copied once, and only if it is kept.
#[test]
fn a_kept_body_is_copied_once_and_a_duplicate_never() {
    let (mut relay, mut out) = (relay(), Vec::new());
    let (sender, _) = (up(&mut relay, 1, &mut out), up(&mut relay, 2, &mut out));
    for length in [300, crate::frame::COPY_MAX, crate::frame::COPY_MAX + 1] {
        let buffer = Bytes::from(vec![length as u8; 100_000]);
        let mut message = inbound(Kind::Block, &buffer[..length], START);
        message.body = buffer.slice(..length);
        relay.on_message(START, START, sender, message.clone(), &mut out);
        let Some(Action::Judge { ticket, message: judged }) = out.pop() else { panic!("{out:?}") };
        let copied = judged.body.as_ptr() != buffer.as_ptr();
        assert_eq!(copied, length <= crate::frame::COPY_MAX);
        relay.on_verdict(START, ticket, Verdict::Accept, &mut out);
        let Some(Action::Send { message: sent, .. }) = out.pop() else { panic!("{out:?}") };
        assert_eq!(sent.body.as_ptr(), judged.body.as_ptr(), "judged and forwarded are one");
        let at = relay.table.find(Kind::Block, &message.id).unwrap();
        let stored = relay.table.get(at).unwrap().body.as_ref().unwrap();
        assert_eq!(stored.as_ptr(), judged.body.as_ptr(), "stored too");
        relay.on_message(START, START, sender, message, &mut out);
        assert_eq!(out, []);
    }
}

#[test]
fn an_order_is_small() {
    assert!(size_of::<Action>() <= 144, "{}", size_of::<Action>());
}

/// 0 and 1 exchange blocks and nothing else; 1 and 2 everything.
#[test]
fn a_connection_for_blocks_carries_nothing_else() {
    let mut net = Network::new(3, 0, 1);
    net.link_for(0, 1, true);
    net.link(1, 2);
    net.run(500);
    let everywhere =
        [0, 2].map(|origin| (origin, net.broadcast(origin, Kind::Block, &[origin as u8]).id));
    let mut elsewhere = Vec::new();
    for kind in [Kind::Transaction, Kind::Custom] {
        assert!(net.broadcast(0, kind, b"from 0").sent.is_empty(), "{kind:?}");
        elsewhere.push(net.broadcast(2, kind, b"from 2").id);
    }
    net.run(10_000);
    everywhere.into_iter().for_each(|(origin, id)| net.assert_everywhere_once(origin, id));
    for id in elsewhere {
        assert_eq!((net.times(1, id), net.times(0, id)), (1, 0), "not beyond 1");
    }
    assert!(net.nodes[0].delivered.iter().all(|message| message.kind == Kind::Block));
    assert_eq!((net.penalties.as_slice(), net.told_in_vain), (&[][..], 0));
}

/// The two greetings cross: what comes all the same is dropped and costs nothing, and what is
/// announced is not asked for.
#[test]
fn what_comes_over_a_connection_for_blocks_all_the_same_costs_nothing() {
    let mut net = Network::new(2, 0, 1);
    net.nodes[1].hostile = true;
    net.link_for(0, 1, true);
    let body = Bytes::from_static(b"a transaction");
    net.transmit(1, 0, Relay::outgoing(Kind::Transaction, 0, Topic(0), &body));
    let id = MessageId::of(Kind::Transaction, Topic(0), b"another");
    let body = inventory::write(&[(Kind::Transaction, id)]);
    net.transmit(1, 0, Outgoing { kind: Kind::Have, header: crate::header::Header::EMPTY, body });
    net.run(10_000);
    assert_eq!(net.counts.get(&DropReason::BlocksOnly), Some(&2));
    assert!(net.nodes[0].delivered.is_empty() && net.nodes[1].heard.is_empty());
    assert_eq!(net.penalties, []);
}
