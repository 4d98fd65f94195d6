//! Stories of bans, trust, restarts and limits.

use super::*;

#[test]
fn a_ban_orders_everything_that_follows_from_it_in_order() {
    let mut world = World::strict();
    let peer = world.connect(1);
    world.out.clear();
    world.fault(peer, Fault::InvalidBlock);
    let names: Vec<&str> = world
        .out
        .iter()
        .map(|action| match action {
            Action::Event(event) if matches!(event.cause, Cause::Fault(_)) => "fault",
            Action::Event(_) => "event",
            Action::PersistBan(_) => "persist ban",
            Action::Ban { .. } => "ban",
            Action::ScoreChanged { standing: Standing::Banned, .. } => "changed",
            Action::PersistScore(_) => "persist score",
            _ => "other",
        })
        .collect();
    assert_eq!(names, ["fault", "persist ban", "ban", "event", "changed", "persist score"]);
}

#[test]
fn a_ban_ends_by_itself_and_leaves_the_peer_on_probation() {
    let mut world = World::strict();
    let peer = world.connect(1);
    world.scoring.ban(world.now, peer, "because", Some(HOUR / 2), &mut world.out);
    for _ in 0..5 {
        world.fault(peer, Fault::OversizedMessage);
    }
    world.pass(HOUR / 2 - 1);
    assert!(world.scoring.is_banned(world.now, peer, None));
    world.out.clear();
    world.pass(1);
    assert!(!world.scoring.is_banned(world.now, peer, None));
    assert!(world.out.contains(&Action::Unban { peer }));
    assert!(world.out.contains(&Action::ForgetBan(peer)));
    assert_eq!(world.standing(peer), Standing::Distrusted);
    let explained = world.scoring.explain(world.now, peer).unwrap();
    assert_eq!(explained.faults, Score(40_000));
    world.fault(peer, Fault::InvalidTransaction);
    assert!(world.banned(peer), "on probation one more is enough");
}

#[test]
fn a_ban_without_end_needs_the_operator() {
    let mut world = World::strict();
    let peer = id(7);
    world.scoring.ban(world.now, peer, "for good", Some(u64::MAX), &mut world.out);
    world.pass(10_000 * HOUR);
    assert!(world.banned(peer));
    world.scoring.unban(world.now, peer, &mut world.out);
    assert_eq!(world.standing(peer), Standing::Neutral);
    assert_eq!(world.scoring.score(peer), Score(0));
}

/// Attack row 24: the 6th identity from the IP is refused, however the address is spelled.
#[test]
fn the_sixth_identity_of_a_host_is_refused_after_five_bans() {
    let mut world = World::strict();
    let newcomer = id(99);
    let address = at("[::ffff:9.9.9.9]:5");
    for n in 1..=5 {
        assert!(!world.scoring.is_banned(world.now, newcomer, Some(&address)));
        let peer = world.connect_from(n, "9.9.9.9:1");
        world.fault(peer, Fault::MalformedMessage);
    }
    let refusal = world.scoring.refusal(world.now, newcomer, Some(&address));
    assert_eq!(refusal, Some(Refusal::Host { banned: 5 }));
    assert!(!world.scoring.is_banned(world.now, newcomer, Some(&at("9.9.9.8:5"))));
    assert!(world.scoring.is_banned(world.now, id(1), Some(&at("77.1.2.3:4"))), "same key, new IP");
    world.pass(24 * HOUR);
    assert!(!world.scoring.is_banned(world.now, newcomer, Some(&address)));
}

/// The same of identities that broke a rule before they were let in: a key costs nothing.
#[test]
fn strangers_that_are_banned_count_against_their_host() {
    let mut world = World::strict();
    let address = at("9.9.9.9:5");
    for n in 1..=5 {
        assert!(!world.scoring.is_banned(world.now, id(99), Some(&address)));
        let World { scoring, now, out } = &mut world;
        scoring.on_fault_at(*now, id(n), address, Fault::MalformedMessage, out);
    }
    let refusal = world.scoring.refusal(world.now, id(99), Some(&address));
    assert_eq!(refusal, Some(Refusal::Host { banned: 5 }));
}

#[test]
fn a_network_group_is_refused_after_its_own_number_of_bans() {
    let mut world = World::strict();
    for n in 1..=32 {
        let peer = world.connect_from(n, &format!("9.9.{n}.1:1"));
        world.fault(peer, Fault::MalformedMessage);
    }
    let refusal = world.scoring.refusal(world.now, id(99), Some(&at("9.9.200.1:1")));
    assert_eq!(refusal, Some(Refusal::Group { banned: 32 }));
}

#[test]
fn a_test_network_on_loopback_is_not_refused_as_a_whole() {
    let mut world = World::strict();
    for n in 1..=100 {
        let peer = world.connect_from(n, "127.0.0.1:1");
        world.fault(peer, Fault::MalformedMessage);
    }
    assert!(!world.scoring.is_banned(world.now, id(200), Some(&at("127.0.0.1:9"))));
}

