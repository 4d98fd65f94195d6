//! What every transport promises, as stories that run over any of them.
//!
//! Each function panics where the promise is broken. Run all of them over your own transport
//! with [`check_all`].
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a tool of tests ends them by panicking"
)]

use std::{
    future::poll_fn,
    io,
    io::{ErrorKind, IoSlice},
    pin::Pin,
    task::Poll,
};

use futures_util::future::join_all;
use peerstage_core::address::Address;
use rand_chacha::{
    ChaCha8Rng,
    rand_core::{Rng, SeedableRng},
};
use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::transport::{Io, Link, Listener, Transport};

/// Bytes of the large transfer: several times what any window holds by default.
const LARGE_BYTES: usize = 5 * 1024 * 1024 + 17;

/// Most bytes a transport may take from a writer whose reader sleeps. Linux lets socket buffers
/// grow to 4 MiB (send) and 32 MiB (receive) by default.
const UNREAD_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Connections that are opened at the same time.
const CONCURRENT: usize = 64;

/// Where the stories take place.
pub struct Venue<'a> {
    /// Who opens connections.
    pub dialler: &'a dyn Transport,
    /// Who accepts them.
    pub acceptor: &'a dyn Transport,
    /// Where the acceptor can listen, with port 0.
    pub listen: Address,
    /// An address of a living host at which nobody listens.
    pub vacant: Address,
}

impl Venue<'_> {
    /// A listener and a connection to it: the listener, our link, the accepted link.
    async fn connect(&self) -> (Box<dyn Listener>, Link, Link) {
        let mut listener = self.acceptor.listen(self.listen).await.unwrap();
        let address = listener.local();
        let (dialled, accepted) = tokio::join!(self.dialler.dial(address), listener.accept());
        (listener, dialled.unwrap(), accepted.unwrap())
    }
}

/// Runs every story.
pub async fn check_all(venue: &Venue<'_>) {
    Box::pin(both_sides_agree_on_addresses(venue)).await;
    Box::pin(large_data_arrives_whole_in_both_directions(venue)).await;
    Box::pin(a_writer_waits_for_a_reader(venue)).await;
    Box::pin(each_direction_closes_by_itself(venue)).await;
    Box::pin(a_vacant_address_refuses(venue)).await;
    Box::pin(many_connect_at_once(venue)).await;
    Box::pin(a_reset_is_seen(venue)).await;
    Box::pin(writing_to_a_closed_link_fails(venue)).await;
    Box::pin(parts_are_written_at_once(venue)).await;
    Box::pin(a_cancelled_accept_loses_nothing(venue)).await;
    Box::pin(a_dropped_listener_refuses_and_frees_its_address(venue)).await;
}

/// Both ends know both addresses, and the listener's port was chosen.
pub async fn both_sides_agree_on_addresses(venue: &Venue<'_>) {
    let (listener, dialled, accepted) = venue.connect().await;
    assert_ne!(listener.local().port(), 0);
    assert_eq!(dialled.remote, listener.local());
    assert_eq!(accepted.local, listener.local());
    assert_eq!(dialled.local, accepted.remote);
    assert_ne!(dialled.local.port(), 0);
}

/// Megabytes are echoed without a byte changed, lost or moved.
pub async fn large_data_arrives_whole_in_both_directions(venue: &Venue<'_>) {
    let (_listener, dialled, accepted) = venue.connect().await;
    let sent = noise(LARGE_BYTES);
    let (mut from_peer, mut to_peer) = tokio::io::split(dialled.io);
    let (mut echo_in, mut echo_out) = tokio::io::split(accepted.io);
    let write = async {
        to_peer.write_all(&sent).await.unwrap();
        to_peer.shutdown().await.unwrap();
    };
    let echo = async {
        tokio::io::copy(&mut echo_in, &mut echo_out).await.unwrap();
        echo_out.shutdown().await.unwrap();
    };
    let mut received = Vec::new();
    let read = from_peer.read_to_end(&mut received);
    let ((), (), read) = tokio::join!(write, echo, read);
    assert_eq!(read.unwrap(), LARGE_BYTES);
    assert!(received == sent, "the echo differs");
}

/// Attack row 43: a reader that does not read costs a bounded number of bytes, and they all
/// arrive when it does.
pub async fn a_writer_waits_for_a_reader(venue: &Venue<'_>) {
    let (_listener, mut dialled, mut accepted) = venue.connect().await;
    dialled.io.write_all(b"first").await.unwrap();
    let taken = b"first".len() + fill(&mut dialled.io, UNREAD_BYTES_MAX).await;
    assert!(taken < UNREAD_BYTES_MAX, "the writer was never told to wait");
    let close = async { dialled.io.shutdown().await.unwrap() };
    let drain = async {
        let mut received = 0;
        let mut buffer = vec![0; 64 * 1024];
        loop {
            match accepted.io.read(&mut buffer).await.unwrap() {
                0 => return received,
                length => received += length,
            }
        }
    };
    let ((), received) = tokio::join!(close, drain);
    assert_eq!(received, taken);
}

