//! What the primitives cost on this machine: the figures of ADR 0002 and ADR 0007.
//!
//! `make bench-primitives` prints them. `decapsulate honest|forged ROUNDS` does nothing else, for
//! a count of instructions: `scripts/kem-paths`.

mod codecs;
mod keys;

use std::{
    env,
    hint::black_box,
    process::ExitCode,
    time::{Duration, Instant},
};

/// Samples of each figure; the median is printed.
const SAMPLES: usize = 31;
/// How long one sample takes at least: far above the resolution of the clock.
const SAMPLE_MIN: Duration = Duration::from_millis(5);

/// The median time of `work`, microseconds.
fn microseconds<T>(mut work: impl FnMut() -> T) -> f64 {
    let mut rounds = 1u32;
    let mut sample = |rounds: u32| {
        let began = Instant::now();
        (0..rounds).for_each(|_| drop(black_box(work())));
        began.elapsed()
    };
    while sample(rounds) < SAMPLE_MIN {
        rounds = rounds.saturating_mul(2);
    }
    let mut samples: Vec<Duration> = (0..SAMPLES).map(|_| sample(rounds)).collect();
    samples.sort_unstable();
    let median = samples.get(SAMPLES / 2).copied().unwrap_or_default();
    median.as_secs_f64() * 1e6 / f64::from(rounds)
}

fn figure(name: &str, microseconds: f64) {
    println!("{name:<44} {microseconds:>9.1} us {:>9.0} /s", 1e6 / microseconds);
}

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        // `cargo bench` adds a flag of its own.
        [] | ["--bench"] => {
            keys::print();
            codecs::print();
            ExitCode::SUCCESS
        }
        ["decapsulate", which @ ("honest" | "forged"), rounds] => match rounds.parse() {
            Ok(rounds) => {
                keys::decapsulate(*which == "forged", rounds);
                ExitCode::SUCCESS
            }
            Err(_) => usage(),
        },
        _ => usage(),
    }
}

fn usage() -> ExitCode {
    eprintln!("usage: primitives [decapsulate honest|forged ROUNDS]");
    ExitCode::from(2)
}
