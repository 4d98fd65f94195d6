//! Addresses that say everything: `/ip4/203.0.113.7/udp/30400/quic/p2p/NODEID`.
//!
//! The notation of libp2p's multiaddr, with the parts that this network has: the machine
//! (`ip4`, `ip6`, `dns`), the port (`tcp`, or `udp` with `quic`), whether the node there only
//! carries what is meant for another (`p2p-circuit`), and the node's id (`p2p`).

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

use super::{Host, TransportKind};
use crate::identity::NodeId;

/// A machine, a port, a transport, and who must answer there.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Multiaddr {
    /// The machine.
    pub host: Host,
    /// The port; 0 only where one listens.
    pub port: u16,
    /// The transport.
    pub transport: TransportKind,
    /// The id that the node must prove.
    pub id: Option<NodeId>,
}

/// Why a text is no such address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseMultiaddrError {
    /// It has no first part.
    #[error("expected an address such as /ip4/203.0.113.7/udp/30400/quic")]
    Form,
    /// The first part names no kind of machine.
    #[error("/{0} is not a kind of machine; expected /ip4, /ip6 or /dns")]
    Kind(String),
    /// The machine is not of its kind.
    #[error("{value:?} is not what goes behind /{kind}")]
    Host {
        /// `ip4`, `ip6` or `dns`.
        kind: &'static str,
        /// What stood there.
        value: String,
    },
    /// The transport is none we know.
    #[error("expected /tcp/PORT or /udp/PORT/quic behind the machine, found /{0}")]
    Transport(String),
    /// The port isn't one.
    #[error("{0:?} is not a port; expected 0 to 65535")]
    Port(String),
    /// The node id isn't one.
    #[error("{0:?} behind /p2p is not a node id; expected 64 hexadecimal digits")]
    Id(String),
    /// More than an address has.
    #[error("/{0} does not belong at the end of an address")]
    Rest(String),
}

impl FromStr for Multiaddr {
    type Err = ParseMultiaddrError;

    fn from_str(text: &str) -> Result<Self, ParseMultiaddrError> {
        let mut parts = text.strip_prefix('/').ok_or(ParseMultiaddrError::Form)?.split('/');
        let mut next = || parts.next().unwrap_or_default();
        let host = host(next(), next())?;
        let (carrier, port) = (next(), next());
        let mut transport = match carrier {
            "tcp" => TransportKind::Tcp,
            "udp" => TransportKind::Quic,
            other => return Err(ParseMultiaddrError::Transport(other.to_owned())),
        };
        // `u16::from_str` would accept "+5".
        let digits = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
        let number = port.parse::<u16>().ok().filter(|_| digits);
        let port = number.ok_or_else(|| ParseMultiaddrError::Port(port.to_owned()))?;
        if transport == TransportKind::Quic {
            let above = next();
            if above != "quic" {
                return Err(ParseMultiaddrError::Transport(format!("udp/{port}/{above}")));
            }
        }
        let mut rest = parts.next();
        if rest == Some("p2p-circuit") {
            transport = transport.circuit().unwrap_or(transport);
            rest = parts.next();
        }
        let id = match rest {
            None => None,
            Some("p2p") => {
                let text = parts.next().unwrap_or_default();
                let id = text.parse::<NodeId>();
                Some(id.map_err(|_| ParseMultiaddrError::Id(text.to_owned()))?)
            }
            Some(other) => return Err(ParseMultiaddrError::Rest(other.to_owned())),
        };
        match parts.next() {
            None => Ok(Multiaddr { host, port, transport, id }),
            Some(rest) => Err(ParseMultiaddrError::Rest(rest.to_owned())),
        }
    }
}

fn host(kind: &str, value: &str) -> Result<Host, ParseMultiaddrError> {
    let wrong = |kind| ParseMultiaddrError::Host { kind, value: value.to_owned() };
    match kind {
        "ip4" => {
            let ip = value.parse::<Ipv4Addr>().map_err(|_| wrong("ip4"))?;
            Ok(Host::Ip(IpAddr::V4(ip)))
        }
        "ip6" => {
            let ip = value.parse::<Ipv6Addr>().map_err(|_| wrong("ip6"))?;
            Ok(Host::Ip(IpAddr::V6(ip).to_canonical()))
        }
        "dns" => match value.parse::<Host>() {
            Ok(name @ Host::Name(_)) => Ok(name),
            _ => Err(wrong("dns")),
        },
        other => Err(ParseMultiaddrError::Kind(other.to_owned())),
    }
}

