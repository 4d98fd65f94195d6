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
        /// Hops a message makes at most. A random graph of degree 8 and a million nodes has a
        /// diameter of about 8; twice that.
        pub max_hops: u32 = 16, in 1 => 255;
        /// Peers that selective mode relays to when too few reach the threshold, best first,
        /// so that a young network spreads too.
        pub fallback_peers: u32 = 4, in 1 => 1_000;
        /// How long a message is remembered as seen, so that it is handled once. gossipsub's
        /// number in Ethereum (2 x 12 s x 32 slots) is longer, its default is this.
        pub expiration: Span = Span::minutes(2), in Span::seconds(1) => Span::hours(24);
        /// How often what expired is swept out.
        pub cleanup_interval: Span = Span::seconds(10), in Span::millis(100) => Span::hours(1);
        /// Messages remembered as seen, at most; about 100 bytes each. A thousand a second
        /// for the default expiration.
        pub cache_size: u32 = 131_072, in 1_024 => 16_777_216;
    }
}

section! {
    /// Announcements of messages to peers that weren't sent them.
    pub struct Gossip in gossip {
        /// Peers that an announcement goes to. gossipsub's D.
        pub fanout: u32 = 6, in 1 => 1_000;
        /// How often announcements are sent. gossipsub's heartbeat.
        pub interval: Span = Span::seconds(1), in Span::millis(10) => Span::minutes(1);
        /// How long a message is kept to be served to who asks for it. Longer than six
        /// announcements, shorter than relay.expiration.
        pub ttl: Span = Span::seconds(30), in Span::millis(100) => Span::hours(1);
        /// Bytes of messages kept to be served, at most; the oldest go first. 16 of the
        /// longest messages.
        pub cache_size: Size = Size::mib(64), in Size::mib(4) => Size::gib(16);
    }
}

section! {
    /// How long the node waits for others.
    pub struct Timeouts in timeouts {
        /// For a block that was announced, until another peer is asked. Bitcoin waits 2 s for
        /// a stalling peer at first.
        pub block: Span = Span::seconds(2), in Span::millis(10) => Span::minutes(10);
        /// For a transaction that was announced, until another peer is asked. Bitcoin waits
        /// 60 s; a lost vote on it costs more here.
        pub transaction: Span = Span::seconds(5), in Span::millis(10) => Span::minutes(10);
        /// For an answer while catching up, which may be large.
        pub sync: Span = Span::seconds(30), in Span::millis(100) => Span::hours(1);
        /// For any other answer, unless the caller gives a deadline.
        pub request: Span = Span::seconds(10), in Span::millis(10) => Span::minutes(10);
        /// For the chain's verdict on a message, before it is dropped without blaming the peer.
        pub verdict: Span = Span::seconds(10), in Span::millis(10) => Span::minutes(10);
        /// For everything to close when the node is told to stop.
        pub shutdown: Span = Span::seconds(5), in Span::millis(100) => Span::minutes(5);
    }
}
