//! The handshake of QUIC and its streams, between two endpoints of this machine, and what a
//! hostile one can't do.

use std::{
    future::poll_fn,
    io::IoSliceMut,
    pin::Pin,
    task::{Context, Poll},
};

use futures_util::FutureExt;
use peerstage_core::{identity::PublicKey, kinds::Lane};
use quinn::{
    AsyncUdpSocket, UdpPoller,
    rustls::{pki_types::CertificateDer, sign::CertifiedKey},
    udp::{RecvMeta, Transmit},
};

use super::{channel::LanesIn, driver::MovableRuntime, *};

const NET: NetworkId = NetworkId([9; 32]);
const TIMEOUT_MS: Millis = 5_000;

fn keypair(number: u8) -> Keypair {
    Keypair::from_seed(&[number; 32])
}

fn node(number: u8, network: NetworkId, policy: PqPolicy) -> QuicTransport {
    QuicTransport::new(keypair(number), network, policy)
}

fn anywhere() -> Address {
    "/ip4/127.0.0.1/udp/0/quic".parse().unwrap()
}

type Ends = (Result<QuicChannel, UpgradeError>, Result<QuicChannel, UpgradeError>);

/// One dials the other; what both sides make of it.
async fn meet(dialler: &QuicTransport, acceptor: &QuicTransport, expected: Option<NodeId>) -> Ends {
    let mut listener = acceptor.listen(anywhere()).unwrap();
    let address = listener.local();
    let accept = async { listener.accept().await.unwrap().secure(TIMEOUT_MS).await };
    let (dialled, accepted) = tokio::join!(dialler.dial(address, expected, TIMEOUT_MS), accept);
    match (dialled, accepted) {
        // The acceptor sees our key last, and may refuse it when we are done.
        (Ok(channel), Err(refused)) => {
            let error = channel.connection().closed().await;
            (Err(of_connection(&error, &Refusal::default())), Err(refused))
        }
        ends => ends,
    }
}

async fn connected(
    dialler: &QuicTransport,
    acceptor: &QuicTransport,
) -> (QuicChannel, QuicChannel) {
    let (dialled, accepted) = meet(dialler, acceptor, None).await;
    (dialled.unwrap(), accepted.unwrap())
}

fn reason(end: &Result<QuicChannel, UpgradeError>) -> &'static str {
    end.as_ref().map_or_else(UpgradeError::reason, |_| "connected")
}

fn prefer(number: u8) -> QuicTransport {
    node(number, NET, PqPolicy::Prefer)
}

#[tokio::test]
async fn both_sides_prove_their_keys_and_share_a_hash() {
    let (ours, theirs) = (prefer(1), prefer(2));
    let (dialled, accepted) = connected(&ours, &theirs).await;
    assert_eq!((dialled.remote, accepted.remote), (keypair(2).public(), keypair(1).public()));
    assert_eq!(dialled.hash, accepted.hash);
    assert_eq!((dialled.suite, accepted.suite), ("X25519MLKEM768", "X25519MLKEM768"));
    let (another, _) = connected(&ours, &theirs).await;
    assert_ne!(another.hash, dialled.hash);
}

#[tokio::test]
async fn the_policies_meet_as_they_do_over_noise() {
    use PqPolicy::{Classical, Prefer, Require};
    for (ours, theirs, suite) in [
        (Prefer, Prefer, "X25519MLKEM768"),
        (Prefer, Require, "X25519MLKEM768"),
        (Require, Prefer, "X25519MLKEM768"),
        (Prefer, Classical, "X25519"),
        (Classical, Prefer, "X25519"),
    ] {
        let (dialled, accepted) = connected(&node(1, NET, ours), &node(2, NET, theirs)).await;
        assert_eq!((dialled.suite, accepted.suite), (suite, suite), "{ours:?} {theirs:?}");
    }
    for (ours, theirs) in [(Classical, Require), (Require, Classical)] {
        let (dialled, accepted) = meet(&node(1, NET, ours), &node(2, NET, theirs), None).await;
        assert_eq!(reason(&dialled), "no_common_protocol");
        assert_eq!(reason(&accepted), "no_common_protocol");
    }
}

