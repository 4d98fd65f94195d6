//! QUIC over UDP (RFC 9000): secured by itself, one stream for each lane.
//!
//! What [`Transport`](super::Transport) and the Noise handshake are for byte streams, this is in
//! one: a [`QuicChannel`] has authenticated its remote and has a stream for each lane.
//!
//! # Security
//! Provided: what its module `tls` says, so the same guarantees as the Noise channel; at most
//! [`HANDSHAKES_UNPROVEN`] handshakes are begun for addresses that have not shown that they
//! receive what is sent to them (RFC 9000 section 8.1), and what waits to be accepted is bounded;
//! what a peer can make us hold is bounded by the windows.
//! Not provided: limits on connections, which the network manager sets before any handshake.

mod channel;
mod config;
mod driver;
mod error;
mod socket;
mod tls;

#[cfg(test)]
mod tests;

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use peerstage_core::{
    address::{Address, TransportKind},
    handshake::{HandshakeError, PqPolicy},
    identity::{Keypair, NetworkId, NodeId},
    time::Millis,
};
use quinn::{Connecting, Endpoint, EndpointConfig, Incoming, Runtime};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::runtime::Handle;

pub use channel::QuicChannel;
pub(crate) use channel::{LanesIn, LanesOut, NewStream};
pub use config::{KEEP_ALIVE_MS, LANE_WINDOW};
pub use socket::{Datagram, SharedSocket};

use crate::upgrade::UpgradeError;
use driver::{Driver, MovableRuntime};
use error::of_connection;
use tls::{Refusal, Tls};

/// Handshakes that may be under way before a newcomer must show that it receives at its address,
/// which costs it a round trip. A guess: an honest burst stays below.
pub const HANDSHAKES_UNPROVEN: usize = 16;
/// What the system may hold for the socket in each direction, bytes. quinn's advice for links of
/// a gigabit; the system may give less.
const SOCKET_BYTES: usize = 2 * 1024 * 1024;
/// TLS wants a name; it is not sent.
const SERVER_NAME: &str = "peerstage";

/// Connections over QUIC.
#[derive(Debug)]
pub struct QuicTransport {
    tls: Tls,
    bound: Mutex<Vec<Bound>>,
    /// The thread that reads the sockets, of whichever thread asks for one.
    home: OnceLock<Handle>,
    handshakes: Arc<AtomicUsize>,
}

/// An endpoint and its socket.
#[derive(Clone, Debug)]
struct Bound {
    endpoint: Endpoint,
    socket: Arc<SharedSocket>,
    local: SocketAddr,
}

/// A socket at which connections are accepted, until it is dropped.
#[derive(Debug)]
pub struct QuicListener {
    bound: Bound,
    tls: Tls,
    handshakes: Arc<AtomicUsize>,
}

/// Somebody who wants to connect; no cryptography was done yet. Dropping it refuses.
#[derive(Debug)]
pub struct QuicIncoming {
    incoming: Incoming,
    local: Address,
    tls: Tls,
    begun: Begun,
}

/// Counts a handshake for as long as it takes.
#[derive(Debug)]
struct Begun(Arc<AtomicUsize>);

impl Begun {
    fn new(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Begun(Arc::clone(count))
    }
}

impl Drop for Begun {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl QuicTransport {
    /// For a node with this key on this network.
    #[must_use]
    pub fn new(keypair: Keypair, network: NetworkId, policy: PqPolicy) -> Self {
        let tls = Tls::new(keypair, network, policy);
        QuicTransport {
            tls,
            bound: Mutex::default(),
            home: OnceLock::new(),
            handshakes: Arc::default(),
        }
    }

    /// The current thread reads all sockets, those included that dialling opens on another. Without
    /// this, it is the first thread that opens one.
    ///
    /// # Panics
    /// Outside of a Tokio runtime.
    pub fn settle_here(&self) {
        self.home.get_or_init(Handle::current);
    }

    /// Starts to accept connections at `address`; port 0 lets the system choose. The socket is
    /// also that of what is dialled from here.
    ///
    /// # Errors
    /// `AddrInUse`, `AddrNotAvailable`, `PermissionDenied` and others of the system.
    pub fn listen(&self, address: Address) -> io::Result<QuicListener> {
        let bound = self.bind(address.socket(), true)?;
        self.lock().push(bound.clone());
        let (tls, handshakes) = (self.tls.clone(), Arc::clone(&self.handshakes));
        Ok(QuicListener { bound, tls, handshakes })
    }

    /// Connects and authenticates: as `expected`, if that is known. Dropping the future gives the
    /// attempt up.
    ///
    /// # Errors
    /// [`UpgradeError`]: what the socket or the handshake failed with.
    pub(crate) async fn dial(
        &self,
        address: Address,
        expected: Option<NodeId>,
        timeout: Millis,
    ) -> Result<QuicChannel, UpgradeError> {
        let bound = self.bound_for(address.ip())?;
        let (client, refusal) = self.tls.client(expected).map_err(io::Error::other)?;
        let client = config::client(client);
        let (connecting, driver) =
            Driver::of(|| bound.endpoint.connect_with(client, address.socket(), SERVER_NAME));
        let connecting = connecting.map_err(io::Error::other)?;
        let local = over_quic(bound.local);
        let begun = (connecting, driver);
        let channel = complete(begun, local, &self.tls, refusal, timeout).await;
        channel.map_err(|error| match error {
            // Silence: nobody may be there at all.
            UpgradeError::Handshake(HandshakeError::Timeout) => {
                io::Error::from(io::ErrorKind::TimedOut).into()
            }
            error => error,
        })
    }

