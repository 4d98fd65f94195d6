//! What a node says, for people.

use peerstage_core::{address::Address, kademlia::KademliaStatus, scoring::BanRecord, time::Time};
use serde_json::Value;

use super::table::{Style, Table, Tone, age, bytes, tame};
use crate::status::{BookStatus, PeerInfo, Reach, Status, TransportReach};

/// `peerstage status`.
pub(super) fn status(status: &Status, style: Style) -> String {
    let list =
        |items: Vec<String>| if items.is_empty() { "-".to_owned() } else { items.join(", ") };
    let ready = if status.ready { "yes" } else { "no; `peerstage ready` says why" };
    let mut lines = vec![
        ("node", status.node.to_string()),
        ("network", status.network.to_string()),
        ("agent", status.agent.clone()),
        ("ready", ready.to_owned()),
        ("up", age(status.uptime_ms)),
        ("listens", list(status.listen.iter().map(ToString::to_string).collect())),
        ("tells", list(status.reach.addresses.iter().map(ToString::to_string).collect())),
        ("reached", reached(&status.reach)),
        ("peers", format!("{} ({} in, {} out)", status.peers, status.inbound, status.outbound)),
        ("validators", status.validators.to_string()),
        ("banned", status.banned.to_string()),
        ("known", known(&status.book)),
        ("anchors", anchors(&status.book)),
        ("table", table(status)),
        ("received", bytes(status.traffic.bytes_in)),
        ("sent", bytes(status.traffic.bytes_out)),
        ("store", status.store.clone()),
    ];
    if let Some(key) = &status.validator {
        lines.insert(2, ("validator", key.to_string()));
    }
    let tone = |name: &str| match name {
        "ready" if status.ready => Tone::Good,
        "ready" => Tone::Bad,
        _ => Tone::Plain,
    };
    let mut text: String = lines
        .iter()
        .map(|(name, value)| format!("{name:<12}{}\n", style.paint(&tame(value), tone(name))))
        .collect();
    for (name, value) in &status.chain {
        text.push_str(&format!("{:<12}{}\n", tame(name), tame(value)));
    }
    text.push_str(&kinds(status, style));
    if !status.drops.is_empty() {
        let drops: Vec<String> =
            status.drops.iter().map(|(reason, count)| format!("{reason} {count}")).collect();
        text.push_str(&format!("\ndropped: {}\n", drops.join(", ")));
    }
    text
}

/// The distributed table of nodes, in a line.
fn table(status: &Status) -> String {
    let KademliaStatus { nodes, reached, claims, publications, .. } = status.discovery;
    format!("{nodes} nodes ({reached} reached), {claims} records kept, {publications} published")
}

fn reached(reach: &Reach) -> String {
    let of = |one: &TransportReach| format!("{}: {}, {}", one.transport, one.verdict, one.reason);
    reach.transports.iter().map(of).collect::<Vec<_>>().join("; ")
}

fn known(book: &BookStatus) -> String {
    let BookStatus { new, tried, records, .. } = book;
    format!("{tried} tried and {new} new addresses, {records} records")
}

fn anchors(book: &BookStatus) -> String {
    let BookStatus { anchors, blocks_only, feelers, feelers_answered, .. } = book;
    format!(
        "{anchors} ({blocks_only} peers for blocks only; {feelers_answered} of {feelers} feelers answered)"
    )
}

/// The counters of kinds that were ever seen.
fn kinds(status: &Status, style: Style) -> String {
    let seen = status.kinds.iter().filter(|(_, c)| c.received + c.duplicates + c.sent > 0);
    let mut table =
        Table::new(&["kind", "received>", "duplicates>", "accepted>", "rejected>", "sent>"]);
    let mut rows = 0;
    for (kind, counts) in seen {
        rows += 1;
        table.row([
            kind.clone(),
            counts.received.to_string(),
            counts.duplicates.to_string(),
            counts.accepted.to_string(),
            counts.rejected.to_string(),
            counts.sent.to_string(),
        ]);
    }
    if rows == 0 { String::new() } else { format!("\n{}", table.text(style)) }
}

