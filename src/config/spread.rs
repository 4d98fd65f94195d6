//! The sections about how messages spread: relay, gossip and their timeouts.

use super::{Size, Span, schema::section};
use crate::kinds::RelayMode;

section! {
    /// To whom messages are passed on. flood: every peer that doesn't have it; selective: peers
    /// of good standing (scoring.relay_threshold); validator-only: proven validators.
    pub struct Relay in relay {
        /// How blocks spread.
        pub block: RelayMode = RelayMode::Flood;
        /// How transactions spread.
        pub transaction: RelayMode = RelayMode::Flood;
        /// How consensus proposals spread.
        pub proposal: RelayMode = RelayMode::ValidatorOnly;
        /// How consensus votes spread.
        pub vote: RelayMode = RelayMode::ValidatorOnly;
        /// How the chain's own messages spread.
        pub custom: RelayMode = RelayMode::Flood;
        /// Peers that a transaction is pushed to, of those that should get it; the others are
        /// told of it and ask. If one more would be all, it is pushed to all. 10000: always all.
        /// Two reach most of a network; each more costs one copy a node.
        pub eager_transactions: u32 = 2, in 1 => 10_000;
        /// The same of a block of 32 KiB or more: the copies of one node leave one after the
        /// other, so that a third would be as late as a question.
        pub eager_blocks: u32 = 2, in 1 => 10_000;
        /// The same of a shorter block. One more than of transactions, because a block that
        /// comes a question later holds up a chain. A guess.
        pub eager_small_blocks: u32 = 3, in 1 => 10_000;
        /// The same of the chain's own messages. A guess: they may be as urgent as blocks.
        pub eager_custom: u32 = 3, in 1 => 10_000;
        /// How long an announcement waits for others to go with it, to save packets. Those of
        /// blocks don't wait. A guess: well below a round trip around the world.
        pub announce_delay: Span = Span::millis(20), in Span::millis(0) => Span::seconds(1);
        /// Hops a message makes at most. Twice the diameter of a random graph of degree 8
        /// and 10,000 nodes, with room for bad luck; a guess.
        pub max_hops: u8 = 16, in 1 => 255;
        /// Peers that selective mode relays to when too few reach the threshold, best first,
        /// so that a young network spreads too. A guess: half of a usual degree.
        pub fallback_peers: u32 = 4, in 1 => 1_000;
        /// How long a message is remembered as seen, so that it is handled once. Longer
        /// than signed messages are accepted (180 s past, 30 s future), so that nothing comes
        /// back; between gossipsub's default (2 min) and Ethereum's (12.8 min).
        pub expiration: Span = Span::minutes(5), in Span::seconds(1) => Span::hours(24);
        /// How often what expired is swept out. A guess.
        pub cleanup_interval: Span = Span::seconds(10), in Span::millis(100) => Span::hours(1);
        /// Messages remembered as seen, at most; 300 bytes each. 400 a second for the
        /// default expiration.
        pub cache_size: u32 = 131_072, in 1_024 => 16_777_216;
        /// Whether custom messages wait for the chain's verdict; else they are accepted.
        pub judge_custom: bool = true;
        /// Whether sealed messages between nodes that can't connect are carried.
        pub carry_routed: bool = true;
        /// Whether connections between peers that can't connect are carried, as circuits: their
        /// bytes go through this node, which can't read them. The quotas below hold for all
        /// that others open.
        pub serve: bool = true;
        /// Circuits carried at the same time, at most. A guess: as many as peers by default.
        pub circuits: u32 = 64, in 1 => 1_024;
        /// Of these, opened by one node. A guess: the peers that a node wishes for.
        pub circuits_per_peer: u32 = 8, in 1 => 1_024;
        /// Of these, opened from one network group. A guess: half.
        pub circuits_per_group: u32 = 32, in 1 => 1_024;
        /// Bytes of one circuit, both directions; then it ends. libp2p's circuits end at 128 KiB,
        /// which is enough to meet and no more; this carries a day of Bitcoin's blocks. A guess.
        pub circuit_bytes: Size = Size::mib(256), in Size::kib(64) => Size::gib(1_000);
        /// How long one circuit lasts; then it ends. libp2p: 2 minutes, as above. A guess.
        pub circuit_time: Span = Span::hours(2), in Span::seconds(10) => Span::hours(168);
        /// Bytes an hour of all the circuits that one node opens, both directions, and 64 for each
        /// message; one network group has four times as many, all have sixteen times: 300 KB a
        /// second. A guess.
        pub circuit_bytes_per_hour: Size = Size::gib(1), in Size::kib(64) => Size::gib(1_000);
    }
}

section! {
    /// Announcements of messages to peers that weren't sent them.
    pub struct Gossip in gossip {
        /// Peers that an announcement goes to. gossipsub's D.
        pub fanout: u32 = 6, in 1 => 1_000;
        /// How often announcements are sent. gossipsub's heartbeat.
        pub interval: Span = Span::seconds(1), in Span::millis(10) => Span::minutes(1);
        /// How long a message is kept to be served to who asks for it. gossipsub's
        /// seen time; shorter than relay.expiration.
        pub ttl: Span = Span::minutes(2), in Span::millis(100) => Span::hours(1);
        /// Messages kept to be served, at most; the oldest go first. A guess: 270 a second.
        pub cache_size: u32 = 32_768, in 16 => 16_777_216;
        /// Bytes of messages kept to be served, at most; the oldest go first. 16 of the
        /// longest messages.
        pub cache_bytes: Size = Size::mib(64), in Size::mib(4) => Size::gib(16);
    }
}

section! {
    /// How long the node waits for others.
    pub struct Timeouts in timeouts {
        /// For the chain's verdict on a block, before it is dropped without blaming anybody. A
        /// guess: a full block on a slow disk.
        pub block: Span = Span::seconds(30), in Span::millis(10) => Span::minutes(10);
        /// For the chain's verdict on a transaction. A guess.
        pub transaction: Span = Span::seconds(10), in Span::millis(10) => Span::minutes(10);
        /// For the chain's verdict on anything else, and for a signature check. A guess.
        pub verdict: Span = Span::seconds(5), in Span::millis(10) => Span::minutes(10);
        /// For a message that was announced and asked for, until another peer is asked.
        /// gossipsub's follow-up time for IWANT.
        pub want: Span = Span::seconds(3), in Span::millis(10) => Span::minutes(10);
        /// The longest that anybody waits for an answer: a caller that gives a longer deadline, as
        /// while catching up, and a peer that asks this node. A guess: the largest answer,
        /// 2 MiB, at 300 kbit/s.
        pub sync: Span = Span::minutes(1), in Span::millis(100) => Span::hours(1);
        /// For an answer, unless the caller gives a deadline; not longer than sync. A guess.
        pub request: Span = Span::seconds(10), in Span::millis(10) => Span::minutes(10);
        /// For everything to close when the node is told to stop. Half of what
        /// container engines wait.
        pub shutdown: Span = Span::seconds(5), in Span::millis(100) => Span::minutes(5);
    }
}