    /// The sockets there are, for whoever must send from the same ports.
    #[must_use]
    pub fn sockets(&self) -> Vec<Arc<SharedSocket>> {
        self.lock().iter().map(|bound| Arc::clone(&bound.socket)).collect()
    }

    /// Ends every connection and frees the ports.
    pub fn close(&self) {
        for bound in self.lock().drain(..) {
            bound.endpoint.close(0u32.into(), b"");
        }
    }

    /// The endpoint to dial an address from: one that listens where the address can be reached
    /// from, else one of its own.
    fn bound_for(&self, ip: IpAddr) -> io::Result<Bound> {
        let mut all = self.lock();
        let reaches = |bound: &&Bound| {
            let own = bound.local.ip();
            own.is_ipv4() == ip.is_ipv4()
                && (own.is_unspecified() || own.is_loopback() == ip.is_loopback())
        };
        if let Some(bound) = all.iter().find(reaches) {
            return Ok(bound.clone());
        }
        let any: IpAddr = match ip {
            IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        let bound = self.bind(SocketAddr::new(any, 0), false)?;
        all.push(bound.clone());
        Ok(bound)
    }

    fn bind(&self, address: SocketAddr, accepting: bool) -> io::Result<Bound> {
        let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
        if address.is_ipv6() {
            // One family for each socket, as with TCP.
            socket.set_only_v6(true)?;
        }
        // The system may allow less, and that is no reason not to start.
        let _ = socket.set_recv_buffer_size(SOCKET_BYTES);
        let _ = socket.set_send_buffer_size(SOCKET_BYTES);
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        let _at_home = self.home.get_or_init(Handle::current).enter();
        let inner = MovableRuntime.wrap_udp_socket(socket.into())?;
        let socket = Arc::new(SharedSocket::new(inner));
        let server = if accepting {
            let server = self.tls.server().map_err(io::Error::other)?;
            Some(config::server(server))
        } else {
            None
        };
        let mut endpoint = EndpointConfig::default();
        // Half of the packets would look like STUN else (RFC 9443).
        endpoint.grease_quic_bit(false);
        let (for_quinn, runtime) = (Arc::clone(&socket), Arc::new(MovableRuntime));
        let endpoint = Endpoint::new_with_abstract_socket(endpoint, server, for_quinn, runtime)?;
        let local = endpoint.local_addr()?;
        Ok(Bound { endpoint, socket, local })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Bound>> {
        self.bound.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl QuicListener {
    /// The next who wants to connect. Cancel-safe.
    ///
    /// # Errors
    /// Only when the endpoint is closed.
    pub async fn accept(&mut self) -> io::Result<QuicIncoming> {
        loop {
            let incoming = self.bound.endpoint.accept().await;
            let incoming = incoming.ok_or(io::ErrorKind::NotConnected)?;
            let many = self.handshakes.load(Ordering::Relaxed) >= HANDSHAKES_UNPROVEN;
            if many && !incoming.remote_address_validated() {
                metrics::counter!("peerstage_quic_retries_total").increment(1);
                // Whoever is not validated may be told to retry.
                let _ = incoming.retry();
                continue;
            }
            // Counted from here on, so that what waits for the manager counts too.
            let begun = Begun::new(&self.handshakes);
            let (local, tls) = (self.local(), self.tls.clone());
            return Ok(QuicIncoming { incoming, local, tls, begun });
        }
    }

    /// Where it listens, with the port that was chosen.
    #[must_use]
    pub fn local(&self) -> Address {
        over_quic(self.bound.local)
    }

    /// The socket beneath.
    #[must_use]
    pub fn socket(&self) -> &Arc<SharedSocket> {
        &self.bound.socket
    }
}

impl Drop for QuicListener {
    fn drop(&mut self) {
        self.bound.endpoint.set_server_config(None);
    }
}

impl QuicIncoming {
    /// Who it says it is.
    #[must_use]
    pub fn remote(&self) -> Address {
        over_quic(self.incoming.remote_address())
    }

    /// Authenticates whoever it is.
    ///
    /// # Errors
    /// [`UpgradeError`]: what the socket or the handshake failed with.
    pub(crate) async fn secure(self, timeout: Millis) -> Result<QuicChannel, UpgradeError> {
        let QuicIncoming { incoming, local, tls, begun } = self;
        let refusal = Refusal::default();
        let (connecting, driver) = Driver::of(|| incoming.accept());
        let connecting = connecting.map_err(|error| of_connection(&error, &refusal))?;
        let channel = complete((connecting, driver), local, &tls, refusal, timeout).await;
        drop(begun);
        channel
    }
}

async fn complete(
    (connecting, driver): (Connecting, Option<Driver>),
    local: Address,
    tls: &Tls,
    refusal: Refusal,
    timeout: Millis,
) -> Result<QuicChannel, UpgradeError> {
    let connected = async {
        let connection = connecting.await.map_err(|error| of_connection(&error, &refusal))?;
        QuicChannel::new(connection, driver, local, tls).await
    };
    tokio::time::timeout(Duration::from_millis(timeout), connected)
        .await
        .unwrap_or(Err(HandshakeError::Timeout.into()))
}

fn over_quic(socket: SocketAddr) -> Address {
    Address::from(socket).over(TransportKind::Quic)
}
