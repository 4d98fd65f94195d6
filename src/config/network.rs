//! The sections about who the node is and whom it connects to.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr},
    path::PathBuf,
};

use super::{
    Optional, OwnAddress, PeerAddress, PostQuantum, Role, Size, Span, StunServer, Text, UplinkKind,
    schema::section,
};
use crate::{
    address::TransportKind,
    identity::{NetworkId, PublicKey},
    kinds::BODY_MAX,
};

section! {
    /// Who the node is.
    pub struct Node in node {
        /// A name for people, shown to peers and in logs. Empty: the first eight digits of the
        /// node id. At most 64 bytes.
        pub name: String = String::new();
        /// Words about the node that its operator wants peers to see, as a table of texts:
        /// at most 16 entries, 64 bytes a name and 256 bytes a text.
        pub metadata: BTreeMap<String, String> = BTreeMap::new();
        /// What the node does for its network. A validator proves its validator key to every
        /// peer; roles are never just claimed.
        pub role: Role = Role::Full;
        /// The folder of everything the node keeps. Other paths are relative to it.
        pub data_dir: PathBuf = PathBuf::from("peerstage-data");
        /// The node's secret Ed25519 key, made at the first start, mode 0600.
        pub key_file: PathBuf = PathBuf::from("node.key");
        /// The validator's secret Ed25519 key. "none": the node key is the validator key.
        pub validator_key_file: Optional<PathBuf> = Optional::None;
        /// What kind of line the node sends over, told in its record: a hint for whoever plans
        /// who forwards to whom.
        pub uplink: UplinkKind = UplinkKind::Unsaid;
        /// How fast that line is, bytes a second, told in its record. 0: not said.
        pub uplink_rate: Size = Size(0), in Size(0) => Size::gib(16);
    }
}

