//! A connection that has authenticated its remote, and its streams: one for each lane and
//! direction.

use std::{
    fmt, io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use futures_util::future::BoxFuture;
use peerstage_core::{
    address::Address,
    handshake::{
        HandshakeError,
        tls::{EXPORTER_LABEL, key_from_spki, suite_of, tls_name},
    },
    identity::PublicKey,
    kinds::{LANES, Lane},
};
use quinn::{
    Connection, ConnectionError, ReadError, RecvStream, SendStream, WriteError,
    crypto::rustls::HandshakeData, rustls::pki_types::CertificateDer,
};

use super::{driver::Driver, error::kind_of, tls::Tls};
use crate::upgrade::UpgradeError;

/// Lanes by how urgent their packets are: votes first, then what keeps the connection.
const PRIORITIES: [i32; LANES] = [4, 2, 3, 1, 0];

/// An authenticated connection.
pub struct QuicChannel {
    incoming: LanesIn,
    outgoing: LanesOut,
    /// Who the other side proved to be.
    pub remote: PublicKey,
    /// Where it is; it may move.
    pub address: Address,
    /// Our end.
    pub local: Address,
    /// The same on both sides and unique to this connection.
    pub hash: [u8; 32],
    /// The key agreement's name.
    pub suite: &'static str,
}

/// The sending streams. Dropping it closes the connection.
pub(crate) struct LanesOut {
    connection: Connection,
    streams: [Option<SendStream>; LANES],
    /// What drives the connection, while it may still move.
    driver: Option<Driver>,
}

/// The receiving streams.
pub(crate) struct LanesIn {
    streams: [Option<RecvStream>; LANES],
    opening: BoxFuture<'static, (Connection, Result<RecvStream, ConnectionError>)>,
}

/// What a look for new streams finds.
pub(crate) enum NewStream {
    /// That of a lane.
    Lane,
    /// One that belongs to no lane.
    Stray,
}

impl QuicChannel {
    /// Reads off a finished handshake what it proved, and opens our streams.
    pub(super) async fn new(
        connection: Connection,
        driver: Option<Driver>,
        local: Address,
        tls: &Tls,
    ) -> Result<Self, UpgradeError> {
        let keys = connection.peer_identity().and_then(|keys| keys.downcast().ok());
        let keys: Box<Vec<CertificateDer<'static>>> = keys.ok_or(HandshakeError::Malformed)?;
        let remote = keys.first().and_then(|key| key_from_spki(key));
        let remote = remote.ok_or(HandshakeError::Malformed)?;
        if remote == tls.own_key() {
            return Err(HandshakeError::SelfConnection.into());
        }
        let data = connection.handshake_data().and_then(|data| data.downcast().ok());
        let data: Box<HandshakeData> = data.ok_or(HandshakeError::Malformed)?;
        let name = data.protocol.unwrap_or_default();
        let suite = suite_of(tls.network(), &name).ok_or(HandshakeError::NoCommonProtocol)?;
        let mut hash = [0; 32];
        connection
            .export_keying_material(&mut hash, EXPORTER_LABEL, &tls.network().0)
            .map_err(|_| HandshakeError::Malformed)?;
        let address = super::over_quic(connection.remote_address());
        let suite = tls_name(suite);
        let (incoming, outgoing) = open_lanes(connection, driver).await?;
        Ok(QuicChannel { incoming, outgoing, remote, address, local, hash, suite })
    }

    /// The streams.
    pub(crate) fn into_lanes(self) -> (LanesIn, LanesOut) {
        (self.incoming, self.outgoing)
    }

    /// The connection itself, for tests that break rules.
    #[cfg(test)]
    pub(crate) fn connection(&self) -> &Connection {
        &self.outgoing.connection
    }
}

impl fmt::Debug for QuicChannel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "QuicChannel({} -> {})", self.local, self.address)
    }
}

/// Opens our streams and makes ready for the other's. Waits for a remote that allows fewer.
async fn open_lanes(
    connection: Connection,
    driver: Option<Driver>,
) -> io::Result<(LanesIn, LanesOut)> {
    let mut streams: [Option<SendStream>; LANES] = Default::default();
    // A stream's number is its lane's: they are opened in this order and no other is.
    for (stream, priority) in streams.iter_mut().zip(PRIORITIES) {
        let opened = connection.open_uni().await.map_err(|error| lost(&error))?;
        // It is not closed, which is all that could be wrong.
        let _ = opened.set_priority(priority);
        *stream = Some(opened);
    }
    let opening = opening(connection.clone());
    let incoming = LanesIn { streams: Default::default(), opening };
    Ok((incoming, LanesOut { connection, streams, driver }))
}

fn opening(
    connection: Connection,
) -> BoxFuture<'static, (Connection, Result<RecvStream, ConnectionError>)> {
    Box::pin(async move {
        let stream = connection.accept_uni().await;
        (connection, stream)
    })
}

fn lost(error: &ConnectionError) -> io::Error {
    io::Error::new(kind_of(error), error.to_string())
}

impl LanesIn {
    /// The next stream that the other side has opened.
    pub(crate) fn poll_new(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<NewStream>> {
        let (connection, stream) = ready!(self.opening.as_mut().poll(cx));
        self.opening = opening(connection);
        let stream = stream.map_err(|error| lost(&error))?;
        let lane = usize::try_from(stream.id().index()).unwrap_or(usize::MAX);
        match self.streams.get_mut(lane) {
            Some(place) => {
                *place = Some(stream);
                Poll::Ready(Ok(NewStream::Lane))
            }
            None => Poll::Ready(Ok(NewStream::Stray)),
        }
    }

    /// Reads a lane's stream; 0 bytes is its end.
    pub(crate) fn poll_read(
        &mut self,
        lane: Lane,
        cx: &mut Context<'_>,
        space: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let Some(Some(stream)) = self.streams.get_mut(lane as usize) else { return Poll::Pending };
        stream.poll_read(cx, space).map_err(|error| match error {
            ReadError::ConnectionLost(error) => lost(&error),
            error => io::Error::new(io::ErrorKind::ConnectionReset, error.to_string()),
        })
    }

    /// The lane has ended: it is not read again.
    pub(crate) fn forget(&mut self, lane: Lane) {
        if let Some(stream) = self.streams.get_mut(lane as usize) {
            *stream = None;
        }
    }
}

impl LanesOut {
    /// From now on the current thread drives the connection.
    pub(crate) fn move_here(&mut self) {
        if let Some(driver) = self.driver.take() {
            driver.move_here();
        }
    }

    /// Writes to a lane's stream; pending while its window or the connection's is full.
    pub(crate) fn poll_write(
        &mut self,
        lane: usize,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let Some(Some(stream)) = self.streams.get_mut(lane) else {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        };
        Pin::new(stream).poll_write(cx, bytes).map_err(|error| match error {
            WriteError::ConnectionLost(error) => lost(&error),
            error => io::Error::new(io::ErrorKind::ConnectionReset, error.to_string()),
        })
    }

    /// Nothing more comes on this lane.
    pub(crate) fn finish(&mut self, lane: Lane) {
        if let Some(Some(stream)) = self.streams.get_mut(lane as usize) {
            // Closed already is as good.
            let _ = stream.finish();
        }
    }
}

impl Drop for LanesOut {
    fn drop(&mut self) {
        self.connection.close(0u32.into(), b"");
    }
}
