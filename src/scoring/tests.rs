//! Stories of single rules; the rules that must hold for every sequence are in `properties`.

use super::{facts::latency_of, *};

mod properties;
mod recovery;

pub(super) const SECOND: u64 = 1_000;
pub(super) const MINUTE: u64 = 60 * SECOND;
pub(super) const HOUR: u64 = 60 * MINUTE;

pub(super) fn id(n: u16) -> NodeId {
    let mut id = [0; 32];
    id[..2].copy_from_slice(&n.to_be_bytes());
    NodeId(id)
}

pub(super) fn at(text: &str) -> Address {
    text.parse().unwrap()
}

/// A machine with its time and the orders it gave.
pub(super) struct World {
    pub(super) scoring: Scoring,
    pub(super) now: Time,
    pub(super) out: Vec<Action>,
}

impl World {
    pub(super) fn new(change: impl FnOnce(&mut ScoringConfig)) -> Self {
        let mut config = ScoringConfig::default();
        change(&mut config);
        let now = Time(1_800_000_000_000);
        World { scoring: Scoring::new(config, now).unwrap(), now, out: Vec::new() }
    }

    /// A network where bans are never withheld.
    pub(super) fn strict() -> Self {
        World::new(|config| config.ban_floor = 0)
    }

    pub(super) fn connect(&mut self, n: u16) -> NodeId {
        self.connect_from(n, &format!("8.{}.{}.1:30400", n >> 8, n & 255))
    }

    pub(super) fn connect_from(&mut self, n: u16, address: &str) -> NodeId {
        self.scoring.on_connected(self.now, id(n), at(address), false, false, &mut self.out);
        id(n)
    }

    pub(super) fn disconnect(&mut self, peer: NodeId, departure: Departure) {
        self.scoring.on_disconnected(self.now, peer, departure, &mut self.out);
    }

    pub(super) fn fault(&mut self, peer: NodeId, fault: Fault) {
        self.scoring.on_fault(self.now, peer, fault, &mut self.out);
    }

    pub(super) fn pass(&mut self, span: u64) {
        let end = self.now.plus(span);
        while let Some(deadline) = self.scoring.deadline().filter(|deadline| *deadline <= end) {
            self.now = self.now.max(deadline);
            self.scoring.on_deadline(self.now, &mut self.out);
        }
        self.now = end;
    }

    pub(super) fn standing(&self, peer: NodeId) -> Standing {
        self.scoring.standing(peer)
    }

    pub(super) fn banned(&self, peer: NodeId) -> bool {
        self.standing(peer) == Standing::Banned
    }
}

/// Attack row 4: an oversized or malformed frame costs 100 at once. Row 31: at most 20 bad
/// signatures. The table in the module's documentation is this one.
#[test]
fn every_fault_bans_a_newcomer_in_the_stated_number_of_events() {
    for fault in Fault::ALL {
        let stated = match fault {
            Fault::InvalidBlock | Fault::MalformedMessage | Fault::OversizedMessage => 1,
            Fault::ProtocolViolation | Fault::Reported => 2,
            Fault::InvalidTransaction
            | Fault::UnknownKind
            | Fault::WrongRole
            | Fault::Handshake => 5,
            Fault::InvalidVote | Fault::InvalidRecord | Fault::Spam | Fault::Replay => 10,
            Fault::DuplicateFlood => 20,
        };
        let mut world = World::strict();
        let peer = world.connect(1);
        for done in 0..stated {
            assert!(!world.banned(peer), "{fault} banned after {done}");
            let left = world.scoring.explain(world.now, peer).unwrap().bans;
            assert!(left.contains(&BanCause { fault, events: stated - done }), "{fault}");
            world.fault(peer, fault);
        }
        assert!(world.banned(peer), "{fault} did not ban after {stated}");
        assert!(world.scoring.score(peer) <= Score(-50_000));
    }
    let mut world = World::strict();
    let peer = world.connect(1);
    world.fault(peer, Fault::OversizedMessage);
    assert_eq!(world.scoring.score(peer), Score(-100_000));
}

