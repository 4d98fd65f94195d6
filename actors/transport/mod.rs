//! How bytes reach another machine: a transport dials and listens, a link is one connection.
//!
//! Everything above a [`Link`] (the handshake, frames, actors) is the same on every transport;
//! `testkit::conformance` (feature `testkit`) holds what each of them promises.
//!
//! # Security
//! Provided: nothing secret or authenticated; the Noise channel inside a link does that. A
//! transport never ends the process and never stops accepting because descriptors ran out.
//! Not provided: limits on connections and on time, which the network manager and the peer set.

pub mod quic;
pub mod tcp;

#[cfg(feature = "testkit")]
pub mod sim;

use std::{fmt, io};

use async_trait::async_trait;
use peerstage_core::address::Address;
use tokio::io::{AsyncRead, AsyncWrite};

pub use quic::QuicTransport;
pub use tcp::TcpTransport;

/// A way to reach other nodes.
#[async_trait]
pub trait Transport: Send + Sync {
    /// A short lower-case word for logs and metrics, such as `tcp`.
    fn name(&self) -> &'static str;

    /// Starts to accept connections at `address`; port 0 lets the system choose.
    ///
    /// # Errors
    /// `AddrInUse`, `AddrNotAvailable`, `PermissionDenied` and others of the system.
    async fn listen(&self, address: Address) -> io::Result<Box<dyn Listener>>;

    /// Opens a connection. Dropping the future gives the attempt up.
    ///
    /// # Errors
    /// `ConnectionRefused`, `TimedOut`, `NetworkUnreachable` and others of the system. How long
    /// it takes until `TimedOut` is the system's choice: callers set their own deadline.
    async fn dial(&self, address: Address) -> io::Result<Link>;
}

/// An address at which connections are accepted, until it is dropped.
#[async_trait]
pub trait Listener: Send {
    /// The next connection. Cancel-safe: no connection is lost when the future is dropped.
    ///
    /// # Errors
    /// Only when this listener is of no more use; what passes is waited for inside.
    async fn accept(&mut self) -> io::Result<Link>;

    /// Where it listens, with the port that was chosen.
    fn local(&self) -> Address;
}

/// The byte stream of a connection: ordered, reliable, each direction closed by itself.
pub trait Io: AsyncRead + AsyncWrite + Send + Unpin {
    /// From now on the current thread's runtime watches this connection. A connection that
    /// another thread watches costs two wakes for each read.
    ///
    /// # Errors
    /// The system's, if it can't be watched here; the connection is closed then.
    fn move_here(self: Box<Self>) -> io::Result<Box<dyn Io>>;
}

/// One connection. Dropping it closes both directions.
pub struct Link {
    /// The bytes.
    pub io: Box<dyn Io>,
    /// Our end.
    pub local: Address,
    /// The other end.
    pub remote: Address,
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Link({} -> {})", self.local, self.remote)
    }
}

#[cfg(test)]
mod tests;
