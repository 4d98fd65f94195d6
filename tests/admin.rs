//! The admin interface of a real node: every route, and every way in that must be shut.
#![allow(clippy::unwrap_used, clippy::panic, reason = "what fails here is the test")]

#[path = "admin/openapi.rs"]
mod openapi;
#[path = "process/mod.rs"]
mod process;

use std::{
    fs,
    io::{BufRead, BufReader, ErrorKind, Read, Write},
    net::TcpStream,
    os::unix::net::UnixStream,
};

use peerstage::core::kinds::KINDS;
use process::{Node, Reply, get, raw_tcp};

/// A node with admin TCP, its address and its token.
fn guarded(flags: &[&str]) -> (Node, String, String) {
    let node = Node::start(&[&["admin.listen=127.0.0.1:0"], flags].concat());
    let address = node.text("admin");
    let token = fs::read_to_string(node.path().join("admin.token")).unwrap();
    (node, address, token)
}

fn request(method: &str, path: &str, headers: &[(&str, &str)]) -> String {
    let body = if method == "POST" { "{}" } else { "" };
    let mut text = format!("{method} {path} HTTP/1.1\r\nConnection: close\r\n");
    for (name, value) in headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    text.push_str(&format!("Content-Length: {}\r\n\r\n{body}", body.len()));
    text
}

/// Attack row 44: without the very token nothing is answered, on no route, and the log never
/// has it.
#[test]
fn tcp_answers_nobody_without_the_token() {
    let (node, address, token) = guarded(&["log.level=trace"]);
    let bearer = format!("Bearer {token}");
    let wrong = [
        String::new(),
        "Bearer".to_owned(),
        "Bearer ".to_owned(),
        format!("Bearer {}", &token[..63]),
        format!("Bearer {token}0"),
        format!("Bearer {}", token.to_uppercase() + "G"),
        format!("Bearer {}", "0".repeat(64)),
        format!("Basic {token}"),
        token.clone(),
    ];
    let routes = [
        ("GET", "/v1/status"),
        ("GET", "/v1/peers"),
        ("GET", "/v1/events"),
        ("GET", "/v1/nothing"),
        ("GET", "/metrics"),
        ("GET", "/livez"),
        ("POST", "/v1/bans"),
        ("POST", "/v1/shutdown"),
        ("DELETE", "/v1/bans/abcdef"),
        ("OPTIONS", "/v1/shutdown"),
    ];
    let json = ("Content-Type", "application/json");
    for (method, path) in routes {
        let none = raw_tcp(&address, &request(method, path, &[("Host", "localhost"), json]));
        assert_eq!(none.status, 401, "{method} {path}: {none:?}");
        assert!(none.head.contains("www-authenticate: bearer"), "{none:?}");
        for sent in &wrong {
            let headers = [("Host", "localhost"), json, ("Authorization", sent.as_str())];
            let reply = raw_tcp(&address, &request(method, path, &headers));
            assert_eq!(reply.status, 401, "{method} {path} {sent}: {reply:?}");
        }
    }
    let headers = [("Host", "localhost"), ("Authorization", bearer.as_str())];
    let right = raw_tcp(&address, &request("GET", "/v1/status", &headers));
    assert_eq!(right.json()["node"], node.id().as_str());
    assert!(!right.head.contains("access-control-allow-origin"), "{right:?}");

    let stop = [("Host", "127.0.0.1"), json, ("Authorization", bearer.as_str())];
    assert_eq!(raw_tcp(&address, &request("POST", "/v1/shutdown", &stop)).status, 200);
    let (code, rest, log) = node.end();
    assert_eq!(code, Some(0), "{log}");
    assert!(log.contains("the node stops"), "{log}");
    assert!(!log.contains(&token) && !rest.contains(&token));
}

