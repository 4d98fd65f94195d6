//! Neighbours that lie, repeat, flood and send garbage.

use proptest::prelude::*;

use super::*;
use crate::{
    codec::{Capped, encode},
    header::Header,
    messages::{GossipHeader, Inventory, InventoryItem, RoutedHeader},
};

fn gossip(kind: Kind, hops: u8, body: &[u8]) -> Outgoing {
    Relay::outgoing(kind, hops, Topic(0), &Bytes::copy_from_slice(body))
}

fn inventory(kind: Kind, of: Kind, ids: impl IntoIterator<Item = MessageId>) -> Outgoing {
    let items = ids.into_iter().map(|id| InventoryItem { kind: of.byte(), id });
    let body = encode(&Inventory { items: Capped::first(items) }).unwrap().into();
    Outgoing { kind, header: Header::EMPTY, body }
}

/// A victim, node 0, and an attacker, node 1, that proved a validator if there are two.
fn duel(validators: usize) -> Network {
    let mut net = Network::new(2, validators, 1);
    net.nodes[1].hostile = true;
    net.link(0, 1);
    net
}

fn faults(net: &Network) -> Vec<RelayFault> {
    net.penalties.iter().map(|(_, _, fault)| *fault).collect()
}

fn counted(net: &Network, reason: DropReason) -> usize {
    net.counts.get(&reason).copied().unwrap_or(0)
}

/// Attack row 25 and promise 3: a Byzantine third replays, duplicates and sends garbage; honest
/// nodes never penalise each other, and honest messages arrive exactly once.
#[test]
fn a_byzantine_third_cannot_make_honest_nodes_penalise_each_other() {
    for seed in 0..6 {
        let mut net = Network::new(15, 5, seed);
        for n in (0..15).filter(|n| n % 3 == 2) {
            net.nodes[n].hostile = true;
        }
        // The honest ten form a ring of their own; the attackers sit in between.
        let honest: Vec<usize> = (0..15).filter(|n| n % 3 != 2).collect();
        for (at, n) in honest.iter().enumerate() {
            net.link(*n, honest[(at + 1) % honest.len()]);
        }
        net.link_randomly(6);
        net.share_records(5);
        let mut sent = Vec::new();
        for n in 0..80u32 {
            let origin = honest[net.random(honest.len())];
            sent.push((origin, net.broadcast(origin, Kind::Transaction, &n.to_le_bytes()).id));
            let voter = [0, 1, 3, 4][net.random(4)];
            net.vote(voter, &n.to_le_bytes());
            net.run(100);
            misbehave(&mut net, n);
        }
        net.run(20_000);
        for (origin, id) in sent {
            net.assert_everywhere_once(origin, id);
        }
        for node in &net.nodes {
            let ids: BTreeSet<MessageId> = node.delivered.iter().map(|m| m.id).collect();
            assert_eq!(ids.len(), node.delivered.len(), "nothing is delivered twice");
        }
        let honest_blamed: Vec<_> =
            net.penalties.iter().filter(|(_, peer, _)| !net.nodes[*peer].hostile).collect();
        assert!(honest_blamed.is_empty(), "{honest_blamed:?}");
        assert!(!net.penalties.is_empty(), "the attackers are noticed");
    }
}

/// Every attacker does something bad to every neighbour.
fn misbehave(net: &mut Network, round: u32) {
    for bad in (0..net.nodes.len()).filter(|n| n % 3 == 2) {
        for to in 0..net.nodes.len() {
            if net.nodes[to].hostile || !net.linked(bad, to) {
                continue;
            }
            let heard = net.nodes[bad].heard.len();
            let old = (heard > 0).then(|| net.nodes[bad].heard[round as usize % heard].1.clone());
            let garbage = vec![round as u8; net.random(200)];
            let header = Header::new(&garbage).unwrap_or_default();
            let attacks = [
                old,
                Some(gossip(Kind::Transaction, 3, b"bad")),
                Some(gossip(Kind::Block, 200, &garbage)),
                Some(gossip(Kind::Vote, 0, &garbage)),
                Some(inventory(
                    Kind::Have,
                    Kind::Block,
                    [MessageId::of(Kind::Block, Topic(0), &garbage)],
                )),
                Some(Outgoing { kind: Kind::Routed, header, body: Bytes::from(garbage) }),
                Some(gossip(Kind::Transaction, 0, b"stuck")),
            ];
            let pick = net.random(attacks.len());
            if let Some(message) = attacks[pick].clone() {
                net.transmit(bad, to, message);
            }
        }
    }
}

