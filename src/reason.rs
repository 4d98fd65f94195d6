//! Why a connection ends: one list for the wire, the logs, the metrics and the events.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::time::Millis;

macro_rules! close_reasons {
    ($($(#[$doc:meta])* $variant:ident = $code:literal, $name:literal;)*) => {
        /// Why one side ends a connection. Names and codes are stable: they are on the wire
        /// (in [`crate::messages::Disconnect`]), in logs and in metrics.
        #[derive(
            Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
        )]
        #[serde(rename_all = "snake_case")]
        pub enum CloseReason {
            $($(#[$doc])* $variant,)*
        }

        impl CloseReason {
            /// Every reason, in the order of the codes.
            pub const ALL: &[CloseReason] = &[$(CloseReason::$variant,)*];

            /// The stable name, snake_case.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(CloseReason::$variant => $name,)*
                }
            }

            /// The byte on the wire.
            #[must_use]
            pub const fn code(self) -> u8 {
                match self {
                    $(CloseReason::$variant => $code,)*
                }
            }

            /// The reason behind a byte; [`CloseReason::Unspecified`] for codes of the future.
            #[must_use]
            pub const fn from_code(code: u8) -> Self {
                match code {
                    $($code => CloseReason::$variant,)*
                    _ => CloseReason::Unspecified,
                }
            }
        }
    };
}

close_reasons! {
    /// No reason was given, or one this version doesn't know.
    Unspecified = 0, "unspecified";
    /// Every slot this peer could have is taken.
    TooManyPeers = 1, "too_many_peers";
    /// The other one of two connections between the same nodes survives.
    Duplicate = 2, "duplicate";
    /// The peer, or its address, is banned.
    Banned = 3, "banned";
    /// Both ends are this node.
    SelfConnection = 4, "self_connection";
    /// The other side belongs to another network (genesis).
    WrongNetwork = 5, "wrong_network";
    /// No common protocol version.
    WrongVersion = 6, "wrong_version";
    /// This node is stopping.
    Shutdown = 7, "shutdown";
    /// Nothing was heard for too long.
    Idle = 8, "idle";
    /// A ping was not answered in time.
    PingTimeout = 9, "ping_timeout";
    /// Bytes or messages that the protocol does not allow.
    ProtocolError = 10, "protocol_error";
    /// The operator or the application asked for it.
    Requested = 11, "requested";
    /// Too many connections from this address or network group.
    GroupLimit = 12, "group_limit";
    /// The secure channel or the hello failed.
    HandshakeFailed = 13, "handshake_failed";
    /// The handshake took longer than it may.
    HandshakeTimeout = 14, "handshake_timeout";
    /// A bug on this side ended the connection; the peer is not to blame.
    Panicked = 15, "panicked";
    /// Someone else answered than the node that was dialled.
    UnexpectedIdentity = 16, "unexpected_identity";
    /// Too many connection attempts in too short a time.
    RateLimited = 17, "rate_limited";
    /// Made room for another peer.
    Evicted = 18, "evicted";
    /// The peer read too slowly or not at all.
    SlowReader = 19, "slow_reader";
    /// The socket failed or was closed without a word.
    ConnectionLost = 20, "connection_lost";
    /// A direct connection took the place of this one, which a relay carried. Whoever says so
    /// sends nothing more here, and hears the other side out.
    Upgraded = 21, "upgraded";
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// How a connection ended: why, and who said so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Closure {
    /// Why.
    pub reason: CloseReason,
    /// Whether the other side closed it and gave the reason.
    pub by_remote: bool,
    /// When the other side said it makes sense to come back, ms from the end; 0 if it did not.
    pub retry_after: Millis,
}

impl Closure {
    /// This side ended it.
    #[must_use]
    pub const fn local(reason: CloseReason) -> Self {
        Closure { reason, by_remote: false, retry_after: 0 }
    }

    /// The other side ended it.
    #[must_use]
    pub const fn remote(reason: CloseReason, retry_after: Millis) -> Self {
        Closure { reason, by_remote: true, retry_after }
    }
}

/// `too_many_peers`, or `remote: too_many_peers`.
impl fmt::Display for Closure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.by_remote {
            f.write_str("remote: ")?;
        }
        self.reason.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_is_found_by_its_code_and_serialises_as_its_name() {
        for (index, reason) in CloseReason::ALL.iter().enumerate() {
            assert_eq!(usize::from(reason.code()), index);
            assert_eq!(CloseReason::from_code(reason.code()), *reason);
            let json = serde_json::to_string(reason).unwrap();
            assert_eq!(json, format!("\"{}\"", reason.name()));
        }
        assert_eq!(CloseReason::from_code(255), CloseReason::Unspecified);
    }

    #[test]
    fn a_closure_says_who_closed() {
        assert_eq!(Closure::local(CloseReason::Banned).to_string(), "banned");
        assert_eq!(
            Closure::remote(CloseReason::TooManyPeers, 5).to_string(),
            "remote: too_many_peers"
        );
    }
}
