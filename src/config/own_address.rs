//! Where this node listens or is reached, as its operator writes it: `ip:port`, or in full,
//! `/ip4/ip/udp/port/quic`.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    str::FromStr,
};

use super::values::as_text;
use crate::address::{Address, Host, Multiaddr, ParseAddressError, TransportKind};

/// An address of this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OwnAddress {
    /// The IP address; unspecified: every one of this machine.
    pub ip: IpAddr,
    /// The port; 0: any free one.
    pub port: u16,
    /// The transport; `None`: every one that the node uses, at the same port.
    pub transport: Option<TransportKind>,
}

impl OwnAddress {
    /// The addresses that it stands for, with the transports that the node uses.
    pub fn addresses(self, transports: &[TransportKind]) -> impl Iterator<Item = Address> + '_ {
        let address = Address::new(self.ip, self.port);
        let fits = move |kind: &TransportKind| self.transport.is_none_or(|one| one == *kind);
        transports.iter().copied().filter(fits).map(move |kind| address.over(kind))
    }

    /// Whether it can be had at the same time as a TCP listener of another purpose.
    #[must_use]
    pub fn clashes_with(self, other: Address) -> bool {
        let same_ip = self.ip.is_unspecified()
            || other.ip().is_unspecified()
            || self.ip.to_canonical() == other.ip();
        let over_tcp = self.transport.is_none_or(|kind| kind == TransportKind::Tcp);
        same_ip && over_tcp && other.port() != 0 && other.port() == self.port
    }
}

impl FromStr for OwnAddress {
    type Err = ParseAddressError;

    fn from_str(text: &str) -> Result<Self, ParseAddressError> {
        if !text.starts_with('/') {
            let socket = text.parse::<SocketAddr>().map_err(|_| ParseAddressError::Form)?;
            let (ip, port) = (socket.ip().to_canonical(), socket.port());
            return Ok(OwnAddress { ip, port, transport: None });
        }
        match text.parse::<Multiaddr>()? {
            // Which relays lead here is found out, not configured.
            Multiaddr { transport, .. } if transport.is_circuit() => {
                Err(ParseAddressError::NotBare)
            }
            Multiaddr { host: Host::Ip(ip), port, transport, id: None } => {
                Ok(OwnAddress { ip, port, transport: Some(transport) })
            }
            _ => Err(ParseAddressError::NotBare),
        }
    }
}

impl fmt::Display for OwnAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let address = Address::new(self.ip, self.port);
        match self.transport {
            Some(transport) => address.over(transport).multiaddr(None).fmt(f),
            None => address.fmt(f),
        }
    }
}

as_text!(OwnAddress);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_print_and_parse_back() {
        for text in ["0.0.0.0:30400", "[::]:0", "/ip4/127.0.0.1/tcp/1", "/ip6/::/udp/5/quic"] {
            assert_eq!(text.parse::<OwnAddress>().unwrap().to_string(), text);
        }
        assert_eq!("localhost:5".parse::<OwnAddress>(), Err(ParseAddressError::Form));
        assert_eq!("/dns/a/tcp/5".parse::<OwnAddress>(), Err(ParseAddressError::NotBare));
    }

    #[test]
    fn without_a_transport_it_is_every_one_at_the_same_port() {
        let kinds = [TransportKind::Tcp, TransportKind::Quic];
        let text = |own: &str| {
            let own = own.parse::<OwnAddress>().unwrap();
            own.addresses(&kinds).map(|address| address.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(text("127.0.0.1:5"), ["127.0.0.1:5", "/ip4/127.0.0.1/udp/5/quic"]);
        assert_eq!(text("/ip4/127.0.0.1/udp/5/quic"), ["/ip4/127.0.0.1/udp/5/quic"]);
    }

    #[test]
    fn a_clash_is_one_of_tcp() {
        let clashes = |own: &str| {
            own.parse::<OwnAddress>().unwrap().clashes_with("127.0.0.1:5".parse().unwrap())
        };
        assert!(clashes("0.0.0.0:5") && clashes("/ip4/127.0.0.1/tcp/5"));
        assert!(!clashes("0.0.0.0:6") && !clashes("/ip4/0.0.0.0/udp/5/quic"));
        assert!(!clashes("10.0.0.1:5"));
    }
}
