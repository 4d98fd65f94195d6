//! Where a node can be reached and how, and which neighbourhood an address belongs to.
//!
//! # Security
//! Provided: IPv4 addresses written as IPv6 (`::ffff:1.2.3.4`) are the same address, so a ban or
//! a limit can't be evaded by spelling; addresses no stranger can be reached at are recognised.
//! Not provided: knowledge of which addresses one operator owns beyond the group.

mod host;
mod multiaddr;
mod transport;

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    ops::RangeInclusive,
    str::FromStr,
};

use serde::{Deserialize, Serialize};

pub use host::{HOST_NAME_MAX, Host, LABEL_MAX, ParseHostError};
pub use multiaddr::{Multiaddr, ParseMultiaddrError};
pub use transport::{ParseTransportError, TransportKind};

/// An IP address, a port and a transport, in canonical form: an IPv4-mapped IPv6 address becomes
/// IPv4. Ordered by IP, then port, then transport.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address {
    socket: SocketAddr,
    transport: TransportKind,
}

/// A neighbourhood of the network that one party can cheaply own: the /16 of an IPv4 address,
/// the /32 of an IPv6 address (Heilman et al. 2015, section 5), or an autonomous system.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct NetworkGroup(pub [u8; 5]);

/// What the first byte of a group says: an autonomous system. Others are 4 and 6.
const AUTONOMOUS_SYSTEM: u8 = 1;

impl NetworkGroup {
    /// All addresses that one operator announces to the internet.
    #[must_use]
    pub const fn autonomous_system(number: u32) -> Self {
        let [a, b, c, d] = number.to_be_bytes();
        NetworkGroup([AUTONOMOUS_SYSTEM, a, b, c, d])
    }
}

/// An address as it travels: 16 bytes of IPv6 (IPv4 mapped, RFC 4291 section 2.5.5.2), a port
/// and the transport's number.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct WireAddress {
    ip: [u8; 16],
    port: u16,
    transport: TransportKind,
}

impl Address {
    /// The canonical form of an address over TCP.
    #[must_use]
    pub fn new(ip: IpAddr, port: u16) -> Self {
        let socket = SocketAddr::new(ip.to_canonical(), port);
        Address { socket, transport: TransportKind::Tcp }
    }

    /// The same machine and port over another transport.
    #[must_use]
    pub fn over(self, transport: TransportKind) -> Self {
        Address { transport, ..self }
    }

    /// Every address there can be of one machine.
    #[must_use]
    pub fn every_of(ip: IpAddr) -> RangeInclusive<Self> {
        let last = TransportKind::Unknown(u8::MAX);
        Address::new(ip, 0)..=Address::new(ip, u16::MAX).over(last)
    }

    /// The IP address.
    #[must_use]
    pub fn ip(&self) -> IpAddr {
        self.socket.ip()
    }

    /// The port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.socket.port()
    }

    /// How bytes get there.
    #[must_use]
    pub fn transport(&self) -> TransportKind {
        self.transport
    }

    /// Whether another node, which is at this machine and port, carries what goes there.
    #[must_use]
    pub fn is_circuit(&self) -> bool {
        self.transport.is_circuit()
    }

    /// The node that carries it, if one does.
    #[must_use]
    pub fn relay(&self) -> Option<Self> {
        self.is_circuit().then(|| self.over(self.transport.carrier()))
    }

    /// Through the node that is there; `None` if that is a circuit already.
    #[must_use]
    pub fn through(&self) -> Option<Self> {
        self.transport.circuit().map(|circuit| self.over(circuit))
    }

    /// As the standard library writes it, without the transport.
    #[must_use]
    pub fn socket(&self) -> SocketAddr {
        self.socket
    }

    /// In full, for people and for other nodes' configurations.
    #[must_use]
    pub fn multiaddr(&self, id: Option<crate::identity::NodeId>) -> Multiaddr {
        let (host, port, transport) = (Host::Ip(self.ip()), self.port(), self.transport);
        Multiaddr { host, port, transport, id }
    }

    /// The neighbourhood this address belongs to.
    #[must_use]
    pub fn group(&self) -> NetworkGroup {
        match self.socket.ip() {
            IpAddr::V4(ip) => {
                let [a, b, _, _] = ip.octets();
                NetworkGroup([4, a, b, 0, 0])
            }
            IpAddr::V6(ip) => {
                let [a, b, c, d, ..] = ip.octets();
                NetworkGroup([6, a, b, c, d])
            }
        }
    }

    /// Whether anything could ever listen there: a transport that we know, a port, and neither
    /// unspecified, multicast nor broadcast.
    #[must_use]
    pub fn is_dialable(&self) -> bool {
        let ip = self.socket.ip();
        self.port() != 0
            && !matches!(self.transport, TransportKind::Unknown(_))
            && !ip.is_unspecified()
            && !ip.is_multicast()
            && ip != IpAddr::V4(Ipv4Addr::BROADCAST)
    }

    /// Whether a stranger on the internet could reach it. Private, loopback, link-local, shared
    /// (RFC 6598), documentation and reserved ranges (RFC 6890) are not.
    #[must_use]
    pub fn is_routable(&self) -> bool {
        self.is_dialable()
            && match self.socket.ip() {
                IpAddr::V4(ip) => routable_v4(ip),
                IpAddr::V6(ip) => routable_v6(ip),
            }
    }
}

