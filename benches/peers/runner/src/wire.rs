//! Traffic on the loopback interface: headers and acknowledgements included, and whatever else
//! uses it at the same time.

use anyhow::{Context, Result};

/// Counters of the interface, or the difference of two readings.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wire {
    /// Bytes.
    pub bytes: u64,
    /// Packets, up to 64 KiB each on this interface.
    pub packets: u64,
}

impl Wire {
    /// The counters of `lo` now.
    ///
    /// # Errors
    /// There is no such interface.
    pub fn now() -> Result<Wire> {
        let text = std::fs::read_to_string("/proc/net/dev").context("/proc/net/dev")?;
        let line = text.lines().find_map(|line| line.trim_start().strip_prefix("lo:"));
        let mut numbers = line.context("no loopback interface")?.split_whitespace();
        let mut next = || numbers.next().and_then(|word| word.parse().ok()).context("a counter");
        Ok(Wire { bytes: next()?, packets: next()? })
    }

    /// What was added since.
    #[must_use]
    pub fn until(self, later: Wire) -> Wire {
        Wire { bytes: later.bytes - self.bytes, packets: later.packets - self.packets }
    }
}
