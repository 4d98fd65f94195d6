//! Bytes a second, up and down, to one peer and to all: kept, shared, and no vote's business.

use std::time::Duration;

use peerstage::{
    core::config::{Config, Size},
    testkit::{cluster::Cluster, run_virtual},
};

use crate::scene::{
    WINDOW, assert_calm, assert_within, gained, only_first, p99, received, saturate, sent,
    validators, votes,
};

/// Bytes a second of every limit here, unless a story says otherwise.
const RATE: u64 = 1_000_000;
/// How near a limit what is measured must be, percent.
const TOLERANCE: u64 = 5;
/// How far from its share of a limit on all peers one peer may be, percent.
const READ_SHARE_TOLERANCE: u64 = 10;
const WRITE_SHARE_TOLERANCE: u64 = 5;
/// Windows looked at, one after the other.
const WINDOWS: usize = 3;
/// A vote takes this much longer at most while everything else waits, ms: it may find two sealed
/// records of bulk in front of it, and the line's jitter is 1 ms.
const VOTE_WAIT_MS: u64 = 3;

/// Until what was allowed at once is used up and queues are full.
async fn settle() {
    tokio::time::sleep(Duration::from_secs(3)).await;
}

/// A limit on what the first node sends: all of it is used, and nothing more.
async fn uploads(seed: u64, peers: usize, limit: fn(&mut Config), each: u64) -> Cluster {
    let cluster = validators(seed, peers + 1, only_first(limit)).await;
    let others: Vec<usize> = (1..=peers).collect();
    let idle = votes(&cluster, 0, 1, "idle").await;
    others.iter().for_each(|to| saturate(&cluster, 0, *to));
    settle().await;
    for _ in 0..WINDOWS {
        let before = sent(&cluster, 0, &others).await;
        tokio::time::sleep(WINDOW).await;
        let bytes = gained(&before, &sent(&cluster, 0, &others).await);
        println!("sent in 10 s: {bytes:?}");
        let all = bytes.iter().sum();
        assert_within(TOLERANCE, peers as u64 * each * WINDOW.as_secs(), all, "sent to all");
        for bytes in bytes {
            assert_within(WRITE_SHARE_TOLERANCE, each * WINDOW.as_secs(), bytes, "sent to one");
        }
    }
    let busy = votes(&cluster, 0, 1, "busy").await;
    println!("votes: p99 {} ms idle, {} ms busy", p99(&idle), p99(&busy));
    assert!(p99(&busy) <= p99(&idle) + VOTE_WAIT_MS, "{} and {}", p99(&idle), p99(&busy));
    assert_calm(&cluster).await;
    cluster
}

/// A limit on what the first node receives.
async fn downloads(seed: u64, peers: usize, limit: fn(&mut Config), each: u64) {
    let cluster = validators(seed, peers + 1, only_first(limit)).await;
    let others: Vec<usize> = (1..=peers).collect();
    let idle = votes(&cluster, 1, 0, "idle").await;
    others.iter().for_each(|from| saturate(&cluster, *from, 0));
    settle().await;
    for _ in 0..WINDOWS {
        let before = received(&cluster, 0, &others).await;
        tokio::time::sleep(WINDOW).await;
        let bytes = gained(&before, &received(&cluster, 0, &others).await);
        println!("received in 10 s: {bytes:?}");
        let all = bytes.iter().sum();
        assert_within(TOLERANCE, peers as u64 * each * WINDOW.as_secs(), all, "received");
        for bytes in bytes {
            assert_within(
                READ_SHARE_TOLERANCE,
                each * WINDOW.as_secs(),
                bytes,
                "received from one",
            );
        }
    }
    let busy = votes(&cluster, 1, 0, "busy").await;
    println!("votes: p99 {} ms idle, {} ms busy", p99(&idle), p99(&busy));
    assert!(p99(&busy) <= p99(&idle) + VOTE_WAIT_MS, "{} and {}", p99(&idle), p99(&busy));
    assert_calm(&cluster).await;
}

#[test]
fn what_is_sent_to_one_peer_is_limited() {
    run_virtual(61, |seed| async move {
        uploads(seed, 2, |config| config.limits.max_upload_rate_per_peer = Size(RATE), RATE).await;
    });
}

#[test]
fn what_is_sent_to_all_peers_is_limited_and_shared() {
    run_virtual(62, |seed| async move {
        uploads(seed, 4, |config| config.limits.max_upload_rate = Size(RATE), RATE / 4).await;
    });
}

/// The sender was told, and holds back by itself: hardly anything waits in the network.
#[test]
fn what_is_received_from_one_peer_is_limited_by_its_sender() {
    run_virtual(63, |seed| async move {
        let limit = |config: &mut Config| config.limits.max_download_rate_per_peer = Size(RATE);
        downloads(seed, 2, limit, RATE).await;
    });
}

/// Each sender was told its part, and holds back by itself.
#[test]
fn what_is_received_from_all_peers_is_limited_and_shared() {
    run_virtual(64, |seed| async move {
        let limit = |config: &mut Config| config.limits.max_download_rate = Size(RATE);
        downloads(seed, 4, limit, RATE / 4).await;
    });
}

/// Whether uploads are limited, else downloads, and how.
type Limited = (bool, fn(&mut Config));

/// However little is allowed, nobody takes the other for dead. An upload of less than 16 KiB a
/// second to one peer is the trickle of attack row 5, which the other side must end.
#[test]
fn a_low_limit_costs_no_connection() {
    let limits: [Limited; 4] = [
        (true, |config| config.limits.max_upload_rate = Size::kib(64)),
        (true, |config| config.limits.max_upload_rate_per_peer = Size::kib(32)),
        (false, |config| {
            config.limits.max_download_rate = Size::kib(40);
            (config.network.max_peers, config.network.min_peers) = (10, 2);
        }),
        (false, |config| config.limits.max_download_rate_per_peer = Size::kib(16)),
    ];
    for (number, (up, limit)) in limits.into_iter().enumerate() {
        run_virtual(65, |seed| async move {
            println!("limit {number}");
            let cluster = validators(seed, 3, only_first(limit)).await;
            for other in [1, 2] {
                let (from, to) = if up { (0, other) } else { (other, 0) };
                saturate(&cluster, from, to);
            }
            tokio::time::sleep(Duration::from_secs(180)).await;
            assert_calm(&cluster).await;
        });
    }
}
