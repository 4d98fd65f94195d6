//! The promises of a transport over TCP, and the exhaustion of descriptors.

use std::{fs::File, process::Command};

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::testkit::conformance::{Venue, check_all};

fn address(text: &str) -> Address {
    text.parse().unwrap()
}

async fn check_tcp(listen: &str) {
    let listen = address(listen);
    // A port that is taken, so that no other test gets it, and not listened at.
    let domain = socket2::Domain::for_address(listen.socket());
    let taken = socket2::Socket::new(domain, socket2::Type::STREAM, None).unwrap();
    taken.bind(&listen.socket().into()).unwrap();
    let vacant = taken.local_addr().unwrap().as_socket().unwrap().into();
    check_all(&Venue { dialler: &TcpTransport, acceptor: &TcpTransport, listen, vacant }).await;
}

#[tokio::test]
async fn tcp_keeps_the_promises_over_ipv4() {
    check_tcp("127.0.0.1:0").await;
}

#[tokio::test]
async fn tcp_keeps_the_promises_over_ipv6() {
    if TcpTransport.listen(address("[::1]:0")).await.is_err() {
        eprintln!("this machine has no IPv6");
        return;
    }
    check_tcp("[::1]:0").await;
}

#[tokio::test]
async fn both_families_share_a_port() {
    let Ok(six) = TcpTransport.listen(address("[::]:0")).await else { return };
    let four = Address::new(std::net::Ipv4Addr::UNSPECIFIED.into(), six.local().port());
    // The port may be taken in the other family by somebody else, but not by our own listener.
    if let Err(error) = std::net::TcpListener::bind(four.socket()) {
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    }
}

/// A peer that does not read leaves our own kernel holding two records and what its window took,
/// not the megabytes of a send buffer: a vote would be behind them.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn little_waits_in_our_own_kernel() {
    let mut listener = TcpTransport.listen(address("127.0.0.1:0")).await.unwrap();
    let (dialled, accepted) = tokio::join!(TcpTransport.dial(listener.local()), listener.accept());
    let (mut dialled, accepted) = (dialled.unwrap(), accepted.unwrap());
    let taken = crate::testkit::conformance::fill(&mut dialled.io, 16 * 1024 * 1024).await;
    assert!((64 * 1024..768 * 1024).contains(&taken), "{taken} bytes");
    drop(accepted);
}

/// Attack row 52: with no descriptor left, established connections work and the listener waits;
/// once there are some again, it accepts. In a process of its own with 64 descriptors.
#[cfg(unix)]
#[test]
fn a_listener_survives_the_exhaustion_of_descriptors() {
    const NAME: &str = "transport::tests::a_listener_survives_the_exhaustion_of_descriptors";
    const CHILD: &str = "PEERSTAGE_TEST_FEW_DESCRIPTORS";
    if std::env::var_os(CHILD).is_some() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(exhaust_descriptors());
        return;
    }
    let exe = std::env::current_exe().unwrap();
    let output = Command::new("sh")
        .args(["-c", "ulimit -n 64 && exec \"$0\" --exact \"$1\""])
        .arg(exe)
        .arg(NAME)
        .env(CHILD, "1")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}

#[cfg(unix)]
async fn exhaust_descriptors() {
    let mut listener = TcpTransport.listen(address("127.0.0.1:0")).await.unwrap();
    let local = listener.local();
    let (early, accepted) = tokio::join!(TcpTransport.dial(local), listener.accept());
    let (mut early, mut accepted) = (early.unwrap(), accepted.unwrap());

    let mut hoard = Vec::new();
    while let Ok(file) = File::open("/dev/null") {
        hoard.push(file);
        assert!(hoard.len() < 100, "the limit does not hold");
    }
    hoard.pop();
    // The kernel completes this one although we have no descriptor to accept it with.
    let late = TcpTransport.dial(local).await.unwrap();

    let accept = async { listener.accept().await.unwrap() };
    let meanwhile = async {
        for _ in 0..100 {
            early.io.write_u8(7).await.unwrap();
            assert_eq!(accepted.io.read_u8().await.unwrap(), 7);
        }
        assert!(File::open("/dev/null").is_err(), "nothing was accepted so far");
        drop(hoard);
    };
    let (accepted_late, ()) = tokio::join!(accept, meanwhile);
    assert_eq!(accepted_late.remote, late.local);
}
