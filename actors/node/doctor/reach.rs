//! Whether the node can reach others and others it.

use std::{net::SocketAddr, time::Duration};

use peerstage_core::{
    address::{Address, TransportKind},
    config::{Config, StunServer},
    nat::{Mapping, TransactionId, Verdict, binding_request, read_answer},
    time::Time,
};
use tokio::net::{TcpStream, UdpSocket};

use super::{Finding, PATIENCE, Patient, seeds::has_others};
use crate::nat::{self, Router};

/// Times a STUN server is asked.
const ASKED: u32 = 3;

const FORWARD: &str =
    "forward the port on the router, or let it map it (nat.port_mapping); docs/reach.md has more";

const FIREWALL: &str = "look at the firewall of this machine; in a small network it may be that this \
                        node has dialled everybody";

/// Where the world sees this machine, and what kind of NAT is in between.
pub(super) async fn address_and_nat(patient: &Patient<'_>) -> Vec<Finding> {
    let (address, kind) = ("public address", "nat");
    if let Some(status) = &patient.running {
        let all: Vec<String> = status.reach.addresses.iter().map(ToString::to_string).collect();
        let found = match all.is_empty() {
            true => Finding::warning(address, "none is known yet", FORWARD),
            false => Finding::good(address, all.join(", ")),
        };
        let mapping = format!("mapping: {}", status.reach.nat);
        let unknown = status.reach.nat == Mapping::Unknown.name();
        let nat = if unknown { Finding::skipped } else { Finding::good };
        return vec![found, nat(kind, mapping)];
    }
    let servers = &patient.config.nat.stun_servers;
    if servers.is_empty() {
        let why = "nat.stun_servers is empty; peers will tell once the node runs";
        return vec![Finding::skipped(address, why), Finding::skipped(kind, why)];
    }
    let local = port_of_udp(patient.config);
    let socket = match UdpSocket::bind(local).await {
        Ok(socket) => socket,
        Err(error) => return vec![Finding::skipped(address, format!("{local}: {error}"))],
    };
    let mut seen = Vec::new();
    let mut silent = Vec::new();
    for server in servers {
        match ask(&socket, server).await {
            Ok(found) => seen.push(found),
            Err(why) => silent.push(why),
        }
    }
    of_answers(&seen, &silent)
}

fn of_answers(seen: &[SocketAddr], silent: &[String]) -> Vec<Finding> {
    let (address, kind) = ("public address", "nat");
    let Some(first) = seen.first() else {
        let advice = "allow outgoing UDP; without it the node uses TCP only";
        let found = format!("no STUN server answers: {}", silent.join("; "));
        return vec![Finding::warning(address, found, advice)];
    };
    let own = nat::interfaces().contains(&first.ip());
    let nat = if own {
        Finding::good(kind, "none: the machine has that address itself")
    } else if seen.len() < 2 {
        Finding::skipped(kind, "one server answered; two are needed to tell the kind")
    } else if seen.iter().all(|other| other == first) {
        Finding::good(kind, "endpoint-independent: peers can be let in by punching")
    } else {
        Finding::warning(kind, "address-dependent: nobody can be let in by punching", FORWARD)
    };
    vec![Finding::good(address, first.to_string()), nat]
}

/// From the port of QUIC, if that is free, for its mapping is what counts.
fn port_of_udp(config: &Config) -> SocketAddr {
    let network = &config.network;
    let mut places = network.listen.iter().flat_map(|place| place.addresses(&network.transports));
    let quic =
        places.find(|place| place.transport() == TransportKind::Quic && place.ip().is_ipv4());
    let any = SocketAddr::from(([0, 0, 0, 0], 0));
    quic.map_or(any, |address| address.socket())
}

/// The addresses behind a name.
async fn look_up(place: &str) -> Result<Vec<SocketAddr>, String> {
    match tokio::time::timeout(PATIENCE, tokio::net::lookup_host(place)).await {
        Ok(Ok(found)) => Ok(found.collect()),
        Ok(Err(error)) => Err(format!("{place} does not resolve: {error}")),
        Err(_) => Err(format!("{place} does not resolve within {} s", PATIENCE.as_secs())),
    }
}

