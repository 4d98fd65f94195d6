//! What every stack of the comparison has in common: what is asked of it, how a process that runs
//! it talks to the runner, and how messages are counted.

pub mod child;
pub mod graph;
pub mod pipe;
pub mod tally;
pub mod task;
pub mod usage;
pub mod window;

pub use child::{Control, Job, Role, finish, on_tokio};
pub use pipe::{Sink, Source};
pub use tally::Tally;
pub use task::Task;
pub use usage::{Snapshot, Usage};
pub use window::{Arrivals, Window};

/// A message of `size` bytes that differs from every other: its number, then a pattern.
#[must_use]
pub fn message(number: u64, size: usize) -> Vec<u8> {
    let mut bytes = vec![0u8; size.max(8)];
    let mut state = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    for chunk in bytes.chunks_mut(8) {
        state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        let word = state.to_be_bytes();
        let length = chunk.len();
        chunk.copy_from_slice(&word[..length]);
    }
    bytes[..8].copy_from_slice(&number.to_be_bytes());
    bytes
}

/// The number of a message made by [`message`].
#[must_use]
pub fn number_of(message: &[u8]) -> u64 {
    message.first_chunk().map_or(u64::MAX, |head| u64::from_be_bytes(*head))
}
