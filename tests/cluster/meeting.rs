//! Everybody meets, and everything arrives exactly once: on both transports.

use std::time::Duration;

use peerstage::{
    Block, Transaction, Vote,
    core::kinds::Kind,
    testkit::{
        cluster::{Cluster, World},
        run_virtual,
    },
    transport::sim::SimConfig,
};

const NODES: usize = 8;
const VALIDATORS: usize = 4;

/// The story that both worlds must tell: meet through one address, spread blocks, transactions
/// and votes, ask a question.
async fn the_story(world: World) {
    let mut cluster = Cluster::new(world, 1).with_validators(VALIDATORS);
    cluster.start(NODES).await.unwrap();
    let met = cluster.until_met(3, Duration::from_secs(20)).await.expect("everybody meets");
    eprintln!("everybody has 3 peers after {} ms", met.as_millis());
    for index in 0..NODES {
        let network = cluster.network(index);
        network.broadcast(Block::from(format!("block {index}").into_bytes())).await.unwrap();
        network.broadcast(Transaction::from(format!("tx {index}").into_bytes())).await.unwrap();
    }
    for index in 0..VALIDATORS {
        let vote = Vote::from(format!("vote {index}").into_bytes());
        cluster.network(index).broadcast(vote).await.unwrap();
    }
    let all = async |cluster: &Cluster| {
        cluster.members().iter().enumerate().all(|(index, member)| {
            let validators = if index < VALIDATORS { VALIDATORS - 1 } else { 0 };
            member.inbox().counts().len() >= 2 * (NODES - 1) + validators
        })
    };
    let spread = cluster.until(Duration::from_secs(10), all).await;
    for (index, member) in cluster.members().iter().enumerate() {
        let counts = member.inbox().counts();
        let votes = counts.keys().filter(|(kind, _)| *kind == Kind::Vote).count();
        let expected = if index < VALIDATORS { VALIDATORS - 1 } else { 0 };
        assert_eq!(votes, expected, "votes of node {index}");
        assert_eq!(counts.len(), 2 * (NODES - 1) + expected, "node {index} misses messages");
        assert!(counts.values().all(|count| *count == 1), "node {index} got one twice");
    }
    eprintln!("everything is everywhere after {} ms", spread.unwrap().as_millis());
    cluster.shutdown_all().await;
}

#[test]
fn the_story_in_virtual_time() {
    run_virtual(1, |seed| the_story(World::simulated(seed, SimConfig::default())));
}

#[test]
fn the_story_on_tcp() {
    actix_rt::System::new().block_on(the_story(World::Loopback));
}