async fn ask(socket: &UdpSocket, server: &StunServer) -> Result<SocketAddr, String> {
    let said = |error: std::io::Error| format!("{server}: {error}");
    let found = look_up(&server.to_string()).await?;
    let address = found.into_iter().find(SocketAddr::is_ipv4);
    let address = address.ok_or_else(|| format!("{server}: no IPv4"))?;
    let mut id = [0; 12];
    getrandom::fill(&mut id).map_err(|error| error.to_string())?;
    let id = TransactionId(id);
    for _ in 0..ASKED {
        socket.send_to(&binding_request(id), address).await.map_err(said)?;
        let waiting = tokio::time::timeout(PATIENCE / ASKED, heard(socket, address, id));
        if let Ok(Some(seen)) = waiting.await {
            return Ok(seen);
        }
    }
    Err(format!("{server}: no answer"))
}

/// Waits for the answer. Whatever else comes to the node's port, such as what its peers of a moment
/// ago still send, is passed over.
async fn heard(socket: &UdpSocket, server: SocketAddr, id: TransactionId) -> Option<SocketAddr> {
    let mut datagram = [0; 1_280];
    loop {
        let (length, from) = socket.recv_from(&mut datagram).await.ok()?;
        let answer = datagram.get(..length).and_then(|bytes| read_answer(bytes).ok());
        if let Some(answer) = answer.filter(|answer| answer.id == id && from == server) {
            return answer.seen;
        }
    }
}

/// Whether the router lets strangers in.
pub(super) async fn port_mapping(patient: &Patient<'_>) -> Finding {
    let check = "port mapping";
    if let Some(status) = &patient.running {
        let of = |transport: &crate::status::TransportReach| {
            format!("{}: {}", transport.transport, transport.gateway)
        };
        let said: Vec<String> = status.reach.transports.iter().map(of).collect();
        return Finding::good(check, said.join("; "));
    }
    if patient.unasked.is_some() {
        // What it gives back could be the mapping of the node that runs.
        return Finding::skipped(check, "a node that can't be asked may have one");
    }
    if !patient.config.nat.port_mapping {
        return Finding::skipped(check, "nat.port_mapping = false");
    }
    let public = |ip: &std::net::IpAddr| Address::new(*ip, 1).is_routable();
    if nat::interfaces().iter().any(public) {
        return Finding::good(check, "not needed: the machine has a public address");
    }
    let port = port_of_udp(patient.config).port();
    if port == 0 {
        return Finding::skipped(check, "the node has no fixed UDP port");
    }
    let router = Router::default();
    let mapped = match nat::place() {
        Ok(place) => router.map(place, TransportKind::Quic, port, Time::ZERO).await,
        Err(why) => Err(why),
    };
    router.unmap().await;
    match mapped {
        Ok(granted) => {
            let (outside, by) = (granted.external, granted.method.name());
            let is_private = !Address::from(outside).is_routable();
            if is_private && !patient.config.network.allow_private_addresses {
                let found = format!("the router maps {outside} by {by}, which is not public");
                let advice =
                    "there is another NAT behind it: ask the provider for a public address";
                return Finding::warning(check, found, advice);
            }
            Finding::good(check, format!("the router maps {outside} by {by} (given back)"))
        }
        Err(why) => Finding::warning(
            check,
            format!("the router maps nothing: {why}"),
            "switch UPnP or NAT-PMP on, or forward the port by hand",
        ),
    }
}

