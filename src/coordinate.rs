//! Where a node stands in the map of round trips: Vivaldi (Dabek et al. 2004) in two dimensions
//! and a height, so that the round trip to a node never met can be guessed from its record.
//!
//! # Security
//! Provided: one sample moves the node at most [`STEP_MAX_MS`] and never off the map; a liar's
//! coordinate can make guesses wrong, and nothing else depends on them.
//! Not provided: that a coordinate in a record is true.

use serde::{Deserialize, Serialize};

use crate::time::Millis;

/// A place on the map, in tenths of a millisecond of round trip.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Coordinate {
    /// First axis.
    pub x: i16,
    /// Second axis.
    pub y: i16,
    /// The node's own line, which every round trip passes: added, whatever the direction.
    pub height: u16,
}

/// The farthest one sample moves a node, ms.
pub const STEP_MAX_MS: f64 = 25.0;
/// How strongly a sample counts: the paper's constants `c_c` and `c_e` (section 3.5).
const SHARE: f64 = 0.25;
/// The error of a node that has no samples, and the least one keeps: a fraction.
const ERROR_MAX: f64 = 1.0;
const ERROR_MIN: f64 = 0.05;
/// Samples before the coordinate is told to others (a guess; the error has fallen by then).
const SAMPLES_MIN: u32 = 8;
/// The edge of the map and the least height, ms.
const EDGE_MS: f64 = 3_276.0;
const HEIGHT_MIN_MS: f64 = 0.1;
const TENTHS: f64 = 10.0;

impl Coordinate {
    /// The guessed round trip between two places, ms.
    #[must_use]
    pub fn round_trip_ms(&self, other: &Coordinate) -> Millis {
        let x = f64::from(self.x) - f64::from(other.x);
        let y = f64::from(self.y) - f64::from(other.y);
        let heights = f64::from(self.height) + f64::from(other.height);
        // At most 106 s: far within a u64.
        ((x.hypot(y) + heights) / TENTHS).round() as Millis
    }
}

/// This node's own place, found from measured round trips.
#[derive(Clone, Debug)]
pub struct Position {
    x: f64,
    y: f64,
    height: f64,
    error: f64,
    samples: u32,
}

impl Default for Position {
    fn default() -> Self {
        Position { x: 0.0, y: 0.0, height: HEIGHT_MIN_MS, error: ERROR_MAX, samples: 0 }
    }
}

impl Position {
    /// A round trip of `ms` to a node that says it stands at `other`.
    pub fn on_sample(&mut self, ms: Millis, other: &Coordinate) {
        // 60 s and more is no round trip but a pause.
        let measured = f64::from(u16::try_from(ms.clamp(1, 60_000)).unwrap_or(60_000));
        let (mut x, mut y) =
            (self.x - f64::from(other.x) / TENTHS, self.y - f64::from(other.y) / TENTHS);
        let flat = x.hypot(y);
        let heights = self.height + f64::from(other.height) / TENTHS;
        if flat < 1e-3 {
            // Two nodes at one place must part; the direction is a matter of chance, here of the
            // round trip's last bits, so that a replay parts them alike.
            let turn = f64::from(u8::try_from(ms % 251).unwrap_or(0)) + f64::from(self.samples % 7);
            (x, y) = (turn.cos(), turn.sin());
        } else {
            (x, y) = (x / flat, y / flat);
        }
        let distance = flat + heights;
        let off = ((distance - measured) / measured).abs().min(ERROR_MAX);
        self.error = (self.error * (1.0 - SHARE) + off * SHARE).clamp(ERROR_MIN, ERROR_MAX);
        let force = (SHARE * self.error * (measured - distance)).clamp(-STEP_MAX_MS, STEP_MAX_MS);
        self.x = (self.x + x * force).clamp(-EDGE_MS, EDGE_MS);
        self.y = (self.y + y * force).clamp(-EDGE_MS, EDGE_MS);
        let lift = force * self.height / distance.max(HEIGHT_MIN_MS);
        self.height = (self.height + lift).clamp(HEIGHT_MIN_MS, EDGE_MS);
        self.samples = self.samples.saturating_add(1);
    }

    /// The place as records carry it; `None` until it rests on enough samples.
    #[must_use]
    pub fn coordinate(&self) -> Option<Coordinate> {
        // All three are within the map's edge: 32,760 tenths.
        (self.samples >= SAMPLES_MIN).then(|| Coordinate {
            x: (self.x * TENTHS).round() as i16,
            y: (self.y * TENTHS).round() as i16,
            height: (self.height * TENTHS).round() as u16,
        })
    }
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    /// Forty nodes on a plane, each with a line of its own, learn each other's distances.
    #[test]
    fn the_map_agrees_with_the_round_trips() {
        let mut rng = ChaCha8Rng::from_seed([7; 32]);
        let place = |rng: &mut ChaCha8Rng| {
            let mut axis = || f64::from(rng.random_range(0..200u32));
            (axis(), axis(), f64::from(rng.random_range(1..20u32)))
        };
        let real: Vec<_> = (0..40).map(|_| place(&mut rng)).collect();
        let trip = |a: usize, b: usize| {
            let ((ax, ay, ah), (bx, by, bh)) = (real[a], real[b]);
            ((ax - bx).hypot(ay - by) + ah + bh).round() as Millis
        };
        let mut nodes = vec![Position::default(); 40];
        for _ in 0..12_000 {
            let (a, b) = (rng.random_range(0..40), rng.random_range(0..40));
            if a != b {
                let told = nodes[b].coordinate().unwrap_or_default();
                nodes[a].on_sample(trip(a, b), &told);
            }
        }
        let mut errors = Vec::new();
        for a in 0..40 {
            for b in 0..a {
                let (a_told, b_told) =
                    (nodes[a].coordinate().unwrap(), nodes[b].coordinate().unwrap());
                let guess = a_told.round_trip_ms(&b_told) as f64;
                errors.push((guess - trip(a, b) as f64).abs() / trip(a, b) as f64);
            }
        }
        errors.sort_by(f64::total_cmp);
        assert!(errors[errors.len() / 2] < 0.15, "median error {}", errors[errors.len() / 2]);
    }

    #[test]
    fn a_liar_moves_nobody_far() {
        let mut node = Position::default();
        let liar = Coordinate { x: i16::MIN, y: i16::MAX, height: u16::MAX };
        let before = (node.x, node.y);
        node.on_sample(u64::MAX, &liar);
        assert!((node.x - before.0).hypot(node.y - before.1) <= STEP_MAX_MS + 1e-9);
        for _ in 0..10_000 {
            node.on_sample(0, &liar);
        }
        assert!(node.coordinate().is_some());
    }
}
