//! HTTP to messages and back: no decision is taken here.

use std::time::Duration;

use actix::{MailboxError, Recipient};
use actix_web::{
    HttpResponse,
    http::StatusCode,
    web::{self, ServiceConfig},
};
use bytes::Bytes;
use peerstage_core::{
    config::{PeerAddress, Span},
    identity::{PublicKey, from_hex},
    kinds::{BODY_MAX, Kind, RelayMode},
    messages::Topic,
};
use serde::{Deserialize, de::DeserializeOwned};

use super::{
    actor::Follow,
    events::{self, Streams},
    pages::{Numbered, answer, failure, refusal},
    request::{AdminError, AdminRequest, AdminResponse, PeerName},
};

/// The longest request, bytes: a body of 4 MiB in hexadecimal, with room.
const REQUEST_BYTES_MAX: usize = 16 * 1024 * 1024;

/// What the routes need.
#[derive(Clone)]
pub(super) struct Routes {
    pub(super) admin: Recipient<AdminRequest>,
    pub(super) follow: Recipient<Follow>,
    pub(super) streams: Streams,
    pub(super) numbers: Numbered,
}

/// Everything under `/v1`, and the probes.
pub(super) fn configure(routes: &Routes, config: &mut ServiceConfig) {
    config
        .app_data(web::Data::new(routes.clone()))
        .route("/v1/status", web::get().to(|r| plain(r, AdminRequest::Status)))
        .route("/v1/ready", web::get().to(|r| plain(r, AdminRequest::Readiness)))
        .route("/v1/peers", web::get().to(|r| plain(r, AdminRequest::Peers)))
        .route("/v1/peers/{id}", web::get().to(peer))
        .route("/v1/peers/{id}/explain", web::get().to(explain))
        .route("/v1/bans", web::get().to(|r| plain(r, AdminRequest::Bans)))
        .route("/v1/bans", web::post().to(ban))
        .route("/v1/bans/{id}", web::delete().to(unban))
        .route("/v1/kinds", web::get().to(|r| plain(r, AdminRequest::Kinds)))
        .route("/v1/connect", web::post().to(connect))
        .route("/v1/disconnect", web::post().to(disconnect))
        .route("/v1/broadcast", web::post().to(broadcast))
        .route("/v1/relay-mode", web::post().to(relay_mode))
        .route("/v1/validators", web::post().to(validators))
        .route("/v1/events", web::get().to(follow))
        .route("/v1/shutdown", web::post().to(shutdown));
    super::pages::configure(&routes.numbers, &routes.admin, config);
    config.default_service(web::to(nothing_here));
}

async fn nothing_here() -> HttpResponse {
    let hint = "docs/admin.md lists the routes";
    refusal(StatusCode::NOT_FOUND, "there is no such route or method", hint)
}

async fn plain(routes: web::Data<Routes>, request: AdminRequest) -> HttpResponse {
    answer(routes.admin.send(request).await)
}

async fn ask(routes: &Routes, request: Result<AdminRequest, Unfit>) -> HttpResponse {
    match request {
        Ok(request) => answer(routes.admin.send(request).await),
        Err(unfit) => unfit.into(),
    }
}

/// A request that can't be read: its status, and what is wrong with it.
struct Unfit(StatusCode, String);

impl From<Unfit> for HttpResponse {
    fn from(Unfit(code, error): Unfit) -> Self {
        refusal(code, &error, "docs/admin.md describes every request and its limits")
    }
}

async fn peer(routes: web::Data<Routes>, path: web::Path<String>) -> HttpResponse {
    ask(&routes, named(&path).map(AdminRequest::Peer)).await
}

async fn explain(routes: web::Data<Routes>, path: web::Path<String>) -> HttpResponse {
    ask(&routes, named(&path).map(AdminRequest::Explain)).await
}

