//! TCP of the operating system, version 4 and 6.
//!
//! # Security
//! Provided: running out of descriptors or of kernel memory makes the listener wait and try
//! again; it neither spins nor dies, and established connections are untouched (attack row 52).
//! Not provided: protection against floods of connections before they are accepted (the kernel's
//! SYN cookies do that) and limits on accepted ones (the network manager does that).

use std::{io, net::SocketAddr, time::Duration};

use async_trait::async_trait;
use peerstage_core::{address::Address, time::Millis};
use socket2::SockRef;
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use super::{Io, Link, Listener, Transport};

/// Connections the kernel completes before we accept them. The common upper bound of Linux
/// (`net.core.somaxconn` since 5.4); a kernel with a lower one uses its own.
pub const BACKLOG: u32 = 4_096;

/// Bytes the kernel takes that it can't send yet. What it has is out of reach of a vote, and by
/// default it takes megabytes. Two records: one on its way while the next is made.
#[cfg(any(target_os = "linux", target_os = "android", target_vendor = "apple"))]
const UNSENT_MAX: u32 = 128 * 1024;

/// First and longest pause in ms after the system could not give us a connection for want of
/// descriptors or memory. A guess: short enough not to be noticed, long enough to cost nothing.
const BACKOFF_FIRST_MS: Millis = 10;
const BACKOFF_MAX_MS: Millis = 1_000;

const _: () = assert!(BACKOFF_FIRST_MS < BACKOFF_MAX_MS);

/// Connections over TCP.
#[derive(Clone, Copy, Debug, Default)]
pub struct TcpTransport;

#[async_trait]
impl Transport for TcpTransport {
    fn name(&self) -> &'static str {
        "tcp"
    }

    async fn listen(&self, address: Address) -> io::Result<Box<dyn Listener>> {
        let socket = new_socket(address)?;
        // A node that restarts gets its port back although old connections linger in TIME_WAIT.
        socket.set_reuseaddr(true)?;
        if address.ip().is_ipv6() {
            // One family per listener: an IPv4 listener on the same port stays possible.
            SockRef::from(&socket).set_only_v6(true)?;
        }
        socket.bind(address.socket())?;
        let inner = socket.listen(BACKLOG)?;
        let local = Address::from(inner.local_addr()?);
        Ok(Box::new(TcpAcceptor { inner, local, backoff: Backoff::default() }))
    }

    async fn dial(&self, address: Address) -> io::Result<Link> {
        let stream = new_socket(address)?.connect(address.socket()).await?;
        link(stream, None)
    }
}

impl Io for TcpStream {
    fn move_here(self: Box<Self>) -> io::Result<Box<dyn Io>> {
        Ok(Box::new(TcpStream::from_std(self.into_std()?)?))
    }
}

struct TcpAcceptor {
    inner: TcpListener,
    local: Address,
    backoff: Backoff,
}

#[async_trait]
impl Listener for TcpAcceptor {
    async fn accept(&mut self) -> io::Result<Link> {
        loop {
            match self.inner.accept().await {
                Ok((stream, from)) => {
                    self.backoff = Backoff::default();
                    // Some systems refuse options on a connection that was reset meanwhile:
                    // that one is gone, the listener is fine.
                    match link(stream, Some(from)) {
                        Ok(link) => return Ok(link),
                        Err(error) => tracing::debug!(%error, %from, "gone before accepted"),
                    }
                }
                Err(error) => {
                    let pause_ms = self.backoff.on_error(&error)?;
                    if pause_ms > 0 {
                        tracing::warn!(%error, pause_ms, local = %self.local, "can't accept now");
                        tokio::time::sleep(Duration::from_millis(pause_ms)).await;
                    }
                }
            }
        }
    }

    fn local(&self) -> Address {
        self.local
    }
}

fn new_socket(address: Address) -> io::Result<TcpSocket> {
    match address.socket() {
        SocketAddr::V4(_) => TcpSocket::new_v4(),
        SocketAddr::V6(_) => TcpSocket::new_v6(),
    }
}

