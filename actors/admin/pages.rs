//! Answers as JSON, and the pages that need no rights: `/metrics`, `/livez`, `/readyz`.

use actix::Recipient;
use actix_web::{
    HttpResponse,
    http::StatusCode,
    web::{self, ServiceConfig},
};
use serde::Serialize;

use super::{
    checks::Readiness,
    http::Answer,
    metrics::Numbers,
    request::{AdminError, AdminRequest, AdminResponse},
};
use crate::network::SendError;

/// The numbers, if this process counts.
pub(super) type Numbered = Option<Numbers>;

#[derive(Serialize)]
struct ErrorBody<'a> {
    error: &'a str,
    hint: &'a str,
}

struct Probes {
    numbers: Numbered,
    admin: Recipient<AdminRequest>,
}

/// The pages that every listener serves.
pub(super) fn configure(
    numbers: &Numbered,
    admin: &Recipient<AdminRequest>,
    config: &mut ServiceConfig,
) {
    let probes = Probes { numbers: numbers.clone(), admin: admin.clone() };
    config
        .app_data(web::Data::new(probes))
        .route("/metrics", web::get().to(metrics))
        .route("/livez", web::get().to(livez))
        .route("/readyz", web::get().to(readyz));
}

async fn metrics(probes: web::Data<Probes>) -> HttpResponse {
    let Some(numbers) = &probes.numbers else {
        let hint = "set metrics.enabled = true, or use the chain's own recorder";
        return refusal(StatusCode::NOT_FOUND, "this node does not count", hint);
    };
    let status = match probes.admin.send(AdminRequest::Status).await {
        Ok(Ok(AdminResponse::Status(status))) => Some(status),
        _ => None,
    };
    HttpResponse::Ok()
        .content_type("text/plain; version=0.0.4; charset=utf-8")
        .body(numbers.render(status.as_deref()))
}

async fn livez(probes: web::Data<Probes>) -> HttpResponse {
    match readiness(&probes).await {
        Some(readiness) if readiness.lives() => text(StatusCode::OK, "alive\n".to_owned()),
        _ => text(StatusCode::SERVICE_UNAVAILABLE, "stuck\n".to_owned()),
    }
}

async fn readyz(
    probes: web::Data<Probes>,
    query: web::Query<Vec<(String, String)>>,
) -> HttpResponse {
    let Some(readiness) = readiness(&probes).await else {
        return text(StatusCode::SERVICE_UNAVAILABLE, "not ready\n".to_owned());
    };
    let code = if readiness.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let verbose = query.iter().any(|(name, _)| name == "verbose");
    let word = if readiness.ready { "ready\n" } else { "not ready\n" };
    text(code, if verbose { readiness.to_text() } else { word.to_owned() })
}

async fn readiness(probes: &Probes) -> Option<Readiness> {
    match probes.admin.send(AdminRequest::Readiness).await {
        Ok(Ok(AdminResponse::Readiness(readiness))) => Some(readiness),
        _ => None,
    }
}

fn text(code: StatusCode, body: String) -> HttpResponse {
    HttpResponse::build(code).content_type("text/plain; charset=utf-8").body(body)
}

/// The actor's answer.
pub(super) fn answer(answer: Answer) -> HttpResponse {
    match answer {
        Ok(Ok(response)) => HttpResponse::Ok().json(response),
        Ok(Err(error)) => failure(&error),
        Err(_) => failure(&AdminError::Stopped),
    }
}

/// Why a request was not carried out.
pub(super) fn failure(error: &AdminError) -> HttpResponse {
    refusal(status_of(error), &error.to_string(), error.hint())
}

/// An error as JSON.
pub(super) fn refusal(code: StatusCode, error: &str, hint: &str) -> HttpResponse {
    HttpResponse::build(code).json(ErrorBody { error, hint })
}

fn status_of(error: &AdminError) -> StatusCode {
    match error {
        AdminError::BadInput { .. } | AdminError::Send(SendError::WrongKind(_)) => {
            StatusCode::BAD_REQUEST
        }
        AdminError::UnknownPeer(_)
        | AdminError::NotConnected(_)
        | AdminError::NotBanned(_)
        | AdminError::Send(SendError::NoRoute) => StatusCode::NOT_FOUND,
        AdminError::Ambiguous { .. } | AdminError::Send(SendError::NotValidator) => {
            StatusCode::CONFLICT
        }
        AdminError::Send(SendError::TooLong { .. }) => StatusCode::PAYLOAD_TOO_LARGE,
        AdminError::Send(SendError::Stopped | SendError::TooSlow)
        | AdminError::TooManyStreams { .. }
        | AdminError::Stopped => StatusCode::SERVICE_UNAVAILABLE,
    }
}
