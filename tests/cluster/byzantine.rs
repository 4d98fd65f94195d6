//! A third of the network breaks every rule, and honest nodes neither ban each other nor lose a
//! message.

use std::time::Duration;

use peerstage::{
    core::{address::Address, identity::NodeId, kinds::Kind},
    testkit::{
        cluster::{Cluster, PORT, World},
        run_virtual,
    },
    transport::{Transport, sim::SimConfig},
};

use crate::{hostile, hostile::Hostile, traffic::Traffic};

const HONEST: usize = 6;
const HOSTILE: usize = 3;

/// One way to be a nuisance, until the node closes.
async fn misbehave(mut peer: Hostile, way: usize) {
    for round in 0..100 {
        let text = format!("invalid {way} {round}");
        let sent = match way % 6 {
            0 => peer.gossip(Kind::Block, text.as_bytes()).await,
            1 => peer.gossip(Kind::Transaction, text.as_bytes()).await,
            // A vote without being a validator.
            2 => peer.gossip(Kind::Vote, text.as_bytes()).await,
            // The same again and again.
            3 => peer.gossip(Kind::Transaction, b"a replay").await,
            // No inventory at all.
            4 => peer.send(Kind::Have, text.as_bytes()).await,
            _ => {
                let garbage = peer.sealed(&[0xff; 50]);
                peer.raw.send(&garbage).await
            }
        };
        if !sent {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// A hostile host comes to every honest node again and again, each time with another trick.
async fn torment(
    transport: impl Transport + 'static,
    victims: Vec<Address>,
    seed: u8,
    cluster_clock: peerstage::clock::Clock,
) {
    for round in 0..10usize {
        for (index, victim) in victims.iter().enumerate() {
            let Ok(link) = transport.dial(*victim).await else { continue };
            let raw = hostile::Raw { io: link.io };
            let now = cluster_clock.wall();
            let torture = async move {
                let mut peer = Hostile::try_shake_hands(raw, seed).await?;
                peer.try_say_hello(seed, now).await.then_some(())?;
                misbehave(peer, round + index + usize::from(seed)).await;
                Some(())
            };
            let _ = tokio::time::timeout(Duration::from_secs(2), torture).await;
        }
    }
}

/// Attack row 25 and issue 2: a Byzantine third cannot make honest peers ban each other.
#[test]
fn a_hostile_third_bans_no_honest_node_and_stops_no_message() {
    run_virtual(31, |seed| async move {
        let world = World::simulated(seed, SimConfig::default());
        let mut cluster = Cluster::new(world, seed).named(hostile::NETWORK).with_validators(2);
        let all: Vec<usize> = cluster.start(HONEST).await.unwrap().collect();
        cluster.until_met(HONEST - 1, Duration::from_secs(20)).await.expect("everybody meets");
        let victims: Vec<Address> =
            all.iter().map(|index| Address::new(cluster.ip(*index), PORT)).collect();
        for attacker in 0..HOSTILE {
            let transport = cluster.simulation().host(cluster.ip(100 + attacker));
            let clock = cluster.member(0).clock().clone();
            let seed = 200 + u8::try_from(attacker).unwrap();
            actix_rt::spawn(torment(transport, victims.clone(), seed, clock));
        }
        let mut traffic = Traffic::default();
        for round in 0..30 {
            traffic.send_from(&cluster, &[round % HONEST]).await;
            traffic.vote_from(&cluster, &[round % 2]).await;
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        traffic.until_everywhere(&cluster, &all, 2, Duration::from_secs(20)).await;
        let honest: Vec<NodeId> = cluster.members().iter().map(|member| member.node()).collect();
        let mut banned = 0;
        for index in &all {
            for ban in cluster.network(*index).bans().await.unwrap() {
                assert!(!honest.contains(&ban.peer), "node {index} banned an honest one: {ban:?}");
                banned += 1;
            }
            for peer in cluster.network(*index).peers().await.unwrap() {
                let honest = honest.contains(&peer.peer);
                assert!(
                    !honest || peer.score >= 0.0,
                    "node {index} blames an honest one: {peer:?}"
                );
            }
        }
        println!("{banned} bans of hostile nodes");
        assert!(banned >= HONEST, "the hostile ones are banned");
        let counts = cluster.member(0).inbox().counts();
        let twice = counts.iter().find(|(_, count)| **count > 1);
        assert_eq!(twice, None, "each message is judged once");
    });
}