fn link(stream: TcpStream, from: Option<SocketAddr>) -> io::Result<Link> {
    // Frames are already gathered into full records: the kernel has nothing to wait for. Nor has
    // it anything to probe: a peer is pinged and held to an answer.
    stream.set_nodelay(true)?;
    #[cfg(any(target_os = "linux", target_os = "android", target_vendor = "apple"))]
    if let Err(error) = SockRef::from(&stream).set_tcp_notsent_lowat(UNSENT_MAX) {
        tracing::debug!(%error, "the kernel keeps as much unsent as it likes");
    }
    let local = stream.local_addr()?;
    let remote = match from {
        Some(from) => from,
        None => stream.peer_addr()?,
    };
    Ok(Link { io: Box::new(stream), local: local.into(), remote: remote.into() })
}

/// How long to wait after a failed accept.
#[derive(Debug, Default)]
struct Backoff {
    failures: u32,
}

impl Backoff {
    /// The pause in ms before the next attempt (0: at once), or the error if there is no point.
    fn on_error(&mut self, error: &io::Error) -> io::Result<Millis> {
        if is_exhaustion(error) {
            let pause_ms = BACKOFF_FIRST_MS.saturating_mul(1 << self.failures.min(16));
            self.failures = self.failures.saturating_add(1);
            return Ok(pause_ms.min(BACKOFF_MAX_MS));
        }
        if is_unusable(error) {
            return Err(io::Error::new(error.kind(), error.to_string()));
        }
        // Whatever else went wrong went wrong with that one connection (accept(2): "treat them
        // like EAGAIN by retrying"): the next one may be fine.
        Ok(0)
    }
}

/// The process or the system is out of descriptors or buffers; it passes.
fn is_exhaustion(error: &io::Error) -> bool {
    #[cfg(unix)]
    let codes = [libc::EMFILE, libc::ENFILE, libc::ENOBUFS, libc::ENOMEM];
    // WSAEMFILE, WSAENOBUFS, WSA_NOT_ENOUGH_MEMORY.
    #[cfg(windows)]
    let codes = [10_024, 10_055, 8];
    error.raw_os_error().is_some_and(|code| codes.contains(&code))
}

/// The listening socket itself is broken, closed or forbidden.
fn is_unusable(error: &io::Error) -> bool {
    #[cfg(unix)]
    let codes = [libc::EBADF, libc::EINVAL, libc::ENOTSOCK, libc::EOPNOTSUPP, libc::EFAULT];
    // WSAEBADF, WSAEINVAL, WSAENOTSOCK, WSAEOPNOTSUPP, WSAEFAULT.
    #[cfg(windows)]
    let codes = [10_009, 10_022, 10_038, 10_045, 10_014];
    error.raw_os_error().is_some_and(|code| codes.contains(&code))
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    /// Attack row 52: exhaustion is waited out, with a bound on the pace in both directions.
    #[test]
    fn exhaustion_backs_off_to_a_second() {
        let mut backoff = Backoff::default();
        let pauses: Vec<Millis> = (0..40)
            .map(|_| backoff.on_error(&io::Error::from_raw_os_error(libc::EMFILE)).unwrap())
            .collect();
        assert_eq!(&pauses[..8], &[10, 20, 40, 80, 160, 320, 640, 1_000]);
        assert!(pauses[8..].iter().all(|pause| *pause == 1_000));
    }

    #[test]
    fn a_connection_that_failed_before_it_was_accepted_is_skipped() {
        for code in [libc::ECONNABORTED, libc::EPROTO, libc::EPERM, libc::EINTR] {
            assert_eq!(
                Backoff::default().on_error(&io::Error::from_raw_os_error(code)).unwrap(),
                0
            );
        }
    }

    #[test]
    fn a_broken_listener_says_so() {
        let error = io::Error::from_raw_os_error(libc::EBADF);
        assert!(Backoff::default().on_error(&error).is_err());
    }
}
