//! The simulated network: the promises of a transport, distances, lines and faults.

use std::{io::ErrorKind, net::Ipv4Addr};

use rand_chacha::{
    ChaCha8Rng,
    rand_core::{Rng, SeedableRng},
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::testkit::{
    conformance::{Venue, check_all, fill},
    faults, run_virtual,
};

fn ip(last: u8) -> IpAddr {
    Ipv4Addr::new(10, 0, 0, last).into()
}

fn any_port(last: u8) -> Address {
    Address::new(ip(last), 0)
}

/// A connection from host 1 to host 2.
async fn connect(network: &SimNetwork) -> (Box<dyn Listener>, Link, Link) {
    let mut listener = network.host(ip(2)).listen(any_port(2)).await.unwrap();
    let address = listener.local();
    let host = network.host(ip(1));
    let (dialled, accepted) = tokio::join!(host.dial(address), listener.accept());
    (listener, dialled.unwrap(), accepted.unwrap())
}

fn no_jitter(latency_ms: u64) -> SimConfig {
    SimConfig { latency: Latency::Constant(latency_ms), jitter_us: 0, ..SimConfig::default() }
}

async fn check_sim(network: SimNetwork) {
    let (one, two) = (network.host(ip(1)), network.host(ip(2)));
    let vacant = Address::new(ip(2), 9);
    check_all(&Venue { dialler: &one, acceptor: &two, listen: any_port(2), vacant }).await;
}

#[test]
fn the_simulator_keeps_the_promises() {
    for config in [SimConfig::default(), SimConfig::instant(), SimConfig::aws13()] {
        run_virtual(1, |seed| check_sim(SimNetwork::new(seed, config)));
    }
}

#[test]
fn the_simulator_keeps_the_promises_under_loss_and_disorder() {
    for seed in 0..20 {
        run_virtual(seed, |seed| async move {
            let disorder = SimConfig { jitter_us: 30_000, ..SimConfig::eight_regions() };
            let network = SimNetwork::new(seed, disorder);
            // A lost reset leaves the other side waiting for ever, as in real TCP.
            let mut loss = faults::loss(50_000);
            let but_resets = move |packet: &Packet, rng: &mut _| match packet.kind {
                PacketKind::Reset => Verdict::Pass,
                _ => loss.judge(packet, rng),
            };
            let _loss = network.install(but_resets);
            check_sim(network).await;
        });
    }
}

#[test]
fn a_link_leaves_nothing_behind() {
    run_virtual(1, |seed| async move {
        let network = SimNetwork::new(seed, SimConfig::default());
        check_sim(network.clone()).await;
        tokio::time::sleep(Duration::from_secs(60)).await;
        let (ends, ports) = network.shared.with(|f, _| (f.ends.len(), f.ports.len()));
        assert_eq!((ends, ports, network.shared.with(|f, _| f.deadline())), (0, 0, None));
    });
}

#[test]
fn distance_is_a_round_trip_to_connect_and_a_trip_to_tell() {
    run_virtual(1, |seed| async move {
        let network = SimNetwork::new(seed, no_jitter(30));
        let mut listener = network.host(ip(2)).listen(any_port(2)).await.unwrap();
        let began = Instant::now();
        let mut dialled = network.host(ip(1)).dial(listener.local()).await.unwrap();
        assert_eq!(began.elapsed(), Duration::from_millis(60));
        dialled.io.write_u8(1).await.unwrap();
        let mut accepted = listener.accept().await.unwrap();
        accepted.io.read_u8().await.unwrap();
        assert_eq!(began.elapsed(), Duration::from_millis(90));
    });
}

#[test]
fn regions_are_as_far_apart_as_the_table_says() {
    run_virtual(1, |seed| async move {
        let config = SimConfig { jitter_us: 0, ..SimConfig::aws13() };
        let network = SimNetwork::new(seed, config);
        let virginia = network.host_at(ip(1), Placement::default());
        let tokyo = network.host_at(ip(2), Placement { region: 8, ..Placement::default() });
        let listener = tokyo.listen(any_port(2)).await.unwrap();
        let began = Instant::now();
        virginia.dial(listener.local()).await.unwrap();
        assert_eq!(began.elapsed(), Duration::from_millis(146));
    });
}

#[test]
fn hosts_are_spread_by_the_weights_of_the_regions() {
    run_virtual(1, |seed| async move {
        let network = SimNetwork::new(seed, SimConfig::eight_regions());
        let (mut europe, mut fast) = (0, 0);
        for last in 0..200 {
            let _ = network.host(ip(last));
            let place = network.placement(ip(last)).unwrap();
            europe += u32::from(place.region == 1);
            fast += u32::from(place.bandwidth == Bandwidth::symmetric_mbit(1_024));
        }
        // 49 % of 200 and 20 % of 200, four standard deviations around.
        assert!((70..=127).contains(&europe), "{europe}");
        assert!((17..=63).contains(&fast), "{fast}");
    });
}

#[test]
fn a_line_takes_its_time_and_shares_it_fairly() {
    run_virtual(1, |seed| async move {
        let network = SimNetwork::new(seed, no_jitter(0));
        let slow = Bandwidth { up: Some(8_000_000), down: None };
        let _ = network.host_at(ip(1), Placement { region: 0, bandwidth: slow });
        let (_one, mut bulk, mut bulk_reader) = connect(&network).await;
        let (_two, mut vote, mut vote_reader) = connect(&network).await;
        let began = Instant::now();
        bulk.io.write_all(&vec![0; 1_000_000]).await.unwrap();
        vote.io.write_all(&[1; 100]).await.unwrap();
        let read_vote = async {
            vote_reader.io.read_exact(&mut [0; 100]).await.unwrap();
            began.elapsed().as_millis()
        };
        let read_bulk = async {
            bulk_reader.io.read_exact(&mut vec![0; 1_000_000]).await.unwrap();
            began.elapsed().as_millis()
        };
        let (vote_ms, bulk_ms) = tokio::join!(read_vote, read_bulk);
        assert!(vote_ms <= 2 * 17, "a vote waits for one segment of a block: {vote_ms} ms");
        assert!((1_000..1_010).contains(&bulk_ms), "a megabyte at 1 MB/s: {bulk_ms} ms");
    });
}

#[test]
fn a_block_on_a_cold_connection_takes_round_trips_and_fewer_on_a_warm_one() {
    run_virtual(1, |seed| async move {
        let network = SimNetwork::new(seed, no_jitter(50));
        let (_listener, mut dialled, mut accepted) = connect(&network).await;
        let mut transfer_ms = async || {
            let began = Instant::now();
            dialled.io.write_all(&vec![0; 400_000]).await.unwrap();
            accepted.io.read_exact(&mut vec![0; 400_000]).await.unwrap();
            began.elapsed().as_millis()
        };
        // 14,600 bytes, then twice as many each round trip: 5 windows are 452,600 bytes.
        assert_eq!(transfer_ms().await, 50 + 4 * 100);
        assert!(transfer_ms().await <= 50 + 100);
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert_eq!(transfer_ms().await, 50 + 4 * 100);
    });
}

/// Attack row 43: what a sleeping reader costs is the window, however long it sleeps.
#[test]
fn a_sleeping_reader_costs_one_window() {
    run_virtual(1, |seed| async move {
        let network = SimNetwork::new(seed, SimConfig::default());
        let (_listener, mut dialled, accepted) = connect(&network).await;
        assert_eq!(fill(&mut dialled.io, usize::MAX).await, WINDOW_BYTES);
        tokio::time::sleep(Duration::from_secs(600)).await;
        assert_eq!(fill(&mut dialled.io, usize::MAX).await, 0);
        assert_eq!(network.stats().hosts[&ip(2)].bytes_in, WINDOW_BYTES as u64);
        drop(accepted);
    });
}

#[test]
fn a_slow_reader_slows_its_writer_until_the_guard_is_dropped() {
    run_virtual(1, |seed| async move {
        let config = SimConfig { congestion_control: false, ..SimConfig::default() };
        let network = SimNetwork::new(seed, config);
        let (_listener, mut dialled, mut accepted) = connect(&network).await;
        let slow = faults::slow_reader(&network, ip(2), 8_000);
        fill(&mut dialled.io, usize::MAX).await;
        tokio::time::sleep(Duration::from_secs(100)).await;
        let arrived = network.stats().hosts[&ip(2)].bytes_in;
        assert!((80_000..110_000).contains(&arrived), "{arrived} bytes at 1 kB/s in 100 s");
        drop(slow);
        let began = Instant::now();
        accepted.io.read_exact(&mut vec![0; WINDOW_BYTES]).await.unwrap();
        assert!(began.elapsed() < Duration::from_millis(50));
    });
}

#[test]
fn a_partition_holds_bytes_back_and_its_end_lets_them_through() {
    run_virtual(1, |seed| async move {
        let network = SimNetwork::new(seed, no_jitter(20));
        let (_listener, mut dialled, mut accepted) = connect(&network).await;
        let split = network.install(faults::partition(&[&[ip(1)], &[ip(2), ip(3)]]));
        dialled.io.write_all(b"held back").await.unwrap();
        tokio::time::sleep(Duration::from_secs(20)).await;
        drop(split);
        let healed = Instant::now();
        let mut bytes = [0; 9];
        accepted.io.read_exact(&mut bytes).await.unwrap();
        assert_eq!(&bytes, b"held back");
        assert!(healed.elapsed() <= Duration::from_millis(RTO_MAX_MS + 20));
    });
}

#[test]
fn a_partition_times_out_dials_and_resets_who_writes_for_too_long() {
    run_virtual(1, |seed| async move {
        let network = SimNetwork::new(seed, SimConfig::default());
        let (listener, mut dialled, mut accepted) = connect(&network).await;
        let split = network.install(faults::isolate(ip(2)));
        let began = Instant::now();
        let error = network.host(ip(1)).dial(listener.local()).await.unwrap_err();
        assert_eq!((error.kind(), began.elapsed().as_secs()), (ErrorKind::TimedOut, 30));
        dialled.io.write_u8(1).await.unwrap();
        let error = dialled.io.read_u8().await.unwrap_err();
        assert_eq!((error.kind(), began.elapsed().as_secs()), (ErrorKind::TimedOut, 60));
        // The other side did not hear of it: it learns when it writes.
        drop(split);
        accepted.io.write_u8(1).await.unwrap();
        let error = accepted.io.read_u8().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    });
}

#[test]
fn a_dial_to_no_host_times_out() {
    run_virtual(1, |seed| async move {
        let network = SimNetwork::new(seed, SimConfig::default());
        let error = network.host(ip(1)).dial(Address::new(ip(9), 1)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
    });
}

#[test]
fn a_crash_resets_connections_and_a_new_life_listens_again() {
    run_virtual(1, |seed| async move {
        let network = SimNetwork::new(seed, SimConfig::default());
        let old = network.host(ip(2));
        let (mut listener, mut dialled, mut accepted) = connect(&network).await;
        let address = listener.local();
        network.crash(ip(2));
        assert_eq!(accepted.io.read_u8().await.unwrap_err().kind(), ErrorKind::ConnectionAborted);
        assert_eq!(dialled.io.read_u8().await.unwrap_err().kind(), ErrorKind::ConnectionReset);
        assert_eq!(listener.accept().await.unwrap_err().kind(), ErrorKind::ConnectionAborted);
        assert_eq!(old.listen(address).await.err().unwrap().kind(), ErrorKind::NotConnected);
        let refused = network.host(ip(1)).dial(address).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
        let reborn = network.host(ip(2)).listen(address).await.unwrap();
        drop(listener);
        network.host(ip(1)).dial(reborn.local()).await.unwrap();
    });
}

#[test]
fn a_dial_that_is_given_up_leaves_no_connection() {
    run_virtual(1, |seed| async move {
        let network = SimNetwork::new(seed, no_jitter(50));
        let listener = network.host(ip(2)).listen(any_port(2)).await.unwrap();
        for patience_ms in [10, 70, 99] {
            let host = network.host(ip(1));
            let dial = host.dial(listener.local());
            let patience = Duration::from_millis(patience_ms);
            assert!(tokio::time::timeout(patience, dial).await.is_err());
        }
        tokio::time::sleep(Duration::from_secs(10)).await;
        assert_eq!(network.shared.with(|fabric, _| fabric.ends.len()), 0);
    });
}

#[test]
fn delays_add_up_and_end_with_their_guards() {
    run_virtual(1, |seed| async move {
        let network = SimNetwork::new(seed, no_jitter(10));
        let listener = network.host(ip(2)).listen(any_port(2)).await.unwrap();
        let dial_ms = async || {
            let began = Instant::now();
            network.host(ip(1)).dial(listener.local()).await.unwrap();
            began.elapsed().as_millis()
        };
        let all = network.install(faults::delay(5));
        let pair = network.install(faults::between(ip(2), ip(1), faults::delay(7)));
        let others = network.install(faults::between(ip(2), ip(3), faults::delay(99)));
        assert_eq!(dial_ms().await, 44);
        drop((all, others));
        assert_eq!(dial_ms().await, 34);
        drop(pair);
        assert_eq!(dial_ms().await, 20);
    });
}

/// Both directions of a link under loss, jitter, narrow lines and short partitions: no byte is
/// lost, doubled or moved.
#[test]
fn streams_keep_every_byte_in_order_in_any_weather() {
    for seed in 0..40 {
        run_virtual(seed, |seed| async move {
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            let config = SimConfig {
                latency: Latency::Constant(rng.next_u64() % 200),
                jitter_us: rng.next_u64() % 100_000,
                segment_bytes: 500 + rng.next_u64() as usize % 20_000,
                congestion_control: rng.next_u64().is_multiple_of(2),
                window_bytes: 20_000 + rng.next_u64() as usize % 200_000,
                lines: vec![(1, Bandwidth::symmetric_mbit(2 + rng.next_u64() % 100))],
            };
            let network = SimNetwork::new(seed, config);
            let (_listener, dialled, accepted) = connect(&network).await;
            let _loss = network.install(faults::loss(100_000));
            let weather = async {
                for _ in 0..4 {
                    let split = network.install(faults::isolate(ip(1)));
                    tokio::time::sleep(Duration::from_secs(2)).await;
                    drop(split);
                    let slow = faults::slow_reader(&network, ip(2), 100_000);
                    tokio::time::sleep(Duration::from_secs(5)).await;
                    drop(slow);
                }
            };
            let forth = rng.next_u64() as usize % 2_000_000;
            let back = rng.next_u64() as usize % 2_000_000;
            let (sent, answered) = (noise(&mut rng, forth), noise(&mut rng, back));
            let one = exchange(dialled, &sent, seed);
            let two = exchange(accepted, &answered, seed + 1);
            let (got_answer, got_sent, ()) = tokio::join!(one, two, weather);
            assert!(got_sent == sent && got_answer == answered);
        });
    }
}

fn noise(rng: &mut ChaCha8Rng, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    rng.fill_bytes(&mut bytes);
    bytes
}

/// Writes in uneven pieces while reading to the end.
async fn exchange(link: Link, sent: &[u8], seed: u64) -> Vec<u8> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let (mut input, mut output) = tokio::io::split(link.io);
    let write = async {
        let mut rest = sent;
        while !rest.is_empty() {
            let (piece, later) = rest.split_at(rest.len().min(rng.next_u64() as usize % 50_000));
            output.write_all(piece).await.unwrap();
            rest = later;
        }
        output.shutdown().await.unwrap();
    };
    let mut received = Vec::new();
    let ((), read) = tokio::join!(write, input.read_to_end(&mut received));
    read.unwrap();
    received
}
