//! HTTP to messages and back: no decision is taken here.

use std::future::{Ready, ready};

use actix::{MailboxError, Recipient};
use actix_web::{
    FromRequest, HttpRequest, HttpResponse,
    dev::Payload,
    http::StatusCode,
    web::{self, ServiceConfig},
};
use bytes::Bytes;
use serde::Deserialize;

use super::{
    actor::Follow,
    bodies::{self, READERS, Reader, Unfit},
    door::Guest,
    events::{self, Streams},
    pages::{Numbered, answer, failure, refusal},
    request::{AdminError, AdminRequest, AdminResponse},
    serve::REQUEST_TIMEOUT,
};

/// The longest request, bytes: a body of 4 MiB in hexadecimal, with room.
const REQUEST_BYTES_MAX: usize = 16 * 1024 * 1024;

/// The description of every route, held equal to them by `tests/admin/openapi.rs`.
const OPENAPI: &str = include_str!("openapi.json");

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
        .route("/v1/bans/{id}", web::delete().to(unban))
        .route("/v1/kinds", web::get().to(|r| plain(r, AdminRequest::Kinds)))
        .route("/v1/events", web::get().to(follow))
        .route("/openapi.json", web::get().to(openapi));
    for (path, reader) in READERS {
        let handle = move |routes: web::Data<Routes>, body: Body| sent(routes, body, reader);
        config.route(path, web::post().to(handle));
    }
    super::pages::configure(&routes.numbers, &routes.admin, config);
    config.default_service(web::to(nothing_here));
}

async fn nothing_here() -> HttpResponse {
    let hint = "docs/admin.md lists the routes, /openapi.json describes them";
    refusal(StatusCode::NOT_FOUND, "there is no such route or method", hint)
}

/// The description of all this, for programs.
async fn openapi() -> HttpResponse {
    HttpResponse::Ok().content_type("application/json").body(OPENAPI)
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

impl From<Unfit> for HttpResponse {
    fn from(Unfit(code, error): Unfit) -> Self {
        refusal(code, &error, "docs/admin.md describes every request and its limits")
    }
}

async fn peer(routes: web::Data<Routes>, path: web::Path<String>) -> HttpResponse {
    ask(&routes, bodies::named(&path).map(AdminRequest::Peer)).await
}

async fn explain(routes: web::Data<Routes>, path: web::Path<String>) -> HttpResponse {
    ask(&routes, bodies::named(&path).map(AdminRequest::Explain)).await
}

async fn unban(routes: web::Data<Routes>, path: web::Path<String>) -> HttpResponse {
    ask(&routes, bodies::named(&path).map(AdminRequest::Unban)).await
}

/// A request with a body.
async fn sent(routes: web::Data<Routes>, body: Body, reader: Reader) -> HttpResponse {
    ask(&routes, body.read().await.and_then(|bytes| reader(&bytes))).await
}

/// The body of a request that is still on its way, and the place of its connection.
struct Body {
    payload: web::Payload,
    guest: Option<Guest>,
}

impl FromRequest for Body {
    type Error = actix_web::Error;
    type Future = Ready<Result<Self, Self::Error>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let guest = request.conn_data::<Guest>().cloned();
        let payload = web::Payload::from_request(request, payload).into_inner();
        ready(payload.map(|payload| Body { payload, guest }))
    }
}

impl Body {
    /// All of it, as long as it may be and no later than it may come.
    async fn read(self) -> Result<Bytes, Unfit> {
        let whole = self.payload.to_bytes_limited(REQUEST_BYTES_MAX);
        let whole = tokio::time::timeout(REQUEST_TIMEOUT, whole).await.map_err(|_| {
            let error = format!("the body took more than {} s", REQUEST_TIMEOUT.as_secs());
            Unfit(StatusCode::REQUEST_TIMEOUT, error)
        })?;
        let too_long = |_| {
            let error = format!("the request has more than {REQUEST_BYTES_MAX} bytes");
            Unfit(StatusCode::PAYLOAD_TOO_LARGE, error)
        };
        let bytes = whole.map_err(too_long)?.map_err(|error| bodies::bad(&error.to_string()))?;
        if let Some(guest) = self.guest {
            guest.is_served();
        }
        Ok(bytes)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FollowQuery {
    heartbeat: Option<String>,
}

async fn follow(routes: web::Data<Routes>, query: web::Query<FollowQuery>) -> HttpResponse {
    let heartbeat = match query.heartbeat.as_deref().map(bodies::span).transpose() {
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

/// What the actor answers, or that it is gone.
pub(super) type Answer = Result<Result<AdminResponse, AdminError>, MailboxError>;
