//! What a failed QUIC connection means to those who dialled or accepted it.

use std::io::{self, ErrorKind};

use peerstage_core::handshake::HandshakeError;
use quinn::{ConnectionError, TransportErrorCode};

use super::tls::Refusal;
use crate::upgrade::UpgradeError;

/// TLS alerts (RFC 8446 section 6.2) travel as QUIC errors from here on (RFC 9001 section 4.8).
const ALERTS: std::ops::RangeInclusive<u64> = 0x100..=0x1ff;

const ACCESS_DENIED: u64 = 49;

/// Why a connection was not made.
pub(super) fn of_connection(error: &ConnectionError, refusal: &Refusal) -> UpgradeError {
    if let Some(error) = refusal.take() {
        return error.into();
    }
    let code = match error {
        ConnectionError::TransportError(error) => error.code,
        ConnectionError::ConnectionClosed(close) => close.error_code,
        ConnectionError::VersionMismatch => return HandshakeError::NoCommonProtocol.into(),
        ConnectionError::LocallyClosed => return UpgradeError::NotWanted,
        error => return io::Error::new(kind_of(error), error.to_string()).into(),
    };
    if code == TransportErrorCode::CONNECTION_REFUSED {
        return io::Error::from(ErrorKind::ConnectionRefused).into();
    }
    match u64::from(code) {
        // Who refuses an identity says no more over Noise either: it hangs up.
        code if code == ALERTS.start() + ACCESS_DENIED => {
            io::Error::from(ErrorKind::UnexpectedEof).into()
        }
        code if ALERTS.contains(&code) => of_alert(code - ALERTS.start()).into(),
        _ => HandshakeError::Malformed.into(),
    }
}

fn of_alert(alert: u64) -> HandshakeError {
    match alert {
        // handshake_failure, protocol_version, insufficient_security, no_application_protocol.
        40 | 70 | 71 | 120 => HandshakeError::NoCommonProtocol,
        // bad_certificate, certificate_unknown, decrypt_error.
        42 | 46 | 51 => HandshakeError::BadIdentitySignature,
        // bad_record_mac.
        20 => HandshakeError::BadMac,
        _ => HandshakeError::Malformed,
    }
}

/// How an established connection ended, in the words of sockets.
pub(super) fn kind_of(error: &ConnectionError) -> ErrorKind {
    match error {
        ConnectionError::TimedOut => ErrorKind::TimedOut,
        ConnectionError::ApplicationClosed(_) => ErrorKind::UnexpectedEof,
        ConnectionError::Reset | ConnectionError::ConnectionClosed(_) => ErrorKind::ConnectionReset,
        _ => ErrorKind::ConnectionAborted,
    }
}
