//! Where to find a peer, as an operator writes it: `host:port` or `nodeid@host:port`.

use std::{
    fmt,
    net::{IpAddr, Ipv6Addr},
    str::FromStr,
};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::{address::Address, identity::NodeId};

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
}

/// The machine part of an address.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Host {
    /// A number; IPv4-mapped IPv6 has become IPv4.
    Ip(IpAddr),
    /// A name for DNS to resolve, in lower case.
    Name(String),
}

/// The longest host name, characters (RFC 1035 section 2.3.4, without the root's dot).
pub const HOST_NAME_MAX: usize = 253;
/// The longest label of a host name, characters (RFC 1035 section 2.3.4).
pub const LABEL_MAX: usize = 63;

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
    #[error("{0:?} is neither an IP address nor a host name")]
    Host(String),
}

impl PeerAddress {
    /// The socket address, if the host is a number and needs no DNS.
    #[must_use]
    pub fn address(&self) -> Option<Address> {
        match self.host {
            Host::Ip(ip) => Some(Address::new(ip, self.port)),
            Host::Name(_) => None,
        }
    }
}

impl From<Address> for PeerAddress {
    fn from(address: Address) -> Self {
        PeerAddress { id: None, host: Host::Ip(address.ip()), port: address.port() }
    }
}

impl FromStr for PeerAddress {
    type Err = ParsePeerAddressError;

    fn from_str(text: &str) -> Result<Self, ParsePeerAddressError> {
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
        Ok(PeerAddress { id, host, port })
    }
}

/// Splits `host:port` and `[v6]:port`.
fn split_port(place: &str) -> Result<(Host, &str), ParsePeerAddressError> {
    if let Some(inside) = place.strip_prefix('[') {
        let (ip, after) = inside.split_once(']').ok_or(ParsePeerAddressError::Brackets)?;
        let ip = ip.parse::<Ipv6Addr>();
        let ip = ip.map_err(|_| ParsePeerAddressError::Host(place.to_string()))?;
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

impl FromStr for Host {
    type Err = ParsePeerAddressError;

    /// An IP address, or a host name (RFC 1123 section 2.1, and underscores, which container
    /// networks use). A name whose last label is a number would be a misspelt IPv4 address.
    fn from_str(text: &str) -> Result<Self, ParsePeerAddressError> {
        if let Ok(ip) = text.parse::<IpAddr>() {
            return Ok(Host::Ip(ip.to_canonical()));
        }
        let name = text.strip_suffix('.').unwrap_or(text);
        let label_fits = |label: &str| {
            (1..=LABEL_MAX).contains(&label.len())
                && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
                && !label.starts_with('-')
                && !label.ends_with('-')
        };
        let last_is_number =
            name.rsplit('.').next().is_some_and(|last| last.bytes().all(|b| b.is_ascii_digit()));
        if name.len() > HOST_NAME_MAX || last_is_number || !name.split('.').all(label_fits) {
            return Err(ParsePeerAddressError::Host(text.to_string()));
        }
        Ok(Host::Name(name.to_ascii_lowercase()))
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Host::Ip(IpAddr::V4(ip)) => ip.fmt(f),
            Host::Ip(IpAddr::V6(ip)) => write!(f, "[{ip}]"),
            Host::Name(name) => f.write_str(name),
        }
    }
}

impl fmt::Display for PeerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(id) = self.id {
            write!(f, "{id}@")?;
        }
        write!(f, "{}:{}", self.host, self.port)
    }
}

impl Serialize for PeerAddress {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for PeerAddress {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

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
        ] {
            assert_eq!(parse(text).unwrap().to_string(), text);
        }
        assert_eq!(parse("Seed.Example.ORG.:1").unwrap().to_string(), "seed.example.org:1");
    }

    /// Attack row 24: the spelling of an address changes nothing.
    #[test]
    fn a_mapped_address_becomes_ipv4() {
        assert_eq!(parse("[::ffff:1.2.3.4]:5"), parse("1.2.3.4:5"));
        assert_eq!(parse("1.2.3.4:5").unwrap().address(), "1.2.3.4:5".parse().ok());
        assert_eq!(parse("host:5").unwrap().address(), None);
    }

    #[test]
    fn a_wrong_address_is_told_what_is_wrong() {
        use ParsePeerAddressError::{Brackets, Host, Id, NoPort, Port};
        assert_eq!(parse("host"), Err(NoPort("host".into())));
        assert_eq!(parse("[::1]"), Err(NoPort("[::1]".into())));
        assert_eq!(parse("host:0"), Err(Port("0".into())));
        assert_eq!(parse("host:+5"), Err(Port("+5".into())));
        assert_eq!(parse("host:"), Err(Port(String::new())));
        assert_eq!(parse("host:65536"), Err(Port("65536".into())));
        assert_eq!(parse("2001:db8::1:30400"), Err(Brackets));
        assert_eq!(parse("[::1:5"), Err(Brackets));
        assert_eq!(parse("[fe80::1%eth0]:5"), Err(Host("[fe80::1%eth0]:5".into())));
        assert_eq!(parse("abc@host:5"), Err(Id("abc".into())));
        for host in ["", "256.1.1.1", "1.2.3", "-a", "a-", "a..b", "a b", "ä", &"a".repeat(64)] {
            assert_eq!(parse(&format!("{host}:5")), Err(Host(host.to_string())), "{host}");
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
        fn addresses_round_trip(ip: std::net::IpAddr, port in 1u16.., id: Option<[u8; 32]>) {
            let host = super::Host::Ip(ip.to_canonical());
            let address = PeerAddress { id: id.map(NodeId), host, port };
            prop_assert_eq!(parse(&address.to_string()), Ok(address));
        }
    }
}
