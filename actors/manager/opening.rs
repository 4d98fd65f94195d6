//! Opening connections: from an address or an accepted socket to a running Peer actor.
//!
//! Dials and handshakes run on a thread that does nothing else, whatever carries the connection;
//! once it has authenticated its remote, it moves to its peer's thread (ADR 0014).

use std::{
    io,
    panic::AssertUnwindSafe,
    sync::{Arc, Mutex, PoisonError},
};

use futures_util::FutureExt;
use peerstage_core::{
    circuits::CircuitReason,
    connection::Terms,
    handshake::{HandshakeConfig, HandshakeError},
    identity::NodeId,
    manager::{DialFailure, DialId, LinkKind, SessionId},
    reason::CloseReason,
    time::{Millis, Time},
};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha20Rng;
use tokio::sync::oneshot;

use super::{
    opened::{Accepted, Opened},
    racing::Ways,
};
use crate::{
    clock::Clock,
    network::Transports,
    own::OwnNode,
    peer::{ByteLimits, Peer, PeerLinks, PeerParts, PeerTiming, SessionEvent, SessionGuard},
    shell::{Placement, Queue},
    transport::Link,
    upgrade::{Side, UpgradeError, upgrade},
};

/// What every new connection needs.
pub(crate) struct Opening {
    pub(crate) transports: Transports,
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
    /// Dials in the background, the addresses in the order given and a little apart, until one
    /// has authenticated; the end is told through the session queue. Given up when the other end
    /// of `wanted` is dropped.
    pub(crate) fn dial(
        self: &Arc<Self>,
        (attempt, link): (DialId, LinkKind),
        session: SessionId,
        ways: Ways,
        expected: Option<NodeId>,
        wanted: Wanted,
    ) {
        let this = Arc::clone(self);
        let rng = self.rng();
        let by = self.clock.now().plus(self.connection_timeout);
        self.placement.spawn_handshake(async move {
            let mut at = None;
            let opened = while_wanted(wanted, this.race(ways, expected, rng, &mut at)).await;
            let failed = move |error: &UpgradeError| SessionEvent::DialFailed {
                session,
                attempt,
                at,
                failure: failure_of(error),
                reason: error.reason(),
            };
            match opened {
                // Dropped here, before a greeting: nothing is taken of the other's places.
                Ok(opened) if link == LinkKind::Feeler => {
                    let peer = opened.remote;
                    let _ = this.sessions.push(SessionEvent::Felt { attempt, peer });
                }
                opened => this.hand_over(session, opened, link, by, failed),
            }
        });
    }

    /// Answers an accepted connection in the background. Handshake and greeting share one
    /// deadline, which is also the machine's for a connection that is half open. Given up when
    /// the other end of `wanted` is dropped.
    pub(crate) fn accept(self: &Arc<Self>, session: SessionId, accepted: Accepted, wanted: Wanted) {
        let this = Arc::clone(self);
        let rng = self.rng();
        let by = self.clock.now().plus(self.handshake.timeout_ms);
        self.placement.spawn_handshake(async move {
            let remote = accepted.remote();
            let opened = while_wanted(wanted, this.answer(accepted, rng)).await;
            let failed = move |error: &UpgradeError| {
                tracing::debug!(%remote, %error, "inbound handshake failed");
                SessionEvent::AcceptFailed { session, reason: error.reason() }
            };
            // What it is for is the dialler's to say.
            this.hand_over(session, opened, LinkKind::Full, by, failed);
        });
    }

    async fn answer(&self, accepted: Accepted, rng: ChaCha20Rng) -> Result<Opened, UpgradeError> {
        let expected = accepted.expected();
        match accepted {
            Accepted::Plain(link) | Accepted::Circuit(link, _) => {
                let link = Link { io: link.io.move_here()?, ..link };
                let (config, address) = (self.handshake.clone(), link.remote);
                let upgrading = upgrade(link, Side::Acceptor, config, rng, &self.clock);
                let (io, established) = Box::pin(upgrading).await?;
                let found = established.remote.node_id();
                if expected.is_some_and(|expected| expected != found) {
                    // One identity at the relay would be any number of them here.
                    return Err(HandshakeError::UnexpectedPeer { found }.into());
                }
                Ok(Opened::noise(io, *established, address))
            }
            Accepted::Quic(incoming) => {
                let channel = Box::pin(incoming.secure(self.handshake.timeout_ms)).await?;
                Ok(Opened::quic(channel))
            }
        }
    }

    /// Starts the Peer of an open connection on its thread, or tells why there is none.
    fn hand_over(
        self: Arc<Self>,
        session: SessionId,
        opened: Result<Opened, UpgradeError>,
        link: LinkKind,
        greeting_by: Time,
        failed: impl FnOnce(&UpgradeError) -> SessionEvent + Send + 'static,
    ) {
        let opened = match opened {
            Ok(opened) => opened,
            Err(error) => return drop(self.sessions.push(failed(&error))),
        };
        let this = Arc::clone(&self);
        self.placement.spawn_peer(async move {
            match opened.move_here() {
                Ok(opened) => this.launch(session, opened, link, greeting_by),
                Err(error) => drop(this.sessions.push(failed(&error.into()))),
            }
        });
    }

    fn launch(&self, session: SessionId, opened: Opened, link: LinkKind, greeting_by: Time) {
        let Opened { channel, remote, hash, suite, address } = opened;
        let now = self.clock.now();
        let circuit = address.is_circuit();
        let limits = if circuit { ByteLimits::none(now) } else { self.limits.clone() };
        // First: from here on, whatever happens, the end is told.
        let guard = SessionGuard::new(session, remote, self.sessions.clone());
        let parts = PeerParts {
            session,
            remote,
            address,
            suite,
            terms: Terms {
                network: self.own.network,
                remote,
                handshake_hash: hash,
                ping_interval: self.timing.ping_interval,
                ping_timeout: self.timing.ping_timeout,
                idle_timeout: self.timing.idle_timeout,
                hello_timeout: greeting_by.since(now),
                reads_slowly: self.limits.reads_slowly(),
            },
            hello: self.own.hello(&hash, address, link),
            write_timeout: self.timing.write_timeout,
            nonce: self.rng().next_u64(),
            queue_bytes: self.queue_bytes,
            budget_bytes: self.budget_bytes,
            limits,
            links: self.links.clone(),
            guard,
            clock: self.clock.clone(),
        };
        Peer::launch(channel, parts);
    }

    /// A generator for one connection, drawn in the order in which connections are opened.
    fn rng(&self) -> ChaCha20Rng {
        let mut seeds = self.seeds.lock().unwrap_or_else(PoisonError::into_inner);
        ChaCha20Rng::from_rng(&mut *seeds)
    }
}

/// Ends when its other end is dropped: the manager does not want the connection any more.
pub(crate) type Wanted = oneshot::Receiver<()>;

/// Works on a connection until it is open, has failed, or is not wanted any more. The socket is
/// closed at once then, whatever the other side is waiting for.
async fn while_wanted(
    wanted: Wanted,
    opening: impl Future<Output = Result<Opened, UpgradeError>>,
) -> Result<Opened, UpgradeError> {
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
        UpgradeError::Circuit(CircuitReason::Timeout) => DialFailure::Timeout,
        UpgradeError::Circuit(_) => DialFailure::Unreachable,
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