/// The best service does not buy off a single fault: a trusted peer is banned as fast.
#[test]
fn a_trusted_peer_is_banned_by_the_same_number_of_faults() {
    let mut world = World::strict();
    let peer = world.connect(1);
    serve_well(&mut world, peer, 12);
    assert_eq!(world.standing(peer), Standing::Trusted);
    for _ in 0..10 {
        assert!(!world.banned(peer));
        world.fault(peer, Fault::InvalidVote);
    }
    assert!(world.banned(peer));
}

/// An honest neighbour's hours: a ping a minute, a block in 10, a transaction a minute.
pub(super) fn serve_well(world: &mut World, peer: NodeId, hours: u64) {
    for minute in 0..hours * 60 {
        world.scoring.on_round_trip(world.now, peer, 30, &mut world.out);
        world.scoring.on_transaction(world.now, peer, Delivery::First, &mut world.out);
        if minute % 10 == 0 {
            world.scoring.on_block(world.now, peer, Delivery::First, &mut world.out);
        }
        world.pass(MINUTE);
    }
}

#[test]
fn a_newcomer_reaches_the_relay_threshold_in_the_stated_number_of_events() {
    let mut world = World::strict();
    let peer = world.connect(1);
    for _ in 0..8 {
        world.scoring.on_round_trip(world.now, peer, 50, &mut world.out);
    }
    for _ in 0..50 {
        world.scoring.on_transaction(world.now, peer, Delivery::First, &mut world.out);
    }
    for _ in 0..10 {
        assert_eq!(world.standing(peer), Standing::Neutral);
        world.scoring.on_block(world.now, peer, Delivery::First, &mut world.out);
    }
    assert_eq!(world.standing(peer), Standing::Relay, "{}", world.scoring.score(peer));
}

#[test]
fn an_honest_peer_is_trusted_within_six_hours_without_being_a_validator() {
    let mut world = World::strict();
    let peer = world.connect(1);
    serve_well(&mut world, peer, 3);
    assert_eq!(world.standing(peer), Standing::Relay, "trust takes longer than that");
    serve_well(&mut world, peer, 3);
    assert_eq!(world.standing(peer), Standing::Trusted, "{}", world.scoring.score(peer));
}

/// Somebody has to be second: an honest peer far away is used for relay all the same.
#[test]
fn an_honest_peer_that_is_always_second_reaches_the_relay_threshold_within_six_hours() {
    let mut world = World::strict();
    let peer = world.connect(1);
    for minute in 0..6 * 60 {
        world.scoring.on_round_trip(world.now, peer, 150, &mut world.out);
        world.scoring.on_transaction(world.now, peer, Delivery::Timely, &mut world.out);
        if minute % 10 == 0 {
            world.scoring.on_block(world.now, peer, Delivery::Timely, &mut world.out);
        }
        world.pass(MINUTE);
    }
    assert_eq!(world.standing(peer), Standing::Relay, "{}", world.scoring.score(peer));
}

#[test]
fn good_standing_must_be_earned_again() {
    let mut world = World::strict();
    let peer = world.connect(1);
    serve_well(&mut world, peer, 12);
    world.disconnect(peer, Departure::Theirs);
    let best = world.scoring.score(peer);
    world.pass(HOUR);
    assert!(world.scoring.score(peer) < best);
    world.pass(90 * HOUR);
    assert!(world.scoring.score(peer) < Score(1_000), "{}", world.scoring.score(peer));
    assert_eq!(world.standing(peer), Standing::Neutral);
}

#[test]
fn the_score_is_at_the_ban_line_exactly_when_the_faults_are() {
    let policy = Policy::new(ScoringConfig::default()).unwrap();
    for value in (-SCORE_MAX..=SCORE_MAX).step_by(2_500) {
        for faults in [0, 1, 10_000, 49_999, 50_000, 50_001, 100_000] {
            let mut axes = Axes::default();
            for axis in Axis::CATEGORIES {
                axes.add(axis, i64::from(value));
            }
            axes.add(Axis::Faults, faults);
            let below = policy.score(&axes) <= Score(-50_000);
            assert_eq!(below, faults >= 50_000, "service {value}, faults {faults}");
        }
    }
}

