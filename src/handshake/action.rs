//! What the handshake machine orders.

use bytes::{Bytes, BytesMut};

use crate::{
    identity::PublicKey,
    noise::{DH_LEN, HASH_LEN, Role, Suite, Transport},
};

use super::error::HandshakeError;

/// What the shell has to do.
#[derive(Debug)]
pub enum Action {
    /// Write these bytes.
    Send(Bytes),
    /// The handshake is complete; the machine is done.
    Done(Box<Established>),
    /// Write what was sent so far, then close; the machine is done.
    Fail(HandshakeError),
}

/// An authenticated session.
#[derive(Debug)]
pub struct Established {
    /// Seals and opens records.
    pub transport: Transport,
    /// The identity the remote proved.
    pub remote: PublicKey,
    /// The remote's Noise static key.
    pub remote_noise: [u8; DH_LEN],
    /// The same on both sides and unique to this session: sign it to bind something to it.
    pub handshake_hash: [u8; HASH_LEN],
    /// Our side.
    pub role: Role,
    /// The agreed suite.
    pub suite: Suite,
    /// The agreed protocol version.
    pub version: u8,
    /// Bytes that arrived behind the handshake: the first records.
    pub leftover: BytesMut,
}