/// Attack row 44: a web page whose name was rebound to 127.0.0.1, and a form that posts.
#[test]
fn web_pages_from_elsewhere_are_shut_out_even_with_the_token() {
    let (node, address, token) = guarded(&[]);
    let bearer = format!("Bearer {token}");
    let ask = |method: &str, headers: &[(&str, &str)]| -> Reply {
        let headers = [headers, &[("Authorization", bearer.as_str())]].concat();
        raw_tcp(&address, &request(method, "/v1/validators", &headers))
    };
    let json = ("Content-Type", "application/json");
    for host in ["evil.example", "evil.example:80", "localhost.evil.example", "127.0.0.1.nip.io"] {
        assert_eq!(ask("POST", &[("Host", host), json]).status, 403, "{host}");
    }
    for hosts in [&[][..], &[("Host", "localhost"), ("Host", "evil.example")]] {
        let status = ask("POST", &[hosts, &[json]].concat()).status;
        assert!(status == 403 || status == 400, "{hosts:?}: {status}");
    }
    for host in ["localhost", "LocalHost:1", "127.0.0.1:30402", "[::1]"] {
        // The list of validators is no object: past the guard, and bad input.
        assert_eq!(ask("POST", &[("Host", host), json]).status, 400, "{host}");
    }
    let us = ("Host", "localhost");
    for origin in ["http://evil.example", "null", "https://localhost.evil.example"] {
        assert_eq!(ask("POST", &[us, json, ("Origin", origin)]).status, 403, "{origin}");
    }
    for form in ["application/x-www-form-urlencoded", "multipart/form-data", "text/plain"] {
        assert_eq!(ask("POST", &[us, ("Content-Type", form)]).status, 415, "{form}");
    }
    assert_eq!(ask("POST", &[us]).status, 415);
    // The socket is no way around: only the token is not asked for there.
    assert_eq!(node.raw(&request("GET", "/v1/status", &[("Host", "evil.example")])).status, 403);
    assert_eq!(node.raw(&request("POST", "/v1/shutdown", &[us])).status, 415);
    let absolute = "GET http://evil.example/v1/status HTTP/1.1\r\nHost: localhost\r\n\
                    Connection: close\r\n\r\n";
    assert_eq!(node.raw(absolute).status, 403);
}

/// Attack row 44: two lengths in one request (CVE-2026-73051) smuggle nothing in.
#[test]
fn a_smuggled_request_is_not_served() {
    let (_node, address, token) = guarded(&[]);
    let smuggled = format!(
        "POST /v1/validators HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\
         Content-Type: application/json\r\nContent-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n\
         0\r\n\r\nGET /v1/status HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\
         Connection: close\r\n\r\n"
    );
    let reply = raw_tcp(&address, &smuggled);
    assert_eq!((reply.status, reply.answers), (400, 1), "{reply:?}");
}

/// Attack row 44: an address that others can reach is no admin address.
#[test]
fn admin_listens_on_loopback_only() {
    let folder = tempfile::tempdir().unwrap();
    let output = process::peerstage()
        .args(["run", "--set", "admin.listen=0.0.0.0:0", "--data-dir"])
        .arg(folder.path())
        .output()
        .unwrap();
    let (_, errors, code) = process::read(&output);
    assert_eq!(code, 2);
    assert!(errors.contains("admin.listen = 0.0.0.0:0 is not a loopback address"), "{errors}");
}