/// Standings change once on the way up and once on the way down, not at every step around a line.
#[test]
fn a_score_that_swings_around_a_line_does_not_flap() {
    let policy = Policy::new(ScoringConfig::default()).unwrap();
    for (line, better, worse) in
        [(75_000, Standing::Trusted, Standing::Relay), (50_000, Standing::Relay, Standing::Neutral)]
    {
        let mut standing = policy.standing(Score(line), worse);
        assert_eq!(standing, better);
        for swing in [-1, 1, -4_999, 0, -5_000] {
            standing = policy.standing(Score(line + swing), standing);
            assert_eq!(standing, better);
        }
        standing = policy.standing(Score(line - 5_001), standing);
        assert_eq!(standing, worse);
        assert_eq!(policy.standing(Score(line - 1), standing), worse);
    }
    let stained = policy.standing(Score(-25_000), Standing::Neutral);
    assert_eq!(stained, Standing::Distrusted);
    assert_eq!(policy.standing(Score(-20_001), stained), Standing::Distrusted);
    assert_eq!(policy.standing(Score(-19_999), stained), Standing::Neutral);
}

#[test]
fn a_validator_counts_while_it_is_connected() {
    let mut world = World::strict();
    let peer = id(1);
    world.scoring.on_connected(world.now, peer, at("8.8.8.8:1"), true, true, &mut world.out);
    assert_eq!(world.scoring.score(peer), Score(10_000));
    world.pass(5 * HOUR);
    let explained = world.scoring.explain(world.now, peer).unwrap();
    let status = explained.categories.iter().find(|line| line.name == "validator_status").unwrap();
    assert_eq!(status.value, Score(100_000));
    world.scoring.on_validator(world.now, peer, false, &mut world.out);
    let explained = world.scoring.explain(world.now, peer).unwrap();
    assert_eq!(explained.categories[4].value, Score(0));
}

#[test]
fn uptime_counts_only_while_connected() {
    let mut world = World::strict();
    let peer = world.connect(1);
    world.pass(30 * MINUTE);
    world.disconnect(peer, Departure::Theirs);
    let uptime =
        |world: &World| world.scoring.explain(world.now, peer).unwrap().categories[1].value;
    assert_eq!(uptime(&world), Score(6_000));
    world.pass(20 * MINUTE);
    assert_eq!(uptime(&world), Score(6_000));
}

/// Attack row 51: a machine that was stopped for ten minutes holds it against nobody, credits
/// nobody, and wakes once.
#[test]
fn a_gap_in_our_own_time_is_nobodys_uptime() {
    let mut world = World::strict();
    let peer = world.connect(1);
    world.now = world.now.plus(10 * MINUTE);
    world.scoring.on_deadline(world.now, &mut world.out);
    assert_eq!(world.scoring.explain(world.now, peer).unwrap().categories[1].value, Score(400));
    assert!(world.scoring.deadline() > Some(world.now));
}

/// Only faults ban: the worst service there can be ends one hysteresis above the line.
#[test]
fn the_worst_service_of_all_is_distrusted_and_never_banned() {
    let mut world = World::strict();
    let peer = id(1);
    for _ in 0..1_100 {
        world.connect(1);
        world.scoring.on_round_trip(world.now, peer, u64::MAX, &mut world.out);
        world.scoring.on_block(world.now, peer, Delivery::Late, &mut world.out);
        world.scoring.on_transaction(world.now, peer, Delivery::Late, &mut world.out);
        for service in Service::ALL.into_iter().filter(|service| *service != Service::Answered) {
            world.scoring.on_service(world.now, peer, service, &mut world.out);
        }
        world.disconnect(peer, Departure::Theirs);
    }
    assert_eq!(world.scoring.score(peer), Score(-45_000));
    assert_eq!(world.standing(peer), Standing::Distrusted);
    for _ in 0..9 {
        world.fault(peer, Fault::InvalidVote);
        assert!(!world.banned(peer), "nor does it take fewer faults");
    }
}

