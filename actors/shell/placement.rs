//! Which thread an actor lives on.

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use actix_rt::{Arbiter, ArbiterHandle};

/// Threads that carry connections at most: each moves about a gigabyte a second of records.
const PEERS_MAX: usize = 4;

/// Cores for each thread that does handshakes. One thread does two thousand a second.
const CORES_PER_HANDSHAKES: usize = 8;

/// The threads of a node. Under simulation everything shares the caller's thread and its virtual
/// clock; in production core actors have theirs and a fixed pool carries the peers.
#[derive(Clone)]
pub enum Placement {
    /// Everything on the current thread.
    Inline,
    /// Threads of their own.
    Threads {
        /// Relay, requests: what every message passes.
        relay: ArbiterHandle,
        /// The chain's handlers.
        bridges: ArbiterHandle,
        /// The peers.
        peers: Arc<[ArbiterHandle]>,
        /// Connections before their handshake is done: its cryptography takes up to a
        /// millisecond, in which nobody's messages may have to wait.
        handshakes: Arc<[ArbiterHandle]>,
        /// Whose turn it is, of the peers' threads and of the others.
        next: Arc<[AtomicUsize; 2]>,
    },
}

impl Placement {
    /// Starts the threads of a production node on so many cores: one for the chain's handlers,
    /// up to four for the connections, one for the relay. On two cores the connections
    /// and the relay share one: another would only add a switch of threads to every message.
    /// Must be called on a thread that runs an actix system.
    #[must_use]
    pub fn threads(cores: usize) -> Self {
        let bridges = Arbiter::new().handle();
        let first = Arbiter::new().handle();
        let relay = if cores > 2 { Arbiter::new().handle() } else { first.clone() };
        let others = (1..cores.saturating_sub(1).min(PEERS_MAX)).map(|_| Arbiter::new().handle());
        let peers = std::iter::once(first).chain(others).collect();
        let handshakes = (0..cores.div_ceil(CORES_PER_HANDSHAKES)).map(|_| Arbiter::new().handle());
        let handshakes = handshakes.collect();
        Placement::Threads { relay, bridges, peers, handshakes, next: Arc::default() }
    }

    /// Where the relay lives.
    #[must_use]
    pub fn relay(&self) -> ArbiterHandle {
        match self {
            Placement::Inline => Arbiter::current(),
            Placement::Threads { relay, .. } => relay.clone(),
        }
    }

    /// Where the chain's handlers run.
    #[must_use]
    pub fn bridges(&self) -> ArbiterHandle {
        match self {
            Placement::Inline => Arbiter::current(),
            Placement::Threads { bridges, .. } => bridges.clone(),
        }
    }

    /// Runs a connection's task on the next thread of the pool.
    pub fn spawn_peer(&self, task: impl Future<Output = ()> + Send + 'static) {
        match self {
            Placement::Inline => drop(actix_rt::spawn(task)),
            Placement::Threads { peers, next, .. } => spawn_on(peers, &next[0], task),
        }
    }

    /// Runs what comes before a connection is a peer: the dial and the handshake.
    pub fn spawn_handshake(&self, task: impl Future<Output = ()> + Send + 'static) {
        match self {
            Placement::Inline => drop(actix_rt::spawn(task)),
            Placement::Threads { handshakes, next, .. } => spawn_on(handshakes, &next[1], task),
        }
    }

    /// Ends the threads.
    pub fn stop(&self) {
        if let Placement::Threads { relay, bridges, peers, handshakes, .. } = self {
            for arbiter in handshakes.iter().chain(peers.iter()).chain([relay, bridges]) {
                arbiter.stop();
            }
        }
    }
}

fn spawn_on(
    arbiters: &[ArbiterHandle],
    next: &AtomicUsize,
    task: impl Future<Output = ()> + Send + 'static,
) {
    let turn = next.fetch_add(1, Ordering::Relaxed) % arbiters.len().max(1);
    if let Some(arbiter) = arbiters.get(turn) {
        arbiter.spawn(task);
    }
}
