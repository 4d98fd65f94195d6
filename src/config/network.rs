//! The sections about who the node is and whom it connects to.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr},
    path::PathBuf,
};

use super::{Optional, PeerAddress, PostQuantum, Role, Size, Span, Text, schema::section};
use crate::{
    address::Address,
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
        /// The address to accept connections at. 0.0.0.0: every IPv4 address.
        pub listen_address: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        /// The TCP port to accept connections at. 0: any free one. The default is
        /// unassigned at IANA.
        pub listen_port: u16 = 30_400;
        /// Where strangers reach this node, if it is known: told to peers at once. Empty: what
        /// several peers observe.
        pub external_addresses: Vec<Address> = Vec::new();
        /// Connections at most, both directions. A guess between Bitcoin's 125 and geth's 50.
        pub max_peers: u32 = 50, in 1 => 10_000;
        /// Below this many the node looks for peers without waiting, and is not ready. As many
        /// as Bitcoin keeps full outbound connections.
        pub min_peers: u32 = 8, in 0 => 10_000;
        /// Accepted connections at most. However high, a third of max_peers (max_outbound, if
        /// that is less) stays free for peers that this node chose itself, so that strangers
        /// can't fill every slot (eclipse).
        pub max_inbound: u32 = 34, in 0 => 10_000;
        /// Connections this node makes, at most; persistent peers count too. Never more than
        /// max_peers.
        pub max_outbound: u32 = 16, in 0 => 10_000;
        /// Outbound connections into one network group (an IPv4 /16, an IPv6 /32), so that one
        /// party can't own them all (Heilman et al. 2015). Persistent peers are exempt.
        pub max_per_group: u32 = 2, in 1 => 10_000;
        /// Accepted connections from one IP address. Lighthouse's number.
        pub max_per_ip: u32 = 5, in 1 => 10_000;
        /// Connections at most that haven't finished their handshake. Half of geth's backlog;
        /// an attacker's half-open connections cost no more than this.
        pub max_half_open: u32 = 256, in 1 => 65_536;
        /// Whether addresses that no stranger could reach (private, loopback) are dialled and
        /// passed on when other peers tell of them. Only for test networks. Peers named in the
        /// configuration are dialled anyway.
        pub allow_private_addresses: bool = false;
        /// Nodes to ask for peers at the start, dropped when better ones are known.
        pub bootstrap: Vec<PeerAddress> = Vec::new();
        /// Nodes to stay connected to, whatever their score; redialled for ever.
        pub persistent_peers: Vec<PeerAddress> = Vec::new();
        /// How long a dial may take until the connection is open. Five seconds are three
        /// SYNs (RFC 6298: resent after 1 s and 3 s).
        pub connection_timeout: Span = Span::seconds(5), in Span::millis(100) => Span::minutes(2);
        /// How long the whole handshake may take, not each read: a slow sender gains nothing.
        pub handshake_timeout: Span = Span::seconds(5), in Span::millis(100) => Span::minutes(1);
        /// How often a peer is pinged, which is also how often its latency is measured.
        /// libp2p's number.
        pub ping_interval: Span = Span::seconds(15), in Span::millis(100) => Span::hours(1);
        /// How long a ping may stay unanswered before the connection ends.
        pub ping_timeout: Span = Span::seconds(10), in Span::millis(50) => Span::hours(1);
        /// How long a peer may send nothing at all before the connection ends.
        pub idle_timeout: Span = Span::minutes(1), in Span::seconds(1) => Span::hours(24);
        /// How long a peer may accept nothing while we have something to send.
        pub write_timeout: Span = Span::seconds(20), in Span::millis(100) => Span::minutes(10);
        /// The first pause after a failed dial; doubled each time, with jitter.
        pub dial_backoff_base: Span = Span::seconds(2), in Span::millis(10) => Span::hours(1);
        /// The longest pause after failed dials. A guess: soon enough after a long outage.
        pub dial_backoff_max: Span = Span::minutes(10), in Span::millis(10) => Span::hours(24);
        /// How often a peer is asked for other peers. geth's refresh is 30 s.
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
}

section! {
    /// How much one peer can cost. Memory is a function of these numbers and of max_peers.
    pub struct Limits in limits {
        /// Bytes received from one peer and not yet handled, at most. Then its socket isn't
        /// read. Two of the longest messages.
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
        /// The longest custom message accepted or sent.
        pub custom_size: Size = Size::mib(1), in Size(64) => Size::mib(1);
        /// Bytes per second one peer may send us on average, all kinds together; twice that in
        /// one second. A guess: a quarter of a gigabit's second of 125 MB.
        pub bytes_per_second: Size = Size::mib(32), in Size::kib(1) => Size::gib(16);
        /// Handshakes per second this node answers, all strangers together. Monad's number; a
        /// hybrid answer costs about 1 ms of CPU.
        pub handshakes_per_second: u32 = 300, in 1 => 100_000;
        /// Requests of one peer being answered at the same time.
        pub requests_per_peer: u32 = 16, in 1 => 10_000;
    }
}