fn routable_v4(ip: Ipv4Addr) -> bool {
    let [a, b, c, _] = ip.octets();
    !(ip.is_private()
        || ip.is_loopback()
        || ip.is_link_local()
        || ip.is_documentation()
        || a == 0
        || a >= 240
        || (a == 100 && (64..128).contains(&b))
        || (a == 198 && (18..20).contains(&b))
        || (a == 192 && b == 0 && c == 0))
}

fn routable_v6(ip: Ipv6Addr) -> bool {
    let [first, second, ..] = ip.segments();
    // Global unicast is 2000::/3; within it 2001:db8::/32 and 3fff::/20 are documentation,
    // 2001::/32 Teredo and 2002::/16 6to4 (they hide an IPv4 address).
    (first & 0xe000) == 0x2000
        && !(first == 0x2001 && (second == 0x0db8 || second == 0))
        && first != 0x2002
        && !(first == 0x3fff && second < 0x1000)
}

impl From<SocketAddr> for Address {
    fn from(socket: SocketAddr) -> Self {
        Address::new(socket.ip(), socket.port())
    }
}

/// `IP:PORT` for TCP, in full for the others.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.transport {
            TransportKind::Tcp => self.socket.fmt(f),
            _ => self.multiaddr(None).fmt(f),
        }
    }
}

/// Why a text is not an address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseAddressError {
    /// Neither form.
    #[error(
        "expected IP:PORT or /ip4/IP/udp/PORT/quic, for example 203.0.113.7:30400, \
         [2001:db8::1]:30400 or /ip4/203.0.113.7/udp/30400/quic"
    )]
    Form,
    /// It begins with a slash and is wrong further on.
    #[error(transparent)]
    Multiaddr(#[from] ParseMultiaddrError),
    /// A name or a node id, where a bare address is expected.
    #[error("expected an IP address and a port here, without a name or a node id")]
    NotBare,
}

/// `IP:PORT`, which is over TCP, or in full.
impl FromStr for Address {
    type Err = ParseAddressError;

    fn from_str(text: &str) -> Result<Self, ParseAddressError> {
        if !text.starts_with('/') {
            let socket = text.parse::<SocketAddr>();
            return socket.map(Address::from).map_err(|_| ParseAddressError::Form);
        }
        match text.parse::<Multiaddr>()? {
            Multiaddr { host: Host::Ip(ip), port, transport, id: None } => {
                Ok(Address::new(ip, port).over(transport))
            }
            _ => Err(ParseAddressError::NotBare),
        }
    }
}

/// Text in readable formats (configuration, JSON), 19 bytes on the wire.
impl Serialize for Address {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            return serializer.collect_str(self);
        }
        let ip = match self.ip() {
            IpAddr::V4(ip) => ip.to_ipv6_mapped(),
            IpAddr::V6(ip) => ip,
        };
        let (port, transport) = (self.port(), self.transport);
        WireAddress { ip: ip.octets(), port, transport }.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Address {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            let text = String::deserialize(deserializer)?;
            return text.parse().map_err(serde::de::Error::custom);
        }
        let wire = WireAddress::deserialize(deserializer)?;
        let ip = IpAddr::V6(Ipv6Addr::from(wire.ip));
        Ok(Address::new(ip, wire.port).over(wire.transport))
    }
}

impl fmt::Display for NetworkGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [family, a, b, c, d] = self.0;
        if family == AUTONOMOUS_SYSTEM {
            write!(f, "AS{}", u32::from_be_bytes([a, b, c, d]))
        } else if family == 4 {
            write!(f, "{a}.{b}.0.0/16")
        } else {
            write!(f, "{a:02x}{b:02x}:{c:02x}{d:02x}::/32")
        }
    }
}