/// A peer in good standing of its own does not answer for the neighbours behind its address.
#[test]
fn good_neighbours_of_a_bad_host_are_still_welcome() {
    let mut world = World::strict();
    let good = world.connect_from(50, "9.9.9.9:50");
    serve_well(&mut world, good, 4);
    for n in 1..=6 {
        let peer = world.connect_from(n, "9.9.9.9:1");
        world.fault(peer, Fault::MalformedMessage);
    }
    assert!(!world.scoring.is_banned(world.now, good, Some(&at("9.9.9.9:50"))));
}

#[test]
fn the_last_few_peers_are_not_banned_until_others_come() {
    let mut world = World::new(|_| ());
    let peers = [1, 2, 3].map(|n| world.connect(n));
    for peer in peers {
        world.fault(peer, Fault::MalformedMessage);
        assert!(!world.banned(peer));
        assert_eq!(world.standing(peer), Standing::Distrusted);
    }
    for n in 10..12 {
        world.connect(n);
        assert!(!world.banned(peers[0]));
    }
    world.connect(12);
    assert!(peers.iter().all(|peer| world.banned(*peer)));
    let explained = world.scoring.explain(world.now, peers[0]).unwrap();
    assert_eq!(explained.ban.unwrap().reason, "malformed_message");
}

#[test]
fn a_recommendation_is_worth_a_tenth_at_most_and_once() {
    let mut world = World::strict();
    let (known, newcomer) = (world.connect(1), world.connect(2));
    serve_well(&mut world, known, 4);
    assert!(world.scoring.trust(known) > 0.7);
    let recommend = |world: &mut World, from, about| {
        world.scoring.on_recommendation(world.now, from, about, u64::MAX, &mut world.out);
        world.scoring.trust(about)
    };
    let before = world.scoring.trust(newcomer);
    let once = recommend(&mut world, known, newcomer);
    assert!((once - before - world.scoring.trust(known) / 10.0).abs() < 1e-5);
    assert_eq!(recommend(&mut world, known, newcomer), once, "not twice in an epoch");
    assert_eq!(recommend(&mut world, known, known), world.scoring.trust(known), "not oneself");
    assert_eq!(recommend(&mut world, newcomer, known), world.scoring.trust(known), "not upwards");
    let bad = world.connect(3);
    world.fault(bad, Fault::MalformedMessage);
    let trust = world.scoring.trust(bad);
    assert_eq!(recommend(&mut world, known, bad), trust, "not the banned");
    world.pass(HOUR);
    assert!(recommend(&mut world, known, newcomer) > once, "again in the next epoch");
}

#[test]
fn a_recommender_runs_out_of_words_and_sybils_raise_nobody_above_themselves() {
    let mut world = World::strict();
    let known = world.connect(1);
    serve_well(&mut world, known, 4);
    let raised = (100..120)
        .filter(|n| {
            let peer = world.connect(*n);
            world.scoring.on_recommendation(world.now, known, peer, 1_000_000, &mut world.out);
            world.scoring.trust(peer) > 0.5
        })
        .count();
    assert_eq!(raised, RECOMMENDATIONS_PER_EPOCH);
    let friend = world.connect(2);
    for n in 200..1_000 {
        let sybil = world.connect(n);
        world.scoring.on_recommendation(world.now, sybil, friend, u64::MAX, &mut world.out);
    }
    assert_eq!(world.scoring.trust(friend), 0.5);
}

#[test]
fn trust_and_reputation_move_by_the_stated_steps() {
    let mut world = World::strict();
    let peer = world.connect(1);
    assert_eq!(world.scoring.reputation(peer), 0.5);
    world.scoring.on_block(world.now, peer, Delivery::First, &mut world.out);
    assert_eq!(world.scoring.trust(peer), 0.501);
    world.scoring.on_service(world.now, peer, Service::Timeout, &mut world.out);
    assert_eq!(world.scoring.trust(peer), 0.451);
    world.fault(peer, Fault::InvalidVote);
    assert_eq!(world.scoring.trust(peer), 0.351);
    assert!(world.scoring.reputation(peer) < 0.5);
    world.pass(HOUR);
    assert_eq!(world.scoring.trust(peer), 0.352_490, "a hundredth of the way back");
}

