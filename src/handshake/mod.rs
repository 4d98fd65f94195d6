//! From a fresh byte stream to an authenticated session: the clear preface, the Noise handshake
//! and the proof of identity, as one machine without IO.
//!
//! [`Handshake`] is fed the bytes that arrive and answers with bytes to send and, in the end,
//! with an [`Established`] session or a [`HandshakeError`]. Every step is plain computation on
//! owned data, so a shell can move the machine to a worker thread for each of them.
//! The wire format is in `docs/protocol.md`, sections 1 and 2.
//!
//! # Security
//! Provided: the remote holds the Ed25519 key it names and speaks for this very handshake (the
//! signature covers the handshake hash and its Noise key, so it can't be replayed); both sides
//! agree on network, version and suite, because every byte of both prefaces is in the prologue,
//! and a stripped offer fails authentication; nothing about our identity is sent before the
//! remote's preface names our network, and a dialler names itself only to the peer it expected;
//! connections to ourselves and reflected messages are recognised; memory is bounded by one
//! handshake message and time by one total deadline.
//! Not provided: a limit on handshakes per source (the listener's task, before any of this runs),
//! and memory of which peers have the hybrid suite: whoever dials a peer that is known to have it
//! sets [`PqPolicy::Require`].

mod action;
mod config;
mod error;
#[doc(hidden)]
pub mod fuzzing;
mod identity;
mod preface;
mod session;
pub mod tls;

#[cfg(test)]
mod tests;

pub use action::{Action, Established};
pub use config::{HANDSHAKE_TIMEOUT_MS, HandshakeConfig, PqPolicy};
pub use error::HandshakeError;
pub use identity::IDENTITY_LEN;
pub use preface::{MAGIC, PREFACE_LEN, PROLOGUE_DOMAIN, Preface, Versions};
pub use session::Handshake;
