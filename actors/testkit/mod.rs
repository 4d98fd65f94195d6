//! Tools to test a chain on: a network and a clock that repeat from a seed.
//!
//! [`run_virtual`] runs a story in virtual time, [`crate::transport::sim::SimNetwork`] is the
//! network in it, [`faults`] break it, and [`conformance`] checks transports of your own.

pub mod cluster;
pub mod conformance;
pub mod faults;

use std::{future::Future, time::Duration};

/// Longest virtual time a story of [`run_virtual`] may take.
pub const STORY_LIMIT: Duration = Duration::from_hours(1);

/// Runs a story on one thread in virtual time: whenever everybody waits, the clock jumps to the
/// next timer. Actors, `run_later`, streams and tokio's timers all follow it.
///
/// The story is given `seed`, to make its network and its random generators from. If it panics,
/// the seed is printed.
///
/// # Panics
/// If the story does not end within [`STORY_LIMIT`] of virtual time: somebody waits for ever.
pub fn run_virtual<F, Fut>(seed: u64, story: F) -> Fut::Output
where
    F: FnOnce(u64) -> Fut,
    Fut: Future,
{
    run_virtual_for(seed, STORY_LIMIT, story)
}

/// As [`run_virtual`], with a limit of your own in virtual time.
///
/// # Panics
/// If the story does not end within `limit` of virtual time, or the runtime can't be built.
#[allow(clippy::panic, clippy::expect_used, reason = "a tool of tests ends them by panicking")]
pub fn run_virtual_for<F, Fut>(seed: u64, limit: Duration, story: F) -> Fut::Output
where
    F: FnOnce(u64) -> Fut,
    Fut: Future,
{
    let _name_the_seed = SeedOnPanic(seed);
    let system = actix_rt::System::with_tokio_rt(|| {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()
            .expect("the system gives us no runtime")
    });
    let story = async { tokio::time::timeout(limit, story(seed)).await };
    match system.block_on(story) {
        Ok(output) => output,
        Err(_) => panic!("the story did not end within {} virtual seconds", limit.as_secs()),
    }
}

/// Says which seed to repeat, if the thread panics under it.
struct SeedOnPanic(u64);

impl Drop for SeedOnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the story failed with seed {}", self.0);
        }
    }
}

#[cfg(test)]
mod tests;
