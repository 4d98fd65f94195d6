//! Opening connections: from an address or an accepted socket to a running Peer actor.

use std::{
    io,
    panic::AssertUnwindSafe,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures_util::FutureExt;
use peerstage_core::{
    address::Address,
    connection::Terms,
    handshake::{Established, HandshakeConfig, HandshakeError},
    identity::NodeId,
    manager::{DialFailure, DialId, LinkKind, SessionId},
    reason::CloseReason,
    time::{Millis, Time},
};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha20Rng;
use tokio::sync::oneshot;

use crate::{
    clock::Clock,
    own::OwnNode,
    peer::{ByteLimits, Peer, PeerLinks, PeerParts, PeerTiming, SessionEvent, SessionGuard},
    shell::{Placement, Queue},
    transport::{Io, Link, Transport},
    upgrade::{Side, UpgradeError, upgrade},
};

/// What every new connection needs.
pub(crate) struct Opening {
    pub(crate) transport: Arc<dyn Transport>,
    pub(crate) own: Arc<OwnNode>,
    pub(crate) handshake: HandshakeConfig,
    pub(crate) connection_timeout: Millis,
    pub(crate) timing: PeerTiming,
    pub(crate) queue_bytes: usize,
    pub(crate) budget_bytes: usize,
    pub(crate) limits: ByteLimits,
    pub(crate) links: PeerLinks,
    pub(crate) sessions: Queue<SessionEvent>,
    pub(crate) clock: Clock,
    pub(crate) placement: Placement,
    pub(crate) seeds: Mutex<ChaCha20Rng>,
}

impl Opening {
    /// Dials in the background; the end is told through the session queue. Given up when the
    /// other end of `wanted` is dropped.
    pub(crate) fn dial(
        self: &Arc<Self>,
        (attempt, link): (DialId, LinkKind),
        session: SessionId,
        address: Address,
        expected: Option<NodeId>,
        wanted: Wanted,
    ) {
        let this = Arc::clone(self);
        let rng = self.rng();
        let by = self.clock.now().plus(self.connection_timeout);
        self.placement.spawn_handshake(async move {
            let opened = while_wanted(wanted, this.connect(address, expected, rng)).await;
            let failed = move |error: &UpgradeError| SessionEvent::DialFailed {
                session,
                attempt,
                failure: failure_of(error),
                reason: error.reason(),
            };
            match opened {
                // Dropped here, before a greeting: nothing is taken of the other's places.
                Ok((_, established)) if link == LinkKind::Feeler => {
                    let peer = established.remote.node_id();
                    let _ = this.sessions.push(SessionEvent::Felt { attempt, peer });
                }
                opened => {
                    let blocks_only = link == LinkKind::BlocksOnly;
                    this.hand_over(session, opened, (address, blocks_only), by, failed);
                }
            }
        });
    }

    /// Answers an accepted connection in the background. Handshake and greeting share one
    /// deadline, which is also the machine's for a connection that is half open. Given up when
    /// the other end of `wanted` is dropped.
    pub(crate) fn accept(self: &Arc<Self>, session: SessionId, link: Link, wanted: Wanted) {
        let this = Arc::clone(self);
        let rng = self.rng();
        let by = self.clock.now().plus(self.handshake.timeout_ms);
        self.placement.spawn_handshake(async move {
            let remote = link.remote;
            let opened = while_wanted(wanted, this.answer(link, rng)).await;
            let failed = move |error: &UpgradeError| {
                tracing::debug!(%remote, %error, "inbound handshake failed");
                SessionEvent::AcceptFailed { session, reason: error.reason() }
            };
            this.hand_over(session, opened, (remote, false), by, failed);
        });
    }

    async fn answer(&self, link: Link, rng: ChaCha20Rng) -> Opened {
        let link = Link { io: link.io.move_here()?, ..link };
        upgrade(link, Side::Acceptor, self.handshake.clone(), rng, &self.clock).await
    }

    async fn connect(
        &self,
        address: Address,
        expected: Option<NodeId>,
        rng: ChaCha20Rng,
    ) -> Opened {
        let timeout = Duration::from_millis(self.connection_timeout);
        let link = tokio::time::timeout(timeout, self.transport.dial(address))
            .await
            .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
        let side = Side::Dialler(expected);
        upgrade(link, side, self.handshake.clone(), rng, &self.clock).await
    }

    /// Starts the Peer of an open connection on its thread, or tells why there is none.
    fn hand_over(
        self: Arc<Self>,
        session: SessionId,
        opened: Opened,
        about: (Address, bool),
        greeting_by: Time,
        failed: impl FnOnce(&UpgradeError) -> SessionEvent + Send + 'static,
    ) {
        let (io, established) = match opened {
            Ok(opened) => opened,
            Err(error) => return drop(self.sessions.push(failed(&error))),
        };
        let this = Arc::clone(&self);
        self.placement.spawn_peer(async move {
            match io.move_here() {
                Ok(io) => this.launch(session, io, *established, about, greeting_by),
                Err(error) => drop(this.sessions.push(failed(&error.into()))),
            }
        });
    }

    fn launch(
        &self,
        session: SessionId,
        io: Box<dyn Io>,
        established: Established,
        (address, blocks_only): (Address, bool),
        greeting_by: Time,
    ) {
        let Established { transport, remote, handshake_hash, leftover, suite, .. } = established;
        let (sealer, opener) = transport.split();
        let remote = remote.node_id();
        // First: from here on, whatever happens, the end is told.
        let guard = SessionGuard::new(session, remote, self.sessions.clone());
        let parts = PeerParts {
            session,
            remote,
            leftover,
            sealer,
            opener,
            suite: suite.protocol_name(),
            terms: Terms {
                network: self.own.network,
                remote,
                handshake_hash,
                ping_interval: self.timing.ping_interval,
                ping_timeout: self.timing.ping_timeout,
                idle_timeout: self.timing.idle_timeout,
                hello_timeout: greeting_by.since(self.clock.now()),
                reads_slowly: self.limits.reads_slowly(),
            },
            hello: self.own.hello(&handshake_hash, address, blocks_only),
            write_timeout: self.timing.write_timeout,
            nonce: self.rng().next_u64(),
            queue_bytes: self.queue_bytes,
            budget_bytes: self.budget_bytes,
            limits: self.limits.clone(),
            links: self.links.clone(),
            guard,
            clock: self.clock.clone(),
        };
        Peer::launch(io, parts);
    }

    /// A generator for one connection, drawn in the order in which connections are opened.
    fn rng(&self) -> ChaCha20Rng {
        let mut seeds = self.seeds.lock().unwrap_or_else(PoisonError::into_inner);
        ChaCha20Rng::from_rng(&mut *seeds)
    }
}

/// A connection whose handshake is done, or why not.
type Opened = Result<(Box<dyn Io>, Box<Established>), UpgradeError>;

/// Ends when its other end is dropped: the manager does not want the connection any more.
pub(crate) type Wanted = oneshot::Receiver<()>;

/// Works on a connection until it is open, has failed, or is not wanted any more. The socket is
/// closed at once then, whatever the other side is waiting for.
async fn while_wanted(wanted: Wanted, opening: impl Future<Output = Opened>) -> Opened {
    // A transport of the chain's own may panic too: that ends this connection, and is told.
    let opening = AssertUnwindSafe(opening).catch_unwind();
    tokio::select! {
        biased;
        opened = opening => opened.unwrap_or(Err(UpgradeError::Panicked)),
        _ = wanted => Err(UpgradeError::NotWanted),
    }
}

/// What a failed dial means to the machine.
fn failure_of(error: &UpgradeError) -> DialFailure {
    match error {
        UpgradeError::Handshake(HandshakeError::SelfConnection | HandshakeError::Reflection) => {
            DialFailure::SelfConnection
        }
        UpgradeError::Handshake(HandshakeError::UnexpectedPeer { found }) => {
            DialFailure::UnexpectedIdentity(*found)
        }
        UpgradeError::Handshake(error) => DialFailure::Handshake(close_reason_of(error)),
        UpgradeError::Socket(error) => match error.kind() {
            io::ErrorKind::ConnectionRefused => DialFailure::Refused,
            io::ErrorKind::TimedOut => DialFailure::Timeout,
            io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset => {
                DialFailure::Handshake(CloseReason::ConnectionLost)
            }
            _ => DialFailure::Unreachable,
        },
        UpgradeError::Panicked | UpgradeError::NotWanted => DialFailure::Local,
    }
}

fn close_reason_of(error: &HandshakeError) -> CloseReason {
    match error {
        HandshakeError::WrongNetwork { .. } => CloseReason::WrongNetwork,
        HandshakeError::UnsupportedVersion { .. } => CloseReason::WrongVersion,
        HandshakeError::Timeout => CloseReason::HandshakeTimeout,
        _ => CloseReason::HandshakeFailed,
    }
}
