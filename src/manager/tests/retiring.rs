//! Connections that are heard out.

use super::{
    super::*,
    circuits::{comes_through, quiet},
    stories::{Story, far, node},
};

/// Those that are heard out now, by what was ordered so far.
fn heard_out(actions: &[Action], known: &mut std::collections::BTreeSet<SessionId>) {
    for action in actions {
        match action {
            Action::Retire { session } | Action::HearOut { session, .. } => {
                known.insert(*session);
            }
            _ => {}
        }
    }
}

/// Attack row 52: upgrades made again and again leave a few connections to be heard out, and no more;
/// the others are ended as any duplicate.
#[test]
fn few_connections_are_heard_out_whoever_makes_how_many() {
    let mut story = quiet();
    let mut known = std::collections::BTreeSet::new();
    let attacker = |port: u64| Address::new([77, 7, 7, 7].into(), 1_000 + port as u16);
    for n in 1..=100 {
        comes_through(&mut story, n, 9);
        for twin in 0..3u8 {
            let at = Established {
                channel: [twin; 32],
                ..Story::established(n, attacker(n), Direction::Inbound)
            };
            story.comes_as(at);
            heard_out(&story.out, &mut known);
        }
        let live = story.manager.peer(&node(n)).map(|view| view.session);
        if let Some(session) = live {
            let gone = Closure::remote(CloseReason::Requested, 0);
            story.does(|m, now, out| m.on_closed(now, session, gone, out));
        }
        story.pass(200);
    }
    assert!(known.len() <= 2 * RETIRING_PER_IP_MAX, "{} connections", known.len());
    // When they are gone there is room again.
    for session in std::mem::take(&mut known) {
        let gone = Closure::local(CloseReason::Upgraded);
        story.does(|m, now, out| m.on_closed(now, session, gone, out));
    }
    story.pass(60_000);
    comes_through(&mut story, 200, 9);
    story.comes(200, far(200));
    heard_out(&story.out, &mut known);
    assert_eq!(known.len(), 1);
}

/// Attack row 24: a ban, a dismissal and the end of the node end what a peer still brings elsewhere.
#[test]
fn what_ends_a_peer_ends_what_is_heard_out_of_it() {
    for end in 0..3 {
        let mut story = quiet();
        let relayed = comes_through(&mut story, 1, 9);
        let direct = story.comes(1, far(1));
        assert!(story.out.contains(&Action::Retire { session: relayed }));
        let reason = story.does(|m, now, out| match end {
            0 => {
                m.on_banned(now, node(1), now.plus(60_000), out);
                CloseReason::Banned
            }
            1 => {
                m.disconnect(now, &node(1), out);
                CloseReason::Requested
            }
            _ => {
                m.on_shutdown(now, out);
                CloseReason::Shutdown
            }
        });
        for session in [relayed, direct] {
            assert_eq!(story.closed(session), Some(reason), "{reason:?}");
        }
    }
}