/// Everything known survives a restart: bans to the millisecond, scores less what decayed.
#[test]
fn scores_and_bans_survive_a_restart() {
    let mut world = World::strict();
    let (good, bad) = (world.connect(1), world.connect(2));
    serve_well(&mut world, good, 4);
    world.fault(bad, Fault::InvalidBlock);
    world.disconnect(good, Departure::Ours);
    let bans: Vec<BanRecord> = world.scoring.bans().cloned().collect();
    let scores: Vec<ScoreRecord> =
        [good, bad].iter().filter_map(|peer| world.scoring.record(world.now, *peer)).collect();
    let bytes = crate::codec::encode(&(bans, scores)).unwrap();
    let (bans, scores): (Vec<BanRecord>, Vec<ScoreRecord>) =
        crate::codec::decode(&bytes, bytes.len()).unwrap();

    let mut next = World::strict();
    next.now = world.now.plus(1);
    let now = next.now;
    next.scoring.on_restored(now, bans.clone(), scores.clone(), &mut next.out);
    assert!(next.banned(bad));
    assert_eq!(next.scoring.score(good), world.scoring.score(good));
    assert_eq!(next.standing(good), world.standing(good));
    assert_eq!(
        next.scoring.explain(now, good).unwrap().events,
        world.scoring.explain(world.now, good).unwrap().events
    );

    let mut later = World::strict();
    later.now = world.now.plus(2 * HOUR);
    later.scoring.on_restored(later.now, Vec::new(), scores, &mut later.out);
    assert!(later.scoring.score(good) < world.scoring.score(good));
}

/// A ban that was lifted just before we stopped stays lifted, although the stored faults ban.
#[test]
fn a_restart_does_not_renew_a_lifted_ban() {
    let mut world = World::strict();
    let bad = world.connect(2);
    world.fault(bad, Fault::MalformedMessage);
    let record = world.scoring.record(world.now, bad).unwrap();
    let mut next = World::strict();
    next.scoring.on_restored(next.now, Vec::new(), vec![record], &mut next.out);
    assert_eq!(next.standing(bad), Standing::Distrusted);
    assert_eq!(next.scoring.explain(next.now, bad).unwrap().faults, Score(40_000));
}

#[test]
fn damaged_records_are_held_to_the_limits() {
    let mut world = World::strict();
    let peer = world.connect(1);
    world.scoring.on_block(world.now, peer, Delivery::First, &mut world.out);
    let record = world.scoring.record(world.now, peer).unwrap();
    let text = serde_json::to_string(&record).unwrap();
    // With its comma, so that only numbers are meant and not the digits of the id.
    let text = text.replace("10000,", "2147483647,");
    assert!(text.contains("2147483647"), "{text}");
    let damaged: ScoreRecord = serde_json::from_str(&text).unwrap();
    let mut next = World::strict();
    next.scoring.on_restored(next.now, Vec::new(), vec![damaged], &mut next.out);
    let explained = next.scoring.explain(next.now, peer).unwrap();
    assert!(explained.categories.iter().all(|line| line.value.0.abs() <= SCORE_MAX));
    assert!(next.scoring.score(peer) <= Score(100_000));
}

/// Memory is a function of constants: the longest unseen neutral stranger makes room.
#[test]
fn the_number_of_tracked_peers_is_bounded() {
    let mut world = World::strict();
    let connected = world.connect(1);
    for n in 2..6_000 {
        world.now = world.now.plus(1);
        let peer = world.connect(n);
        world.disconnect(peer, Departure::Ours);
    }
    assert_eq!(world.scoring.tracked(), TRACKED_MAX);
    assert!(world.scoring.explain(world.now, connected).is_some());
    assert!(world.scoring.explain(world.now, id(2)).is_none());
    assert!(world.out.contains(&Action::ForgetScore(id(2))));
}

#[test]
fn whoever_is_away_and_neutral_again_is_forgotten() {
    let mut world = World::strict();
    let (stranger, stained) = (world.connect(1), world.connect(2));
    world.fault(stained, Fault::Spam);
    world.disconnect(stranger, Departure::Ours);
    world.disconnect(stained, Departure::Ours);
    world.pass(HOUR);
    assert!(world.out.contains(&Action::ForgetScore(stranger)));
    assert!(world.scoring.explain(world.now, stained).is_some());
    world.pass(2_000 * HOUR);
    assert_eq!(world.scoring.tracked(), 0);
    assert_eq!(world.scoring.deadline(), None);
}

#[test]
fn an_explanation_reads_as_text_and_json() {
    let mut world = World::strict();
    let peer = world.connect(1);
    world.scoring.on_block(world.now, peer, Delivery::First, &mut world.out);
    world.fault(peer, Fault::InvalidVote);
    let explained = world.scoring.explain(world.now, peer).unwrap();
    let text = explained.to_text();
    for part in
        ["standing   neutral", "block_first", "invalid_vote", "would ban: 1 x invalid_block"]
    {
        assert!(text.contains(part), "{part} is missing in\n{text}");
    }
    assert!(serde_json::to_string(&explained).unwrap().contains("\"standing\":\"neutral\""));
    world.fault(peer, Fault::InvalidBlock);
    let text = world.scoring.explain(world.now, peer).unwrap().to_text();
    assert!(text.contains("lifts: the ban ends in 86400 s"), "{text}");
}
