//! Visits, and places that DNS or the local network named.

use super::super::{dialler::DialPurpose, *};
use super::circuits;
use super::stories::{Story, address, dials, far, node, verified};

/// A node that looks for no peers of its own.
fn quiet() -> Story {
    Story::new(ManagerConfig { wished_outbound: 0, min_peers: 0, ..ManagerConfig::default() })
}

fn visitor(story: &mut Story, peer: u64, from: Address) -> (SessionId, bool) {
    let guest = Established { visit: true, ..Story::established(peer, from, Direction::Inbound) };
    let session = story.comes_as(guest);
    let up =
        |action: &Action| matches!(action, Action::VisitUp { session: s, .. } if *s == session);
    (session, story.out.iter().any(up))
}

/// Dials a visit and has it answered by this node.
fn visit(story: &mut Story, peer: u64, answers: u64, there: Address) -> SessionId {
    story.does(|m, now, out| m.visit(now, node(peer), &[there], out));
    let [(attempt, to)] = story.dials()[..] else { panic!("one dial: {:?}", story.out) };
    assert_eq!(to, there);
    let session = story.session();
    let host = Story::established(answers, there, Direction::Outbound(attempt));
    story.does(|m, now, out| m.on_established(now, session, host, out));
    session
}

fn failed(story: &Story) -> Option<(NodeId, bool)> {
    story.out.iter().find_map(|action| match action {
        Action::VisitFailed { peer, blame } => Some((*peer, *blame)),
        _ => None,
    })
}

/// Visitors take no slot, are bounded in all and for each IP and neighbourhood, and what one
/// leaves another finds.
#[test]
fn visitors_are_bounded_and_take_no_slot() {
    let mut story = quiet();
    let mut inside = Vec::new();
    for number in 0..10 {
        let from = address(&format!("60.1.1.{number}:9"));
        let (session, up) = visitor(&mut story, 1 + number, from);
        assert_eq!(up, number < VISITORS_PER_GROUP_MAX as u64, "visitor {number}");
        let refused = (!up).then_some(CloseReason::GroupLimit);
        assert_eq!(story.closed(session), refused);
        inside.push(session);
    }
    for number in 0..3u16 {
        let from = Address::new([61, 1, 1, 1].into(), 1_000 + number);
        let (_, up) = visitor(&mut story, 20 + u64::from(number), from);
        assert_eq!(up, usize::from(number) < VISITORS_PER_IP_MAX);
    }
    let let_in = (30..90).filter(|n| visitor(&mut story, *n, far(*n)).1).count();
    let before = VISITORS_PER_GROUP_MAX + VISITORS_PER_IP_MAX;
    assert_eq!(before + let_in, VISITORS_MAX);
    let (late, _) = visitor(&mut story, 90, far(90));
    assert_eq!(story.closed(late), Some(CloseReason::TooManyPeers));
    let status = story.manager.status();
    assert_eq!((status.visits, status.peers, status.half_open), (VISITORS_MAX, 0, 0));

    let closure = Closure::remote(CloseReason::Requested, 0);
    story.does(|m, now, out| m.on_closed(now, inside[0], closure, out));
    assert_eq!(story.out, [Action::VisitDown { session: inside[0] }]);
    assert!(visitor(&mut story, 91, far(91)).1);
}

/// A visit that nobody ends is over after half a minute; one is ended by its maker, a ban, the
/// node's end.
#[test]
fn visits_end() {
    let mut story = quiet();
    let (guest, _) = visitor(&mut story, 1, far(1));
    let own = visit(&mut story, 2, 2, far(2));
    let banned = visit(&mut story, 3, 3, far(3));
    story.does(|m, _, out| m.end_visit(own, out));
    assert_eq!(story.closed(own), Some(CloseReason::Requested));
    assert!(story.out.contains(&Action::VisitDown { session: own }));
    let until = story.now.plus(60_000);
    story.does(|m, now, out| m.on_banned(now, node(3), until, out));
    assert_eq!(story.closed(banned), Some(CloseReason::Banned));
    story.does(|m, now, out| m.visit(now, node(3), &[far(3)], out));
    assert_eq!(failed(&story), Some((node(3), false)), "not before the ban is over");
    let early = story.pass(VISIT_LIFE - 1);
    assert!(!early.contains(&Action::VisitDown { session: guest }));
    let orders = story.pass(1);
    assert!(orders.contains(&Action::VisitDown { session: guest }));
    assert_eq!(story.manager.status().visits, 0);

    let (last, up) = visitor(&mut story, 4, far(4));
    assert!(up);
    story.does(|m, now, out| m.on_shutdown(now, out));
    assert_eq!(story.closed(last), Some(CloseReason::Shutdown));
}

