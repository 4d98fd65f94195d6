//! What holds for every sequence of facts, with any numbers in them.

use proptest::{prelude::*, test_runner::RngSeed};

use super::*;

/// A fact about one of a few peers, or time going by.
#[derive(Clone, Debug)]
enum Fact {
    Connected(u16, bool),
    Disconnected(u16, bool),
    RoundTrip(u16, u64),
    Block(u16, Delivery),
    Transaction(u16, Delivery),
    Fault(u16, Fault),
    Service(u16, Service),
    Validator(u16, bool),
    Recommendation(u16, u16, u64),
    Report(u16, u8, u64),
    Ban(u16, Option<u64>),
    Unban(u16),
    Overload(bool),
    Pass(u64),
}

fn number() -> impl Strategy<Value = u64> {
    prop_oneof![Just(0), Just(u64::MAX), 0..200u64, any::<u64>()]
}

fn span() -> impl Strategy<Value = u64> {
    prop_oneof![8 => 0..2 * HOUR, 1 => 0..100 * HOUR, 1 => Just(u64::MAX)]
}

fn valid() -> impl Strategy<Value = Delivery> {
    prop::sample::select(vec![Delivery::First, Delivery::Timely, Delivery::Late])
}

fn peer() -> impl Strategy<Value = u16> {
    1..6u16
}

/// Everything but faults: what an honest peer can do, and what others can say.
fn harmless() -> impl Strategy<Value = Fact> {
    prop_oneof![
        (peer(), any::<bool>()).prop_map(|(p, v)| Fact::Connected(p, v)),
        (peer(), any::<bool>()).prop_map(|(p, ours)| Fact::Disconnected(p, ours)),
        (peer(), number()).prop_map(|(p, ms)| Fact::RoundTrip(p, ms)),
        (peer(), valid()).prop_map(|(p, d)| Fact::Block(p, d)),
        (peer(), valid()).prop_map(|(p, d)| Fact::Transaction(p, d)),
        (peer(), prop::sample::select(Service::ALL.to_vec()))
            .prop_map(|(p, s)| Fact::Service(p, s)),
        (peer(), any::<bool>()).prop_map(|(p, v)| Fact::Validator(p, v)),
        (peer(), peer(), number()).prop_map(|(a, b, t)| Fact::Recommendation(a, b, t)),
        (peer(), 0..2u8, number()).prop_map(|(p, kind, points)| Fact::Report(p, kind, points)),
        any::<bool>().prop_map(Fact::Overload),
        span().prop_map(Fact::Pass),
    ]
}

fn any_fact() -> impl Strategy<Value = Fact> {
    let invalid = prop_oneof![
        peer().prop_map(|p| Fact::Block(p, Delivery::Invalid)),
        peer().prop_map(|p| Fact::Transaction(p, Delivery::Invalid)),
    ];
    prop_oneof![
        6 => harmless(),
        2 => (peer(), prop::sample::select(Fault::ALL.to_vec())).prop_map(|(p, f)| Fact::Fault(p, f)),
        1 => invalid,
        1 => (peer(), number()).prop_map(|(p, points)| Fact::Report(p, 2, points)),
        1 => (peer(), prop::option::of(number())).prop_map(|(p, d)| Fact::Ban(p, d)),
        1 => peer().prop_map(Fact::Unban),
    ]
}

