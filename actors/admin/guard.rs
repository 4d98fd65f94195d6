//! What every request must pass before anything is done: attack row 44.

use actix_web::{
    Error, HttpRequest, HttpResponse,
    body::{BodySize, MessageBody},
    dev::{ServiceRequest, ServiceResponse},
    http::{
        Method, StatusCode,
        header::{
            AUTHORIZATION, CONTENT_TYPE, HOST, HeaderMap, HeaderName, ORIGIN, WWW_AUTHENTICATE,
        },
    },
    middleware::Next,
    web,
};

use super::{door::Guest, pages::refusal, token::Token};

/// Names of this machine. Anything else in `Host` means that a web page had its own name
/// rebound to 127.0.0.1 (CVE-2026-42559).
const HOSTS: [&str; 3] = ["localhost", "127.0.0.1", "[::1]"];

/// What a listener asks of its clients.
#[derive(Clone, Debug)]
pub(super) enum Guard {
    /// Nothing: pages that only read, addressed by whatever name the machine has.
    Open,
    /// The right name: a Unix socket, whose mode is its lock.
    Named,
    /// The right name and the token: TCP.
    Token(Token),
}

impl Guard {
    /// Why a request is refused, if it is.
    fn refuses(&self, request: &HttpRequest) -> Option<HttpResponse> {
        if matches!(self, Guard::Open) {
            return None;
        }
        let headers = request.headers();
        let named = request.uri().authority().is_none_or(|name| is_ours(name.as_str()));
        if !named || !single(headers, &HOST).is_some_and(is_ours) {
            let error = "the Host header must be localhost, 127.0.0.1 or [::1]";
            return Some(refusal(StatusCode::FORBIDDEN, error, "address this machine itself"));
        }
        if headers.contains_key(ORIGIN) && !single(headers, &ORIGIN).is_some_and(is_our_origin) {
            let error = "requests of web pages from elsewhere are refused";
            return Some(refusal(StatusCode::FORBIDDEN, error, "use the command line"));
        }
        if let Guard::Token(token) = self
            && !headers.get(AUTHORIZATION).is_some_and(|sent| token.admits(sent.as_bytes()))
        {
            let error = "the token is missing or wrong";
            let hint = "send `Authorization: Bearer TOKEN`; admin.token_file names its file";
            let mut response = refusal(StatusCode::UNAUTHORIZED, error, hint);
            let scheme = actix_web::http::header::HeaderValue::from_static("Bearer");
            response.headers_mut().insert(WWW_AUTHENTICATE, scheme);
            return Some(response);
        }
        if request.method() == Method::POST && !single(headers, &CONTENT_TYPE).is_some_and(is_json)
        {
            let error = "the Content-Type must be application/json";
            let hint = "send JSON, `{}` where there is nothing to say";
            return Some(refusal(StatusCode::UNSUPPORTED_MEDIA_TYPE, error, hint));
        }
        None
    }
}

/// The middleware around every route.
pub(super) async fn check(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<impl MessageBody>, Error> {
    let guard = request.app_data::<web::Data<Guard>>();
    // Without a guard nobody gets in.
    let refused = match guard {
        Some(guard) => guard.refuses(request.request()),
        None => Some(HttpResponse::InternalServerError().finish()),
    };
    if let Some(response) = refused {
        return Ok(request.into_response(response).map_into_right_body());
    }
    let guest = request.conn_data::<Guest>().cloned();
    // A body is waited for where it is read.
    if let Some(guest) = guest.as_ref().filter(|_| request.method() != Method::POST) {
        guest.is_served();
    }
    let response = next.call(request).await?;
    // An event stream has no length and ends with its connection.
    if let Some(guest) = guest.filter(|_| response.response().body().size() != BodySize::Stream) {
        guest.waits();
    }
    Ok(response.map_into_left_body())
}

/// A header that is there once, as text.
fn single<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut values = headers.get_all(name);
    let first = values.next()?;
    if values.next().is_some() {
        return None;
    }
    first.to_str().ok()
}

/// Whether a host, with or without a port, is this machine; names are case-insensitive.
fn is_ours(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    HOSTS.iter().any(|ours| ours.eq_ignore_ascii_case(name))
}

fn is_our_origin(origin: &str) -> bool {
    origin.strip_prefix("http://").is_some_and(is_ours)
}

fn is_json(content_type: &str) -> bool {
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    essence.eq_ignore_ascii_case("application/json")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Attack row 44: DNS rebinding changes the name, not the address.
    #[test]
    fn only_names_of_this_machine_are_ours() {
        let ours = ["localhost", "LOCALHOST:30402", "127.0.0.1", "127.0.0.1:1", "[::1]", "[::1]:9"];
        assert!(ours.into_iter().all(is_ours));
        let others = [
            "",
            "evil.example",
            "localhost.evil.example",
            "evil.example:80",
            "127.0.0.1.nip.io",
            "127.0.0.2",
            "[::1",
            "::1",
            "localhost:x",
            "localhost.",
            "[::ffff:127.0.0.1]",
            " localhost",
            "localhost@evil.example",
            "0.0.0.0",
        ];
        for other in others {
            assert!(!is_ours(other), "{other}");
        }
    }

    #[test]
    fn only_pages_of_this_machine_are_ours_and_only_json_is_json() {
        assert!(is_our_origin("http://localhost:30402"));
        for other in ["null", "https://localhost.evil.example", "http://evil.example", "file://"] {
            assert!(!is_our_origin(other), "{other}");
        }
        assert!(is_json("application/json") && is_json("Application/JSON; charset=utf-8"));
        for other in ["text/plain", "application/x-www-form-urlencoded", "application/json5", ""] {
            assert!(!is_json(other), "{other}");
        }
    }
}
