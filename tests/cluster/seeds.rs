//! Random faults from a seed: what must hold, holds, and the same seed is the same run.

use std::{process::Command, time::Duration};

use peerstage::{
    core::kinds::Kind,
    testkit::{
        cluster::{Cluster, World},
        faults, run_virtual,
    },
    transport::sim::{FaultGuard, SimConfig},
};
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::traffic::Traffic;

const NODES: usize = 6;
const VALIDATORS: usize = 3;
/// Virtual seconds with faults.
const FAULTY_S: u64 = 20;
/// Virtual seconds after the last fault in which everything must have arrived.
const SETTLE: Duration = Duration::from_secs(20);

/// A fault, which ends when it is dropped.
#[allow(dead_code, reason = "guards are there to be dropped")]
enum Fault {
    Network(FaultGuard),
    Clock(usize, faults::ClockJump),
    Crash(usize),
}

fn draw(rng: &mut ChaCha8Rng, cluster: &Cluster) -> Fault {
    let network = cluster.simulation();
    let node = rng.random_range(0..NODES);
    match rng.random_range(0..6u8) {
        0 => {
            let lost = rng.random_range(1_000..100_000);
            println!("{lost} of a million packets are lost");
            Fault::Network(network.install(faults::loss(lost)))
        }
        1 => {
            let ms = rng.random_range(1..500);
            println!("{ms} ms more each way");
            Fault::Network(network.install(faults::delay(ms)))
        }
        2 => {
            let sides: (Vec<usize>, Vec<usize>) =
                (0..NODES).partition(|_| rng.next_u32().is_multiple_of(2));
            println!("partition {sides:?}");
            Fault::Network(cluster.partition(&[&sides.0, &sides.1]))
        }
        3 => {
            let (host, bits) = (cluster.ip(node), rng.random_range(10_000..1_000_000));
            println!("node {node} reads {bits} bits a second");
            Fault::Network(faults::slow_reader(network, host, bits))
        }
        4 => {
            let ms = rng.random_range(-3_600_000..3_600_000);
            println!("the clock of node {node} jumps {ms} ms");
            Fault::Clock(node, faults::clock_jump(cluster.member(node).clock(), ms))
        }
        _ => {
            println!("node {node} crashes");
            Fault::Crash(node)
        }
    }
}

/// One run: faults come and go while everybody talks; then quiet, and everything has arrived.
async fn a_run(seed: u64) -> [u8; 32] {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let world = World::simulated(seed, SimConfig::default());
    let mut cluster = Cluster::new(world, seed).with_validators(VALIDATORS);
    let all: Vec<usize> = cluster.start(NODES).await.unwrap().collect();
    let mut traffic = Traffic::default();
    let mut fault: Option<Fault> = None;
    for second in 0..FAULTY_S {
        if second % 4 == 3 {
            end(&mut cluster, &mut traffic, fault.take()).await;
        } else if second % 4 == 0 {
            let drawn = draw(&mut rng, &cluster);
            if let Fault::Crash(node) = drawn {
                traffic.crashed(&cluster, node);
                cluster.crash(node).await;
                // What it is handed in its next life, it is handed for the first time.
                cluster.member(node).inbox().clear();
            }
            fault = Some(drawn);
        }
        let from = rng.random_range(0..NODES);
        if cluster.member(from).network().is_some() {
            let kinds = if from < VALIDATORS { 3 } else { 2 };
            let kind = [Kind::Block, Kind::Transaction, Kind::Vote][rng.random_range(0..kinds)];
            println!("second {second}: {kind} of node {from}");
            traffic.send(&cluster, from, kind).await;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    end(&mut cluster, &mut traffic, fault.take()).await;
    traffic.until_everywhere(&cluster, &all, VALIDATORS, SETTLE).await;
    traffic.assert_exactly_once(&cluster, &all, VALIDATORS);
    for index in &all {
        assert_eq!(cluster.network(*index).bans().await.unwrap(), [], "node {index} banned one");
    }
    cluster.simulation().digest()
}

async fn end(cluster: &mut Cluster, traffic: &mut Traffic, fault: Option<Fault>) {
    match fault {
        Some(Fault::Crash(node)) => cluster.restart(node).await.unwrap(),
        Some(Fault::Clock(node, _)) => traffic.clock_was_wrong(cluster, node),
        Some(Fault::Network(_)) | None => {}
    }
}

fn run(seed: u64) -> [u8; 32] {
    run_virtual(seed, a_run)
}

/// Attack row 25: 0 honest bans. Four tests, so that the test runner's threads share the seeds.
fn every_fourth_seed(first: u64) {
    let seeds = std::env::var("PEERSTAGE_SEEDS").ok().and_then(|text| text.parse().ok());
    for seed in (first..seeds.unwrap_or(200)).step_by(4) {
        run(seed);
    }
}

#[test]
fn faults_of_every_fourth_seed() {
    every_fourth_seed(0);
}

#[test]
fn faults_of_every_fourth_seed_from_one() {
    every_fourth_seed(1);
}

#[test]
fn faults_of_every_fourth_seed_from_two() {
    every_fourth_seed(2);
}

#[test]
fn faults_of_every_fourth_seed_from_three() {
    every_fourth_seed(3);
}

/// Printed before the digest, so that it is found in the other process's output.
const MARK: &str = "digest of the run: ";

#[test]
fn one_run() {
    let seed = std::env::var("PEERSTAGE_SEED").ok().and_then(|text| text.parse().ok());
    println!("{MARK}{}", peerstage::core::identity::hex(&run(seed.unwrap_or(0))));
}

fn in_another_process(seed: u64) -> String {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "seeds::one_run", "--nocapture"])
        .env("PEERSTAGE_SEED", seed.to_string())
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let line = text.lines().find_map(|line| line.split(MARK).nth(1));
    line.unwrap_or_else(|| panic!("no digest in {text}")).to_owned()
}

/// ATTACKS, promise 6: every bug replays from a seed.
#[test]
fn the_same_seed_is_the_same_run_in_another_process() {
    for seed in [3, 4] {
        assert_eq!(in_another_process(seed), in_another_process(seed), "seed {seed}");
    }
    assert_ne!(in_another_process(3), in_another_process(4));
}