#[test]
fn every_route_answers_and_errors_say_what_to_do() {
    let node = Node::start(&[]);
    assert_eq!(node.get("/v1/status").json()["node"], node.id().as_str());
    assert_eq!(node.get("/v1/peers").json(), serde_json::json!([]));
    assert_eq!(node.get("/v1/kinds").json().as_array().unwrap().len(), KINDS.len());
    let stranger = "ab".repeat(32);
    let ban = format!("{{\"peer\":\"{stranger}\",\"reason\":\"test\",\"duration\":\"1h\"}}");
    assert_eq!(node.post("/v1/bans", &ban).json()["peer"], stranger.as_str());
    assert_eq!(node.get("/v1/bans").json()[0]["reason"], "test");
    let explained = node.get("/v1/peers/abab/explain").json();
    assert!(explained["text"].as_str().unwrap().contains("banned"), "{explained}");
    assert_eq!(explained["explanation"]["standing"], "banned");
    let unban = "DELETE /v1/bans/ABAB HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    assert_eq!(node.raw(unban).json()["peer"], stranger.as_str());

    let mode = "{\"kind\":\"block\",\"mode\":\"selective\"}";
    assert_eq!(node.post("/v1/relay-mode", mode).status, 200);
    assert_eq!(node.post("/v1/validators", &format!("[\"{stranger}\"]")).status, 200);
    let block = "{\"kind\":\"block\",\"body\":\"00ff\"}";
    assert_eq!(node.post("/v1/broadcast", block).json()["queued"], 0);

    let refusals = [
        (node.get("/v1/peers/abc"), 400, "expected 4 to 64 hexadecimal digits"),
        (node.get("/v1/peers/abcd"), 404, "no peer is known by abcd"),
        (node.get(&format!("/v1/peers/{stranger}")), 404, "is not connected"),
        (node.get("/v1/everything"), 404, "no such route"),
        (node.post("/v1/bans", "{\"peer\":\"zz\"}"), 400, "names no peer"),
        (node.post("/v1/bans", &ban.replace("1h", "1 fortnight")), 400, "fortnight"),
        (node.post("/v1/bans", "{"), 400, "EOF"),
        (node.post("/v1/bans", &ban.replace("reason", "raison")), 400, "unknown field `raison`"),
        (node.post("/v1/bans", &ban.replace(&stranger, &node.id())), 400, "can't ban itself"),
        (node.post("/v1/connect", "{\"address\":\"host\"}"), 400, "has no port"),
        (
            node.post("/v1/disconnect", &format!("{{\"peer\":\"{stranger}\"}}")),
            404,
            "not connected",
        ),
        (node.post("/v1/broadcast", &block.replace("block", "ping")), 400, "not sent this way"),
        (node.post("/v1/broadcast", &block.replace("block", "vote")), 409, "only a validator"),
        (node.post("/v1/broadcast", &block.replace("00ff", "0x")), 400, "not hexadecimal"),
        (node.post("/v1/relay-mode", &mode.replace("block", "ping")), 400, "not sent this way"),
    ];
    for (reply, status, part) in refusals {
        let body = reply.json();
        let error = body["error"].as_str().unwrap();
        assert!(reply.status == status && error.contains(part), "{reply:?}");
        assert!(!body["hint"].as_str().unwrap().is_empty(), "{reply:?}");
    }
}

/// Attack row 44: what is sent is bounded.
#[test]
fn a_block_of_4_mib_fits_and_nothing_longer() {
    let node = Node::start(&[]);
    let body = |bytes: usize| format!("{{\"kind\":\"block\",\"body\":\"{}\"}}", "00".repeat(bytes));
    assert_eq!(node.post("/v1/broadcast", &body(4 << 20)).status, 200);
    assert_eq!(node.post("/v1/broadcast", &body((4 << 20) + 1)).status, 413);
    assert_eq!(node.post("/v1/broadcast", &body(9 << 20)).status, 413);
}

/// Attack row 45: few series, and no peer's id or address among the labels; the listener for
/// numbers has nothing else.
#[test]
fn numbers_and_probes_are_on_a_listener_of_their_own() {
    let node = Node::start(&[]);
    let other = Node::start(&[]);
    let metrics = node.text("metrics");
    let probe = |path: &str| raw_tcp(&metrics, &get(path));
    assert_eq!(probe("/livez").status, 200);
    let before = probe("/readyz?verbose");
    assert_eq!(before.status, 503);
    assert!(before.body.contains("[-]peers failed: 0 of 1\n"), "{}", before.body);
    node.meet(&other);
    let after = probe("/readyz?verbose");
    assert_eq!(after.status, 200, "{after:?}");
    for check in ["core_actors", "listening", "peers", "store"] {
        assert!(after.body.contains(&format!("[+]{check} ok: ")), "{}", after.body);
    }
    assert_eq!(node.get("/readyz").body, "ready\n");

    let text = probe("/metrics").body;
    let series: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
    assert!(series.len() <= 2_000, "{} series", series.len());
    assert!(text.contains("peerstage_peers{direction=\"out\"} 1"), "{text}");
    assert!(text.contains("process_resident_memory_bytes"), "{text}");
    for line in series {
        assert!(!line.contains(&other.id()[..8]) && !line.contains("127.0.0.1"), "{line}");
    }
    for path in ["/v1/status", "/v1/peers", "/v1/events"] {
        assert_eq!(probe(path).status, 404, "{path}");
    }
    let by_name = get("/metrics").replace("localhost", "prometheus.internal");
    assert_eq!(raw_tcp(&metrics, &by_name).status, 200);
}

