//! On real sockets: what a crowd costs in memory, and what a flood of questions is told.

use std::{fs, future::pending, time::Duration};

use bytes::Bytes;
use peerstage::{
    Network, Reply,
    core::{
        header::Header,
        kinds::Kind,
        messages::{Outgoing, RequestHeader, ResponseHeader, ResponseStatus, Topic},
    },
};
use tokio::task::JoinSet;

use crate::{
    hostile::{self, Hostile, NETWORK, soon},
    process::Node,
};

/// Peers that all send at once, and the budget that the node gives each, bytes.
const PEERS: u64 = 256;
const BUDGET_BYTES: u64 = 4 << 20;
/// What each of them sends, as fast as it is taken: as much as its budget.
const BLOCKS: u8 = 4;
const BLOCK_BYTES: usize = 1 << 20;

/// A line of the status of a process, bytes.
fn memory(pid: u32, line: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("a process of Linux");
    let line = status.lines().find_map(|text| text.strip_prefix(line)).unwrap();
    let kib: u64 = line.trim_start_matches(':').trim().trim_end_matches(" kB").parse().unwrap();
    kib * 1024
}

/// 256 peers send different blocks at once and read nothing, so that each also has a full queue.
/// The most memory the node ever had is at most what it had before, and the budgets.
#[tokio::test]
async fn a_crowd_that_sends_at_once_costs_no_more_than_its_budgets() {
    let node = Node::start(&[
        &format!("network.name={NETWORK}"),
        "network.max_peers=400",
        "network.max_inbound=300",
        "network.max_inbound_per_group=300",
        "network.max_inbound_per_ip=300",
        "limits.handshakes_per_second=1000",
        // However slow the machine, nobody is cut off for answering no ping and reading nothing.
        "network.ping_interval=20m",
        "network.ping_timeout=10m",
        "network.idle_timeout=40m",
        "network.write_timeout=10m",
        &format!("limits.inbound_queue={}MiB", BUDGET_BYTES >> 20),
        &format!("limits.outbound_queue={}MiB", BUDGET_BYTES >> 20),
    ]);
    let base = memory(node.pid(), "VmRSS");
    let address = node.address().parse().unwrap();
    let mut crowd = Vec::new();
    for seed in 0..=u8::MAX {
        let mut peer = Hostile::join(address, seed).await;
        peer.wait_for(Kind::Hello).await;
        crowd.push(peer);
    }
    let connected = memory(node.pid(), "VmRSS");
    let mut sending = JoinSet::new();
    for (seed, mut peer) in crowd.into_iter().enumerate() {
        sending.spawn(async move {
            let mut sent = 0u64;
            for number in 0..BLOCKS {
                let mut body = vec![number; BLOCK_BYTES];
                body[..8].copy_from_slice(&seed.to_le_bytes());
                sent += u64::from(peer.gossip(Kind::Block, &body).await);
            }
            (peer, sent)
        });
    }
    let mut held = Vec::new();
    let mut sent = 0;
    while let Some(done) = soon(sending.join_next()).await {
        let (peer, blocks) = done.unwrap();
        sent += blocks;
        held.push(peer);
    }
    let most = memory(node.pid(), "VmHWM");
    println!("{base} bytes alone, {connected} with its peers, {most} at most; {sent} blocks");
    assert!(sent >= PEERS * u64::from(BLOCKS) / 2, "{sent} blocks are no crowd");
    let allowed = (base + PEERS * BUDGET_BYTES) * 5 / 4;
    assert!(most <= allowed, "{most} bytes, {allowed} allowed");
    drop(held);
}

/// Attack row 42: a flood of questions to a server that is stuck. As many as a peer may have open
/// are served, every other one is answered with a typed refusal, and a neighbour is served on.
#[tokio::test]
async fn a_flood_of_requests_gets_typed_refusals() {
    const ASKED: u64 = 400;
    const STUCK: Topic = Topic(1);
    const ECHO: Topic = Topic(2);
    let node = Network::builder(NETWORK)
        .listen("127.0.0.1:0")
        .serve(STUCK, |_, _| pending::<Reply>())
        .serve(ECHO, |_, body| async move { Reply::Answer(body) })
        .start()
        .await
        .unwrap();
    let address = node.listening()[0];
    let neighbour = Network::builder(NETWORK).bootstrap([address.to_string()]);
    let neighbour = neighbour.listen("127.0.0.1:0").start().await.unwrap();
    soon(neighbour.ready(1)).await.unwrap();
    let mut hostile = Hostile::join(address, 31).await;
    hostile.wait_for(Kind::Hello).await;
    for id in 1..=ASKED {
        let header = RequestHeader { id, topic: STUCK, deadline_ms: u32::MAX };
        let message = Outgoing {
            kind: Kind::Request,
            header: Header::of(&header),
            body: Bytes::from_static(b"?"),
        };
        assert!(hostile.send_message(message).await);
    }
    let served = u64::from(peerstage::core::config::Config::default().limits.requests_per_peer);
    for _ in 0..ASKED - served {
        let response = soon(hostile.wait_for(Kind::Response)).await;
        let header: ResponseHeader = response.header.read().unwrap();
        assert_eq!(header.status, ResponseStatus::Busy);
        assert!(response.body.is_empty());
    }
    let target = peerstage::Target::Peer(node.id());
    let answer = neighbour.request(target, ECHO, "still here", Duration::from_secs(5)).await;
    assert_eq!(answer.as_deref(), Ok(&b"still here"[..]));
    let attacker = hostile::key(31).node_id();
    assert!(node.peer(attacker).await.unwrap().is_some(), "asking much is no fault");
    neighbour.shutdown().await;
    node.shutdown().await;
}
