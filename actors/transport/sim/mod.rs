//! A network in virtual time: the same [`Transport`] as real sockets, from a seed.
//!
//! Hosts have a place (latency), a line (bandwidth up and down) and a bounded window for each
//! direction of a connection. Streams lose nothing: a segment that a [`Rule`] drops is sent again
//! after a retransmission timeout, and what follows waits for it. Under tokio's paused clock a
//! run takes as long as its computations, and the same seed gives the same [`SimNetwork::digest`],
//! in another process too, as long as the program keeps three promises: one thread
//! ([`crate::testkit::run_virtual`]), no randomness but seeded one, and `biased;` in every
//! `tokio::select!` (its default order is random).
//!
//! The machine is `fabric.rs`, with what happens on the way in `traffic.rs`; one task drives it.
//!
//! # Not provided
//! Loss of acknowledgements, fast retransmission (a loss always costs a timeout), datagrams,
//! address translation.

mod config;
mod congestion;
mod distance;
mod end;
mod fabric;
mod host;
mod latency;
mod rules;
mod stream;
mod trace;
mod traffic;

use std::{
    io,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use async_trait::async_trait;
use peerstage_core::address::Address;
use tokio::{sync::Notify, time::Instant};

use super::{Io, Link, Listener, Transport};
use fabric::{Fabric, Micros};
use stream::{SimListener, SimStream};

pub use config::{
    BACKLOG, Bandwidth, GIVE_UP_MS, Latency, Placement, RTO_CONNECT_MS, RTO_MAX_MS, RTO_MIN_MS,
    SEGMENT_BYTES, SimConfig, WINDOW_BYTES,
};
pub use congestion::INITIAL_WINDOW_BYTES;
pub use latency::{LatencyError, LatencyMatrix};
pub use rules::{Packet, PacketKind, Rule, Verdict};
pub use trace::{HostStats, SimStats};

/// A simulated network. Clones are the same network; it lives as long as one of them, one of its
/// transports or one of its links does.
#[derive(Clone)]
pub struct SimNetwork {
    shared: Arc<Shared>,
}

impl SimNetwork {
    /// An empty network; everything random about it comes from `seed`.
    ///
    /// # Panics
    /// Outside of a tokio runtime: the network is driven by a task.
    #[must_use]
    pub fn new(seed: u64, config: SimConfig) -> Self {
        let changed = Arc::new(Notify::new());
        let fabric = Mutex::new(Fabric::new(seed, config));
        let shared = Arc::new(Shared { fabric, changed: changed.clone(), began: Instant::now() });
        tokio::spawn(drive(Arc::downgrade(&shared), changed));
        SimNetwork { shared }
    }

    /// The transport of the host at `ip`, in its present life. The first call puts the host into
    /// the network, at a place drawn from the configuration; after a crash, call again.
    #[must_use]
    pub fn host(&self, ip: IpAddr) -> SimTransport {
        let life = self.shared.with(|fabric, _| fabric.on_host(ip, None));
        SimTransport { shared: self.shared.clone(), host: (ip, life) }
    }

    /// As [`SimNetwork::host`], at a place of your choice.
    #[must_use]
    pub fn host_at(&self, ip: IpAddr, placement: Placement) -> SimTransport {
        let life = self.shared.with(|fabric, _| fabric.on_host(ip, Some(placement)));
        SimTransport { shared: self.shared.clone(), host: (ip, life) }
    }

    /// Where a host stands, if there is one at `ip`.
    #[must_use]
    pub fn placement(&self, ip: IpAddr) -> Option<Placement> {
        self.shared.with(|fabric, _| fabric.hosts.get(&ip).map(|host| host.placement))
    }

    /// Installs a fault; it ends when the guard is dropped.
    pub fn install(&self, rule: impl Rule + 'static) -> FaultGuard {
        let id = self.shared.with(|fabric, _| fabric.rules.install(Box::new(rule)));
        FaultGuard { network: Arc::downgrade(&self.shared), fault: Fault::Rule(id) }
    }

    /// Narrows the line of a host; it ends when the guard is dropped.
    pub fn limit(&self, ip: IpAddr, limit: Bandwidth) -> FaultGuard {
        let id = self.shared.with(|fabric, now| {
            let id = fabric.fresh_id();
            fabric.on_limit(now, ip, id, Some(limit));
            id
        });
        FaultGuard { network: Arc::downgrade(&self.shared), fault: Fault::Limit(ip, id) }
    }

    /// Crashes a host: its listeners are gone, its connections are reset (other hosts learn it a
    /// trip later, unless a rule drops the news) and transports of its old life are dead. What
    /// the host has stored is not the network's matter.
    pub fn crash(&self, ip: IpAddr) {
        self.shared.with(|fabric, now| fabric.on_crash(now, ip));
    }

    /// A hash over everything that happened so far: each packet sent, lost and arrived, with its
    /// time in microseconds, both addresses, its length and its payload.
    #[must_use]
    pub fn digest(&self) -> [u8; 32] {
        self.shared.with(|fabric, _| fabric.trace.digest())
    }

    /// Counters so far.
    #[must_use]
    pub fn stats(&self) -> SimStats {
        self.shared.with(|fabric, _| fabric.trace.stats.clone())
    }
}

/// A fault under way. Dropping it ends the fault.
#[must_use = "the fault ends when this is dropped"]
pub struct FaultGuard {
    network: Weak<Shared>,
    fault: Fault,
}

enum Fault {
    Rule(u64),
    Limit(IpAddr, u64),
}

impl Drop for FaultGuard {
    fn drop(&mut self) {
        let Some(shared) = self.network.upgrade() else { return };
        let rule = shared.with(|fabric, now| match self.fault {
            Fault::Rule(id) => fabric.rules.remove(id),
            Fault::Limit(ip, id) => {
                fabric.on_limit(now, ip, id, None);
                None
            }
        });
        drop(rule);
    }
}

/// One host's way into a [`SimNetwork`].
#[derive(Clone)]
pub struct SimTransport {
    shared: Arc<Shared>,
    /// Its address and its life.
    host: (IpAddr, u64),
}

impl SimTransport {
    /// The address of the host.
    #[must_use]
    pub fn ip(&self) -> IpAddr {
        self.host.0
    }
}

#[async_trait]
impl Transport for SimTransport {
    fn name(&self) -> &'static str {
        "sim"
    }

    async fn listen(&self, address: Address) -> io::Result<Box<dyn Listener>> {
        let (local, id) = self.shared.with(|fabric, _| fabric.on_listen(self.host, address))?;
        Ok(Box::new(SimListener { shared: self.shared.clone(), local, id }))
    }

    async fn dial(&self, address: Address) -> io::Result<Link> {
        let (id, local) =
            self.shared.with(|fabric, now| fabric.on_dial(now, self.host, address))?;
        // Dropped with this future, it takes the attempt back.
        let stream = SimStream { shared: self.shared.clone(), id };
        std::future::poll_fn(|cx| self.shared.with(|fabric, _| fabric.poll_opened(id, cx))).await?;
        Ok(Link { io: Box::new(stream), local, remote: address })
    }
}