async fn unban(routes: web::Data<Routes>, path: web::Path<String>) -> HttpResponse {
    ask(&routes, named(&path).map(AdminRequest::Unban)).await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BanBody {
    peer: PeerName,
    #[serde(default)]
    reason: String,
    duration: Option<String>,
}

async fn ban(routes: web::Data<Routes>, body: web::Payload) -> HttpResponse {
    let request = read::<BanBody>(body).await.and_then(|BanBody { peer, reason, duration }| {
        let duration = duration.map(|text| span(&text)).transpose()?;
        let reason = if reason.is_empty() { "by the operator".to_owned() } else { reason };
        Ok(AdminRequest::Ban { peer, reason, duration })
    });
    ask(&routes, request).await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ConnectBody {
    address: PeerAddress,
}

async fn connect(routes: web::Data<Routes>, body: web::Payload) -> HttpResponse {
    let request = read::<ConnectBody>(body).await;
    ask(&routes, request.map(|body| AdminRequest::Connect(body.address))).await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DisconnectBody {
    peer: PeerName,
}

async fn disconnect(routes: web::Data<Routes>, body: web::Payload) -> HttpResponse {
    let request = read::<DisconnectBody>(body).await;
    ask(&routes, request.map(|body| AdminRequest::Disconnect(body.peer))).await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BroadcastBody {
    kind: Kind,
    #[serde(default)]
    topic: Topic,
    body: String,
}

async fn broadcast(routes: web::Data<Routes>, body: web::Payload) -> HttpResponse {
    let request = read::<BroadcastBody>(body).await.and_then(|sent| {
        if sent.body.len() > 2 * BODY_MAX {
            let error = format!("the body has more than {BODY_MAX} bytes");
            return Err(Unfit(StatusCode::PAYLOAD_TOO_LARGE, error));
        }
        let bytes = from_hex(&sent.body).ok_or_else(|| bad("the body is not hexadecimal"))?;
        Ok(AdminRequest::Broadcast { kind: sent.kind, topic: sent.topic, body: Bytes::from(bytes) })
    });
    ask(&routes, request).await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RelayModeBody {
    kind: Kind,
    mode: RelayMode,
}

async fn relay_mode(routes: web::Data<Routes>, body: web::Payload) -> HttpResponse {
    let request = read::<RelayModeBody>(body).await;
    let order =
        request.map(|RelayModeBody { kind, mode }| AdminRequest::SetRelayMode { kind, mode });
    ask(&routes, order).await
}

async fn validators(routes: web::Data<Routes>, body: web::Payload) -> HttpResponse {
    ask(&routes, read::<Vec<PublicKey>>(body).await.map(AdminRequest::SetValidators)).await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

async fn shutdown(routes: web::Data<Routes>, body: web::Payload) -> HttpResponse {
    ask(&routes, read::<Nothing>(body).await.map(|Nothing {}| AdminRequest::Shutdown)).await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FollowQuery {
    heartbeat: Option<String>,
}

async fn follow(routes: web::Data<Routes>, query: web::Query<FollowQuery>) -> HttpResponse {
    let heartbeat = match query.heartbeat.as_deref().map(span).transpose() {
        Ok(heartbeat) => heartbeat.unwrap_or(events::HEARTBEAT),
        Err(unfit) => return unfit.into(),
    };
    match routes.streams.open(&routes.follow, heartbeat).await {
        Ok(stream) => HttpResponse::Ok()
            .content_type("application/x-ndjson")
            .insert_header(("Cache-Control", "no-store"))
            .streaming(stream),
        Err(error) => failure(&error),
    }
}

/// Reads a JSON body: as long as it may be, and nothing in it that isn't known.
async fn read<T: DeserializeOwned>(body: web::Payload) -> Result<T, Unfit> {
    let too_long = |_| {
        let error = format!("the request has more than {REQUEST_BYTES_MAX} bytes");
        Unfit(StatusCode::PAYLOAD_TOO_LARGE, error)
    };
    let whole = body.to_bytes_limited(REQUEST_BYTES_MAX).await.map_err(too_long)?;
    let bytes = whole.map_err(|error| bad(&error.to_string()))?;
    serde_json::from_slice(&bytes).map_err(|error| bad(&error.to_string()))
}

fn named(text: &str) -> Result<PeerName, Unfit> {
    text.parse().map_err(|error: <PeerName as std::str::FromStr>::Err| bad(&error.to_string()))
}

fn span(text: &str) -> Result<Duration, Unfit> {
    let span = text.parse::<Span>().map_err(|error| bad(&format!("{text:?}: {error}")))?;
    Ok(span.as_duration())
}

fn bad(error: &str) -> Unfit {
    Unfit(StatusCode::BAD_REQUEST, error.to_owned())
}

/// What the actor answers, or that it is gone.
pub(super) type Answer = Result<Result<AdminResponse, AdminError>, MailboxError>;