impl fmt::Debug for NetworkGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Address {
        text.parse().unwrap()
    }

    /// Attack row 24: the spelling of an address changes nothing.
    #[test]
    fn a_mapped_address_is_the_same_address_and_group() {
        assert_eq!(address("[::ffff:1.2.3.4]:5"), address("1.2.3.4:5"));
        assert_eq!(address("[::ffff:1.2.3.4]:5").group().to_string(), "1.2.0.0/16");
    }

    #[test]
    fn groups_are_slash_16_and_slash_32() {
        assert_eq!(address("9.8.7.6:1").group(), address("9.8.1.1:2").group());
        assert_ne!(address("9.8.7.6:1").group(), address("9.9.7.6:1").group());
        assert_eq!(address("[2a01:4f8::1]:1").group(), address("[2a01:4f8:9::7]:1").group());
    }

    /// Attack row 18: nothing that a stranger can't reach counts as routable.
    #[test]
    fn private_and_special_ranges_are_not_routable() {
        for text in [
            "10.0.0.1:1",
            "127.0.0.1:1",
            "192.168.1.1:1",
            "172.16.0.1:1",
            "169.254.0.1:1",
            "100.64.0.1:1",
            "0.1.2.3:1",
            "224.0.0.1:1",
            "255.255.255.255:1",
            "240.0.0.1:1",
            "192.0.2.1:1",
            "198.18.0.1:1",
            "[::1]:1",
            "[fe80::1]:1",
            "[fc00::1]:1",
            "[2001:db8::1]:1",
            "[2002:7f00:1::]:1",
            "[ff02::1]:1",
            "[::]:1",
            "8.8.8.8:0",
        ] {
            assert!(!address(text).is_routable(), "{text}");
        }
        assert!(address("8.8.8.8:1").is_routable());
        assert!(address("[2a01:4f8::1]:1").is_routable());
        assert!(address("127.0.0.1:1").is_dialable());
    }

    #[test]
    fn addresses_print_and_parse_back() {
        for text in [
            "203.0.113.7:30400",
            "[2a01::1]:9",
            "/ip4/203.0.113.7/udp/30400/quic",
            "/ip4/203.0.113.7/tcp/30400/p2p-circuit",
            "/ip4/203.0.113.7/udp/30400/quic/p2p-circuit",
        ] {
            assert_eq!(address(text).to_string(), text);
        }
        assert_eq!(address("/ip4/203.0.113.7/tcp/30400"), address("203.0.113.7:30400"));
        assert_eq!("nonsense".parse::<Address>(), Err(ParseAddressError::Form));
        let named = "/dns/a.example/tcp/5".parse::<Address>();
        assert_eq!(named, Err(ParseAddressError::NotBare));
    }

    #[test]
    fn the_transport_is_a_part_of_the_address_and_not_of_the_group() {
        let (tcp, quic) = (address("9.8.7.6:1"), address("/ip4/9.8.7.6/udp/1/quic"));
        assert_ne!(tcp, quic);
        assert_eq!(tcp.over(TransportKind::Quic), quic);
        assert_eq!(tcp.group(), quic.group());
        let all = Address::every_of(tcp.ip());
        assert!(all.contains(&quic) && all.contains(&address("/ip4/9.8.7.6/udp/65535/quic")));
        assert!(!all.contains(&address("9.8.7.7:0")));
    }

    /// A node that others reach through a relay counts as one in the relay's neighbourhood, and
    /// there is no circuit in a circuit.
    #[test]
    fn a_circuit_is_at_its_relay_and_holds_none() {
        let relay = address("/ip4/9.8.7.6/udp/1/quic");
        let circuit = relay.through().unwrap();
        assert_eq!(circuit, address("/ip4/9.8.7.6/udp/1/quic/p2p-circuit"));
        assert_eq!((circuit.relay(), circuit.group()), (Some(relay), relay.group()));
        assert_eq!((circuit.through(), relay.relay()), (None, None));
        assert!(circuit.is_dialable() && circuit.is_circuit() && !relay.is_circuit());
        assert!("/ip4/9.8.7.6/tcp/1/p2p-circuit/p2p-circuit".parse::<Address>().is_err());
        let bytes = crate::codec::encode(&circuit).unwrap();
        assert_eq!((bytes.len(), bytes.last()), (19, Some(&3)));
        assert_eq!(crate::codec::decode_canonical::<Address>(&bytes, 19).unwrap(), circuit);
    }

    /// A record of a later version names transports that this one does not know.
    #[test]
    fn an_unknown_transport_is_kept_and_never_dialled() {
        let later = address("9.8.7.6:1").over(TransportKind::Unknown(7));
        let bytes = crate::codec::encode(&later).unwrap();
        assert_eq!(bytes.len(), 19);
        assert_eq!(crate::codec::decode_canonical::<Address>(&bytes, 19).unwrap(), later);
        assert!(!later.is_dialable());
    }
}
