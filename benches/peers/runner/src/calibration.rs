//! A fixed piece of work between measurements, which shows how the machine drifts.

use kit::{Snapshot, Usage};

/// Rounds of the loop: about 100 ms.
const ROUNDS: u64 = 60_000_000;

/// CPU time of the fixed work, ms.
pub fn calibrate() -> f64 {
    let before = Snapshot::take();
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    for _ in 0..ROUNDS {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
    }
    std::hint::black_box(state);
    let now = Snapshot::take();
    let Usage { user_us, system_us, .. } = before.until(&now, &before);
    (user_us + system_us) as f64 / 1000.0
}
