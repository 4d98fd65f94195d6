//! What the death of an actor means.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

type Hook = Arc<dyn Fn(&'static str) + Send + Sync>;

/// Tells the process that a core actor has died. The node binary exits within a second with a
/// clear message, so that its service manager restarts it; an embedding chain chooses.
#[derive(Clone)]
pub struct Fatal {
    hook: Hook,
    told: Arc<AtomicBool>,
}

/// Kept by a core actor for as long as it runs: if it is dropped by a panic, or without
/// [`Lifeline::release`], the node is told.
pub struct Lifeline {
    actor: &'static str,
    fatal: Fatal,
    released: bool,
}

impl Fatal {
    /// Calls `hook` with the name of the first core actor that dies.
    pub fn new(hook: impl Fn(&'static str) + Send + Sync + 'static) -> Self {
        Fatal { hook: Arc::new(hook), told: Arc::default() }
    }

    /// A lifeline for the core actor `actor`.
    #[must_use]
    pub fn lifeline(&self, actor: &'static str) -> Lifeline {
        Lifeline { actor, fatal: self.clone(), released: false }
    }

    /// Whether a core actor has died.
    #[must_use]
    pub fn is_told(&self) -> bool {
        self.told.load(Ordering::Acquire)
    }

    /// Reports a core actor as dead.
    pub fn tell(&self, actor: &'static str) {
        if !self.told.swap(true, Ordering::AcqRel) {
            (self.hook)(actor);
        }
    }
}

impl Lifeline {
    /// The actor ends in order.
    pub fn release(&mut self) {
        self.released = true;
    }
}

impl Drop for Lifeline {
    /// Runs while a panic unwinds, so it must not panic itself.
    fn drop(&mut self) {
        if thread::panicking() || !self.released {
            self.fatal.tell(self.actor);
        }
    }
}

/// Panics if a test asked for it: the fault injection of the shell's tests.
#[expect(clippy::panic, reason = "tests want to see what a panic does")]
pub(crate) fn injected_panic() {
    panic!("injected by a test");
}
