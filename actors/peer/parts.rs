//! What a peer actor is made of.

use bytes::BytesMut;
use peerstage_core::{
    address::Address,
    connection,
    identity::NodeId,
    manager::SessionId,
    messages::Hello,
    noise::{Opener, Sealer},
    time::Millis,
};

use super::{ByteLimits, PeerLinks, SessionGuard};
use crate::{
    clock::Clock,
    transport::{
        Io,
        quic::{LanesIn, LanesOut},
    },
};

/// An authenticated, encrypted connection.
pub(crate) enum SecureChannel {
    /// Noise records on one stream of bytes, whatever carries it.
    Noise {
        /// The bytes.
        io: Box<dyn Io>,
        /// Our direction's keys.
        sealer: Sealer,
        /// The remote's direction's keys.
        opener: Opener,
        /// Bytes that arrived with the end of the handshake.
        leftover: BytesMut,
    },
    /// QUIC, which has a stream for each lane.
    Quic(Box<LanesIn>, LanesOut),
}

/// What the peer actor is made of.
pub(crate) struct PeerParts {
    /// The connection's number.
    pub session: SessionId,
    /// Who the other side proved to be.
    pub remote: NodeId,
    /// Where the other end is.
    pub address: Address,
    /// The name of the Noise suite, or of TLS's key agreement.
    pub suite: &'static str,
    /// What is fixed for the connection.
    pub terms: connection::Terms,
    /// Our greeting.
    pub hello: Hello,
    /// How long the socket may take nothing while bytes wait, ms.
    pub write_timeout: Millis,
    /// First ping nonce.
    pub nonce: u64,
    /// Bytes that may wait to be sent.
    pub queue_bytes: usize,
    /// Bytes that may wait inside the node.
    pub budget_bytes: usize,
    /// Bytes a second.
    pub limits: ByteLimits,
    /// Where its messages go.
    pub links: PeerLinks,
    /// Tells the NetworkManager of the end, whatever happens.
    pub guard: SessionGuard,
    /// The clock.
    pub clock: Clock,
}
