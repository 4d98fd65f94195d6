//! What the operating system says a process used.

use std::time::Instant;

use nix::sys::{
    resource::{Resource, UsageWho, getrlimit, getrusage, setrlimit},
    time::{TimeVal, TimeValLike},
};
use serde::{Deserialize, Serialize};

/// CPU time and memory of this process at one moment.
#[derive(Clone, Copy, Debug)]
pub struct Snapshot {
    user_us: u64,
    system_us: u64,
    rss_kib: u64,
    waits: u64,
    at: Instant,
}

/// What a process used between two moments.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Usage {
    /// CPU time in user mode, µs.
    pub user_us: u64,
    /// CPU time in the kernel, µs.
    pub system_us: u64,
    /// Times a thread gave the processor up to wait (`ru_nvcsw`).
    pub waits: u64,
    /// Wall-clock time, µs.
    pub wall_us: u64,
    /// Resident memory before the first connection, KiB.
    pub rss_ready_kib: u64,
    /// Resident memory when the measured phase began, KiB.
    pub rss_start_kib: u64,
    /// Resident memory when it ended, KiB.
    pub rss_stop_kib: u64,
}

impl Snapshot {
    /// Now.
    #[must_use]
    pub fn take() -> Self {
        let usage = getrusage(UsageWho::RUSAGE_SELF);
        let micros = |time: TimeVal| time.num_microseconds() as u64;
        let (user_us, system_us, waits) = usage.map_or((0, 0, 0), |usage| {
            let waits = usage.voluntary_context_switches() as u64;
            (micros(usage.user_time()), micros(usage.system_time()), waits)
        });
        Snapshot { user_us, system_us, waits, rss_kib: rss_kib(), at: Instant::now() }
    }

    /// What was used from `self` to `later`; `ready` was taken before the first connection.
    #[must_use]
    pub fn until(&self, later: &Snapshot, ready: &Snapshot) -> Usage {
        Usage {
            user_us: later.user_us - self.user_us,
            system_us: later.system_us - self.system_us,
            waits: later.waits - self.waits,
            wall_us: later.at.duration_since(self.at).as_micros() as u64,
            rss_ready_kib: ready.rss_kib,
            rss_start_kib: self.rss_kib,
            rss_stop_kib: later.rss_kib,
        }
    }
}

/// Resident memory of this process, KiB (`VmRSS`).
#[must_use]
pub fn rss_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

/// Lets this process open as many descriptors as it may.
pub fn raise_descriptor_limit() {
    if let Ok((_, hard)) = getrlimit(Resource::RLIMIT_NOFILE) {
        // What stays too low shows as an error where the descriptors run out.
        let _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
    }
}
