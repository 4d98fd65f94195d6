//! Whatever happens in whatever order, limits hold and nothing panics.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::super::*;
use super::stories::{far, node, verified};
use crate::record::tests::{NET, NOW, keypair};

#[derive(Clone, Debug)]
enum Input {
    Inbound { session: u64, place: u64 },
    Established { session: u64, peer: u64, place: u64, attempt: Option<u64>, validator: bool },
    Visit { peer: u64, place: u64 },
    EndVisit { session: u64 },
    Learnt { of: u64, place: u64 },
    Found { place: u64, expected: Option<u64> },
    Closed { session: u64, reason: u8, by_remote: bool, retry_after: u64 },
    DialFailed { attempt: u64 },
    Felt { attempt: u64, peer: u64 },
    Records { from: u64, of: u64, place: u64 },
    Asked { from: u64, count: u8 },
    Banned { peer: u64, until: u64 },
    Unbanned { peer: u64 },
    Connect { place: u64, expected: Option<u64> },
    Disconnect { peer: u64 },
    Validators { count: u64 },
    Latency { peer: u64, latency: u64 },
    Deadline,
}

fn number() -> impl Strategy<Value = u64> {
    prop_oneof![9 => 0..12u64, 1 => Just(u64::MAX)]
}

fn input() -> impl Strategy<Value = Input> {
    let place = 0..12u64;
    prop_oneof![
        (number(), place.clone()).prop_map(|(session, place)| Input::Inbound { session, place }),
        (number(), 0..12u64, place.clone(), proptest::option::of(number()), any::<bool>())
            .prop_map(|(session, peer, place, attempt, validator)| Input::Established {
                session,
                peer,
                place,
                attempt,
                validator
            }),
        (0..12u64, place.clone()).prop_map(|(peer, place)| Input::Visit { peer, place }),
        number().prop_map(|session| Input::EndVisit { session }),
        (0..12u64, place.clone()).prop_map(|(of, place)| Input::Learnt { of, place }),
        (place.clone(), proptest::option::of(0..12u64))
            .prop_map(|(place, expected)| Input::Found { place, expected }),
        (number(), any::<u8>(), any::<bool>(), any::<u64>()).prop_map(
            |(session, reason, by_remote, retry_after)| Input::Closed {
                session,
                reason,
                by_remote,
                retry_after
            }
        ),
        number().prop_map(|attempt| Input::DialFailed { attempt }),
        (number(), 0..12u64).prop_map(|(attempt, peer)| Input::Felt { attempt, peer }),
        (0..12u64, 0..12u64, place.clone()).prop_map(|(from, of, place)| Input::Records {
            from,
            of,
            place
        }),
        (0..12u64, any::<u8>()).prop_map(|(from, count)| Input::Asked { from, count }),
        (0..12u64, any::<u64>()).prop_map(|(peer, until)| Input::Banned { peer, until }),
        (0..12u64).prop_map(|peer| Input::Unbanned { peer }),
        (place, proptest::option::of(0..12u64))
            .prop_map(|(place, expected)| Input::Connect { place, expected }),
        (0..12u64).prop_map(|peer| Input::Disconnect { peer }),
        (0..12u64).prop_map(|count| Input::Validators { count }),
        (0..12u64, any::<u64>()).prop_map(|(peer, latency)| Input::Latency { peer, latency }),
        Just(Input::Deadline),
    ]
}