/// The network is in the protocol's name: there is none in common.
#[tokio::test]
async fn nodes_of_two_networks_never_complete() {
    let stranger = node(2, NetworkId([8; 32]), PqPolicy::Prefer);
    let (dialled, accepted) = meet(&prefer(1), &stranger, None).await;
    assert_eq!(reason(&dialled), "no_common_protocol");
    assert_eq!(reason(&accepted), "no_common_protocol");
}

#[tokio::test]
async fn another_than_the_one_who_was_dialled_does_not_learn_who_we_are() {
    let expected = keypair(3).node_id();
    let (dialled, accepted) = meet(&prefer(1), &prefer(2), Some(expected)).await;
    let found = keypair(2).node_id();
    let refused = UpgradeError::Handshake(HandshakeError::UnexpectedPeer { found });
    assert_eq!(dialled.unwrap_err().to_string(), refused.to_string());
    assert!(accepted.is_err());
    let (dialled, _) = meet(&prefer(1), &prefer(3), Some(expected)).await;
    assert_eq!(dialled.unwrap().remote, keypair(3).public());
}

#[tokio::test]
async fn a_node_does_not_connect_to_itself() {
    let (dialled, accepted) = meet(&prefer(1), &prefer(1), None).await;
    assert_eq!(reason(&dialled), "self_connection");
    assert!(accepted.is_err());
}

/// Whoever names a key must hold it, on either side.
#[tokio::test]
async fn a_key_that_was_only_named_proves_nothing() {
    let named = keypair(7).public();
    let liar = || {
        let mut liar = prefer(2);
        liar.tls = naming(&liar.tls, &named);
        liar
    };
    let (dialled, accepted) = meet(&prefer(1), &liar(), Some(named.node_id())).await;
    assert_eq!(reason(&dialled), "bad_identity_signature");
    assert!(accepted.is_err());
    let (dialled, accepted) = meet(&liar(), &prefer(1), None).await;
    assert!(accepted.is_err());
    assert_eq!(reason(&dialled), "bad_identity_signature");
}

/// The same side of TLS, with another's key in place of its own.
fn naming(tls: &Tls, key: &PublicKey) -> Tls {
    let spki = peerstage_core::handshake::tls::key_to_spki(key).to_vec();
    tls.with_certified(|own| CertifiedKey::new(vec![CertificateDer::from(spki)], own))
}

async fn read(lanes: &mut LanesIn, lane: Lane, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    let mut filled = 0;
    while filled < length {
        let space = &mut bytes[filled..];
        filled += poll_fn(|cx| {
            while lanes.poll_new(cx)?.is_ready() {}
            lanes.poll_read(lane, cx, space)
        })
        .await
        .unwrap();
    }
    bytes
}

async fn write(lanes: &mut LanesOut, lane: Lane, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        let count = poll_fn(|cx| lanes.poll_write(lane as usize, cx, bytes)).await.unwrap();
        bytes = &bytes[count..];
    }
}

#[tokio::test]
async fn each_lane_has_its_stream() {
    let (dialled, accepted) = connected(&prefer(1), &prefer(2)).await;
    let (_in, mut out) = dialled.into_lanes();
    let (mut lanes, _out) = accepted.into_lanes();
    // The last first: the streams in front of it are there too, and empty.
    for lane in [Lane::Bulk, Lane::Consensus, Lane::Transactions, Lane::Control, Lane::Blocks] {
        write(&mut out, lane, &[lane as u8; 3]).await;
        assert_eq!(read(&mut lanes, lane, 3).await, [lane as u8; 3]);
    }
}

