//! Anchors, feelers and peers for blocks only.

use super::super::*;
use super::{
    places,
    stories::{Story, dials, far, node, verified},
};
use crate::{
    book::BookLimits,
    record::tests::{NOW, keypair},
};

const MINUTE: Millis = 60_000;

pub(super) fn kinds(actions: &[Action]) -> Vec<(DialId, LinkKind, Address)> {
    let dial = |action: &Action| match action {
        Action::Dial { attempt, link, address, .. } => Some((*attempt, *link, *address)),
        _ => None,
    };
    actions.iter().filter_map(dial).collect()
}

/// A node that has heard of some others, and answers every dial for as long as it takes.
pub(super) fn settled(config: ManagerConfig) -> (Story, Vec<Action>) {
    settled_among(config, 60, |n| verified(n, &[far(n)]).signed().clone())
}

/// The same for so many seconds, and others of these records.
pub(super) fn settled_among(
    config: ManagerConfig,
    seconds: u64,
    record: impl Fn(u64) -> SignedRecord,
) -> (Story, Vec<Action>) {
    let mut story = Story::new(config);
    story.comes(100, far(100));
    let records: Vec<_> = (1..=20).map(record).collect();
    story.does(|m, now, out| m.on_records(now, &node(100), records, out));
    let mut all = std::mem::take(&mut story.out);
    let mut dialled = std::collections::VecDeque::from(kinds(&all));
    for _ in 0..seconds {
        while let Some((attempt, link, there)) = dialled.pop_front() {
            answer(&mut story, attempt, link, there);
            dialled.extend(kinds(&story.out));
            all.append(&mut story.out);
        }
        let orders = story.pass(1_000);
        dialled.extend(kinds(&orders));
        all.extend(orders);
    }
    (story, all)
}

pub(super) fn answer(story: &mut Story, attempt: DialId, link: LinkKind, there: Address) {
    let peer = (1..=20).find(|n| far(*n) == there).unwrap();
    if link == LinkKind::Feeler {
        return story.does(|m, now, out| m.on_felt(now, attempt, node(peer), out));
    }
    let session = story.session();
    let established = Established {
        blocks_only: link == LinkKind::BlocksOnly,
        ..Story::established(peer, there, Direction::Outbound(attempt))
    };
    story.does(|m, now, out| m.on_established(now, session, established, out));
}

fn last_anchors(orders: &[Action]) -> Vec<Anchor> {
    let anchors = orders.iter().rev().find_map(|action| match action {
        Action::PersistAnchors(anchors) => Some(anchors.clone()),
        _ => None,
    });
    anchors.unwrap()
}

/// Attack row 22: two of the peers nobody else learns of are written down once they have
/// stayed, and dialled before anybody else after a restart.
#[test]
fn anchors_are_dialled_first_after_a_restart() {
    let (story, orders) = settled(ManagerConfig::default());
    let status = story.manager.status();
    assert_eq!((status.outbound, status.blocks_only, status.anchors), (8, 2, 2));
    let anchors = last_anchors(&orders);
    assert_eq!(anchors, story.manager.anchors());

    let config = ManagerConfig { start_spread: 0, ..ManagerConfig::default() };
    let mut again = story;
    again.manager = places::manager(&keypair(0), &config, 5);
    let entries = orders.iter().filter_map(|action| match action {
        Action::PersistAddress(entry) => Some((**entry).clone()),
        _ => None,
    });
    again.manager.restore(NOW, entries, []);
    again.manager.restore_anchors(anchors.clone());
    again.does(|m, now, out| m.on_start(now, &[], &[], out));
    let first = kinds(&again.out);
    assert!(first.len() > 2, "{first:?}");
    let of_anchors: Vec<Address> = anchors.iter().map(|anchor| anchor.address).collect();
    let dialled: Vec<Address> = first.iter().map(|(_, _, there)| *there).collect();
    assert_eq!(dialled[..2], of_anchors);
    assert!(first[..2].iter().all(|(_, link, _)| *link == LinkKind::BlocksOnly));
}

/// A node whose one anchor never answers: how often it is dialled in ten minutes.
fn in_vain(story: &mut Story, failure: DialFailure) -> usize {
    let mut orders = std::mem::take(&mut story.out);
    story.does(|m, now, out| m.set_validators(now, BTreeSet::new(), out));
    orders.append(&mut story.out);
    let mut attempts = 0;
    for _ in 0..600 {
        for (attempt, there) in dials(&orders) {
            assert_eq!(there, far(1));
            attempts += 1;
            story.does(|m, now, out| m.on_dial_failed(now, attempt, failure, out));
        }
        orders = story.pass(1_000);
    }
    assert_eq!(story.manager.anchors().len(), 1, "kept until another takes its place");
    attempts
}

fn with_one_anchor() -> Story {
    let mut story =
        Story::new(ManagerConfig { wished_outbound: 0, min_peers: 0, ..Default::default() });
    story.manager.restore_anchors([Anchor { address: far(1), peer: node(1) }]);
    story
}