/// `peerstage peers`.
pub(super) fn peers(peers: &[PeerInfo], style: Style) -> String {
    if peers.is_empty() {
        return "no peers are connected\n".to_owned();
    }
    let mut table = Table::new(&[
        "peer",
        "way",
        "via",
        "score>",
        "standing",
        "ping>",
        "received>",
        "sent>",
        "age>",
        "validator",
        "address",
        "agent",
    ]);
    for peer in peers {
        table.toned_row(
            tone(peer),
            [
                peer.peer.short(),
                way(peer).to_owned(),
                via(peer),
                format!("{:.1}", peer.score),
                peer.standing.clone(),
                ping(peer),
                bytes(peer.traffic.bytes_in),
                bytes(peer.traffic.bytes_out),
                age(peer.connected_ms),
                peer.validator.map_or("-".to_owned(), |key| key.to_string()[..8].to_owned()),
                peer.address.to_string(),
                peer.agent.clone(),
            ],
        );
    }
    table.text(style)
}

/// `peerstage peer`.
pub(super) fn peer(peer: &PeerInfo, style: Style) -> String {
    let lines = [
        ("peer", peer.peer.to_string()),
        ("address", format!("{} ({}, {}, group {})", full(peer), way(peer), peer.path, peer.group)),
        ("place", peer.place.clone()),
        ("agent", peer.agent.clone()),
        ("validator", peer.validator.map_or("-".to_owned(), |key| key.to_string())),
        ("score", format!("{:.1} ({})", peer.score, peer.standing)),
        ("connected", age(peer.connected_ms)),
        ("ping", ping(peer)),
        ("received", bytes(peer.traffic.bytes_in)),
        ("sent", bytes(peer.traffic.bytes_out)),
        ("queued", bytes(peer.queued_bytes)),
        ("suite", peer.suite.clone()),
    ];
    let line = |(name, value): &(&str, String)| {
        let tone = if *name == "score" { tone(peer) } else { Tone::Plain };
        format!("{name:<12}{}\n", style.paint(&tame(value), tone))
    };
    lines.iter().map(line).collect()
}

/// `peerstage bans`.
pub(super) fn bans(bans: &[BanRecord], now: Time, style: Style) -> String {
    if bans.is_empty() {
        return "nobody is banned\n".to_owned();
    }
    let mut table = Table::new(&["peer", "address", "since>", "ends in>", "by", "reason"]);
    for ban in bans {
        let left = match ban.until {
            Time::NEVER => "never".to_owned(),
            until => age(until.since(now)),
        };
        table.row([
            ban.peer.to_string(),
            ban.address.map_or("-".to_owned(), |address| address.to_string()),
            age(now.since(ban.since)),
            left,
            ban.origin.name().to_owned(),
            ban.reason.clone(),
        ]);
    }
    table.text(style)
}

/// `peerstage netinfo`: the counts, and from level 1 on a line a peer, those that we dialled
/// first, the fastest first.
pub(super) fn netinfo(
    status: &Status,
    mut peers: Vec<PeerInfo>,
    level: u8,
    style: Style,
) -> String {
    let (with_address, with_agent) = (matches!(level, 2 | 4), matches!(level, 3 | 4));
    let mut text = format!("{} {}\n\n", tame(&status.agent), status.node.short());
    if level > 0 && !peers.is_empty() {
        peers.sort_by_key(|peer| {
            (!peer.outbound, peer.round_trip_ms.unwrap_or(u64::MAX), peer.peer)
        });
        let mut headings = vec![
            "way", "via", "peer", "type", "group", "score>", "ping>", "in>", "out>", "queue>",
            "age>",
        ];
        headings.extend(with_address.then_some("address"));
        headings.extend(with_agent.then_some("agent"));
        let mut table = Table::new(&headings);
        for peer in &peers {
            let mut cells = vec![
                way(peer).to_owned(),
                via(peer),
                peer.peer.short(),
                kind(peer).to_owned(),
                peer.group.clone(),
                format!("{:.1}", peer.score),
                ping(peer),
                bytes(peer.traffic.bytes_in),
                bytes(peer.traffic.bytes_out),
                bytes(peer.queued_bytes),
                age(peer.connected_ms),
            ];
            cells.extend(with_address.then(|| peer.address.to_string()));
            cells.extend(with_agent.then(|| peer.agent.clone()));
            table.toned_row(tone(peer), cells);
        }
        text.push_str(&table.text(style));
        text.push('\n');
    }
    text.push_str(&counts(&peers, style));
    text.push_str(&format!("\nknown: {}", known(&status.book)));
    text.push_str(&format!("\nanchors: {}\n", anchors(&status.book)));
    let full = |address: &Address| address.multiaddr(Some(status.node)).to_string();
    let places: Vec<String> = status.listen.iter().map(full).collect();
    text.push_str(&format!("listens at {}\n", places.join("\n           ")));
    text
}

