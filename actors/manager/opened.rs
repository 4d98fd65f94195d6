//! Connections on their way to a Peer actor: accepted, and authenticated.

use std::io;

use peerstage_core::{address::Address, handshake::Established, identity::NodeId};

use crate::{
    peer::SecureChannel,
    transport::{
        Io, Link,
        quic::{QuicChannel, QuicIncoming},
    },
};

/// Somebody who has connected and whom the manager has not looked at yet. Dropping it closes.
#[derive(Debug)]
pub(crate) enum Accepted {
    /// A stream of bytes, on which a Noise handshake follows.
    Plain(Link),
    /// A circuit, from this node by what its relay says.
    Circuit(Link, NodeId),
    /// QUIC, which secures itself.
    Quic(Box<QuicIncoming>),
}

impl Accepted {
    /// Where it comes from.
    pub(crate) fn remote(&self) -> Address {
        match self {
            Accepted::Plain(link) | Accepted::Circuit(link, _) => link.remote,
            Accepted::Quic(incoming) => incoming.remote(),
        }
    }

    /// Who must be there, if a relay has said so.
    pub(crate) fn expected(&self) -> Option<NodeId> {
        match self {
            Accepted::Circuit(_, from) => Some(*from),
            Accepted::Plain(_) | Accepted::Quic(_) => None,
        }
    }
}

/// A connection that has authenticated its remote.
pub(super) struct Opened {
    pub(super) channel: SecureChannel,
    pub(super) remote: NodeId,
    pub(super) hash: [u8; 32],
    pub(super) suite: &'static str,
    pub(super) address: Address,
}

impl Opened {
    pub(super) fn noise(io: Box<dyn Io>, established: Established, address: Address) -> Self {
        let Established { transport, remote, handshake_hash, leftover, suite, .. } = established;
        let (sealer, opener) = transport.split();
        Opened {
            channel: SecureChannel::Noise { io, sealer, opener, leftover },
            remote: remote.node_id(),
            hash: handshake_hash,
            suite: suite.protocol_name(),
            address,
        }
    }

    pub(super) fn quic(channel: QuicChannel) -> Self {
        let QuicChannel { remote, address, hash, suite, .. } = channel;
        let (incoming, outgoing) = channel.into_lanes();
        let channel = SecureChannel::Quic(Box::new(incoming), outgoing);
        Opened { channel, remote: remote.node_id(), hash, suite, address }
    }

    /// From now on the connection is driven by the current thread.
    ///
    /// # Errors
    /// The system's, if its socket can't be watched here; the connection is closed then.
    pub(super) fn move_here(self) -> io::Result<Self> {
        let channel = match self.channel {
            SecureChannel::Noise { io, sealer, opener, leftover } => {
                let io = io.move_here()?;
                SecureChannel::Noise { io, sealer, opener, leftover }
            }
            SecureChannel::Quic(incoming, mut outgoing) => {
                outgoing.move_here();
                SecureChannel::Quic(incoming, outgoing)
            }
        };
        Ok(Opened { channel, ..self })
    }
}