fn feed(m: &mut Manager, now: Time, input: Input, out: &mut Vec<Action>) {
    match input {
        Input::Inbound { session, place } => {
            m.on_inbound_attempt(now, SessionId(session), far(place), out);
        }
        Input::Established { session, peer, place, attempt, validator } => {
            let direction =
                attempt.map_or(Direction::Inbound, |id| Direction::Outbound(DialId(id)));
            let established = Established {
                peer: node(peer),
                address: far(place),
                direction,
                channel: [session as u8; 32],
                record: Some(verified(peer, &[far(place)])),
                validator: validator.then(|| keypair(peer).public()),
                blocks_only: place % 4 == 0,
                visit: place % 3 == 0,
            };
            m.on_established(now, SessionId(session), established, out);
        }
        Input::Visit { peer, place } => m.visit(now, node(peer), &[far(place)], out),
        Input::EndVisit { session } => m.end_visit(SessionId(session), out),
        Input::Learnt { of, place } => {
            let source = (of % 2 == 0).then(|| far(place).group());
            m.on_learnt(now, verified(of, &[far(place)]), source, out);
        }
        Input::Found { place, expected } => {
            let target = Target { address: far(place), expected: expected.map(node) };
            m.on_found(now, target, out);
        }
        Input::Closed { session, reason, by_remote, retry_after } => {
            let reason = CloseReason::from_code(reason);
            m.on_closed(now, SessionId(session), Closure { reason, by_remote, retry_after }, out);
        }
        Input::DialFailed { attempt } => {
            m.on_dial_failed(now, DialId(attempt), DialFailure::Refused, out);
        }
        Input::Felt { attempt, peer } => m.on_felt(now, DialId(attempt), node(peer), out),
        Input::Records { from, of, place } => {
            let record = verified(of, &[far(place)]).signed().clone();
            m.on_records(now, &node(from), vec![record], out);
        }
        Input::Asked { from, count } => m.on_peers_requested(now, &node(from), count, out),
        Input::Banned { peer, until } => m.on_banned(now, node(peer), Time(until), out),
        Input::Unbanned { peer } => m.on_unbanned(now, &node(peer), out),
        Input::Connect { place, expected } => {
            let target = Target { address: far(place), expected: expected.map(node) };
            m.connect(now, target, out);
        }
        Input::Disconnect { peer } => drop(m.disconnect(now, &node(peer), out)),
        Input::Validators { count } => {
            m.set_validators(now, (0..count).map(|n| keypair(n).public()).collect(), out);
        }
        Input::Latency { peer, latency } => m.on_latency(&node(peer), latency),
        Input::Deadline => m.on_deadline(now, out),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Every up has its down, no session is closed twice, slots and dials stay within limits,
    /// and time may stand still, leap to its end or come from it.
    #[test]
    fn limits_hold_in_any_order(
        steps in proptest::collection::vec((input(), prop_oneof![8 => 0..5_000u64, 1 => Just(u64::MAX)]), 1..60)
    ) {
        let config = ManagerConfig {
            max_peers: 5,
            max_inbound: 3,
            max_outbound: 2,
            wished_outbound: 2,
            validator_slots: 2,
            max_dialling: 3,
            start_spread: 0,
            ..ManagerConfig::default()
        };
        let identity = ManagerIdentity {
            node: node(0),
            network: NET,
            validator: Some(keypair(1).public()),
        };
        let mut manager = Manager::new(identity, config, [1; 32]);
        let (mut now, mut out) = (NOW, Vec::new());
        manager.on_start(now, &[], &[], &mut out);
        let mut up: BTreeMap<NodeId, SessionId> = BTreeMap::new();
        let mut visits: BTreeSet<SessionId> = BTreeSet::new();
        for (step, wait) in steps {
            now = now.plus(wait);
            feed(&mut manager, now, step, &mut out);
            for action in out.drain(..) {
                match action {
                    Action::PeerUp { peer, session, replaces, .. } => {
                        prop_assert_eq!(up.insert(peer, session), replaces);
                    }
                    Action::PeerDown { peer, session, .. } => {
                        prop_assert_eq!(up.remove(&peer), Some(session));
                    }
                    Action::VisitUp { session, .. } => prop_assert!(visits.insert(session)),
                    Action::VisitDown { session } => prop_assert!(visits.remove(&session)),
                    _ => {}
                }
            }
            prop_assert!(manager.peers().all(|view| up.get(&view.peer) == Some(&view.session)));
            let status = manager.status();
            prop_assert_eq!(status.peers, up.len());
            prop_assert_eq!(status.visits, visits.len());
            prop_assert!(status.visits <= VISITS_MAX + VISITORS_MAX);
            let visits_dialled = manager.dialler.in_flight();
            let visits_dialled =
                visits_dialled.filter(|(_, a)| a.purpose == DialPurpose::Visit).count();
            prop_assert!(status.dialling <= 3 + visits_dialled);
            prop_assert!(!up.contains_key(&node(0)));
        }
    }
}