/// Attack row 25: our own overload never costs a peer anything.
#[test]
fn nothing_slow_counts_while_we_are_overloaded() {
    let mut world = World::strict();
    let peer = world.connect(1);
    world.scoring.on_round_trip(world.now, peer, 50, &mut world.out);
    let before = world.scoring.explain(world.now, peer).unwrap();
    world.scoring.on_own_overload(true);
    for service in Service::ALL.into_iter().filter(|service| *service != Service::Answered) {
        world.scoring.on_service(world.now, peer, service, &mut world.out);
    }
    world.scoring.on_round_trip(world.now, peer, 9_000, &mut world.out);
    world.scoring.on_block(world.now, peer, Delivery::Late, &mut world.out);
    world.scoring.on_transaction(world.now, peer, Delivery::Late, &mut world.out);
    assert_eq!(world.scoring.explain(world.now, peer).unwrap(), before);
    world.scoring.on_own_overload(false);
    world.scoring.on_service(world.now, peer, Service::Timeout, &mut world.out);
    assert!(world.scoring.score(peer) < before.score);
}

#[test]
fn flapping_costs_uptime_but_our_own_closing_does_not() {
    let mut world = World::strict();
    let (flapping, closed) = (world.connect(1), world.connect(2));
    world.disconnect(flapping, Departure::Theirs);
    world.disconnect(closed, Departure::Ours);
    assert_eq!(world.scoring.score(flapping), Score(-2_000));
    assert_eq!(world.scoring.score(closed), Score(0));
}

#[test]
fn the_chain_reports_good_bad_and_faults() {
    let mut world = World::strict();
    let peer = world.connect(1);
    let mut report = |report| {
        let now = world.now;
        world.scoring.on_report(now, peer, report, "test\nreason", &mut world.out);
        world.scoring.score(peer)
    };
    assert_eq!(report(Report::Good(u64::MAX)), Score(10_000));
    assert_eq!(report(Report::Bad(300)), Score(0));
    for _ in 0..100 {
        assert!(report(Report::Bad(100)) >= Score(-10_000), "a bad report never bans");
    }
    report(Report::Fault(20));
    assert_eq!(world.standing(peer), Standing::Distrusted);
    world.scoring.on_report(world.now, peer, Report::Fault(30), "forged", &mut world.out);
    let explained = world.scoring.explain(world.now, peer).unwrap();
    assert_eq!(explained.ban.unwrap().reason, "report_fault: forged");
}

#[test]
fn a_rule_on_trial_is_counted_and_costs_nothing() {
    let mut world = World::new(|config| {
        config.ban_floor = 0;
        config.shadow.insert(Fault::Spam);
    });
    let peer = world.connect(1);
    for _ in 0..100 {
        world.fault(peer, Fault::Spam);
    }
    assert_eq!(world.scoring.score(peer), Score(0));
    assert_eq!(world.scoring.shadow_counts().get(&Fault::Spam), Some(&100));
    let explained = world.scoring.explain(world.now, peer).unwrap();
    assert_eq!(explained.events.last().unwrap().count, 100);
    assert!(!explained.bans.iter().any(|cause| cause.fault == Fault::Spam));
}

#[test]
fn the_best_come_first_and_the_banned_not_at_all() {
    let mut world = World::strict();
    let (a, b, c) = (world.connect(1), world.connect(2), world.connect(3));
    world.scoring.on_block(world.now, b, Delivery::First, &mut world.out);
    world.fault(c, Fault::InvalidBlock);
    let top: Vec<NodeId> = world.scoring.top(9).into_iter().map(|(peer, _)| peer).collect();
    assert_eq!(top, [b, a]);
    assert_eq!(world.scoring.top(1).len(), 1);
    assert!(latency_of(30) > 0);
}