/// Attack row 43: a lane that nobody reads takes its window and no more, and the others go on.
#[tokio::test]
async fn a_lane_that_is_not_read_holds_no_other_up() {
    let (dialled, accepted) = connected(&prefer(1), &prefer(2)).await;
    let (_in, mut out) = dialled.into_lanes();
    let (mut lanes, _out) = accepted.into_lanes();
    let mut taken = 0;
    let chunk = vec![7; 64 * 1024];
    poll_fn(|cx| {
        while let Poll::Ready(count) = out.poll_write(Lane::Blocks as usize, cx, &chunk) {
            taken += count.unwrap();
        }
        Poll::Ready(())
    })
    .await;
    assert_eq!(taken, LANE_WINDOW as usize);
    write(&mut out, Lane::Consensus, b"vote").await;
    assert_eq!(read(&mut lanes, Lane::Consensus, 4).await, b"vote");
    assert_eq!(read(&mut lanes, Lane::Blocks, taken).await.len(), taken);
}

/// A socket that loses the next so many long datagrams.
#[derive(Debug)]
struct Lossy {
    inner: Arc<dyn AsyncUdpSocket>,
    loses: AtomicUsize,
}

/// Longer than a vote's packet, shorter than one that is full, bytes.
const LONG: usize = 600;

/// Connections of the story of loss.
const ROUNDS: usize = 8;

impl AsyncUdpSocket for Lossy {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Arc::clone(&self.inner).create_io_poller()
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        let left = self.loses.load(Ordering::SeqCst);
        if left > 0 && transmit.contents.len() > LONG {
            self.loses.store(left - 1, Ordering::SeqCst);
            return Ok(());
        }
        self.inner.try_send(transmit)
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        metas: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        self.inner.poll_recv(cx, buffers, metas)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.local_addr()
    }
}

/// A block whose packets are lost holds no vote up, and arrives when it was sent again. That the
/// vote comes first is a race with the timers of the loss, which a busy machine may lose once.
#[tokio::test]
async fn loss_on_one_lane_holds_no_other_up() {
    let mut first = 0;
    for _ in 0..ROUNDS {
        let dialler = prefer(1);
        let (dialled, accepted) = connected(&dialler, &prefer(2)).await;
        let (_in, mut out) = dialled.into_lanes();
        let (mut lanes, _out) = accepted.into_lanes();
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let inner = MovableRuntime.wrap_udp_socket(socket).unwrap();
        let lossy = Arc::new(Lossy { inner, loses: AtomicUsize::new(0) });
        dialler.lock()[0].endpoint.rebind_abstract(Arc::clone(&lossy) as _).unwrap();
        // The new path is proven before anything is lost on it.
        for _ in 0..10 {
            write(&mut out, Lane::Control, b"ping").await;
            assert_eq!(read(&mut lanes, Lane::Control, 4).await, b"ping");
        }
        lossy.loses.store(4, Ordering::SeqCst);
        let block = vec![7; 6_000];
        write(&mut out, Lane::Blocks, &block).await;
        while lossy.loses.load(Ordering::SeqCst) > 0 {
            tokio::task::yield_now().await;
        }
        write(&mut out, Lane::Consensus, b"vote").await;
        assert_eq!(read(&mut lanes, Lane::Consensus, 4).await, b"vote");
        let mut space = [0; 1];
        let block_read = poll_fn(|cx| Poll::Ready(lanes.poll_read(Lane::Blocks, cx, &mut space)));
        match block_read.await {
            Poll::Pending => {
                first += 1;
                assert_eq!(read(&mut lanes, Lane::Blocks, block.len()).await, block);
            }
            Poll::Ready(count) => {
                let rest = block.len() - count.unwrap();
                assert_eq!(read(&mut lanes, Lane::Blocks, rest).await, block[..rest]);
            }
        }
    }
    assert!(2 * first > ROUNDS, "the vote came first {first} times of {ROUNDS}");
}