/// The machine, its lock and its driver's bell.
struct Shared {
    fabric: Mutex<Fabric>,
    changed: Arc<Notify>,
    began: Instant,
}

impl Shared {
    /// Feeds the machine one fact. Tasks are woken, and wakers dropped, after the lock.
    fn with<R>(&self, fact: impl FnOnce(&mut Fabric, Micros) -> R) -> R {
        let now = self.now();
        let mut fabric = self.lock();
        let before = fabric.deadline();
        let answer = fact(&mut fabric, now);
        let sooner = fabric.deadline() != before;
        let wakes = std::mem::take(&mut fabric.wakes);
        let retired = std::mem::take(&mut fabric.retired);
        drop(fabric);
        if sooner {
            self.changed.notify_one();
        }
        for waker in wakes {
            waker.wake();
        }
        drop(retired);
        answer
    }

    fn now(&self) -> Micros {
        Micros::try_from(self.began.elapsed().as_micros()).unwrap_or(Micros::MAX)
    }

    /// A rule that panics ends its test; the network behind it stays usable for clean-up.
    fn lock(&self) -> MutexGuard<'_, Fabric> {
        self.fabric.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.changed.notify_one();
    }
}

/// Lets events happen when they are due, until the network is gone.
async fn drive(network: Weak<Shared>, changed: Arc<Notify>) {
    loop {
        let Some(shared) = network.upgrade() else { return };
        let next = shared.with(|fabric, now| {
            fabric.on_deadline(now);
            fabric.deadline()
        });
        let wake_at = next.map(|at| shared.began + Duration::from_micros(at));
        drop(shared);
        match wake_at {
            Some(at) => tokio::select! {
                biased;
                () = changed.notified() => {}
                () = tokio::time::sleep_until(at) => {}
            },
            None => changed.notified().await,
        }
    }
}

#[cfg(test)]
mod tests;