/// Attack row 27: duplicates are dropped before anything of them is decoded, and a flood of them
/// is a fault.
#[test]
fn a_duplicate_flood_is_dropped_and_penalised() {
    let mut net = duel(0);
    for _ in 0..1_000 {
        net.transmit(1, 0, gossip(Kind::Transaction, 0, b"tx"));
    }
    net.run(1_000);
    assert_eq!(net.nodes[0].delivered.len(), 1);
    assert_eq!(counted(&net, DropReason::Duplicate), 999);
    assert!(faults(&net).len() >= 10 && faults(&net)[0] == RelayFault::DuplicateFlood);
}

/// Attack row 27: what a duplicate costs is no memory, whoever repeats it and whatever became of
/// the message.
#[test]
fn a_duplicate_flood_takes_no_room() {
    let mut net = Network::new(4, 0, 1);
    for n in 1..4 {
        net.nodes[n].hostile = true;
        net.link(0, n);
    }
    let bodies: [&[u8]; 3] = [b"tx", b"bad", b"stuck"];
    let flood = |net: &mut Network, times: usize| {
        for at in 0..times {
            net.transmit(1 + at % 3, 0, gossip(Kind::Transaction, 0, bodies[at / 3 % 3]));
        }
        net.run(1_000);
        net.nodes[0].relay.table.loose_and_cells()
    };
    let before = flood(&mut net, 9);
    assert_eq!(net.nodes[0].relay.status().known, 3);
    let after = flood(&mut net, 9_000);
    assert_eq!((after, net.nodes[0].relay.status().known), (before, 3));
    assert!(counted(&net, DropReason::Duplicate) >= 9_000);
}

/// Attack row 27: whoever sends a message again, unasked, earns nothing by it, however often and
/// however soon; one copy of what somebody else brought first is worth something.
#[test]
fn what_is_sent_again_earns_nothing() {
    let mut net = duel(0);
    for wait in [1_000, 10, 1_000, 10] {
        net.transmit(1, 0, gossip(Kind::Transaction, 0, b"mine"));
        net.run(wait);
    }
    assert_eq!(net.credits, [(0, 1, Delivery::First)]);
    net.credits.clear();
    net.broadcast(0, Kind::Transaction, b"theirs");
    for _ in 0..4 {
        net.transmit(1, 0, gossip(Kind::Transaction, 0, b"theirs"));
        net.run(1_000);
    }
    let of_liar = net.credits.iter().filter(|(node, ..)| *node == 0).count();
    assert!(of_liar <= 1, "{:?}", net.credits);
}

/// Attack row 29: a vote that left the cache is refused by its age, and so are votes from the
/// future; a clock that jumps costs nobody anything (attack row 32).
#[test]
fn a_vote_is_never_delivered_twice_however_old() {
    let mut net = duel(2);
    let vote = Signed::seal(Kind::Vote, &validator_key(1), &NET, START, b"yes");
    let old = gossip(Kind::Vote, 0, &vote);
    net.transmit(1, 0, old.clone());
    net.run(1_000);
    assert_eq!(net.nodes[0].delivered.len(), 1);
    for wait in [100_000, 150_000, 200_000, 400_000, 3_600_000] {
        net.run(wait);
        net.transmit(1, 0, old.clone());
        net.run(1_000);
    }
    assert_eq!(net.nodes[0].delivered.len(), 1);
    assert!(counted(&net, DropReason::Expired) >= 2);
    assert!(faults(&net).contains(&RelayFault::Replay), "the same neighbour, once too often");
    let before = net.penalties.len();
    let stamp = net.now.plus(3_600_000);
    let future = Signed::seal(Kind::Vote, &validator_key(1), &NET, stamp, b"no");
    net.transmit(1, 0, gossip(Kind::Vote, 0, &future));
    let past = Signed::seal(Kind::Vote, &validator_key(1), &NET, net.now.minus(3_600_000), b"");
    net.transmit(1, 0, gossip(Kind::Vote, 0, &past));
    net.run(1_000);
    assert_eq!(net.nodes[0].delivered.len(), 1);
    assert_eq!((counted(&net, DropReason::FromFuture), net.penalties.len()), (1, before));
}