/// A visit ends up with the node that was meant or with nobody, and says whose fault that is.
#[test]
fn a_visit_is_to_the_node_that_was_meant() {
    let mut story = quiet();
    let wrong = visit(&mut story, 1, 2, far(1));
    assert_eq!(story.closed(wrong), Some(CloseReason::UnexpectedIdentity));
    assert_eq!(failed(&story), Some((node(1), true)));
    story.does(|m, now, out| m.visit(now, node(5), &[far(5)], out));
    let attempt = story.dials()[0].0;
    story.does(|m, now, out| m.on_dial_failed(now, attempt, DialFailure::Local, out));
    assert_eq!(failed(&story), Some((node(5), false)), "our own trouble");
    story.comes(7, far(7));
    for nobody in [7, 0] {
        story.does(|m, now, out| m.visit(now, node(nobody), &[far(9)], out));
        assert_eq!(failed(&story), Some((node(nobody), false)), "a peer, and this node itself");
        assert!(story.dials().is_empty());
    }
    let (twin, up) = visitor(&mut story, 7, far(7));
    assert!(!up);
    assert_eq!(story.closed(twin), Some(CloseReason::Duplicate));
}

/// A relay carries peers, not the lookups of strangers: no visit is dialled through one, and none
/// that comes through one is let in.
#[test]
fn no_visit_runs_over_a_circuit() {
    let mut story = quiet();
    circuits::relay_comes(&mut story, 9);
    let through = circuits::through(9);
    assert_eq!(story.manager.relay_of(&through), Some(node(9)));
    story.does(|m, now, out| m.visit(now, node(1), &[through], out));
    assert!(story.dials().is_empty(), "{:?}", story.out);
    assert_eq!(failed(&story), Some((node(1), false)));
    story.does(|m, now, out| m.visit(now, node(1), &[through, far(1)], out));
    let dialled: Vec<Address> = story.dials().into_iter().map(|(_, to)| to).collect();
    assert_eq!(dialled, [far(1)], "where it is directly");

    let (guest, up) = visitor(&mut story, 2, through);
    assert!(!up && story.manager.status().visits == 0);
    assert_eq!(story.closed(guest), Some(CloseReason::ProtocolError));
    circuits::comes_through(&mut story, 3, 9);
    assert!(story.has(3), "peers still do");
}

/// What DNS or the local network names behind a relay is not dialled: it would have the relay
/// dialled too, as if the operator had named that.
#[test]
fn no_found_place_is_behind_a_relay() {
    let mut story = Story::new(ManagerConfig { min_peers: 1, ..ManagerConfig::default() });
    let target = Target { address: circuits::through(9), expected: Some(node(1)) };
    story.does(|m, now, out| m.on_found(now, target, out));
    assert!(story.manager.dialler.targets.is_empty());
    assert!([dials(&story.out), dials(&story.pass(60_000))].concat().is_empty());
}

/// A visit to a node behind a NAT hangs until it is given up. The dial of the same node does not wait
/// for that, nor is a hole to it refused; the visit waits for the dial.
#[test]
fn whoever_is_to_become_a_peer_is_not_kept_waiting_by_a_visit() {
    let mut story = quiet();
    story.does(|m, now, out| m.visit(now, node(1), &[far(1)], out));
    let [(visit, _)] = story.dials()[..] else { panic!("{:?}", story.out) };
    story.pass(1_000);
    let target = Target { address: far(1), expected: Some(node(1)) };
    assert!(story.does(|m, now, out| m.connect(now, target, out)));
    let [(_, there)] = story.dials()[..] else { panic!("{:?}", story.out) };
    assert_eq!(there, far(1));
    let given_up = Action::CancelDial { attempt: visit, reason: CloseReason::Duplicate };
    assert!(story.out.contains(&given_up));
    assert_eq!(failed(&story), Some((node(1), false)));
    story.pass(1_000);
    story.does(|m, now, out| m.visit(now, node(1), &[far(2)], out));
    assert_eq!(failed(&story), Some((node(1), false)));
    assert!(story.dials().is_empty());
}

