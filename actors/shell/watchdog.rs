//! Notices core actors that hang: a dead one is told by its lifeline, a stuck one by its silence.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use actix::{Message, Recipient};
use peerstage_core::time::{Millis, Time};

use super::Fatal;
use crate::clock::Clock;

/// How often every core actor is asked for a sign of life.
const INTERVAL: Duration = Duration::from_secs(1);
/// An actor that was silent for so long makes the node unhealthy, ms.
const UNHEALTHY_MS: Millis = 5_000;
/// An actor that was silent for so long ends the node, ms.
const HOPELESS_MS: Millis = 30_000;

/// A watchdog that wakes later than this did not run: then nobody could have answered, ms.
const STOPPED_MS: Millis = 3_000;

/// Are you there? Every core actor answers, by a mark that is looked at when the next question
/// is asked: nobody waits for anybody.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub struct AreYouThere(Arc<AtomicBool>);

impl AreYouThere {
    /// Yes.
    pub fn answer(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// When each core actor last answered.
#[derive(Clone, Debug)]
pub struct Pulse {
    clock: Clock,
    heard: Arc<Mutex<BTreeMap<&'static str, Time>>>,
}

impl Pulse {
    /// Nobody was heard yet.
    #[must_use]
    pub fn new(clock: Clock) -> Self {
        Pulse { clock, heard: Arc::default() }
    }

    /// The actors that were silent for more than five seconds.
    #[must_use]
    pub fn silent(&self) -> Vec<&'static str> {
        self.silent_for(UNHEALTHY_MS)
    }

    fn silent_for(&self, ms: Millis) -> Vec<&'static str> {
        let now = self.clock.now();
        let heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        heard.iter().filter(|(_, at)| now.since(**at) > ms).map(|(name, _)| *name).collect()
    }

    fn hear_all(&self) {
        let now = self.clock.now();
        let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        heard.values_mut().for_each(|at| *at = now);
    }

    fn hear(&self, name: &'static str) {
        let now = self.clock.now();
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).insert(name, now);
    }
}

/// Asks every actor once a second, for ever; tells when one is silent for half a
/// minute.
pub(crate) async fn watch(
    pulse: Pulse,
    actors: Vec<(&'static str, Recipient<AreYouThere>)>,
    fatal: Fatal,
) {
    let asked = |(name, actor)| {
        pulse.hear(name);
        (name, actor, AreYouThere(Arc::new(AtomicBool::new(true))))
    };
    let actors: Vec<(_, Recipient<_>, _)> = actors.into_iter().map(asked).collect();
    let mut last = pulse.clock.now();
    loop {
        tokio::time::sleep(INTERVAL).await;
        let now = pulse.clock.now();
        // A process that was stopped, or a machine that was suspended, was silent as a whole.
        if now.since(last) > STOPPED_MS {
            tracing::warn!(ms = now.since(last), "the process stood still");
            pulse.hear_all();
        }
        last = now;
        for (name, actor, question) in &actors {
            if question.0.swap(false, Ordering::Relaxed) {
                pulse.hear(name);
            }
            // A full mailbox is an answer of its own: none.
            let _ = actor.try_send(question.clone());
        }
        if let Some(name) = pulse.silent_for(HOPELESS_MS).first() {
            return fatal.tell(name);
        }
    }
}