/// Attack row 31: a bad signature is a fault of whoever sent it, and what waits is bounded.
#[test]
fn bad_signatures_are_penalised_one_by_one() {
    let mut net = duel(2);
    for n in 0..20u8 {
        let vote = Signed::seal(Kind::Vote, &validator_key(1), &NET, START, &[n]);
        let mut forged = vote.to_vec();
        forged[50] ^= 1;
        net.transmit(1, 0, gossip(Kind::Vote, 0, &forged));
    }
    net.run(1_000);
    assert_eq!(faults(&net), [RelayFault::InvalidVote; 20]);
    assert!(net.nodes[0].delivered.is_empty());
}

#[test]
fn a_vote_from_a_peer_that_proved_nothing_is_a_wrong_role() {
    let mut net = duel(1);
    let vote = Signed::seal(Kind::Vote, &validator_key(0), &NET, START, b"yes");
    net.transmit(1, 0, gossip(Kind::Vote, 0, &vote));
    net.transmit(1, 0, inventory(Kind::Have, Kind::Vote, [MessageId([1; 32])]));
    net.run(1_000);
    assert_eq!(faults(&net), [RelayFault::WrongRole; 2]);
    let id = net.vote(0, b"mine").id.unwrap();
    net.transmit(1, 0, inventory(Kind::Want, Kind::Vote, [id]));
    net.run(30_000);
    assert!(net.nodes[1].heard.is_empty(), "votes are neither announced nor served to it");
}

/// Attack row 30: announcements of nothing are asked for within limits, cost the announcer its
/// place, and one message is served three times at most.
#[test]
fn announcements_and_questions_are_capped() {
    let mut net = duel(0);
    for n in 0..40u32 {
        let ids =
            (0..512u32).map(|i| MessageId::of(Kind::Block, Topic(0), &(n * 512 + i).to_le_bytes()));
        net.transmit(1, 0, inventory(Kind::Have, Kind::Block, ids));
        net.run(100);
    }
    assert!(net.nodes[0].relay.asks.len() <= 1_024);
    net.run(4_000);
    assert_eq!(net.nodes[0].relay.asks.len(), 0);
    assert!(counted(&net, DropReason::BrokenPromise) > 512);
    assert!(counted(&net, DropReason::BackOff) > 0);
    net.nodes[1].heard.clear();
    let id = net.broadcast(0, Kind::Block, b"block").id.unwrap();
    for _ in 0..10 {
        net.transmit(1, 0, inventory(Kind::Want, Kind::Block, [id; 10]));
    }
    net.run(1_000);
    let blocks = net.nodes[1].heard.iter().filter(|(_, m)| m.kind == Kind::Block).count();
    assert_eq!((blocks, net.penalties.len()), (1 + 3, 0), "pushed once, served three times");
}

/// Attack row 26: what waits for the chain is bounded, and a silent chain costs nobody anything.
#[test]
fn what_waits_for_a_verdict_is_bounded_and_times_out_without_blame() {
    let mut net = duel(0);
    for n in 0..9_000u32 {
        let body = [n.to_le_bytes().as_slice(), b"stuck"].concat();
        net.transmit(1, 0, gossip(Kind::Transaction, 0, &body));
    }
    net.run(500);
    assert_eq!(net.nodes[0].relay.status().pending, 8_192);
    net.run(20_000);
    let status = net.nodes[0].relay.status();
    assert_eq!((status.pending, status.pending_bytes, net.penalties.len()), (0, 0, 0));
    assert_eq!(counted(&net, DropReason::VerdictTimeout), 8_192);
}

#[test]
fn an_invalid_message_is_blamed_on_everyone_who_sent_it_and_goes_no_further() {
    let mut net = Network::new(4, 0, 1);
    for n in [1, 2] {
        net.nodes[n].hostile = true;
        net.link(0, n);
    }
    net.link(0, 3);
    for n in [1, 2] {
        net.transmit(n, 0, gossip(Kind::Block, 0, b"bad"));
    }
    net.run(1_000);
    net.transmit(2, 0, gossip(Kind::Block, 0, b"bad"));
    net.run(20_000);
    assert_eq!(faults(&net), [RelayFault::InvalidBlock; 3]);
    assert!(net.nodes[3].delivered.is_empty());
}

