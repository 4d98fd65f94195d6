//! Where to find a peer, as an operator writes it: `host:port`, `nodeid@host:port`, or in full,
//! `/dns/host/udp/port/quic/p2p/nodeid`.

use std::{
    fmt,
    net::{IpAddr, Ipv6Addr},
    str::FromStr,
};

use super::values::as_text;
use crate::{
    address::{Address, Host, Multiaddr, ParseHostError, ParseMultiaddrError, TransportKind},
    identity::NodeId,
};

/// A peer that the configuration names. With an id, only the node that proves this id is
/// accepted there; without one, whoever answers.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerAddress {
    /// The id the peer must prove.
    pub id: Option<NodeId>,
    /// Its machine.
    pub host: Host,
    /// Its port, never 0.
    pub port: u16,
    /// Its transport; `None`: whichever of ours answers there.
    pub transport: Option<TransportKind>,
}

/// Why a text is not a peer's address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParsePeerAddressError {
    /// The part in front of `@` isn't a node id.
    #[error("{0:?} in front of @ is not a node id; expected 64 hexadecimal digits")]
    Id(String),
    /// There is no port.
    #[error("{0:?} has no port; write {0}:30400")]
    NoPort(String),
    /// The port isn't one that can be connected to.
    #[error("{0:?} is not a port; expected 1 to 65535")]
    Port(String),
    /// An IPv6 address without brackets, so that its port can't be told apart.
    #[error("an IPv6 address goes in brackets: [2001:db8::1]:30400")]
    Brackets,
    /// Neither an address nor a name.
    #[error(transparent)]
    Host(#[from] ParseHostError),
    /// It begins with a slash and is wrong further on.
    #[error(transparent)]
    Multiaddr(#[from] ParseMultiaddrError),
    /// A circuit to nobody in particular.
    #[error("behind /p2p-circuit goes /p2p/NODEID: the relay must know who is meant")]
    Circuit,
}

impl PeerAddress {
    /// Where to dial with the transports that a node has, in their order; nothing if the host is
    /// a name, which needs DNS, or no transport fits.
    pub fn addresses<'a>(
        &'a self,
        transports: &'a [TransportKind],
    ) -> impl Iterator<Item = Address> + 'a {
        let ip = match self.host {
            Host::Ip(ip) => Some(ip),
            Host::Name(_) => None,
        };
        let fits =
            |carrier: &TransportKind| self.transport.is_none_or(|one| one.carrier() == *carrier);
        let fitting = transports.iter().copied().filter(move |carrier| fits(carrier));
        ip.into_iter().flat_map(move |ip| {
            let address = Address::new(ip, self.port);
            fitting.clone().map(move |carrier| address.over(self.transport.unwrap_or(carrier)))
        })
    }
}

impl From<Address> for PeerAddress {
    fn from(address: Address) -> Self {
        let transport = Some(address.transport());
        PeerAddress { id: None, host: Host::Ip(address.ip()), port: address.port(), transport }
    }
}

impl FromStr for PeerAddress {
    type Err = ParsePeerAddressError;

    fn from_str(text: &str) -> Result<Self, ParsePeerAddressError> {
        if text.starts_with('/') {
            let Multiaddr { host, port, transport, id } = text.parse()?;
            if port == 0 {
                return Err(ParsePeerAddressError::Port(port.to_string()));
            }
            if transport.is_circuit() && id.is_none() {
                return Err(ParsePeerAddressError::Circuit);
            }
            return Ok(PeerAddress { id, host, port, transport: Some(transport) });
        }
        let (id, place) = match text.split_once('@') {
            Some((id, place)) => {
                let parsed = id.parse::<NodeId>();
                (Some(parsed.map_err(|_| ParsePeerAddressError::Id(id.to_string()))?), place)
            }
            None => (None, text),
        };
        let (host, port) = split_port(place)?;
        // `u16::from_str` would accept "+5".
        let digits = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
        let number = port.parse::<u16>().ok().filter(|number| digits && *number != 0);
        let port = number.ok_or_else(|| ParsePeerAddressError::Port(port.to_string()))?;
        Ok(PeerAddress { id, host, port, transport: None })
    }
}

/// Splits `host:port` and `[v6]:port`.
fn split_port(place: &str) -> Result<(Host, &str), ParsePeerAddressError> {
    if let Some(inside) = place.strip_prefix('[') {
        let (ip, after) = inside.split_once(']').ok_or(ParsePeerAddressError::Brackets)?;
        let ip = ip.parse::<Ipv6Addr>();
        let ip = ip.map_err(|_| ParseHostError(place.to_string()))?;
        let port = after.strip_prefix(':');
        let port = port.ok_or_else(|| ParsePeerAddressError::NoPort(place.to_string()))?;
        return Ok((Host::Ip(IpAddr::V6(ip).to_canonical()), port));
    }
    let (host, port) =
        place.rsplit_once(':').ok_or_else(|| ParsePeerAddressError::NoPort(place.to_string()))?;
    if host.contains(':') {
        return Err(ParsePeerAddressError::Brackets);
    }
    Ok((host.parse()?, port))
}

