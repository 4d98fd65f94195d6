//! Everybody meets, and everything arrives exactly once: the same story on every transport.

use std::time::Duration;

use peerstage::{
    core::requests::Target,
    testkit::{
        cluster::{Cluster, ECHO, World},
        run_virtual,
    },
    transport::sim::SimConfig,
};

use crate::traffic::Traffic;

const NODES: usize = 8;
const VALIDATORS: usize = 4;

/// The story that all worlds must tell: meet through one address, spread blocks, transactions
/// and votes, ask a question, ban somebody, stop.
async fn the_story(world: World) {
    let mut cluster = Cluster::new(world, 1).with_validators(VALIDATORS);
    let all: Vec<usize> = cluster.start(NODES).await.unwrap().collect();
    let met = cluster.until_met(NODES - 1, Duration::from_secs(20)).await;
    println!("everybody knows everybody after {} ms", met.expect("they meet").as_millis());

    let mut traffic = Traffic::default();
    traffic.send_from(&cluster, &all).await;
    traffic.vote_from(&cluster, &all[..VALIDATORS]).await;
    let limit = Duration::from_secs(10);
    let spread = traffic.until_everywhere(&cluster, &all, VALIDATORS, limit).await;
    println!("everything is everywhere after {} ms", spread.as_millis());

    let asked = cluster.network(1).request(Target::Any, ECHO, "how are you?", limit).await;
    assert_eq!(asked.unwrap(), "how are you?");

    let (banned, banning) = (cluster.member(7).node(), cluster.network(2));
    banning.ban(banned, "a test", None).await.unwrap();
    let gone = async |cluster: &Cluster| {
        cluster.network(2).peer(banned).await.is_ok_and(|peer| peer.is_none())
    };
    cluster.until(limit, gone).await.expect("a banned peer is disconnected");
    traffic.assert_exactly_once(&cluster, &all, VALIDATORS);
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

#[test]
fn the_story_on_quic() {
    actix_rt::System::new().block_on(the_story(World::LoopbackQuic));
}