section! {
    /// Which network the node is part of, and whom it connects to.
    pub struct Network in network {
        /// The name of the network, for people; without a genesis hash its SHA-256 is the
        /// network id, which both sides of every handshake must share.
        pub name: String = "peerstage-dev".to_string();
        /// The hash of the genesis block. "none": the network id is made from the name.
        pub genesis: Optional<Text<NetworkId>> = Optional::None;
        /// The validators known at the start, by public key. The chain replaces them.
        pub validators: Vec<Text<PublicKey>> = Vec::new();
        /// Where to accept connections: IP:PORT, over every transport of this node at the same
        /// port, or in full for one, such as /ip4/0.0.0.0/udp/30400/quic. 0.0.0.0: every IPv4
        /// address of this machine, `[::]`: every IPv6 address. Port 0: any free one. The default
        /// port is a guess: above the well-known ones, below the ephemeral ones.
        pub listen: Vec<OwnAddress> = vec![OwnAddress {
            ip: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            port: 30_400,
            transport: None,
        }];
        /// What carries connections: "tcp" (with Noise inside) and "quic" (over UDP, with TLS 1.3
        /// inside and a stream for each lane). With both, a peer is dialled over QUIC first and
        /// over TCP a quarter of a second later, and the first that answers is kept.
        pub transports: Vec<TransportKind> = vec![TransportKind::Tcp, TransportKind::Quic];
        /// Where strangers reach this node, written as listen: told to peers, and nothing else is.
        /// Empty: what the node finds out by itself, from its machine, its router, its peers and
        /// nat.stun_servers.
        pub external_addresses: Vec<OwnAddress> = Vec::new();
        /// Ordinary peers at most, both directions; persistent peers and validators come on top.
        /// A guess between Bitcoin's 125 and geth's 50.
        pub max_peers: u32 = 64, in 1 => 10_000;
        /// Below this many the node looks for peers without waiting, and is not ready. As many
        /// as Bitcoin keeps full outbound connections.
        pub min_peers: u32 = 8, in 0 => 10_000;
        /// Ordinary peers that dialled us, at most. However high, a third of max_peers (max_outbound, if
        /// that is less) stays free for peers that this node chose itself, so that strangers
        /// can't fill every slot (eclipse).
        pub max_inbound: u32 = 48, in 0 => 10_000;
        /// Ordinary peers that this node dialled, at most; never more than max_peers. Twice what
        /// is wished for, so that feelers and replacements find room.
        pub max_outbound: u32 = 16, in 0 => 10_000;
        /// Ordinary peers that this node wants to have dialled itself; never more than
        /// max_outbound. As many as Bitcoin's full relay connections.
        pub wished_outbound: u32 = 8, in 0 => 10_000;
        /// Peers that this node dials to exchange blocks with and nothing else, on places of their
        /// own: nobody who watches transactions or peer exchange learns of them, so nobody can
        /// take them away. None where wished_outbound is 0. Bitcoin's number.
        pub blocks_only_peers: u32 = 2, in 0 => 64;
        /// How many of these are written down, and dialled before anybody else after a restart.
        /// Bitcoin's number.
        pub anchors: u32 = 2, in 0 => 64;
        /// How often an unproven address is dialled only to see whether a node answers there, so
        /// that the address book is full of nodes that do. Bitcoin's number.
        pub feeler_interval: Span = Span::minutes(2), in Span::seconds(1) => Span::hours(24);
        /// A file that says which autonomous system addresses belong to, a line "PREFIX NUMBER"
        /// each: then its addresses count as one network group, however many /16 it has. "none":
        /// groups are an IPv4 /16 and an IPv6 /32.
        pub as_map_file: Optional<PathBuf> = Optional::None;
        /// Places that a validator keeps for the other proven validators of the set. A guess: a
        /// small set whole.
        pub validator_slots: u32 = 64, in 0 => 10_000;
        /// Dialled peers in one network group (an IPv4 /16, an IPv6 /32, or see as_map_file), so
        /// that one party can't own them all (Heilman et al. 2015; Bitcoin allows 1). Persistent
        /// peers are exempt.
        pub max_outbound_per_group: u32 = 2, in 1 => 10_000;
        /// Peers of one network group that dialled us. A guess: a sixth of max_inbound.
        pub max_inbound_per_group: u32 = 8, in 1 => 10_000;
        /// Peers with one IP address that dialled us. Lighthouse's number.
        pub max_inbound_per_ip: u32 = 5, in 1 => 10_000;
        /// Connections at most that haven't finished their handshake, so that half-open ones
        /// cost a known amount. A guess: one second of handshakes, and some.
        pub max_half_open: u32 = 256, in 1 => 65_536;
        /// Whether addresses that no stranger could reach (private, loopback) are dialled and
        /// passed on when other peers tell of them. Only for test networks. Peers named in the
        /// configuration are dialled anyway.
        pub allow_private_addresses: bool = false;
        /// Nodes to ask for peers at the start, dropped when better ones are known.
        pub bootstrap: Vec<PeerAddress> = Vec::new();
        /// Nodes to stay connected to, on places of their own; redialled for ever. A ban keeps
        /// one out until it ends, `peerstage disconnect` for 5 minutes.
        pub persistent_peers: Vec<PeerAddress> = Vec::new();
        /// How long a dial may take until it has become a peer: transport, handshake and hello.
        /// Three SYNs (RFC 6298: resent after 1 s and 3 s) and a whole handshake.
        pub connection_timeout: Span = Span::seconds(10), in Span::millis(100) => Span::minutes(2);
        /// How long the whole handshake may take, not each read: a slow sender gains nothing.
        /// A guess: 20 of the slowest round trips of the public internet.
        pub handshake_timeout: Span = Span::seconds(5), in Span::millis(100) => Span::minutes(1);
        /// How often a peer is pinged, which is also how often its latency is measured.
        /// rust-libp2p's default.
        pub ping_interval: Span = Span::seconds(15), in Span::millis(100) => Span::hours(1);
        /// How long a ping may stay unanswered before the connection ends. A guess, below the
        /// interval so that one ping is under way at a time.
        pub ping_timeout: Span = Span::seconds(10), in Span::millis(50) => Span::hours(1);
        /// How long a peer may send nothing at all before the connection ends. A guess: two
        /// missed pings with time to answer.
        pub idle_timeout: Span = Span::minutes(1), in Span::seconds(1) => Span::hours(24);
        /// How long a peer may accept nothing while we have something to send, before the
        /// connection ends. A guess: longer than most losses of a mobile link.
        pub write_timeout: Span = Span::seconds(20), in Span::millis(100) => Span::minutes(10);
        /// The first pause after a failed dial; doubled each time, with jitter of a fifth. A
        /// guess: a node that restarts is back in a few seconds.
        pub dial_backoff_base: Span = Span::seconds(1), in Span::millis(10) => Span::hours(1);
        /// The longest pause after failed dials. A guess: soon enough after a long outage.
        pub dial_backoff_max: Span = Span::minutes(5), in Span::millis(10) => Span::hours(24);
        /// How often peers are asked for other peers while some are missing. A guess; six times
        /// as often below min_peers.
        pub discovery_interval: Span = Span::seconds(30), in Span::millis(100) => Span::hours(24);
        /// Whether handshakes use the hybrid of X25519 and ML-KEM-768, against those who record
        /// today and compute later.
        pub post_quantum: PostQuantum = PostQuantum::Prefer;
    }
}