#[test]
fn events_stream_with_a_sign_of_life() {
    let node = Node::start(&[]);
    let mut stream = UnixStream::connect(node.text("socket")).unwrap();
    let path = get("/v1/events?heartbeat=100ms").replace("Connection: close\r\n", "");
    stream.write_all(path.as_bytes()).unwrap();
    let lines = BufReader::new(stream).lines().map(Result::unwrap);
    let events: Vec<String> = lines.filter(|line| line.starts_with('{')).take(3).collect();
    assert_eq!(events[0], "{\"event\":\"subscribed\"}");
    assert_eq!(events[1], "{\"event\":\"heartbeat\"}");
    assert_eq!(node.get("/v1/events?heartbeat=often").status, 400);
}

#[test]
fn event_streams_are_bounded() {
    let node = Node::start(&[]);
    let open = || {
        let mut stream = UnixStream::connect(node.text("socket")).unwrap();
        stream.write_all(get("/v1/events").as_bytes()).unwrap();
        let mut lines = BufReader::new(stream).lines().map(Result::unwrap);
        lines.find(|line| line.contains("subscribed")).unwrap();
        lines
    };
    let streams: Vec<_> = (0..32).map(|_| open()).collect();
    let refused = node.get("/v1/events");
    assert_eq!(refused.status, 503, "{refused:?}");
    drop(streams);
    assert_eq!(node.get("/v1/status").status, 200);
}

/// So many clients of one listener that say `words` and no more.
fn crowd<S: Read + Write>(connect: impl Fn() -> S, words: &str) -> Vec<S> {
    let come = |_| {
        let mut stream = connect();
        // One that had to make room at once may be closed by now.
        let _ = stream.write_all(words.as_bytes());
        stream
    };
    (0..300).map(come).collect()
}

/// Whether a connection that was set to not block is still open.
fn is_open(stream: &mut impl Read) -> bool {
    let mut bytes = [0; 64];
    matches!(stream.read(&mut bytes), Err(error) if error.kind() == ErrorKind::WouldBlock)
}

/// Whether a connection was closed without a word: one whose time was over is told so.
fn had_to_go(stream: &mut impl Read) -> bool {
    let mut bytes = [0; 64];
    match stream.read(&mut bytes) {
        Ok(count) => count == 0,
        Err(error) => error.kind() != ErrorKind::WouldBlock,
    }
}

/// Attack row 44: clients that are silent, send half a head or half a body keep neither the
/// operator nor the probes out, on no listener: they make room, long before their time is over.
#[test]
fn half_open_requests_keep_nobody_out() {
    let (node, admin, token) = guarded(&[]);
    let half_head = "GET /v1/status HTTP/1.1\r\nHost: localhost\r\n".to_owned();
    let half_body = format!(
        "POST /v1/validators HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\
         Content-Type: application/json\r\nContent-Length: 9\r\n\r\n["
    );
    for words in ["", &half_head, &half_body] {
        let mut held = crowd(|| UnixStream::connect(node.text("socket")).unwrap(), words);
        assert_eq!(node.get("/livez").body, "alive\n");
        assert_eq!(node.post("/v1/validators", "[]").status, 200);
        held.iter().for_each(|stream| stream.set_nonblocking(true).unwrap());
        assert!(is_open(held.last_mut().unwrap()), "the newest may stay");
        assert!(had_to_go(&mut held[0]), "the answers came when the others' time was over");
    }
    let metrics = node.text("metrics");
    for place in [&admin, &metrics] {
        let mut held = crowd(|| TcpStream::connect(place).unwrap(), &half_head);
        let headers = [("Host", "localhost"), ("Authorization", &format!("Bearer {token}"))];
        assert_eq!(raw_tcp(place, &request("GET", "/livez", &headers)).body, "alive\n");
        held.iter().for_each(|stream| stream.set_nonblocking(true).unwrap());
        assert!(is_open(held.last_mut().unwrap()) && had_to_go(&mut held[0]), "{place}");
    }
}
