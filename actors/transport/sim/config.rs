//! What a simulated network is like: where hosts are, how far apart, how fast their lines are.

use peerstage_core::time::Millis;

use super::latency::LatencyMatrix;

/// Most bytes under way in one direction of a connection: accepted from the writer and not yet
/// taken by the reader. 1 MiB is what Linux grows a receive buffer to within a few round trips.
pub const WINDOW_BYTES: usize = 1024 * 1024;

/// Largest segment in bytes. Segments of 1,460 bytes leave a modern host in bursts of up to
/// 64 KiB (segmentation offload); 16 KiB keeps a small message's wait behind a burst realistic
/// (2.6 ms at 50 Mbit/s) at a tenth of the events.
pub const SEGMENT_BYTES: usize = 16 * 1024;

/// First retransmission of a lost connection request, in ms (RFC 6298 section 2.1).
pub const RTO_CONNECT_MS: Millis = 1_000;

/// What a retransmission waits for beyond the round trip, in ms (the least of Linux).
pub const RTO_MIN_MS: Millis = 200;

/// Longest pause in ms between two retransmissions. Linux goes to 120 s; this is shorter so that
/// a healed partition is noticed within [`RTO_MAX_MS`].
pub const RTO_MAX_MS: Millis = 3_000;

/// Age in ms of a lost segment after which the sender resets its connection with `TimedOut`;
/// RFC 5482 lets a user choose this, and 30 s keeps simulated partitions short.
pub const GIVE_UP_MS: Millis = 30_000;

/// Connections a listener holds that nobody has accepted yet; further ones are refused.
pub const BACKLOG: usize = 4_096;

const _: () = assert!(RTO_CONNECT_MS <= RTO_MAX_MS && RTO_MIN_MS < RTO_MAX_MS);
const _: () = assert!(RTO_MAX_MS < GIVE_UP_MS);
const _: () = assert!(SEGMENT_BYTES * 4 <= WINDOW_BYTES);

/// How the simulated network behaves.
#[derive(Clone, Debug)]
pub struct SimConfig {
    /// How far apart hosts are.
    pub latency: Latency,
    /// Added to every one-way trip: uniform between 0 and this many microseconds.
    pub jitter_us: u64,
    /// Lines that hosts get, drawn with these weights; none means unlimited lines.
    pub lines: Vec<(u32, Bandwidth)>,
    /// Most bytes under way in one direction of a connection.
    pub window_bytes: usize,
    /// Largest segment in bytes.
    pub segment_bytes: usize,
    /// Whether streams start slowly (`congestion.rs`), as real ones do.
    pub congestion_control: bool,
}

/// One-way trip times.
#[derive(Clone, Debug)]
pub enum Latency {
    /// The same between any two hosts, in ms.
    Constant(Millis),
    /// By the regions of the two hosts.
    Regions(LatencyMatrix),
}

/// The line of a host, in bits per second; `None` is without limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bandwidth {
    /// From the host into the network.
    pub up: Option<u64>,
    /// From the network to the host.
    pub down: Option<u64>,
}

/// Where a host stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Placement {
    /// Index into the regions of the latency matrix; without one it has no meaning.
    pub region: usize,
    /// Its line.
    pub bandwidth: Bandwidth,
}

impl Bandwidth {
    /// The same in both directions, in megabits (10^6 bits) per second.
    #[must_use]
    pub const fn symmetric_mbit(mbit: u64) -> Self {
        let bits = Some(mbit.saturating_mul(1_000_000));
        Bandwidth { up: bits, down: bits }
    }
}

impl Default for SimConfig {
    /// A quiet continent: 20 ms one way, 1 ms jitter, unlimited lines.
    fn default() -> Self {
        SimConfig {
            latency: Latency::Constant(20),
            jitter_us: 1_000,
            lines: Vec::new(),
            window_bytes: WINDOW_BYTES,
            segment_bytes: SEGMENT_BYTES,
            congestion_control: true,
        }
    }
}

impl SimConfig {
    /// No distance, no jitter, unlimited lines: for tests of logic rather than of time.
    #[must_use]
    pub fn instant() -> Self {
        SimConfig {
            latency: Latency::Constant(0),
            jitter_us: 0,
            congestion_control: false,
            ..SimConfig::default()
        }
    }

    /// Servers spread evenly over 13 AWS regions with 1 Gbit/s each (`config/latency/`).
    #[must_use]
    pub fn aws13() -> Self {
        SimConfig {
            latency: Latency::Regions(LatencyMatrix::aws13()),
            lines: vec![(1, Bandwidth::symmetric_mbit(1_000))],
            ..SimConfig::default()
        }
    }

    /// Nodes as they are spread over the world's eight regions in libp2p's gossipsub
    /// experiments: a fifth with 1,024 Mbit/s, the others with 50 Mbit/s (`config/latency/`).
    #[must_use]
    pub fn eight_regions() -> Self {
        SimConfig {
            latency: Latency::Regions(LatencyMatrix::eight_regions()),
            lines: vec![(1, Bandwidth::symmetric_mbit(1_024)), (4, Bandwidth::symmetric_mbit(50))],
            ..SimConfig::default()
        }
    }
}
