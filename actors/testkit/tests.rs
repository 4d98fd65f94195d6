//! Virtual time under actix, and the same digest from the same seed in another process.

use std::{
    net::{IpAddr, Ipv4Addr},
    process::Command,
};

use actix::prelude::*;
use futures_util::{Stream, stream};
use peerstage_core::{address::Address, time::Time};
use rand_chacha::{
    ChaCha8Rng,
    rand_core::{Rng, SeedableRng},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::oneshot,
    time::Instant,
};

use super::*;
use crate::{
    clock::Clock,
    transport::{
        Link, Transport,
        sim::{SimConfig, SimNetwork},
    },
};

/// Counts what a stream brings, and reports it after half a minute if somebody asked.
struct Counter {
    bytes: u64,
    report: Option<oneshot::Sender<(u64, Duration)>>,
    began: Instant,
}

impl Counter {
    fn count(
        pieces: impl Stream<Item = u64> + 'static,
        report: Option<oneshot::Sender<(u64, Duration)>>,
    ) {
        Counter::create(|ctx| {
            ctx.add_stream(pieces);
            Counter { bytes: 0, report, began: Instant::now() }
        });
    }
}

impl Actor for Counter {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.run_later(Duration::from_secs(30), |actor, ctx| {
            if let Some(report) = actor.report.take() {
                report.send((actor.bytes, actor.began.elapsed())).unwrap();
                ctx.stop();
            }
        });
    }
}

impl StreamHandler<u64> for Counter {
    fn handle(&mut self, bytes: u64, _: &mut Self::Context) {
        self.bytes += bytes;
    }
}

#[test]
fn actors_timers_and_streams_follow_virtual_time() {
    let (counted, took) = run_virtual(1, |_| async {
        let (report, counted) = oneshot::channel();
        let ticks = stream::unfold(0, |tick| async move {
            tokio::time::sleep(Duration::from_secs(1)).await;
            Some((1, tick + 1))
        });
        Counter::count(ticks, Some(report));
        counted.await.unwrap()
    });
    assert_eq!(took, Duration::from_secs(30));
    assert!((29..=30).contains(&counted));
}

#[test]
#[should_panic(expected = "the story did not end within 3600 virtual seconds")]
fn a_story_that_waits_for_ever_fails() {
    run_virtual(1, |_| std::future::pending::<()>());
}

/// Attack row 32: the guard of a clock jump puts the clock right again.
#[test]
fn a_clock_jump_ends_with_its_guard() {
    run_virtual(1, |_| async {
        let clock = Clock::simulated(5_000_000);
        let jump = faults::clock_jump(&clock, 3_600_000);
        assert_eq!((clock.now(), clock.wall()), (Time(5_000_000), Time(8_600_000)));
        drop(jump);
        assert_eq!(clock.wall(), Time(5_000_000));
    });
}

const HOSTS: u8 = 8;
const PORT: u16 = 30_400;

fn ip(host: u8) -> IpAddr {
    Ipv4Addr::new(10, 1, 0, host).into()
}

/// Every host sends every other one a stream of random pieces under loss, a partition and a
/// crash; actors count what arrives.
async fn busy_network(seed: u64) -> [u8; 32] {
    let network = SimNetwork::new(seed, SimConfig::eight_regions());
    for host in 0..HOSTS {
        let address = Address::new(ip(host), PORT);
        let mut listener = network.host(ip(host)).listen(address).await.unwrap();
        actix_rt::spawn(async move {
            while let Ok(link) = listener.accept().await {
                Counter::count(pieces(link), None);
            }
        });
    }
    let _loss = network.install(faults::loss(20_000));
    for host in 0..HOSTS {
        for other in (0..HOSTS).filter(|other| *other != host) {
            let network = network.clone();
            actix_rt::spawn(async move { talk(&network, seed, host, other).await });
        }
    }
    tokio::time::sleep(Duration::from_secs(3)).await;
    let split = network.install(faults::partition(&[&[ip(0), ip(1)], &[ip(2), ip(3)]]));
    tokio::time::sleep(Duration::from_secs(3)).await;
    drop(split);
    network.crash(ip(5));
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert!(network.stats().connections > 40);
    network.digest()
}

/// One host's words to another, drawn from a generator of its own.
async fn talk(network: &SimNetwork, seed: u64, host: u8, other: u8) {
    let words = u64::from(host) * 1_000 + u64::from(other);
    let mut rng = ChaCha8Rng::seed_from_u64(seed ^ (words << 32));
    let Ok(mut link) = network.host(ip(host)).dial(Address::new(ip(other), PORT)).await else {
        return;
    };
    for _ in 0..20 {
        let mut piece = vec![0; (rng.next_u64() % 20_000) as usize];
        rng.fill_bytes(&mut piece);
        if link.io.write_all(&piece).await.is_err() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(rng.next_u64() % 500)).await;
    }
}

fn pieces(link: Link) -> impl Stream<Item = u64> {
    stream::unfold(link, |mut link| async move {
        let mut buffer = [0; 4_096];
        match link.io.read(&mut buffer).await {
            Ok(length) if length > 0 => Some((length as u64, link)),
            _ => None,
        }
    })
}

fn digest_text(seed: u64) -> String {
    let digest = run_virtual(seed, busy_network);
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Promise 6 of the attack catalogue: a run replays from its seed, in another process too.
#[test]
fn the_same_seed_gives_the_same_digest_in_separate_processes() {
    const NAME: &str = "testkit::tests::the_same_seed_gives_the_same_digest_in_separate_processes";
    const CHILD: &str = "PEERSTAGE_TEST_DIGEST_OF_SEED";
    if let Ok(seed) = std::env::var(CHILD) {
        println!("digest {}", digest_text(seed.parse().unwrap()));
        return;
    }
    let child = |seed: u64| {
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", NAME, "--nocapture"])
            .env(CHILD, seed.to_string())
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let after = text.split("digest ").nth(1).unwrap_or_else(|| panic!("{text}"));
        after.chars().take(64).collect::<String>()
    };
    let (first, second, other) = (child(7), child(7), child(8));
    assert_eq!(first, second);
    assert_eq!(first, digest_text(7));
    assert_ne!(first, other);
}
