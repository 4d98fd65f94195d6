//! Why a circuit is refused or ends: one list for the wire, the logs and the metrics.

use std::fmt;

macro_rules! reasons {
    ($($(#[$doc:meta])* $Reason:ident = $code:literal, $name:literal;)*) => {
        /// Why a circuit is refused or ends.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, thiserror::Error)]
        pub enum CircuitReason {
            $($(#[$doc])* $Reason,)*
        }

        impl CircuitReason {
            /// Every reason, in the order of the codes.
            pub const ALL: &[CircuitReason] = &[$(CircuitReason::$Reason,)*];

            /// The stable name, snake_case.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(CircuitReason::$Reason => $name,)* }
            }

            /// The byte on the wire.
            #[must_use]
            pub const fn code(self) -> u8 {
                match self { $(CircuitReason::$Reason => $code,)* }
            }

            /// The reason behind a byte; [`CircuitReason::Unspecified`] for codes of the future.
            #[must_use]
            pub const fn from_code(code: u8) -> Self {
                match code {
                    $($code => CircuitReason::$Reason,)*
                    _ => CircuitReason::Unspecified,
                }
            }
        }
    };
}

reasons! {
    /// No reason was given, or one this version doesn't know.
    Unspecified = 0, "unspecified";
    /// One of the ends is done with it.
    Done = 1, "done";
    /// The node asked carries nothing for others.
    NoService = 2, "no_service";
    /// The node asked for is not connected to the relay, or the relay not to us.
    NotConnected = 3, "not_connected";
    /// The node asked for takes no circuits.
    NotAccepted = 4, "not_accepted";
    /// Both ends would be one node.
    SelfCircuit = 5, "self_circuit";
    /// The relay itself was asked for.
    ToRelay = 6, "to_relay";
    /// One of the connections below is a circuit itself.
    Nested = 7, "nested";
    /// The relay carries as many circuits as it will, or needs the place of this one for a
    /// neighbourhood or node that has fewer.
    TotalQuota = 8, "total_quota";
    /// Whoever asks has as many circuits as one node may, or asks too often.
    PeerQuota = 9, "peer_quota";
    /// The neighbourhood of whoever asks has as many circuits as one may.
    GroupQuota = 10, "group_quota";
    /// The circuit has carried as many bytes as one may.
    BytesUsed = 11, "bytes_used";
    /// The circuit has lasted as long as one may.
    TimeUsed = 12, "time_used";
    /// Whoever opened it, or its neighbourhood, has used its bytes of this hour.
    HourUsed = 13, "hour_used";
    /// One of the connections below takes no more.
    Congested = 14, "congested";
    /// The connection with the other end is gone.
    PeerGone = 15, "peer_gone";
    /// One of the ends broke a rule.
    Protocol = 16, "protocol";
    /// The end has no room for another one, or is called too often.
    Busy = 17, "busy";
    /// Nobody answered in time.
    Timeout = 18, "timeout";
    /// The circuit has carried nothing for too long.
    Idle = 19, "idle";
}

impl fmt::Display for CircuitReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