impl fmt::Display for PeerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(transport) = self.transport {
            let (host, port, id) = (self.host.clone(), self.port, self.id);
            return Multiaddr { host, port, transport, id }.fmt(f);
        }
        if let Some(id) = self.id {
            write!(f, "{id}@")?;
        }
        write!(f, "{}:{}", self.host, self.port)
    }
}

as_text!(PeerAddress);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(text: &str) -> Result<PeerAddress, ParsePeerAddressError> {
        text.parse()
    }

    #[test]
    fn names_numbers_and_ids_print_and_parse_back() {
        let id = "ab".repeat(32);
        for text in [
            "seed.example.org:30400",
            "203.0.113.7:1",
            "[2001:db8::1]:65535",
            "node_1:30400",
            &format!("{id}@localhost:30400"),
            &format!("{id}@[2001:db8::1]:30400"),
            "/ip4/203.0.113.7/tcp/1",
            &format!("/dns/localhost/udp/30400/quic/p2p/{id}"),
            &format!("/ip4/203.0.113.7/tcp/1/p2p-circuit/p2p/{id}"),
        ] {
            assert_eq!(parse(text).unwrap().to_string(), text);
        }
        assert_eq!(parse("Seed.Example.ORG.:1").unwrap().to_string(), "seed.example.org:1");
    }

    /// Attack row 24: the spelling of an address changes nothing.
    #[test]
    fn a_mapped_address_becomes_ipv4() {
        assert_eq!(parse("[::ffff:1.2.3.4]:5"), parse("1.2.3.4:5"));
    }

    #[test]
    fn without_a_transport_any_of_ours_may_answer() {
        let text = |address: &str, transports: &[TransportKind]| {
            let found = parse(address).unwrap();
            found.addresses(transports).map(|address| address.to_string()).collect::<Vec<_>>()
        };
        let both = &TransportKind::ALL;
        assert_eq!(text("1.2.3.4:5", both), ["/ip4/1.2.3.4/udp/5/quic", "1.2.3.4:5"]);
        assert_eq!(text("1.2.3.4:5", &[TransportKind::Tcp]), ["1.2.3.4:5"]);
        assert_eq!(text("/ip4/1.2.3.4/tcp/5", both), ["1.2.3.4:5"]);
        assert!(text("/ip4/1.2.3.4/udp/5/quic", &[TransportKind::Tcp]).is_empty());
        assert!(text("host:5", both).is_empty());
    }

    #[test]
    fn a_wrong_address_is_told_what_is_wrong() {
        use ParsePeerAddressError::{Brackets, Host, Id, NoPort, Port};
        let host_error = |text: &str| Err(Host(ParseHostError(text.to_owned())));
        assert_eq!(parse("host"), Err(NoPort("host".into())));
        assert_eq!(parse("[::1]"), Err(NoPort("[::1]".into())));
        assert_eq!(parse("host:0"), Err(Port("0".into())));
        assert_eq!(parse("host:+5"), Err(Port("+5".into())));
        assert_eq!(parse("host:"), Err(Port(String::new())));
        assert_eq!(parse("host:65536"), Err(Port("65536".into())));
        assert_eq!(parse("2001:db8::1:30400"), Err(Brackets));
        assert_eq!(parse("[::1:5"), Err(Brackets));
        assert_eq!(parse("[fe80::1%eth0]:5"), host_error("[fe80::1%eth0]:5"));
        assert_eq!(parse("/ip4/1.2.3.4/tcp/0"), Err(Port("0".into())));
        assert!(parse("/ip4/1.2.3.4/tcp").is_err());
        assert_eq!(parse("abc@host:5"), Err(Id("abc".into())));
        for host in ["", "256.1.1.1", "1.2.3", "-a", "a-", "a..b", "a b", "ä", &"a".repeat(64)] {
            assert_eq!(parse(&format!("{host}:5")), host_error(host), "{host}");
        }
    }

    proptest! {
        #[test]
        fn arbitrary_text_never_panics_and_what_parses_is_stable(text in "\\PC{0,40}") {
            if let Ok(address) = parse(&text) {
                prop_assert_eq!(parse(&address.to_string()), Ok(address));
            }
        }

        #[test]
        fn addresses_round_trip(
            ip: std::net::IpAddr, port in 1u16.., id: Option<[u8; 32]>, quic: Option<bool>,
        ) {
            let host = Host::Ip(ip.to_canonical());
            let transport = quic.map(|quic| TransportKind::from_number(u8::from(quic)));
            let address = PeerAddress { id: id.map(NodeId), host, port, transport };
            prop_assert_eq!(parse(&address.to_string()), Ok(address));
        }
    }
}
