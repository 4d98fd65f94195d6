//! From a bare connection to an authenticated one: drives the [`Handshake`] machine.
//!
//! Runs before there is a Peer actor, so a stranger costs one bounded task and no slot. The
//! cryptography is done where the conversation is: on a thread that does nothing else
//! ([`crate::shell::Placement::spawn_handshake`]).

use std::time::Duration;

use bytes::BytesMut;
use peerstage_core::{
    circuits::CircuitReason,
    handshake::{Action, Established, Handshake, HandshakeConfig, HandshakeError},
    identity::NodeId,
};
use rand_chacha::ChaCha20Rng;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::{
    clock::Clock,
    transport::{Io, Link},
};

/// Bytes read at once during the handshake: its largest message is 1.3 KB.
const READ_MAX: usize = 4 * 1024;

/// Why a connection did not become a session.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UpgradeError {
    /// The handshake failed.
    #[error("handshake: {0}")]
    Handshake(#[from] HandshakeError),
    /// The socket failed.
    #[error("connection: {0}")]
    Socket(#[from] std::io::Error),
    /// No peer carries the connection.
    #[error("circuit: {0}")]
    Circuit(#[from] CircuitReason),
    /// A bug of ours, which costs this connection only.
    #[error("opening the connection panicked")]
    Panicked,
    /// The connection had to make room, or its dial was given up.
    #[error("not wanted any more")]
    NotWanted,
}

impl UpgradeError {
    /// The stable name for logs, metrics and events.
    #[must_use]
    pub(crate) fn reason(&self) -> &'static str {
        match self {
            UpgradeError::Handshake(error) => error.reason(),
            UpgradeError::Socket(error) => match error.kind() {
                std::io::ErrorKind::ConnectionRefused => "connection_refused",
                std::io::ErrorKind::TimedOut => "connection_timeout",
                std::io::ErrorKind::UnexpectedEof => "closed_by_remote",
                std::io::ErrorKind::ConnectionReset => "connection_reset",
                _ => "connection_failed",
            },
            UpgradeError::Circuit(reason) => reason.name(),
            UpgradeError::Panicked => "panicked",
            UpgradeError::NotWanted => "gave_way",
        }
    }
}

/// Which side of the handshake we are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// We dialled, and may know who should answer.
    Dialler(Option<NodeId>),
    /// We accepted.
    Acceptor,
}

/// Runs the handshake to its end. The whole of it has one deadline, so a peer that sends a byte
/// a second gains nothing (attack row 1).
///
/// # Errors
/// [`UpgradeError`]; the connection is closed when it is dropped.
pub(crate) async fn upgrade(
    link: Link,
    side: Side,
    mut config: HandshakeConfig,
    mut rng: ChaCha20Rng,
    clock: &Clock,
) -> Result<(Box<dyn Io>, Box<Established>), UpgradeError> {
    let timeout = Duration::from_millis(config.timeout_ms);
    if let Side::Dialler(expected) = side {
        config.expected = expected;
    }
    let whole = async move {
        let (now, mut out) = (clock.now(), Vec::new());
        let machine = match side {
            Side::Dialler(_) => Handshake::initiator(config, now, &mut rng, &mut out),
            Side::Acceptor => Handshake::responder(config, now, &mut rng),
        };
        converse(link.io, machine, out, clock).await
    };
    tokio::time::timeout(timeout, whole)
        .await
        .unwrap_or(Err(UpgradeError::Handshake(HandshakeError::Timeout)))
}

async fn converse(
    mut io: Box<dyn Io>,
    mut machine: Handshake,
    mut out: Vec<Action>,
    clock: &Clock,
) -> Result<(Box<dyn Io>, Box<Established>), UpgradeError> {
    let mut buffer = BytesMut::with_capacity(READ_MAX);
    loop {
        for action in out.drain(..) {
            match action {
                Action::Send(bytes) => io.write_all(&bytes).await?,
                Action::Done(established) => {
                    io.flush().await?;
                    return Ok((io, established));
                }
                Action::Fail(error) => {
                    // What was written may say why; let it leave.
                    let _ = io.shutdown().await;
                    return Err(error.into());
                }
            }
        }
        io.flush().await?;
        buffer.clear();
        if io.read_buf(&mut buffer).await? == 0 {
            return Err(UpgradeError::Socket(std::io::ErrorKind::UnexpectedEof.into()));
        }
        machine.on_bytes(clock.now(), &buffer, &mut out);
    }
}