impl fmt::Display for Multiaddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::Ip(IpAddr::V4(ip)) => write!(f, "/ip4/{ip}")?,
            Host::Ip(IpAddr::V6(ip)) => write!(f, "/ip6/{ip}")?,
            Host::Name(name) => write!(f, "/dns/{name}")?,
        }
        match self.transport.carrier() {
            TransportKind::Quic => write!(f, "/udp/{}/quic", self.port)?,
            TransportKind::Unknown(number) => write!(f, "/unknown-{number}/{}", self.port)?,
            _ => write!(f, "/tcp/{}", self.port)?,
        }
        if self.transport.is_circuit() {
            f.write_str("/p2p-circuit")?;
        }
        match self.id {
            Some(id) => write!(f, "/p2p/{id}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(text: &str) -> Result<Multiaddr, ParseMultiaddrError> {
        text.parse()
    }

    #[test]
    fn addresses_of_every_kind_print_and_parse_back() {
        let id = "ab".repeat(32);
        for text in [
            "/ip4/203.0.113.7/tcp/30400",
            "/ip4/203.0.113.7/udp/30400/quic",
            "/ip6/2001:db8::1/udp/1/quic",
            "/dns/seed.example.org/tcp/65535",
            &format!("/ip4/203.0.113.7/udp/30400/quic/p2p/{id}"),
            &format!("/dns/node_1/tcp/0/p2p/{id}"),
            &format!("/ip4/203.0.113.7/tcp/1/p2p-circuit/p2p/{id}"),
            &format!("/ip6/2001:db8::1/udp/1/quic/p2p-circuit/p2p/{id}"),
            "/dns/relay.example.org/udp/1/quic/p2p-circuit",
        ] {
            assert_eq!(parse(text).unwrap().to_string(), text);
        }
        assert_eq!(parse("/ip6/::ffff:1.2.3.4/tcp/5"), parse("/ip4/1.2.3.4/tcp/5"));
    }

    #[test]
    fn a_wrong_address_is_told_what_is_wrong() {
        use ParseMultiaddrError as Wrong;
        let host = |kind, value: &str| Wrong::Host { kind, value: value.to_owned() };
        for (text, wrong) in [
            ("1.2.3.4:5", Wrong::Form),
            ("", Wrong::Form),
            ("/", Wrong::Kind(String::new())),
            ("/ip5/1.2.3.4/tcp/5", Wrong::Kind("ip5".into())),
            ("/ip4/::1/tcp/5", host("ip4", "::1")),
            ("/ip6/1.2.3.4/tcp/5", host("ip6", "1.2.3.4")),
            ("/dns/1.2.3.4/tcp/5", host("dns", "1.2.3.4")),
            ("/dns//tcp/5", host("dns", "")),
            ("/ip4/1.2.3.4", Wrong::Transport(String::new())),
            ("/ip4/1.2.3.4/sctp/5", Wrong::Transport("sctp".into())),
            ("/ip4/1.2.3.4/tcp", Wrong::Port(String::new())),
            ("/ip4/1.2.3.4/tcp/+5", Wrong::Port("+5".into())),
            ("/ip4/1.2.3.4/tcp/65536", Wrong::Port("65536".into())),
            ("/ip4/1.2.3.4/udp/5", Wrong::Transport("udp/5/".into())),
            ("/ip4/1.2.3.4/udp/5/webrtc", Wrong::Transport("udp/5/webrtc".into())),
            ("/ip4/1.2.3.4/tcp/5/", Wrong::Rest(String::new())),
            ("/ip4/1.2.3.4/tcp/5/quic", Wrong::Rest("quic".into())),
            ("/ip4/1.2.3.4/tcp/5/p2p-circuit/p2p-circuit", Wrong::Rest("p2p-circuit".into())),
            ("/ip4/1.2.3.4/p2p-circuit/5", Wrong::Transport("p2p-circuit".into())),
            ("/ip4/1.2.3.4/tcp/5/p2p", Wrong::Id(String::new())),
            ("/ip4/1.2.3.4/tcp/5/p2p/ab", Wrong::Id("ab".into())),
        ] {
            assert_eq!(parse(text), Err(wrong), "{text}");
        }
        let more = format!("/ip4/1.2.3.4/tcp/5/p2p/{}/x", "ab".repeat(32));
        assert_eq!(parse(&more), Err(Wrong::Rest("x".into())));
    }

    proptest! {
        #[test]
        fn arbitrary_text_never_panics_and_what_parses_is_stable(
            text in "(/(ip4|ip6|dns|tcp|udp|quic|p2p|p2p-circuit|[0-9.:a-z]{0,9})){0,9}",
        ) {
            if let Ok(address) = parse(&text) {
                prop_assert_eq!(parse(&address.to_string()), Ok(address));
            }
        }
    }
}