/// A sealed message is carried within a budget and not opened by anyone else; who carried it is
/// never at fault for what is inside.
#[test]
fn carrying_is_metered_and_blameless() {
    let mut net = Network::new(3, 0, 1);
    net.nodes[1].hostile = true;
    net.link(0, 1);
    net.link(0, 2);
    for n in 0..100u8 {
        for to in [0, 2] {
            let header = Header::of(&RoutedHeader { to: keypair(to).node_id(), hops: 0 });
            let body = Bytes::from(vec![n; 100_000 + to]);
            let message = Outgoing { kind: Kind::Routed, header, body };
            net.transmit(1, 0, message);
        }
    }
    net.run(2_000);
    assert!(counted(&net, DropReason::RoutedLimit) >= 40, "4 MiB and 1 MiB a second");
    assert!(counted(&net, DropReason::NotOpened) >= 100);
    assert_eq!(net.penalties, []);
}

fn arbitrary_message() -> impl Strategy<Value = (u8, Vec<u8>, Vec<u8>)> {
    let bytes = |max| proptest::collection::vec(any::<u8>(), 0..max);
    let header = prop_oneof![
        bytes(40),
        (any::<u8>(), 0u32..2).prop_map(|(hops, topic)| {
            encode(&GossipHeader { hops, topic: Topic(topic) }).unwrap()
        }),
        any::<u8>()
            .prop_map(|hops| { encode(&RoutedHeader { to: keypair(0).node_id(), hops }).unwrap() }),
    ];
    let items = proptest::collection::vec((any::<u8>(), 0u8..4), 0..8).prop_map(|items| {
        let item = |(kind, n)| InventoryItem { kind, id: MessageId([n; 32]) };
        encode(&Inventory { items: Capped::first(items.into_iter().map(item)) }).unwrap()
    });
    (any::<u8>(), header, prop_oneof![bytes(150), bytes(3), items])
}

proptest! {
    /// Whatever a validator peer sends, at whatever time, the machine answers with actions, stays
    /// within its bounds and settles.
    #[test]
    fn arbitrary_messages_never_break_the_machine(
        messages in proptest::collection::vec((arbitrary_message(), any::<u64>()), 0..60),
    ) {
        let mut net = Network::new(2, 2, 1);
        net.nodes[1].hostile = true;
        net.link(0, 1);
        let slot = net.slot(0, 1);
        let relay = &mut net.nodes[0].relay;
        let (mut out, mut now, mut tickets) = (Vec::new(), START, Vec::new());
        for ((kind, header, body), jump) in messages {
            let kind = crate::kinds::KINDS[usize::from(kind) % crate::kinds::KINDS.len()].kind;
            now = now.plus(jump % 5_000);
            let message = Inbound {
                kind,
                id: MessageId::of(kind, Topic(0), &body),
                header: Header::new(&header).unwrap_or_default(),
                body: body.into(),
                first_byte: now,
            };
            relay.on_message(now, Time(jump), slot, message, &mut out);
            // The tickets given lately, for the right stage and for the wrong one; and any.
            for action in std::mem::take(&mut out) {
                if let Action::Judge { ticket, .. } | Action::Verify { ticket, .. } = action {
                    tickets.push(ticket);
                }
            }
            let lately = tickets.len().saturating_sub(jump as usize % 3 + 1);
            let ticket = tickets.get(lately).copied().unwrap_or(VerdictTicket(jump));
            relay.on_verdict(now, ticket, Verdict::Accept, &mut out);
            relay.on_verified(now, ticket, jump % 2 == 0, &mut out);
            relay.on_deadline(now, &mut out);
        }
        relay.on_peer_down(now, slot, &mut out);
        for _ in 0..1_000 {
            now = now.plus(1_000);
            relay.on_deadline(now, &mut out);
        }
        prop_assert_eq!(relay.status().pending, 0);
        prop_assert_eq!(relay.status().cache_bytes, 0);
        prop_assert_eq!(relay.asks.len(), 0);
        prop_assert_eq!(relay.table.len(), relay.table.loose_and_cells().0);
        prop_assert!(relay.table.len() <= 4 * 5 + 60, "four ids in lists, as of five kinds, and ours");
    }
}
