//! The commands that ask a running node.

use std::io::{self, Write};

use hyper::Method;
use peerstage_core::{
    config::{Config, Optional},
    kinds::{KINDS, RelayMode},
    scoring::BanRecord,
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::{
    cli::{Command, Subject, Target},
    client::{Client, ClientError, Endpoint},
    failure::Failure,
    settings::Layered,
    table::{Style, Table},
    views,
};
use crate::{
    admin::{Readiness, Token},
    clock::Clock,
    status::{PeerInfo, Status},
};

/// Where the node that is meant can be asked.
pub(super) fn endpoint(layered: &Layered, target: &Target) -> Result<Endpoint, Failure> {
    if let Some(path) = &target.socket {
        return Ok(Endpoint::Socket(path.clone()));
    }
    let config = layered.resolve()?.config;
    if let Some(url) = &target.admin {
        let place = url.strip_prefix("http://").map(|rest| rest.trim_end_matches('/'));
        let address = place.filter(|place| place.contains(':') && !place.contains('/'));
        let address = address.ok_or_else(|| ClientError::Address(url.clone()))?.to_owned();
        let file = target.token_file.clone();
        let file = file.unwrap_or_else(|| config.path(&config.admin.token_file));
        return Ok(Endpoint::Tcp { address, token: Token::load(&file)? });
    }
    configured(&config)
}

fn configured(config: &Config) -> Result<Endpoint, Failure> {
    if let Optional::Some(path) = &config.admin.socket {
        return Ok(Endpoint::Socket(config.path(path)));
    }
    let address = config.admin.listen.as_option().ok_or(Failure::NoEndpoint)?;
    let token = Token::load(&config.path(&config.admin.token_file))?;
    Ok(Endpoint::Tcp { address: address.to_string(), token })
}

/// Carries out a command at the running node.
pub(super) fn ask(
    layered: &Layered,
    target: &Target,
    command: Command,
    json: bool,
) -> Result<(), Failure> {
    let client = Client::new(endpoint(layered, target)?);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(carry_out(&client, command, Output { json, style: Style::of_stdout() }))
}

/// How the answer is printed.
#[derive(Clone, Copy)]
struct Output {
    json: bool,
    style: Style,
}

impl Output {
    /// The answer, as JSON or as `view` shows it.
    fn show<T: DeserializeOwned>(
        self,
        value: Value,
        view: impl FnOnce(&T, Style) -> String,
    ) -> Result<(), Failure> {
        let text = match self.json {
            true => value.to_string(),
            false => view(&serde_json::from_value(value)?, self.style),
        };
        print(&text)
    }

    fn done(self, value: &Value, words: &str) -> Result<(), Failure> {
        if self.json {
            return print(&value.to_string());
        }
        let peer = value.get("peer").and_then(Value::as_str);
        print(&peer.map_or(words.to_owned(), |peer| format!("{words} {peer}")))
    }
}

/// What a command says, on standard output.
pub(super) fn print(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    match writeln!(out, "{}", text.trim_end()).and_then(|()| out.flush()) {
        // The reader has seen enough, as `head` has.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

async fn carry_out(client: &Client, command: Command, output: Output) -> Result<(), Failure> {
    match command {
        Command::Status => output.show::<Status>(client.get("/v1/status").await?, views::status),
        Command::Peers => output
            .show::<Vec<PeerInfo>>(client.get("/v1/peers").await?, |peers, style| {
                views::peers(peers, style)
            }),
        Command::Peer { peer } => {
            let answer = client.get(&format!("/v1/peers/{peer}")).await?;
            output.show::<PeerInfo>(answer, views::peer)
        }
        Command::Explain { what: Subject::Peer(peer) } => {
            let answer = client.get(&format!("/v1/peers/{peer}/explain")).await?;
            explain(answer, output)
        }
        Command::Bans => {
            let now = Clock::system().wall();
            let answer = client.get("/v1/bans").await?;
            output.show::<Vec<BanRecord>>(answer, |bans, style| views::bans(bans, now, style))
        }
        Command::Netinfo { level } => netinfo(client, level, output).await,
        Command::Ready => ready(client, output).await,
        Command::Events { only, count } => events(client, &only, count, output).await,
        other => steer(client, other, output).await,
    }
}

/// What follows a disconnect; the pause is the manager's `disconnect_pause`.
const AFTER_DISCONNECT: &str = "it is not dialled for 5 minutes; then it is, if the configuration \
                                names it; it may come back by itself (ban it to keep it out)";

/// The commands that change something.
async fn steer(client: &Client, command: Command, output: Output) -> Result<(), Failure> {
    let (path, body, words) = match command {
        Command::Ban { peer, reason, duration } => {
            let duration = duration.map(|span| span.to_string());
            let body = json!({ "peer": peer, "reason": reason, "duration": duration });
            ("/v1/bans", body, "banned")
        }
        Command::Unban { peer } => {
            let answer = client.call(Method::DELETE, &format!("/v1/bans/{peer}"), None).await?;
            return output.done(&answer, "unbanned");
        }
        Command::Connect { address } => ("/v1/connect", json!({ "address": address }), "dialling"),
        Command::Disconnect { peer } => {
            let body = json!({ "peer": peer });
            let answer = client.call(Method::POST, "/v1/disconnect", Some(&body)).await?;
            output.done(&answer, "disconnected")?;
            return if output.json { Ok(()) } else { print(AFTER_DISCONNECT) };
        }
        Command::RelayMode { kind, mode } => {
            ("/v1/relay-mode", json!({ "kind": kind, "mode": mode }), "changed")
        }
        Command::Stop => ("/v1/shutdown", json!({}), "stopping"),
        // Answered without a node, or above.
        _ => return Ok(()),
    };
    let answer = client.call(Method::POST, path, Some(&body)).await?;
    output.done(&answer, words)
}

fn explain(answer: Value, output: Output) -> Result<(), Failure> {
    if output.json {
        return print(&answer.get("explanation").unwrap_or(&answer).to_string());
    }
    print(answer.get("text").and_then(Value::as_str).unwrap_or_default())
}

async fn netinfo(client: &Client, level: u8, output: Output) -> Result<(), Failure> {
    let status = client.get("/v1/status").await?;
    let peers = client.get("/v1/peers").await?;
    if output.json {
        return print(&json!({ "status": status, "peers": peers }).to_string());
    }
    let (status, peers) = (serde_json::from_value(status)?, serde_json::from_value(peers)?);
    print(&views::netinfo(&status, peers, level, output.style))
}

async fn ready(client: &Client, output: Output) -> Result<(), Failure> {
    let answer = client.get("/v1/ready").await?;
    let readiness: Readiness = serde_json::from_value(answer.clone())?;
    let text = if output.json { answer.to_string() } else { readiness.to_text() };
    print(&text)?;
    if readiness.ready {
        return Ok(());
    }
    let (error, hint) = ("the node is not ready".to_owned(), String::new());
    Err(ClientError::Refused { status: 503, error, hint }.into())
}

async fn events(
    client: &Client,
    only: &[String],
    count: Option<u64>,
    output: Output,
) -> Result<(), Failure> {
    let mut left = count.unwrap_or(u64::MAX);
    let mut result = Ok(());
    let on_line = |line: &str| {
        let Ok(event) = serde_json::from_str::<Value>(line) else { return true };
        let name = event.get("event").and_then(Value::as_str).unwrap_or_default();
        let wanted =
            if only.is_empty() { name != "heartbeat" } else { only.iter().any(|o| o == name) };
        if !wanted {
            return true;
        }
        result = if output.json { print(line) } else { print(&views::event(name, &event)) };
        left = left.saturating_sub(1);
        left > 0 && result.is_ok()
    };
    client.follow("/v1/events", on_line).await?;
    result
}

/// The table of message kinds; no node is asked.
pub(super) fn print_kinds(json: bool) -> Result<(), Failure> {
    if json {
        return print(&serde_json::to_string(&KINDS)?);
    }
    let mut table = Table::new(&[
        "kind",
        "byte>",
        "lane",
        "body max>",
        "per second>",
        "burst>",
        "queue>",
        "overflow",
        "sender",
        "signed",
        "relay",
    ]);
    for row in &KINDS {
        table.row([
            row.name.to_owned(),
            row.kind.byte().to_string(),
            word(&row.lane)?,
            row.body_max.to_string(),
            row.rate_per_second.to_string(),
            row.burst.to_string(),
            row.queue_bytes.to_string(),
            word(&row.overflow)?,
            word(&row.sender)?,
            if row.signed { "yes" } else { "no" }.to_owned(),
            row.relay.map_or("-", RelayMode::name).to_owned(),
        ]);
    }
    print(&table.text(Style::of_stdout()))
}

/// The name of an enum's value, as in JSON.
fn word(value: &impl serde::Serialize) -> Result<String, Failure> {
    Ok(serde_json::to_value(value)?.as_str().unwrap_or_default().to_owned())
}