/// An anchor that does not answer while others are reached is tried three times; then its place
/// is another's.
#[test]
fn an_anchor_that_is_gone_makes_room() {
    let mut story = with_one_anchor();
    story.comes(100, far(100));
    assert_eq!(in_vain(&mut story, DialFailure::Timeout), 3);
}

/// Whoever cuts the line during a restart does not make us forget whom we trusted before it, nor
/// does a machine that is short of descriptors.
#[test]
fn an_anchor_is_not_given_up_while_nobody_is_reached() {
    assert!(in_vain(&mut with_one_anchor(), DialFailure::Unreachable) > 3);
    let mut story = with_one_anchor();
    story.comes(100, far(100));
    assert!(in_vain(&mut story, DialFailure::Local) > 3);
}

/// A feeler takes no place; who answers it is in the tried table from then on.
#[test]
fn a_feeler_takes_no_place() {
    let (mut story, _) = settled(ManagerConfig::default());
    let before = story.manager.status();
    let mut felt = 0;
    for _ in 0..3_600 {
        for (attempt, link, there) in kinds(&story.pass(1_000)) {
            assert_eq!(link, LinkKind::Feeler, "nothing else is missing");
            answer(&mut story, attempt, link, there);
            assert!(story.manager.book().get(&there).unwrap().tried);
            felt += 1;
        }
    }
    let after = story.manager.status();
    assert_eq!(after.peers, before.peers);
    assert!(felt >= 9 && after.tried > before.tried, "{felt} feelers, {after:?}");
    assert_eq!(after.feelers.answered, felt);
}

/// A peer that has been connected for hours keeps its tried place from those that wait for it, and
/// they hold up no feeler.
#[test]
fn feelers_go_on_while_a_connected_peer_has_the_place() {
    let book = BookLimits { tried_buckets: 1, bucket_size: 1, ..BookLimits::default() };
    let (mut story, _) = settled(ManagerConfig { book, ..ManagerConfig::default() });
    let tried = |story: &Story| story.manager.book().entries().find(|e| e.tried).unwrap().address;
    let first = tried(&story);
    assert!(story.manager.peers().any(|view| view.address == first));
    let mut felt_by_hour = [0; 8];
    for minute in 0..8 * 60 {
        for (attempt, link, there) in kinds(&story.pass(MINUTE)) {
            answer(&mut story, attempt, link, there);
            felt_by_hour[minute / 60] += 1;
        }
    }
    assert!(felt_by_hour.iter().all(|felt| *felt >= 20), "{felt_by_hour:?}");
    assert_eq!(tried(&story), first);
}

/// Nothing but blocks: no questions for peers, no answers, and none of their records is taken.
#[test]
fn peers_for_blocks_only_learn_of_nobody() {
    let (mut story, orders) = settled(ManagerConfig::default());
    let quiet: Vec<NodeId> =
        story.manager.peers().filter(|view| view.blocks_only).map(|view| view.peer).collect();
    assert_eq!(quiet.len(), 2);
    let later = story.pass(3_600_000);
    let asked = |a: &Action| matches!(a, Action::RequestPeers { peer, .. } if quiet.contains(peer));
    assert!(!orders.iter().chain(&later).any(asked));
    story.does(|m, now, out| m.on_peers_requested(now, &quiet[0], 32, out));
    assert!(story.out.is_empty());
    let record = verified(900, &[far(900)]).signed().clone();
    story.does(|m, now, out| m.on_records(now, &quiet[0], vec![record], out));
    assert!(story.manager.book().get(&far(900)).is_none());
}

/// Attack row 21: the last to bring a block or a transaction, and peers in neighbourhoods that a
/// secret key picks, outlast thousands of newcomers too.
#[test]
fn useful_peers_are_never_evicted() {
    let mut story = Story::new(ManagerConfig::default());
    for peer in 1..=8 {
        story.comes(500 + peer, far(500 + peer));
        story.pass(1_000);
    }
    for peer in 1..=8 {
        story.comes(peer, far(peer));
        let (block, transaction) =
            if peer <= 4 { (Some(story.now), None) } else { (None, Some(story.now)) };
        story.manager.on_novel(&node(peer), block, transaction);
        story.pass(1_000);
    }
    for number in 0..3_000u64 {
        let [a, b] = (number as u16).to_be_bytes();
        let there = Address::new(std::net::IpAddr::from([66, (number % 16) as u8, a, b]), 1);
        story.pass(300);
        let established = Established {
            peer: NodeId(*blake3::hash(&number.to_le_bytes()).as_bytes()),
            record: None,
            ..Story::established(0, there, Direction::Inbound)
        };
        story.comes_as(established);
    }
    assert_eq!(story.manager.status().inbound, 48);
    assert!((1..=8).all(|peer| story.has(peer)), "the useful");
    assert!((501..=508).all(|peer| story.has(peer)), "the oldest");
}