fn apply(world: &mut World, fact: &Fact) {
    let (now, scoring, out) = (world.now, &mut world.scoring, &mut world.out);
    match *fact {
        Fact::Connected(p, validator) => {
            let address = at(&format!("8.8.{p}.8:1"));
            scoring.on_connected(now, id(p), address, true, validator, out);
        }
        Fact::Disconnected(p, ours) => {
            let departure = if ours { Departure::Ours } else { Departure::Theirs };
            scoring.on_disconnected(now, id(p), departure, out);
        }
        Fact::RoundTrip(p, ms) => scoring.on_round_trip(now, id(p), ms, out),
        Fact::Block(p, delivery) => scoring.on_block(now, id(p), delivery, out),
        Fact::Transaction(p, delivery) => scoring.on_transaction(now, id(p), delivery, out),
        Fact::Fault(p, fault) => scoring.on_fault(now, id(p), fault, out),
        Fact::Service(p, service) => scoring.on_service(now, id(p), service, out),
        Fact::Validator(p, proven) => scoring.on_validator(now, id(p), proven, out),
        Fact::Recommendation(a, b, t) => scoring.on_recommendation(now, id(a), id(b), t, out),
        Fact::Report(p, kind, points) => {
            let report = match kind {
                0 => Report::Good(points),
                1 => Report::Bad(points),
                _ => Report::Fault(points),
            };
            scoring.on_report(now, id(p), report, "reason", out);
        }
        Fact::Ban(p, duration) => scoring.ban(now, id(p), "order", duration, out),
        Fact::Unban(p) => scoring.unban(now, id(p), out),
        Fact::Overload(overloaded) => scoring.on_own_overload(overloaded),
        Fact::Pass(span) => {
            world.now = now.plus(span);
            scoring.on_deadline(world.now, out);
        }
    }
}

/// The explanation adds up: its categories to the service, its events to the score, and every
/// notable event's score to the one that was told when it happened.
fn check_replay(world: &World, peer: NodeId) -> Result<(), TestCaseError> {
    let Some(explained) = world.scoring.explain(world.now, peer) else { return Ok(()) };
    let last = explained.events.last().map_or(explained.base, |event| event.after);
    prop_assert_eq!(last, explained.score);
    let record = world.scoring.record(world.now, peer);
    let policy = &world.scoring.policy;
    if let Some(record) = record {
        prop_assert_eq!(record.history.outcome(), world.scoring.peers[&peer].axes);
        prop_assert_eq!(record.score(policy), explained.score);
        let mut told = world.out.iter().rev().filter_map(|action| match action {
            Action::Event(event) if event.peer == peer => Some(event),
            _ => None,
        });
        let lines: Vec<(&Event, Axes)> = record.history.replay().collect();
        for (line, state) in lines.into_iter().rev() {
            let untold = matches!(line.cause, Cause::Decay | Cause::TrustDecay);
            if line.cause.is_routine() || untold {
                continue;
            }
            let event = told.next().unwrap();
            prop_assert_eq!(&event.cause, &line.cause);
            prop_assert_eq!(event.after, policy.score(&state));
            for _ in 1..line.count {
                told.next();
            }
        }
    }
    Ok(())
}