fn counts(peers: &[PeerInfo], style: Style) -> String {
    let columns =
        ["", "ipv4>", "ipv6>", "tcp>", "quic>", "punched>", "relayed>", "total>", "validators>"];
    let mut table = Table::new(&columns);
    for (name, chosen) in [("in", Some(false)), ("out", Some(true)), ("total", None)] {
        let of = || peers.iter().filter(move |p| chosen.is_none_or(|out| p.outbound == out));
        table.row([
            name.to_owned(),
            of().filter(|peer| peer.address.ip().is_ipv4()).count().to_string(),
            of().filter(|peer| peer.address.ip().is_ipv6()).count().to_string(),
            of().filter(|peer| peer.transport == "tcp").count().to_string(),
            of().filter(|peer| peer.transport == "quic").count().to_string(),
            of().filter(|peer| peer.path == "punched").count().to_string(),
            of().filter(|peer| peer.path == "relayed").count().to_string(),
            of().count().to_string(),
            of().filter(|peer| peer.validator.is_some()).count().to_string(),
        ]);
    }
    table.text(style)
}

/// `peerstage events`: the name, then what it says.
pub(super) fn event(name: &str, event: &Value) -> String {
    let mut line = match event.get("at").and_then(Value::as_u64) {
        Some(at) => format!("{} {name}", time_of_day(Time(at))),
        None => name.to_owned(),
    };
    for (key, value) in event.as_object().into_iter().flatten() {
        if key != "event" && key != "at" {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            line.push_str(&format!(" {key}={}", tame(&text)));
        }
    }
    line
}

/// `07:46:24.276`, UTC.
fn time_of_day(at: Time) -> String {
    let (seconds, ms) = (at.0 / 1_000, at.0 % 1_000);
    let (hour, minute, second) = (seconds / 3_600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{hour:02}:{minute:02}:{second:02}.{ms:03}")
}

fn full(peer: &PeerInfo) -> String {
    peer.address.multiaddr(None).to_string()
}

/// What the connection is for.
fn kind(peer: &PeerInfo) -> &'static str {
    match (peer.validator.is_some(), peer.blocks_only) {
        (true, _) => "validator",
        (false, true) => "blocks",
        (false, false) => "full",
    }
}

fn way(peer: &PeerInfo) -> &'static str {
    if peer.outbound { "out" } else { "in" }
}

/// What carries the connection, and how it gets there.
fn via(peer: &PeerInfo) -> String {
    match peer.path.as_str() {
        "direct" => peer.transport.clone(),
        path => format!("{} {path}", peer.transport),
    }
}

fn ping(peer: &PeerInfo) -> String {
    peer.round_trip_ms.map_or("-".to_owned(), |ms| format!("{ms} ms"))
}

fn tone(peer: &PeerInfo) -> Tone {
    match peer.standing.as_str() {
        "trusted" | "relay" => Tone::Good,
        "banned" | "distrusted" => Tone::Bad,
        _ => Tone::Plain,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_event_is_a_line_whatever_peers_say() {
        let agent = "x\ny";
        let event_of = json!({ "event": "peer_connected", "at": 86_461_007, "agent": agent });
        let line = event("peer_connected", &event_of);
        assert_eq!(line, "00:01:01.007 peer_connected agent=x\u{fffd}y");
    }
}