/// The same for a hole: the visit gives way.
#[test]
fn a_visit_keeps_no_hole_from_being_used() {
    let mut story = Story::new(ManagerConfig {
        min_peers: 0,
        blocks_only_outbound: 0,
        ..ManagerConfig::default()
    });
    story.does(|m, now, out| m.visit(now, node(1), &[far(1)], out));
    let [(visit, _)] = story.dials()[..] else { panic!("{:?}", story.out) };
    let hole = far(2).over(crate::address::TransportKind::Quic);
    story.does(|m, now, out| m.on_punched(now, node(1), hole, out));
    assert_eq!(story.dials().iter().map(|(_, at)| *at).collect::<Vec<_>>(), [hole]);
    let given_up = Action::CancelDial { attempt: visit, reason: CloseReason::Duplicate };
    assert!(story.out.contains(&given_up));
    assert_eq!(failed(&story), Some((node(1), false)));
}

/// Attack row 18: answers of discovery that name a victim's address lead there no oftener than
/// anything else: once a minute for all that strangers say of an IP.
#[test]
fn visits_do_not_flood_a_victim() {
    let mut story = quiet();
    let mut attempts = 0;
    for number in 0..600u16 {
        let victim = Address::new([9, 9, 9, 9].into(), 1_000 + number);
        story.does(|m, now, out| m.visit(now, node(1 + u64::from(number)), &[victim], out));
        let dialled = story.dials();
        attempts += dialled.len();
        for (attempt, _) in dialled {
            story.does(|m, now, out| m.on_dial_failed(now, attempt, DialFailure::Refused, out));
        }
        story.pass(1_000);
    }
    assert_eq!(attempts, 10, "in ten minutes");
}

/// Attack row 19: a lookup goes where answers lead it, so a visit moves no place into the tried
/// table; one that is there already has been seen again.
#[test]
fn a_visit_moves_no_address_into_the_tried_table() {
    let none =
        ManagerConfig { blocks_only_outbound: 0, wished_outbound: 0, ..ManagerConfig::default() };
    let mut story = Story::new(ManagerConfig { min_peers: 0, ..none });
    for number in [1, 2] {
        let record = verified(number, &[far(number)]);
        story.does(|m, now, out| m.on_learnt(now, record, Some(far(40).group()), out));
    }
    story.manager.book.on_success(story.now, &far(2), node(2));
    story.pass(1_000);
    visit(&mut story, 1, 1, far(1));
    visit(&mut story, 2, 2, far(2));
    let entry = |at| story.manager.book.get(&far(at)).cloned().expect("it is known");
    assert!(!entry(1).tried && entry(1).is_verified());
    assert!(entry(2).tried && entry(2).last_success == Some(story.now));
}

/// What discovery learns is in the book, to be dialled when a peer is missing; a banned node and
/// this one are not.
#[test]
fn what_discovery_learns_is_dialled_when_peers_are_missing() {
    let mut story = Story::new(ManagerConfig::default());
    let until = story.now.plus(60_000);
    story.does(|m, now, out| m.on_banned(now, node(3), until, out));
    let mut dialled = Vec::new();
    for number in [0, 1, 2, 3] {
        let record = verified(number, &[far(number)]);
        story.does(|m, now, out| m.on_learnt(now, record, Some(far(40).group()), out));
        dialled.extend(dials(&story.out));
    }
    dialled.extend(dials(&story.pass(3_000)));
    let mut there: Vec<Address> = dialled.into_iter().map(|(_, to)| to).collect();
    there.sort_unstable();
    there.dedup();
    assert_eq!(there, [far(1), far(2)]);
}