impl Network {
    /// How many connections are accepted: `max_inbound`, and never so many that less than a
    /// third of `max_peers` (or `max_outbound`, if that is less) remains for chosen peers.
    #[must_use]
    pub fn inbound_limit(&self) -> u32 {
        let kept = self.max_outbound.min(self.max_peers / 3);
        self.max_inbound.min(self.max_peers.saturating_sub(kept))
    }

    /// How many connections are made: the smaller of `max_outbound` and `max_peers`.
    #[must_use]
    pub fn outbound_limit(&self) -> u32 {
        self.max_outbound.min(self.max_peers)
    }

    /// How many connections are sought: the smaller of `wished_outbound` and the limit.
    #[must_use]
    pub fn outbound_wish(&self) -> u32 {
        self.wished_outbound.min(self.outbound_limit())
    }
}

section! {
    /// How the node finds out where strangers can reach it.
    pub struct Nat in nat {
        /// STUN servers to ask where they see this node; two at least, or nothing is concluded.
        /// None by default: whoever runs one learns the addresses of all who ask it, and peers
        /// tell the same.
        pub stun_servers: Vec<StunServer> = Vec::new();
        /// Whether the router is asked to let strangers in, by PCP, NAT-PMP and UPnP. A machine
        /// with a public address doesn't ask.
        pub port_mapping: bool = true;
        /// Whether peers that offer it may carry connections between this node and others that it
        /// can't reach, or that can't reach it. While no stranger comes by itself, up to two of
        /// them are told as ways to this node.
        pub circuits: bool = true;
        /// Whether holes are punched into NATs, this node's and others': both sides send at once,
        /// from the port of QUIC, as peers that both have pass word between them.
        pub hole_punching: bool = true;
    }
}

section! {
    /// How much one peer can cost. Memory is a function of these numbers and of max_peers.
    pub struct Limits in limits {
        /// Bytes received from one peer and not yet handled, at most. Then its socket isn't
        /// read. Two of the longest
        /// messages, so that one can be handled while the next arrives.
        pub inbound_queue: Size = Size(2 * BODY_MAX as u64),
            in Size(BODY_MAX as u64) => Size::gib(1);
        /// Bytes queued for one peer and not yet sent, at most, over all lanes. Each kind of
        /// message also has a budget of its own. Two of the longest messages.
        pub outbound_queue: Size = Size(2 * BODY_MAX as u64),
            in Size(BODY_MAX as u64) => Size::gib(1);
        /// The longest block accepted or sent. The upper bound is that of the wire format;
        /// Bitcoin's blocks are at most 4,000,000 bytes.
        pub block_size: Size = Size(BODY_MAX as u64), in Size::kib(1) => Size(BODY_MAX as u64);
        /// The longest transaction accepted or sent. Bitcoin relays up to 400,000 bytes.
        pub transaction_size: Size = Size::kib(512), in Size(64) => Size::kib(512);
        /// The longest custom message accepted or sent. The upper bound is that of the wire
        /// format.
        pub custom_size: Size = Size::mib(1), in Size(64) => Size::mib(1);
        /// Handshakes per second that may be begun by strangers, all together. Below Monad's
        /// 300; each costs up to 1 ms of CPU, so this is a fifth of a core.
        pub handshakes_per_second: u32 = 200, in 1 => 100_000;
        /// How many times the rates of the table of kinds a peer may send to this node. Peers are
        /// told, and send no faster. For chains with more messages than public ones have, and for
        /// benchmarks; the rates are what keeps a flood from costing more than its share.
        pub rate_factor: u32 = 1, in 1 => 10_000;
        /// Bytes sent a second to all peers; 0 is no limit. Votes and proposals count, and are
        /// never held back.
        pub max_upload_rate: Size = Size(0), in Size(0) => Size::gib(1_000);
        /// Bytes sent a second to one peer; 0 is no limit. As above.
        pub max_upload_rate_per_peer: Size = Size(0), in Size(0) => Size::gib(1_000);
        /// Bytes received a second from all peers, at least 4KiB for each of
        /// `network.max_peers`; 0 is no limit. Peers are told their parts. A node with a limit
        /// reads no faster, and cuts nobody off for sending slowly.
        pub max_download_rate: Size = Size(0), in Size(0) => Size::gib(1_000);
        /// Bytes received a second from one peer, 16KiB or more; 0 is no limit. Peers are told,
        /// and hold back everything but votes and proposals by themselves.
        pub max_download_rate_per_peer: Size = Size(0), in Size(0) => Size::gib(1_000);
        /// Requests of one peer being answered at the same time. A guess.
        pub requests_per_peer: u32 = 16, in 1 => 10_000;
    }
}
