//! What a request says, from its bytes.
//!
//! # Security
//! Provided: whatever the bytes are, the result is a request within its limits or a short text
//! that says what is wrong (a fuzz target, `admin_body`); an unknown field is an error.

use std::{str::FromStr, time::Duration};

use actix_web::http::StatusCode;
use bytes::Bytes;
use peerstage_core::{
    config::{PeerAddress, Span},
    identity::{PublicKey, from_hex},
    kinds::{BODY_MAX, Kind, RelayMode},
    messages::Topic,
};
use serde::{Deserialize, de::DeserializeOwned};

use super::request::{AdminRequest, PeerName};

/// The longest text about what is wrong, characters: a few lines of a terminal.
const ERROR_CHARS_MAX: usize = 300;

/// A request that can't be read: its status, and what is wrong with it.
#[derive(Debug)]
pub(super) struct Unfit(pub(super) StatusCode, pub(super) String);

/// Reads a body.
pub(super) type Reader = fn(&[u8]) -> Result<AdminRequest, Unfit>;

/// Every route that has a body, and how it is read.
pub(super) const READERS: [(&str, Reader); 7] = [
    ("/v1/bans", ban),
    ("/v1/connect", connect),
    ("/v1/disconnect", disconnect),
    ("/v1/broadcast", broadcast),
    ("/v1/relay-mode", relay_mode),
    ("/v1/validators", validators),
    ("/v1/shutdown", shutdown),
];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BanBody {
    peer: PeerName,
    #[serde(default)]
    reason: String,
    duration: Option<String>,
}

fn ban(body: &[u8]) -> Result<AdminRequest, Unfit> {
    let BanBody { peer, reason, duration } = read(body)?;
    let duration = duration.map(|text| span(&text)).transpose()?;
    let reason = if reason.is_empty() { "by the operator".to_owned() } else { reason };
    Ok(AdminRequest::Ban { peer, reason, duration })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ConnectBody {
    address: PeerAddress,
}

fn connect(body: &[u8]) -> Result<AdminRequest, Unfit> {
    Ok(AdminRequest::Connect(read::<ConnectBody>(body)?.address))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DisconnectBody {
    peer: PeerName,
}

fn disconnect(body: &[u8]) -> Result<AdminRequest, Unfit> {
    Ok(AdminRequest::Disconnect(read::<DisconnectBody>(body)?.peer))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BroadcastBody {
    kind: Kind,
    #[serde(default)]
    topic: Topic,
    body: String,
}

fn broadcast(body: &[u8]) -> Result<AdminRequest, Unfit> {
    let BroadcastBody { kind, topic, body } = read(body)?;
    if body.len() > 2 * BODY_MAX {
        let error = format!("the body has more than {BODY_MAX} bytes");
        return Err(Unfit(StatusCode::PAYLOAD_TOO_LARGE, error));
    }
    let bytes = from_hex(&body).ok_or_else(|| bad("the body is not hexadecimal"))?;
    Ok(AdminRequest::Broadcast { kind, topic, body: Bytes::from(bytes) })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RelayModeBody {
    kind: Kind,
    mode: RelayMode,
}

fn relay_mode(body: &[u8]) -> Result<AdminRequest, Unfit> {
    let RelayModeBody { kind, mode } = read(body)?;
    Ok(AdminRequest::SetRelayMode { kind, mode })
}

fn validators(body: &[u8]) -> Result<AdminRequest, Unfit> {
    read::<Vec<PublicKey>>(body).map(AdminRequest::SetValidators)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

fn shutdown(body: &[u8]) -> Result<AdminRequest, Unfit> {
    read::<Nothing>(body).map(|Nothing {}| AdminRequest::Shutdown)
}

/// Reads JSON with nothing in it that isn't known.
fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, Unfit> {
    serde_json::from_slice(body).map_err(|error| bad(&error.to_string()))
}

/// A peer named in a path.
pub(super) fn named(text: &str) -> Result<PeerName, Unfit> {
    text.parse().map_err(|error: <PeerName as FromStr>::Err| bad(&error.to_string()))
}

/// A duration such as `10s`.
pub(super) fn span(text: &str) -> Result<Duration, Unfit> {
    let span = text.parse::<Span>().map_err(|error| bad(&format!("{text:?}: {error}")))?;
    Ok(span.as_duration())
}

/// What is wrong, at a length that people read: it may quote the request.
pub(super) fn bad(error: &str) -> Unfit {
    Unfit(StatusCode::BAD_REQUEST, error.chars().take(ERROR_CHARS_MAX).collect())
}

/// A fuzz target: the first byte chooses the route, the others are its body.
///
/// # Panics
/// If a promise is broken: a request beyond its limits, a long error, a name that means nobody.
pub fn fuzz_body(data: &[u8]) {
    let Some((choice, body)) = data.split_first() else { return };
    let Some((_, reader)) = READERS.get(usize::from(*choice) % READERS.len()) else { return };
    let named = |peer: &PeerName| {
        let name = peer.to_string();
        assert_eq!(name.parse().as_ref(), Ok(peer));
        assert!(peer.whole().is_none_or(|whole| peer.matches(&whole)));
    };
    match reader(body) {
        Ok(AdminRequest::Ban { peer, duration, reason }) => {
            named(&peer);
            assert!(reason.len() <= body.len().max(16));
            assert!(duration.is_none_or(|span| span.checked_add(span).is_some()));
        }
        Ok(AdminRequest::Disconnect(peer)) => named(&peer),
        Ok(AdminRequest::Connect(address)) => {
            assert_eq!(address.to_string().parse().as_ref(), Ok(&address));
        }
        Ok(AdminRequest::Broadcast { body, .. }) => assert!(body.len() <= BODY_MAX),
        Ok(AdminRequest::SetValidators(keys)) => assert!(keys.len() <= body.len()),
        Ok(_) => {}
        Err(Unfit(status, error)) => {
            assert!(status.is_client_error());
            assert!(!error.is_empty() && error.chars().count() <= ERROR_CHARS_MAX);
        }
    }
}
