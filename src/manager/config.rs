//! The knobs of the manager, and the limits that are not knobs.

use serde::{Deserialize, Serialize};

use crate::{book::BookLimits, time::Millis};

/// Records in one answer of peer exchange; more are not looked at.
pub const RECORDS_MAX: usize = 32;
/// Operator's targets (bootstrap and persistent) that are kept.
pub const TARGETS_MAX: usize = 256;
/// Of these, places that DNS or the local network named; the oldest gives way, so that whoever
/// answers there leaves room for those the operator names. One round of DNS names as many.
pub const FOUND_MAX: usize = crate::bootstrap::TARGETS_MAX;
/// Bans that are kept; the one that ends soonest gives way.
pub const BANS_MAX: usize = 4_096;
/// Banned identities from one IP after which the IP is refused (Lighthouse: 5,
/// `peerdb.rs` `BANNED_PEERS_PER_IP_THRESHOLD`).
pub const BANNED_PER_IP_MAX: u32 = 5;
/// Banned identities that one relay brought after which nobody is let in through it: each of them
/// was a peer of the relay's, which refuses for itself. More than for an IP, or a few could have a
/// relay's circuits refused; a guess.
pub const BANNED_PER_RELAY_MAX: u32 = 16;
/// Of the inbound places, the part (one in so many) that relayed peers may have: they can all be
/// one host. A guess.
pub const RELAYED_PART: usize = 8;
/// Of these, the part that one relay may bring.
pub const RELAYED_PART_OF_RELAY: usize = 2;
/// Peers that refused a direct connection for want of room are not dialled for one before that,
/// ms.
pub const UPGRADE_REFUSED_PAUSE: Millis = 60 * 60 * 1_000;
/// Of them, those that are remembered.
pub const UPGRADE_REFUSALS_MAX: usize = 1_024;
/// Inbound peers that are never evicted because they have been here longest, and as many for
/// the best latency (Bitcoin protects 8 by ping).
pub const EVICTION_PROTECTED: usize = 8;
/// Inbound peers that are never evicted because they are in neighbourhoods that a secret key
/// picks (Bitcoin: 4).
pub const EVICTION_PROTECTED_GROUPS: usize = 4;
/// Inbound peers that are never evicted because they were the last to bring a new block, and as
/// many for a new transaction (Bitcoin: 4 each).
pub const EVICTION_PROTECTED_NOVEL: usize = 4;
/// How long a peer that dialled us is not evicted, ms: time to ask for other nodes and to hear of
/// some, when hundreds come at once. Whoever finds no room is told of some at once.
pub const EVICTION_GRACE: Millis = 5_000;
/// How long a peer has been there before it is written down as an anchor, ms: longer than it takes
/// to greet and to refuse.
pub const ANCHOR_AGE: Millis = 30_000;
/// How long ago a connected peer's address was last written down as seen, ms, before it is again:
/// a long connection is as good as many short ones.
pub const SEEN_INTERVAL: Millis = 60 * 60 * 1_000;
/// Times an anchor is dialled in vain, while others are reached, before its place is another's.
pub const ANCHOR_ATTEMPTS: u32 = 3;
/// The least time between two attempts at one node or address, ms: at most 2 SYN/s (attack row
/// 50); a second leaves room for the jitter of clocks.
pub const DIAL_SPACING: Millis = 1_000;
/// The least time between two attempts at an IP where no node has ever answered, ms: a victim
/// whose address was put in a record gets at most one SYN a minute (attack row 18).
pub const STRANGER_SPACING: Millis = 60_000;
/// Ways through one hole that are tried at once, as a NAT may show two ports; and dials of holes at one
/// IP in [`STRANGER_SPACING`], as whoever has holes punched can name anybody's IP.
pub const WAYS_MAX: usize = 2;
/// How long after a hole was ordered it is still wanted for what the dial was for that it was ordered
/// beside, ms: three rounds of a punch.
pub const PUNCH_WANTED_FOR: Millis = 15_000;
/// Holes that are ordered at once and remembered.
pub const PUNCHES_MAX: usize = 8;
/// Recent attempts that are remembered to keep the spacing; when full, no stranger is dialled.
pub const RECENT_DIALS_MAX: usize = 4_096;
/// Attempts at once and then per 1000 s, all together: a book of dead addresses is not walked
/// through at the speed of refusals. A guess; 16 a second fill 64 slots in a few seconds.
pub const DIALS_BURST: u64 = 32;
/// See [`DIALS_BURST`].
pub const DIALS_PER_1000_S: u64 = 16_000;
/// How long after its start a connection may meet its twin, in connection timeouts. A dial lives
/// for one of them, so after three no attempt can be left that was made in ignorance.
pub const TWIN_TIMEOUTS: u64 = 3;
/// Direct connections that may come in a relayed one's place and each be heard out: one that each
/// side dialled, and one for bad luck.
pub const UPGRADE_TWINS_MAX: u8 = 3;

