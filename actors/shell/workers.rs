//! Threads for work that would hold an actor up: handshakes and signatures.

use std::sync::Arc;

use tokio::sync::Semaphore;

/// Runs heavy closures off the actors' threads, at most `max` at a time; under simulation on the
/// spot, so that virtual time stands still meanwhile.
#[derive(Clone)]
pub enum Workers {
    /// On the caller's thread.
    Inline,
    /// On the runtime's blocking threads, bounded by the semaphore.
    Threads(Arc<Semaphore>),
}

/// The runtime is shutting down, or the closure panicked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the worker has gone")]
pub struct WorkersGone;

impl Workers {
    /// At most `max` closures at a time.
    #[must_use]
    pub fn threads(max: usize) -> Self {
        Workers::Threads(Arc::new(Semaphore::new(max.max(1))))
    }

    /// Runs `work` and hands back its result; waits for a free worker first.
    ///
    /// # Errors
    /// [`WorkersGone`] if the closure panicked or the runtime ends.
    pub async fn run<R: Send + 'static>(
        &self,
        work: impl FnOnce() -> R + Send + 'static,
    ) -> Result<R, WorkersGone> {
        match self {
            Workers::Inline => Ok(work()),
            Workers::Threads(free) => {
                let permit = Arc::clone(free).acquire_owned().await.map_err(|_| WorkersGone)?;
                let done = tokio::task::spawn_blocking(move || {
                    let result = work();
                    drop(permit);
                    result
                });
                done.await.map_err(|_| WorkersGone)
            }
        }
    }
}
