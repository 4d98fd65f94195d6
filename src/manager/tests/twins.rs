//! Peers that come a second time, go at once, or tell of addresses that they are not at.

use super::super::*;
use super::{
    anchors::{answer, kinds, settled},
    stories::{Story, far, node, verified},
};

const MINUTE: Millis = 60_000;

/// Attack row 20: whoever was dialled and dials back later stays what it was. No place of another
/// kind is taken that a stranger could not have had.
#[test]
fn a_peer_that_dials_back_takes_no_inbound_place() {
    let config = ManagerConfig { max_peers: 20, ..ManagerConfig::default() };
    let (mut story, _) = settled(config);
    for stranger in 200..230 {
        story.comes(stranger, far(stranger));
    }
    let before = story.manager.status();
    assert_eq!((before.outbound, before.blocks_only, before.inbound), (8, 2, 12));
    let dialled: Vec<PeerView> = story.manager.peers().filter(|v| v.outbound).cloned().collect();
    story.pass(MINUTE);
    for view in dialled {
        let number = (1..=20).find(|n| node(*n) == view.peer).unwrap();
        let back = story.comes(number, far(number));
        let refused = view.place == Place::BlocksOnly;
        assert_eq!(story.closed(back), refused.then_some(CloseReason::TooManyPeers));
        assert_eq!(story.manager.peer(&view.peer).unwrap().place, view.place);
    }
    let after = story.manager.status();
    assert_eq!(
        (after.outbound, after.blocks_only, after.inbound),
        (before.outbound, before.blocks_only, before.inbound)
    );
}

/// Attack row 22: a node that greets and goes is no anchor, however often one does.
#[test]
fn whoever_greets_and_goes_is_no_anchor() {
    let (mut story, _) = settled(ManagerConfig::default());
    story.pass(2 * MINUTE);
    let anchors = story.manager.anchors().to_vec();
    assert_eq!(anchors.len(), 2);
    let first = story.manager.peer(&anchors[0].peer).unwrap().session;
    let lost = Closure::local(CloseReason::ConnectionLost);
    story.does(|m, now, out| m.on_closed(now, first, lost, out));
    let mut orders = std::mem::take(&mut story.out);
    let mut greeted = 0;
    for _ in 0..10 * 60 {
        for (attempt, link, there) in kinds(&orders) {
            answer(&mut story, attempt, link, there);
            if link == LinkKind::BlocksOnly {
                greeted += 1;
                let gone = story.manager.peers().find(|view| view.address == there).unwrap();
                let session = gone.session;
                story.does(|m, now, out| m.on_closed(now, session, lost, out));
            }
        }
        orders = story.pass(1_000);
    }
    assert!(greeted > 5, "{greeted} came");
    let now: BTreeSet<NodeId> = story.manager.anchors().iter().map(|a| a.peer).collect();
    assert_eq!(now, anchors.iter().map(|anchor| anchor.peer).collect());
}

/// Attack row 18: what a newcomer says of itself is passed on only if it speaks from one of the
/// addresses that it tells; others wait until somebody has answered there.
#[test]
fn a_record_that_names_somebody_else_is_not_passed_on() {
    let mut story = Story::new(ManagerConfig::default());
    let victim = far(77);
    story.comes(1, far(1));
    let lies = Established {
        record: Some(verified(2, &[victim])),
        ..Story::established(2, far(2), Direction::Inbound)
    };
    story.comes_as(lies);
    story.comes(3, far(3));
    story.does(|m, now, out| m.on_peers_requested(now, &node(1), 255, out));
    let [Action::SendPeers { records, .. }] = &story.out[..] else { panic!("{:?}", story.out) };
    let told: Vec<NodeId> = records.iter().map(|r| r.record.public_key.node_id()).collect();
    assert_eq!(told, [node(3)]);
}

/// A connection of days is written down as seen every hour, and when the node stops.
#[test]
fn a_long_connection_is_seen_until_its_end() {
    let (mut story, _) = settled(ManagerConfig::default());
    let there = story.manager.peers().find(|view| view.outbound).unwrap().address;
    let written = |orders: &[Action]| {
        orders.iter().rev().find_map(|action| match action {
            Action::PersistAddress(entry) if entry.address == there => entry.last_success,
            _ => None,
        })
    };
    let day = story.pass(24 * 60 * MINUTE);
    let seen = written(&day).unwrap();
    assert!(story.now.since(seen) <= 61 * MINUTE, "{}", story.now.since(seen));
    story.pass(30 * MINUTE);
    story.does(|m, now, out| m.on_shutdown(now, out));
    assert_eq!(written(&story.out), Some(story.now));
}

/// What the store has kept and nobody can use is forgotten there too.
#[test]
fn what_is_of_no_use_leaves_the_store() {
    let mut story = Story::new(ManagerConfig::default());
    let forged = {
        let mut record = verified(1, &[far(1)]).signed().clone();
        record.record.sequence += 1;
        record
    };
    let private = "10.0.0.1:30400".parse().unwrap();
    let entry = BookEntry::new(story.now, private, None, Source::Operator);
    let now = story.now;
    story.manager.restore(now, [entry], [forged]);
    let orders = story.pass(2 * MINUTE);
    assert!(orders.contains(&Action::ForgetAddress(private)));
    assert!(orders.contains(&Action::ForgetRecord(node(1))));
}
