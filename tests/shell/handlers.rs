//! The chain's own code may panic: its message is ignored, its answer is a failure, nobody pays.

use std::{sync::PoisonError, time::Duration};

use peerstage::{
    Block, Inbound, Kind, RequestError, Target, Topic, Transaction, Verdict, What,
    core::requests,
    testkit::{
        cluster::{Cluster, World},
        run_virtual,
    },
    transport::sim::SimConfig,
};

use crate::panics::ALONE;

/// Longer than any step of the story takes, virtual time.
const PATIENCE: Duration = Duration::from_secs(30);
/// What the second node serves, badly.
const BROKEN: Topic = Topic(77);

async fn judge(_: Inbound<Block>) -> Verdict {
    panic!("a bug of the chain's")
}

#[test]
fn a_panic_in_the_chains_handlers_costs_nobody_anything() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    run_virtual(3, |seed| async move {
        let world = World::simulated(seed, SimConfig::default());
        let mut cluster = Cluster::new(world, seed).prepared(|index, builder| match index {
            1 => builder.on(judge).serve(BROKEN, |_, _| async { panic!("another one") }),
            _ => builder,
        });
        cluster.start(2).await.unwrap();
        cluster.until_met(1, PATIENCE).await.unwrap();
        let (first, second) = (cluster.member(0).node(), cluster.member(1).node());

        cluster.network(0).broadcast(Block::from("a block")).await.unwrap();
        let ignored = |what: &What| {
            matches!(what, What::Received { kind: Kind::Block, verdict: "ignored", .. })
        };
        cluster.until(PATIENCE, async |c: &Cluster| c.member(1).saw(ignored)).await.unwrap();

        let asked = cluster.network(0).request(Target::Peer(second), BROKEN, "?", PATIENCE).await;
        assert_eq!(asked, Err(RequestError::Request(requests::RequestError::Failed)));

        // The bridge and the desk are well, and the messenger is not blamed.
        cluster.network(0).broadcast(Transaction::from("a payment")).await.unwrap();
        let paid =
            async |c: &Cluster| c.member(1).inbox().count(Kind::Transaction, b"a payment") == 1;
        cluster.until(PATIENCE, paid).await.unwrap();
        let messenger = cluster.network(1).peer(first).await.unwrap().unwrap();
        assert!(messenger.score >= 0.0, "{messenger:?}");
        cluster.shutdown_all().await;
    });
}