/// Whether strangers come, over each transport.
pub(super) fn reachability(patient: &Patient<'_>) -> Vec<Finding> {
    let check = "reachability";
    let Some(status) = &patient.running else {
        return vec![Finding::skipped(check, "only the running node can tell")];
    };
    let of = |reach: &crate::status::TransportReach| {
        let found = format!("{}: {} ({})", reach.transport, reach.verdict, reach.reason);
        let is = |verdicts: &[Verdict]| verdicts.iter().any(|v| v.name() == reach.verdict);
        if is(&[Verdict::OutboundOnly, Verdict::Punchable]) {
            Finding::warning(check, found, FORWARD)
        } else if is(&[Verdict::Untested]) {
            Finding::warning(check, found, FIREWALL)
        } else if is(&[Verdict::Unknown]) {
            Finding::skipped(check, found)
        } else {
            Finding::good(check, found)
        }
    };
    status.reach.transports.iter().map(of).collect()
}

/// Whether the names of the bootstrap nodes resolve and somebody listens there.
pub(super) async fn bootstrap(patient: &Patient<'_>) -> Vec<Finding> {
    let check = "bootstrap";
    let named = &patient.config.network.bootstrap;
    if named.is_empty() && has_others(patient) {
        return vec![Finding::skipped(check, "network.bootstrap is empty; there are other ways")];
    }
    if named.is_empty() {
        let found = "network.bootstrap is empty";
        let advice = "name a node of your network, or this one waits to be found";
        return vec![Finding::warning(check, found, advice)];
    }
    let mut findings = Vec::new();
    let mut answering = 0;
    for peer in named {
        let place = format!("{}:{}", peer.host, peer.port);
        match knock(&place, peer.transport).await {
            Ok(found) => {
                answering += 1;
                findings.push(Finding::good(check, found));
            }
            Err(why) => findings.push(Finding::warning(check, why, "ask its operator")),
        }
    }
    if answering == 0 {
        let found = format!("none of {} answers", named.len());
        let advice = "check the network of this machine, and the addresses";
        findings.push(Finding::bad(check, found, advice));
    }
    findings
}

async fn knock(place: &str, transport: Option<TransportKind>) -> Result<String, String> {
    let addresses = look_up(place).await?;
    if transport == Some(TransportKind::Quic) {
        // Nothing answers UDP without a handshake: that the name resolves is all that shows.
        return Ok(format!("{place} resolves; it is reached over QUIC only"));
    }
    let limit = PATIENCE.max(Duration::from_secs(1));
    let connected = tokio::time::timeout(limit, TcpStream::connect(addresses.as_slice())).await;
    match connected {
        Ok(Ok(_)) => Ok(format!("{place} answers")),
        Ok(Err(error)) => Err(format!("{place}: {error}")),
        Err(_) => Err(format!("{place}: no answer within {} s", limit.as_secs())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::doctor::Outcome;

    #[test]
    fn answers_show_the_kind_of_nat() {
        let a: SocketAddr = "198.18.0.9:4000".parse().unwrap();
        let b: SocketAddr = "198.18.0.9:4001".parse().unwrap();
        let outcomes = |seen: &[SocketAddr]| {
            of_answers(seen, &["s: no answer".to_owned()])
                .iter()
                .map(|f| f.outcome)
                .collect::<Vec<_>>()
        };
        assert_eq!(outcomes(&[]), [Outcome::Warning]);
        assert_eq!(outcomes(&[a]), [Outcome::Good, Outcome::Skipped]);
        assert_eq!(outcomes(&[a, a]), [Outcome::Good, Outcome::Good]);
        assert_eq!(outcomes(&[a, b]), [Outcome::Good, Outcome::Warning]);
    }

    #[tokio::test]
    async fn a_server_that_answers_is_believed() {
        let server = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let named: StunServer = server.local_addr().unwrap().to_string().parse().unwrap();
        tokio::spawn(async move {
            let mut request = [0; 20];
            let (_, from) = server.recv_from(&mut request).await.unwrap();
            let mut answer = vec![0x01, 0x01, 0, 12];
            answer.extend(&request[4..]);
            answer.extend([0, 1, 0, 8, 0, 1, 0x0f, 0xa0, 198, 18, 0, 9]);
            server.send_to(&answer, from).await.unwrap();
        });
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        assert_eq!(ask(&socket, &named).await, Ok("198.18.0.9:4000".parse().unwrap()));
    }
}
