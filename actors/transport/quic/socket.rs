//! The node's UDP socket: QUIC's, and of whoever else must send from the very same port.
//!
//! A NAT's mapping belongs to one socket, so what finds the mapping out (STUN, RFC 8489) has to
//! share QUIC's. What arrives is told apart as RFC 9443 says, and by STUN's magic cookie beside:
//! that is why this node never sends QUIC packets without their fixed bit (RFC 9287).
//!
//! # Security
//! Provided: what is not QUIC waits in a bounded queue and is dropped beyond; nothing in a
//! datagram is believed here.
//! Not provided: whether a STUN answer is one; anybody can send a datagram.

use std::{
    future::poll_fn,
    io::{self, IoSliceMut},
    net::SocketAddr,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use quinn::{
    AsyncUdpSocket, UdpPoller,
    udp::{RecvMeta, Transmit},
};
use tokio::sync::mpsc;

/// Datagrams that may wait for whoever reads what is not QUIC. A guess: a STUN exchange with
/// every server there is, and some.
const ASIDE: usize = 64;
/// The longest of them that is kept, bytes: an unfragmented datagram of IPv6's least link.
const ASIDE_BYTES_MAX: usize = 1_280;

/// Bytes of a STUN header, and its magic cookie at offset 4 (RFC 8489 section 5).
const STUN_HEADER: usize = 20;
const STUN_COOKIE: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];

/// A datagram that is not QUIC's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Datagram {
    /// Where it came from.
    pub from: SocketAddr,
    /// What it holds.
    pub bytes: Bytes,
}

/// The socket beneath an endpoint.
#[derive(Debug)]
pub struct SharedSocket {
    inner: Arc<dyn AsyncUdpSocket>,
    aside: mpsc::Sender<Datagram>,
    reader: Mutex<Option<mpsc::Receiver<Datagram>>>,
}

impl SharedSocket {
    /// Shares a socket.
    #[must_use]
    pub fn new(inner: Arc<dyn AsyncUdpSocket>) -> Self {
        let (aside, reader) = mpsc::channel(ASIDE);
        SharedSocket { inner, aside, reader: Mutex::new(Some(reader)) }
    }

    /// What arrives and is not QUIC; `None` if somebody took it before.
    #[must_use]
    pub fn take_datagrams(&self) -> Option<mpsc::Receiver<Datagram>> {
        self.reader.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Sends a datagram of one's own from QUIC's port, when the socket takes it. It may be lost on
    /// its way, so that whoever needs it sends it again.
    ///
    /// # Errors
    /// Those of the system.
    pub async fn send(&self, to: SocketAddr, contents: &[u8]) -> io::Result<()> {
        let mut poller = Arc::clone(&self.inner).create_io_poller();
        loop {
            match self.send_now(to, contents) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    poll_fn(|cx| poller.as_mut().poll_writable(cx)).await?;
                }
                sent => return sent,
            }
        }
    }

    /// The same if the socket takes it at once, for what is sent again soon anyway.
    ///
    /// # Errors
    /// Those of the system; `WouldBlock` if the socket is busy.
    pub fn send_now(&self, to: SocketAddr, contents: &[u8]) -> io::Result<()> {
        let (destination, ecn, segment_size, src_ip) = (to, None, None, None);
        self.inner.try_send(&Transmit { destination, ecn, contents, segment_size, src_ip })
    }

    /// Takes what is not QUIC out of what was read into one buffer.
    fn sort(&self, buffer: &mut [u8], meta: &mut RecvMeta) {
        let stride = meta.stride.max(1);
        let filled = buffer.get(..meta.len).unwrap_or_default();
        if !filled.chunks(stride).any(is_stun) {
            return;
        }
        let mut kept = 0;
        let mut at = 0;
        while at < meta.len {
            let end = at.saturating_add(stride).min(meta.len);
            let segment = buffer.get(at..end).unwrap_or_default();
            if is_stun(segment) {
                if segment.len() <= ASIDE_BYTES_MAX {
                    let bytes = Bytes::copy_from_slice(segment);
                    // Full: whoever waits for an answer asks again.
                    let _ = self.aside.try_send(Datagram { from: meta.addr, bytes });
                }
            } else {
                buffer.copy_within(at..end, kept);
                kept = kept.saturating_add(end.saturating_sub(at));
            }
            at = end;
        }
        meta.len = kept;
    }
}

/// Whether a datagram is STUN's: two zero bits, the cookie, and the length it says.
fn is_stun(datagram: &[u8]) -> bool {
    let Some(header) = datagram.first_chunk::<STUN_HEADER>() else { return false };
    let [first, _, high, low, a, b, c, d, ..] = *header;
    let length = usize::from(u16::from_be_bytes([high, low]));
    first < 4 && [a, b, c, d] == STUN_COOKIE && datagram.len() == STUN_HEADER + length
}