/// How many peers, of what kind, and how they are looked for. Times are in ms.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ManagerConfig {
    /// Ordinary peers, both directions together. Persistent peers and validators come on top.
    pub max_peers: usize,
    /// Below this the node looks for peers with haste.
    pub min_peers: usize,
    /// Ordinary peers that dialled us.
    pub max_inbound: usize,
    /// Ordinary peers that we dialled.
    pub max_outbound: usize,
    /// Ordinary peers that we want to have dialled ourselves.
    pub wished_outbound: usize,
    /// Peers that we dial to exchange blocks with and nothing else: nobody who watches
    /// transactions or records learns of them (Bitcoin: 2). On places of their own.
    pub blocks_only_outbound: usize,
    /// Of these, the ones that are dialled first after a restart (Bitcoin: 2).
    pub anchors: usize,
    /// How often an address is dialled only to see whether somebody answers (Bitcoin: 2 min);
    /// 0: never.
    pub feeler_interval: Millis,
    /// Whether holes are punched to nodes behind NATs that are dialled.
    pub hole_punching: bool,
    /// Slots that only proven validators of the set can have.
    pub validator_slots: usize,
    /// Outbound peers in one network group, /16 or /32 (Bitcoin: 1; attack row 20: 2).
    pub max_outbound_per_group: usize,
    /// Inbound peers in one network group.
    pub max_inbound_per_group: usize,
    /// Inbound peers with one IP (attack row 24).
    pub max_inbound_per_ip: usize,
    /// Attempts in flight at once.
    pub max_dialling: usize,
    /// Inbound connections that have not finished their handshake (attack row 2).
    pub half_open_max: usize,
    /// Of these, in one network group.
    pub half_open_per_group_max: usize,
    /// Of these, with one IP.
    pub half_open_per_ip_max: usize,
    /// Handshakes that may be begun per second, all together (attack row 3; WireGuard 20/s per
    /// source, Monad 300/s for all; a core does some 1,700 of them).
    pub handshakes_per_second: u64,
    /// The same for one network group.
    pub handshakes_per_second_per_group: u64,
    /// Until a dial has become a peer: transport, handshake and hello.
    pub connection_timeout: Millis,
    /// Until an inbound connection has become a peer, from its start (attack row 1).
    pub handshake_timeout: Millis,
    /// Wait after the first failure; doubled with each one.
    pub dial_backoff: Millis,
    /// The longest wait.
    pub dial_backoff_max: Millis,
    /// All waits are this much shorter or longer at random, percent.
    pub jitter_percent: u64,
    /// The first dial happens at random within this time, so that a thousand nodes that start
    /// together do not call one bootstrap node together (attack row 50).
    pub start_spread: Millis,
    /// How often peers are asked for records while peers are missing.
    pub discovery_interval: Millis,
    /// The same below `min_peers`.
    pub discovery_interval_urgent: Millis,
    /// How long a peer that the operator disconnected is not dialled.
    pub disconnect_pause: Millis,
    /// How large the address book may become, and whether private addresses are let in.
    pub book: BookLimits,
}

impl Default for ManagerConfig {
    fn default() -> Self {
        ManagerConfig {
            max_peers: 64,
            min_peers: 8,
            max_inbound: 48,
            max_outbound: 16,
            wished_outbound: 8,
            blocks_only_outbound: 2,
            anchors: 2,
            feeler_interval: 120_000,
            hole_punching: true,
            validator_slots: 64,
            max_outbound_per_group: 2,
            max_inbound_per_group: 8,
            max_inbound_per_ip: 5,
            max_dialling: 8,
            half_open_max: 256,
            half_open_per_group_max: 32,
            half_open_per_ip_max: 8,
            handshakes_per_second: 200,
            handshakes_per_second_per_group: 20,
            connection_timeout: 10_000,
            handshake_timeout: 5_000,
            dial_backoff: 1_000,
            dial_backoff_max: 300_000,
            jitter_percent: 20,
            start_spread: 2_000,
            discovery_interval: 30_000,
            discovery_interval_urgent: 5_000,
            disconnect_pause: 300_000,
            book: BookLimits::default(),
        }
    }
}