/// No stream beside those of the lanes, and none in both directions.
#[tokio::test]
async fn a_peer_opens_no_more_streams_than_there_are_lanes() {
    let (dialled, accepted) = connected(&prefer(1), &prefer(2)).await;
    let raw = dialled.connection().clone();
    assert!(raw.open_bi().now_or_never().is_none(), "nobody may open one of these");
    assert!(raw.open_uni().now_or_never().is_none(), "all that may be open are");
    let (_in, mut out) = dialled.into_lanes();
    let (mut lanes, _out) = accepted.into_lanes();
    // One that was ended makes room for another, whose number is no lane's.
    write(&mut out, Lane::Consensus, b"x").await;
    out.finish(Lane::Consensus);
    read(&mut lanes, Lane::Consensus, 1).await;
    let mut space = [0; 1];
    let end = poll_fn(|cx| lanes.poll_read(Lane::Consensus, cx, &mut space)).await.unwrap();
    assert_eq!(end, 0);
    let mut stray = raw.open_uni().await.unwrap();
    stray.write_all(b"stray").await.unwrap();
    while let channel::NewStream::Lane = poll_fn(|cx| lanes.poll_new(cx)).await.unwrap() {}
}

/// A client whose NAT gave it another port, or that changed its network, goes on.
#[tokio::test]
async fn a_connection_survives_another_port() {
    let dialler = prefer(1);
    let (dialled, accepted) = connected(&dialler, &prefer(2)).await;
    let (before, raw) = (accepted.address, accepted.connection().clone());
    let (_in, mut out) = dialled.into_lanes();
    let (mut lanes, _out) = accepted.into_lanes();
    write(&mut out, Lane::Control, b"before").await;
    assert_eq!(read(&mut lanes, Lane::Control, 6).await, b"before");
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let moved = over_quic(socket.local_addr().unwrap());
    dialler.lock()[0].endpoint.rebind(socket).unwrap();
    write(&mut out, Lane::Control, b"after").await;
    assert_eq!(read(&mut lanes, Lane::Control, 5).await, b"after");
    assert_ne!(before, moved);
    assert_eq!(over_quic(raw.remote_address()), moved);
}

/// Attack rows 1 and 2: whoever only sends first packets costs a bounded number of handshakes,
/// and whoever can receive gets in beside them.
#[tokio::test]
async fn a_flood_of_first_packets_is_told_to_show_its_address() {
    let acceptor = prefer(2);
    let mut listener = acceptor.listen(anywhere()).unwrap();
    let address = listener.local();
    let flooder = prefer(3);
    let dials = (0..3 * HANDSHAKES_UNPROVEN).map(|_| {
        let (client, _) = flooder.tls.client(None).unwrap();
        let bound = flooder.bound_for(address.ip()).unwrap();
        bound.endpoint.connect_with(config::client(client), address.socket(), SERVER_NAME)
    });
    let dials: Vec<Connecting> = dials.map(Result::unwrap).collect();
    let mut begun = Vec::new();
    while begun.len() < HANDSHAKES_UNPROVEN {
        begun.push(listener.accept().await.unwrap());
    }
    assert!(begun.iter().all(|incoming| !incoming.incoming.remote_address_validated()));
    // From here on only those that answered at their address are seen.
    let late = listener.accept().await.unwrap();
    assert!(late.incoming.remote_address_validated());
    drop((begun, late, dials));
    let honest = prefer(1);
    let accept = async {
        loop {
            let incoming = listener.accept().await.unwrap();
            if let Ok(channel) = incoming.secure(TIMEOUT_MS).await
                && channel.remote == keypair(1).public()
            {
                return channel;
            }
        }
    };
    let (dialled, _accepted) = tokio::join!(honest.dial(address, None, TIMEOUT_MS), accept);
    assert_eq!(dialled.unwrap().remote, keypair(2).public());
}

#[tokio::test]
async fn a_vacant_port_and_a_closed_listener_are_told_apart_from_silence() {
    let acceptor = prefer(2);
    let listener = acceptor.listen(anywhere()).unwrap();
    let address = listener.local();
    let taken = acceptor.listen(address).unwrap_err();
    assert_eq!(taken.kind(), io::ErrorKind::AddrInUse);
    let mut listener = listener;
    let refuse = async { drop(listener.accept().await.unwrap()) };
    let ours = prefer(1);
    let (dialled, ()) = tokio::join!(ours.dial(address, None, TIMEOUT_MS), refuse);
    assert_eq!(reason(&dialled), "connection_refused");
}