impl AsyncUdpSocket for SharedSocket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Arc::clone(&self.inner).create_io_poller()
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        self.inner.try_send(transmit)
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        metas: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let count = ready!(self.inner.poll_recv(cx, buffers, metas))?;
        for (buffer, meta) in buffers.iter_mut().zip(metas.iter_mut()).take(count) {
            self.sort(buffer, meta);
        }
        Poll::Ready(Ok(count))
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.local_addr()
    }

    fn max_transmit_segments(&self) -> usize {
        self.inner.max_transmit_segments()
    }

    fn max_receive_segments(&self) -> usize {
        self.inner.max_receive_segments()
    }

    fn may_fragment(&self) -> bool {
        self.inner.may_fragment()
    }
}

#[cfg(test)]
mod tests {
    use quinn::Runtime;

    use super::*;

    fn stun(body: usize) -> Vec<u8> {
        let length = u16::try_from(body).unwrap().to_be_bytes();
        let mut datagram = vec![0x01, 0x01, length[0], length[1]];
        datagram.extend_from_slice(&STUN_COOKIE);
        datagram.resize(STUN_HEADER + body, 7);
        datagram
    }

    fn socket() -> Arc<SharedSocket> {
        let inner = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        inner.set_nonblocking(true).unwrap();
        Arc::new(SharedSocket::new(quinn::TokioRuntime.wrap_udp_socket(inner).unwrap()))
    }

    #[test]
    fn only_what_has_the_cookie_and_its_length_is_stun() {
        assert!(is_stun(&stun(0)) && is_stun(&stun(12)));
        let mut longer = stun(0);
        longer.push(0);
        let mut other = stun(0);
        other[4] ^= 1;
        let mut quic = stun(0);
        quic[0] = 0x40;
        for not in [longer, other, quic, stun(0)[..19].to_vec(), vec![]] {
            assert!(!is_stun(&not), "{not:?}");
        }
    }

    /// The kernel hands several datagrams of one sender over in one buffer.
    #[tokio::test]
    async fn what_is_not_quic_is_taken_out_of_the_middle() {
        let shared = socket();
        let mut reader = shared.take_datagrams().unwrap();
        assert!(shared.take_datagrams().is_none());
        let (one, two) = (vec![0x40; 32], vec![0x41; 20]);
        let mut buffer = [&one[..], &stun(12), &two].concat();
        let addr: SocketAddr = "203.0.113.7:9".parse().unwrap();
        let len = buffer.len();
        let mut meta = RecvMeta { addr, len, stride: 32, ..RecvMeta::default() };
        shared.sort(&mut buffer, &mut meta);
        assert_eq!(&buffer[..meta.len], [&one[..], &two].concat());
        let found = reader.try_recv().unwrap();
        assert_eq!((found.from, &found.bytes[..]), (addr, &stun(12)[..]));
    }

    #[tokio::test]
    async fn what_nobody_reads_is_bounded() {
        let shared = socket();
        let mut reader = shared.take_datagrams().unwrap();
        for _ in 0..10 * ASIDE {
            let mut buffer = stun(0);
            let len = buffer.len();
            let mut meta = RecvMeta { len, stride: len, ..RecvMeta::default() };
            shared.sort(&mut buffer, &mut meta);
            assert_eq!(meta.len, 0);
        }
        let mut kept = 0;
        while reader.try_recv().is_ok() {
            kept += 1;
        }
        assert_eq!(kept, ASIDE);
    }

    /// A STUN request and its answer pass through a port that an endpoint reads.
    #[tokio::test]
    async fn a_datagram_leaves_from_the_port_and_its_answer_comes_aside() {
        let shared = socket();
        let mut reader = shared.take_datagrams().unwrap();
        let config = quinn::EndpointConfig::default();
        let (for_quinn, runtime) = (Arc::clone(&shared), Arc::new(quinn::TokioRuntime));
        let endpoint =
            quinn::Endpoint::new_with_abstract_socket(config, None, for_quinn, runtime).unwrap();
        let server = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
        shared.send(server.local_addr().unwrap(), &stun(4)).await.unwrap();
        let mut request = [0; 64];
        let (length, from) = server.recv_from(&mut request).await.unwrap();
        assert_eq!((&request[..length], from), (&stun(4)[..], endpoint.local_addr().unwrap()));
        server.send_to(&stun(8), from).await.unwrap();
        let answer = reader.recv().await.unwrap();
        assert_eq!((answer.from, &answer.bytes[..]), (server.local_addr().unwrap(), &stun(8)[..]));
    }
}