/// A question that ends can still be answered.
pub async fn each_direction_closes_by_itself(venue: &Venue<'_>) {
    let (_listener, mut dialled, mut accepted) = venue.connect().await;
    dialled.io.write_all(b"question").await.unwrap();
    dialled.io.shutdown().await.unwrap();
    assert_eq!(read_to_end(&mut accepted.io).await.unwrap(), b"question");
    accepted.io.write_all(b"answer").await.unwrap();
    drop(accepted);
    assert_eq!(read_to_end(&mut dialled.io).await.unwrap(), b"answer");
    let error = dialled.io.write_all(b"more").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::BrokenPipe);
}

/// Where nobody listens, a dial fails at once and says why.
pub async fn a_vacant_address_refuses(venue: &Venue<'_>) {
    let error = venue.dialler.dial(venue.vacant).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
}

/// Connections opened together are all accepted and don't mix.
pub async fn many_connect_at_once(venue: &Venue<'_>) {
    let mut listener = venue.acceptor.listen(venue.listen).await.unwrap();
    let address = listener.local();
    let accept = async {
        let mut links = Vec::new();
        for _ in 0..CONCURRENT {
            let mut link = listener.accept().await.unwrap();
            link.io.write_all(link.remote.to_string().as_bytes()).await.unwrap();
            link.io.shutdown().await.unwrap();
            links.push(link);
        }
        links
    };
    let dial = async {
        join_all((0..CONCURRENT).map(|_| async {
            let mut link = venue.dialler.dial(address).await.unwrap();
            let name = read_to_end(&mut link.io).await.unwrap();
            assert_eq!(name, link.local.to_string().as_bytes());
            link.local
        }))
        .await
    };
    let (_links, mut locals) = tokio::join!(accept, dial);
    locals.sort();
    locals.dedup();
    assert_eq!(locals.len(), CONCURRENT);
}

/// Who drops a link with bytes unread resets it, and the other side learns that.
pub async fn a_reset_is_seen(venue: &Venue<'_>) {
    let (_listener, mut dialled, mut accepted) = venue.connect().await;
    dialled.io.write_all(b"two").await.unwrap();
    accepted.io.read_u8().await.unwrap();
    drop(accepted);
    let error = read_to_end(&mut dialled.io).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
}

/// Writing where nobody will read ends in an error after a bounded number of bytes.
pub async fn writing_to_a_closed_link_fails(venue: &Venue<'_>) {
    let (_listener, mut dialled, accepted) = venue.connect().await;
    drop(accepted);
    assert!(read_to_end(&mut dialled.io).await.unwrap().is_empty());
    let chunk = vec![7; 64 * 1024];
    let mut written = 0;
    let error = loop {
        assert!(written < UNREAD_BYTES_MAX, "nobody noticed that the link is closed");
        match dialled.io.write_all(&chunk).await {
            Ok(()) => written += chunk.len(),
            Err(error) => break error,
        }
    };
    assert!(matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe));
}

/// A header and a body go out together.
pub async fn parts_are_written_at_once(venue: &Venue<'_>) {
    let (_listener, mut dialled, mut accepted) = venue.connect().await;
    assert!(dialled.io.is_write_vectored());
    let parts = [IoSlice::new(b"header, "), IoSlice::new(b""), IoSlice::new(b"body")];
    assert_eq!(dialled.io.write_vectored(&parts).await.unwrap(), 12);
    drop(dialled);
    assert_eq!(read_to_end(&mut accepted.io).await.unwrap(), b"header, body");
}

/// Who stops waiting for a connection and waits again gets it.
pub async fn a_cancelled_accept_loses_nothing(venue: &Venue<'_>) {
    let mut listener = venue.acceptor.listen(venue.listen).await.unwrap();
    let address = listener.local();
    {
        let mut accept = listener.accept();
        let waits = poll_fn(|cx| Poll::Ready(accept.as_mut().poll(cx).is_pending())).await;
        assert!(waits);
    }
    let dialled = venue.dialler.dial(address).await.unwrap();
    assert_eq!(listener.accept().await.unwrap().remote, dialled.local);
}

/// A listener that is dropped is gone, and its address can be used again at once.
pub async fn a_dropped_listener_refuses_and_frees_its_address(venue: &Venue<'_>) {
    let (listener, dialled, accepted) = venue.connect().await;
    let address = listener.local();
    let error = venue.acceptor.listen(address).await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::AddrInUse);
    drop(listener);
    let error = venue.dialler.dial(address).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    drop((dialled, accepted));
    assert_eq!(venue.acceptor.listen(address).await.unwrap().local(), address);
}

/// Writes until the transport takes no more, or `most` bytes are taken; returns how many were.
pub async fn fill(io: &mut Box<dyn Io>, most: usize) -> usize {
    let chunk = vec![7; 64 * 1024];
    let mut taken = 0;
    // Unconstrained: tokio's budget would say "wait" although the transport does not.
    tokio::task::unconstrained(poll_fn(|cx| {
        while taken < most {
            match Pin::new(&mut *io).poll_write(cx, &chunk) {
                Poll::Ready(length) => taken += length.unwrap(),
                Poll::Pending => break,
            }
        }
        Poll::Ready(())
    }))
    .await;
    taken
}

async fn read_to_end(io: &mut Box<dyn Io>) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    io.read_to_end(&mut bytes).await?;
    Ok(bytes)
}

fn noise(length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    ChaCha8Rng::seed_from_u64(1).fill_bytes(&mut bytes);
    bytes
}