/// Places that DNS names are bounded, the oldest gives way, and those that the operator names
/// still find room.
#[test]
fn found_places_leave_room_for_what_the_operator_names() {
    let mut story = Story::new(ManagerConfig { min_peers: 1, ..ManagerConfig::default() });
    for number in 0..1_000 {
        let target = Target { address: far(number), expected: Some(node(1)) };
        story.does(|m, now, out| m.on_found(now, target, out));
    }
    let kept = &story.manager.dialler.targets;
    assert_eq!(kept.len(), FOUND_MAX);
    assert!(kept.iter().any(|target| target.address == far(999)));
    for number in 2_000..2_000 + (TARGETS_MAX - FOUND_MAX) as u64 {
        let target = Target { address: far(number), expected: None };
        assert!(story.does(|m, now, out| m.connect(now, target, out)));
    }
    // Named again by DNS, the operator's stays the operator's.
    let target = Target { address: far(2_000), expected: Some(node(1)) };
    story.does(|m, now, out| m.on_found(now, target, out));
    let kept = story.manager.dialler.targets.iter().find(|target| target.address == far(2_000));
    assert!(kept.is_some_and(|target| !target.is_found() && target.expected.is_none()));
}

const NAME: NameId = NameId(0);
const OTHER_NAME: NameId = NameId(1);

fn target(n: u64) -> Target {
    Target { address: far(n), expected: None }
}

impl Story {
    fn resolves(&mut self, n: u64, name: NameId, persistent: bool) -> bool {
        self.does(|m, now, out| m.on_name_resolved(now, target(n), (name, persistent), out))
    }

    fn moves(&mut self, n: u64, name: NameId) -> bool {
        self.does(|m, _, _| m.on_name_moved(&far(n), name))
    }

    fn purpose(&self, n: u64) -> Option<DialPurpose> {
        let targets = &self.manager.dialler.targets;
        targets.iter().find(|target| target.address == far(n)).map(|target| target.purpose())
    }
}

/// A name that leads elsewhere takes its old place along, but for a node that is connected there. Told
/// again where it leads, nothing is dialled any sooner.
#[test]
fn a_name_that_moves_leaves_its_old_place() {
    let mut story = quiet();
    story.resolves(1, NAME, true);
    let [(first, _)] = story.dials()[..] else { panic!("{:?}", story.out) };
    story.does(|m, now, out| m.on_dial_failed(now, first, DialFailure::Timeout, out));
    let before = story.manager.dialler.targets[0].clone();
    assert!(story.resolves(1, NAME, true) && story.dials().is_empty());
    let after = story.manager.dialler.targets[0].clone();
    assert_eq!((after.next, after.failures), (before.next, before.failures));
    story.resolves(2, NAME, true);
    let [(second, at)] = story.dials()[..] else { panic!("{:?}", story.out) };
    assert_eq!(at, far(2));
    let session = story.session();
    let met = Story::established(2, far(2), Direction::Outbound(second));
    story.does(|m, now, out| m.on_established(now, session, met, out));
    for (n, stays) in [(1, false), (1, false), (2, true)] {
        assert_eq!(story.moves(n, NAME), stays, "{n}");
    }
    let orders = story.pass(10 * 60 * 1_000);
    assert!(dials(&orders).is_empty(), "nobody looks there any more: {orders:?}");
}

/// What else names a place keeps it when a name moves away, and what a name is for takes nothing from
/// what the operator has ordered.
#[test]
fn a_place_is_what_all_that_name_it_say() {
    use DialPurpose::{Bootstrap, Persistent};
    let mut story = quiet();
    story.does(|m, now, out| m.on_start(now, &[target(1)], &[], out));
    story.resolves(1, NAME, false);
    assert!(!story.moves(1, NAME));
    assert_eq!(story.purpose(1), Some(Bootstrap), "the configuration has its address too");

    story.resolves(2, NAME, false);
    story.resolves(2, OTHER_NAME, true);
    assert_eq!(story.purpose(2), Some(Persistent), "a peer, whichever is looked up last");
    story.resolves(2, NAME, false);
    assert_eq!(story.purpose(2), Some(Persistent));
    story.moves(2, OTHER_NAME);
    assert_eq!(story.purpose(2), Some(Bootstrap), "the other name still leads there");
    story.moves(2, NAME);
    assert_eq!(story.purpose(2), None);

    story.resolves(3, NAME, false);
    assert!(story.does(|m, now, out| m.connect(now, target(3), out)));
    story.resolves(3, NAME, false);
    assert_eq!(story.purpose(3), Some(Persistent), "until it is disconnected");
    story.moves(3, NAME);
    assert_eq!(story.purpose(3), Some(Persistent));
}