/// The same cases in every run.
fn seeded() -> ProptestConfig {
    ProptestConfig {
        cases: 192,
        rng_seed: RngSeed::Fixed(25),
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(seeded())]

    /// Whatever happens, with whatever numbers: nothing panics, scores stay in range, `explain`
    /// replays to the thousandth, and the score says "banned" exactly when the faults do.
    #[test]
    fn every_history_replays_exactly(facts in prop::collection::vec(any_fact(), 1..120), limit in 1..40usize) {
        let mut world = World::new(|config| {
            config.ban_floor = 1;
            config.history_limit = limit;
        });
        for fact in &facts {
            apply(&mut world, fact);
            for p in 1..6 {
                let score = world.scoring.score(id(p));
                prop_assert!((-SCORE_MAX..=SCORE_MAX).contains(&score.0));
                prop_assert!((0.0..=1.0).contains(&world.scoring.trust(id(p))));
                prop_assert!((0.0..=1.0).contains(&world.scoring.reputation(id(p))));
                check_replay(&world, id(p))?;
                if let Some(tracked) = world.scoring.peers.get(&id(p)) {
                    let over = tracked.axes.get(Axis::Faults) >= 50_000;
                    prop_assert_eq!(score.0 <= -50_000, over);
                    prop_assert!(tracked.history.events().count() <= limit);
                }
            }
        }
    }

    /// Attack row 25: however slow and flaky a peer is, and whatever others say about it, it is
    /// never banned, and its score stays above the line.
    #[test]
    fn without_a_fault_nobody_is_banned(facts in prop::collection::vec(harmless(), 1..300)) {
        let mut world = World::strict();
        for fact in &facts {
            apply(&mut world, fact);
        }
        prop_assert_eq!(world.scoring.bans().count(), 0);
        let banned = world.out.iter().any(|action| matches!(action, Action::Ban { .. }));
        prop_assert!(!banned);
        prop_assert!((1..6).all(|p| world.scoring.score(id(p)) >= Score(-45_000)));
    }

    /// Attack row 25: no recommendation ever lowers a score, a standing or a trust.
    #[test]
    fn the_word_of_a_third_party_lowers_nothing(
        facts in prop::collection::vec(any_fact(), 1..60),
        words in prop::collection::vec((peer(), peer(), number()), 1..40),
    ) {
        let mut world = World::strict();
        for fact in &facts {
            apply(&mut world, fact);
        }
        for (from, about, trust) in words {
            let before = (world.scoring.score(id(about)), world.standing(id(about)));
            let trusted = world.scoring.trust(id(about));
            apply(&mut world, &Fact::Recommendation(from, about, trust));
            prop_assert_eq!((world.scoring.score(id(about)), world.standing(id(about))), before);
            prop_assert!(world.scoring.trust(id(about)) >= trusted);
        }
    }

    /// What one peer does moves only that peer: faults of one never cost another.
    #[test]
    fn faults_stay_with_the_peer_that_made_them(
        faults in prop::collection::vec((2..6u16, prop::sample::select(Fault::ALL.to_vec())), 1..200),
    ) {
        let mut world = World::strict();
        let honest = world.connect(1);
        for (peer, fault) in faults {
            world.fault(id(peer), fault);
        }
        prop_assert_eq!(world.scoring.score(honest), Score(0));
        prop_assert_eq!(world.standing(honest), Standing::Neutral);
    }

    /// Records with any numbers in them do no harm, and what is made of them replays.
    #[test]
    fn any_record_is_restored_within_the_limits(
        numbers in prop::collection::vec(any::<i32>(), 8 * 4),
        times in prop::collection::vec(number(), 8),
        facts in prop::collection::vec(any_fact(), 0..20),
    ) {
        let events: Vec<_> = numbers[8..].chunks(8).enumerate().map(|(n, change)| {
            serde_json::json!({
                "at": times[n], "last": times[n + 1], "count": u32::MAX,
                "cause": "round_trip", "change": change,
            })
        }).collect();
        let record = serde_json::json!({
            "peer": id(1), "address": null, "last_seen": times[4], "written": times[5],
            "standing": "trusted", "served": u32::MAX, "failed": u32::MAX,
            "history": { "base": &numbers[..8], "folded": u64::MAX, "events": events },
        });
        let record: ScoreRecord = serde_json::from_value(record).unwrap();
        let ban = BanRecord {
            peer: id(2), address: None, since: Time(times[6]), until: Time(times[7]),
            reason: String::new(), origin: BanOrigin::Score,
        };
        let mut world = World::strict();
        world.scoring.on_restored(world.now, vec![ban], vec![record], &mut world.out);
        for fact in &facts {
            apply(&mut world, fact);
        }
        if let Some(tracked) = world.scoring.peers.get(&id(1)) {
            prop_assert!(tracked.axes.is_within_limits());
            prop_assert_eq!(tracked.history.outcome(), tracked.axes);
        }
    }

    /// The same facts give the same orders.
    #[test]
    fn the_machine_repeats_itself(facts in prop::collection::vec(any_fact(), 1..80)) {
        let run = || {
            let mut world = World::strict();
            for fact in &facts {
                apply(&mut world, fact);
            }
            world.out
        };
        prop_assert_eq!(run(), run());
    }
}
