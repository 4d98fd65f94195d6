//! A network of real nodes for tests: on the simulated network in virtual time, on TCP or on QUIC.
//!
//! A [`Cluster`] starts nodes through [`Network::builder`] only, as users do; the first one is
//! the bootstrap node of all others. Each [`Member`] writes down what its chain was handed
//! ([`Inbox`]) and what it was told ([`Member::events`]). Stories wait with [`Cluster::until`],
//! which looks again whenever something has happened anywhere.

mod inbox;
mod member;
mod world;

use std::{
    net::IpAddr,
    ops::Range,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use peerstage_core::{
    config::Config,
    identity::{Keypair, PublicKey},
    messages::Topic,
};
use tokio::{sync::Notify, time::Instant};

pub use inbox::{Inbox, Receipt};
pub use member::Member;
pub use world::World;

use super::faults;
use crate::{
    Builder, Network, Reply, StartError,
    clock::Clock,
    store::memory::MemoryDisk,
    transport::sim::{FaultGuard, SimNetwork},
};

/// The topic that every member answers requests about, with what it was asked.
pub const ECHO: Topic = Topic(1);
/// The port of every simulated node.
pub const PORT: u16 = 30_400;
/// When the simulated clocks start, ms since 1970: some day in 2026.
pub const EPOCH_MS: u64 = 1_780_000_000_000;

type Configure = Box<dyn Fn(usize, &mut Config)>;
type Prepare = Box<dyn Fn(usize, Builder) -> Builder>;

/// Nodes of one network.
pub struct Cluster {
    world: World,
    seed: u64,
    chain: String,
    validators: usize,
    configure: Configure,
    prepare: Prepare,
    members: Vec<Member>,
    bell: Arc<Notify>,
    /// The clock that the clocks of new members are set by.
    clock: Clock,
}

impl Cluster {
    /// A network without nodes. The same world and the same seed give the same run.
    #[must_use]
    pub fn new(world: World, seed: u64) -> Self {
        let clock = match world {
            World::Simulated(_) => Clock::simulated(EPOCH_MS),
            World::Loopback | World::LoopbackQuic => Clock::system(),
        };
        Cluster {
            world,
            seed,
            chain: "cluster".to_owned(),
            validators: 0,
            configure: Box::new(|_, _| ()),
            prepare: Box::new(|_, builder| builder),
            members: Vec::new(),
            bell: Arc::default(),
            clock,
        }
    }

    /// Nodes of the network with this name; without it, of `cluster`.
    #[must_use]
    pub fn named(mut self, chain: &str) -> Self {
        chain.clone_into(&mut self.chain);
        self
    }

    /// The first so many nodes are validators.
    #[must_use]
    pub fn with_validators(mut self, count: usize) -> Self {
        self.validators = count;
        self
    }

    /// Changes the configuration of each node, by its number.
    #[must_use]
    pub fn configured(mut self, configure: impl Fn(usize, &mut Config) + 'static) -> Self {
        self.configure = Box::new(configure);
        self
    }

    /// Changes anything else about each node, such as its handlers, by its number.
    #[must_use]
    pub fn prepared(mut self, prepare: impl Fn(usize, Builder) -> Builder + 'static) -> Self {
        self.prepare = Box::new(prepare);
        self
    }

    /// Starts so many more nodes, one after the other; returns their numbers.
    ///
    /// # Errors
    /// [`StartError`] of the first that does not start.
    pub async fn start(&mut self, count: usize) -> Result<Range<usize>, StartError> {
        let first = self.members.len();
        for index in first..first + count {
            self.members.push(Member {
                network: None,
                node: self.keypair(index).node_id(),
                clock: self.clock.clone(),
                disk: MemoryDisk::new(),
                inbox: Inbox::new(self.clock.clone(), Arc::clone(&self.bell)),
                events: Arc::default(),
                lives: 0,
            });
            self.boot(index).await?;
        }
        Ok(first..first + count)
    }

    /// Starts a crashed or stopped node again: same key, same address, same store.
    ///
    /// # Errors
    /// [`StartError`].
    pub async fn restart(&mut self, index: usize) -> Result<(), StartError> {
        self.boot(index).await
    }

    /// Kills a node: no goodbye, nothing more is written, its connections break.
    pub async fn crash(&mut self, index: usize) {
        let ip = self.ip(index);
        let Some(member) = self.members.get_mut(index) else { return };
        member.disk.crash();
        if let World::Simulated(network) = &self.world {
            network.crash(ip);
        }
        if let Some(network) = member.network.take() {
            network.crash().await;
        }
    }

    /// Stops a node in order.
    pub async fn shutdown(&mut self, index: usize) {
        let network = self.members.get_mut(index).and_then(|member| member.network.take());
        if let Some(network) = network {
            network.shutdown().await;
        }
    }

    /// Stops every node in order.
    pub async fn shutdown_all(&mut self) {
        for index in 0..self.members.len() {
            self.shutdown(index).await;
        }
    }

    async fn boot(&mut self, index: usize) -> Result<(), StartError> {
        let life = self.members.get(index).map_or(0, |member| member.lives);
        let clock = match self.world {
            World::Simulated(_) => Clock::simulated(self.clock.now().0),
            World::Loopback | World::LoopbackQuic => self.clock.clone(),
        };
        let disk = self.members.get(index).map(|member| member.disk.clone()).unwrap_or_default();
        let mut builder = Network::builder(&self.chain)
            .keypair(self.keypair(index))
            .validators((0..self.validators).map(|index| self.validator_key(index).public()))
            .store(Box::new(disk.open()?))
            .simulated(clock.clone(), self.secret("life", index, life))
            .listen(&self.listen_at(index))
            .configure(|config| {
                config.network.transports = self.world.kinds();
                if !self.world.is_simulated() {
                    share_one_address(config);
                }
                (self.configure)(index, config);
            });
        if let Some(transport) = self.world.transport(self.ip(index)) {
            builder = builder.transport(transport);
        }
        if index < self.validators {
            builder = builder.validator(self.validator_key(index));
        }
        if index > 0 {
            builder = builder.bootstrap(self.bootstrap());
        }
        if let Some(member) = self.members.get(index) {
            builder = member.inbox.attach(builder);
        }
        let echo = |_, body| async move { Reply::Answer(body) };
        builder = (self.prepare)(index, builder.serve(ECHO, echo));
        let network = match self.world {
            World::Simulated(_) => builder.start_here().await?,
            World::Loopback | World::LoopbackQuic => builder.start().await?,
        };
        if let Some(member) = self.members.get_mut(index) {
            member.listen(&network, Arc::clone(&self.bell));
            member.network = Some(network);
            member.clock = clock;
            member.lives += 1;
        }
        Ok(())
    }

    fn bootstrap(&self) -> Vec<String> {
        let first = self.members.first().and_then(|member| member.network.as_ref());
        if self.world.is_simulated() {
            return vec![format!("{}:{PORT}", self.ip(0))];
        }
        let address = first.and_then(|network| network.listening().first());
        address.map(ToString::to_string).into_iter().collect()
    }

    fn listen_at(&self, index: usize) -> String {
        match &self.world {
            World::Simulated(_) => format!("{}:{PORT}", self.ip(index)),
            World::Loopback | World::LoopbackQuic => "127.0.0.1:0".to_owned(),
        }
    }

    /// The address of a node's host; on real sockets all share one.
    #[must_use]
    pub fn ip(&self, index: usize) -> IpAddr {
        self.world.ip(index)
    }

    /// The key of a node.
    #[must_use]
    pub fn keypair(&self, index: usize) -> Keypair {
        Keypair::from_seed(&self.secret("node", index, 0))
    }

    /// The key that a validator signs with.
    #[must_use]
    pub fn validator_key(&self, index: usize) -> Keypair {
        Keypair::from_seed(&self.secret("validator", index, 0))
    }

    /// The keys of the validators.
    #[must_use]
    pub fn validator_set(&self) -> Vec<PublicKey> {
        (0..self.validators).map(|index| self.validator_key(index).public()).collect()
    }

    /// 32 bytes that depend on the cluster's seed and on these.
    fn secret(&self, purpose: &str, index: usize, life: u64) -> [u8; 32] {
        let text = format!("{} {purpose} {index} {life}", self.seed);
        *blake3::hash(text.as_bytes()).as_bytes()
    }

    /// The nodes, running or not.
    #[must_use]
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// One node.
    ///
    /// # Panics
    /// If there is no node of this number.
    #[must_use]
    #[allow(clippy::indexing_slicing, reason = "a tool of tests ends them by panicking")]
    pub fn member(&self, index: usize) -> &Member {
        &self.members[index]
    }

    /// The handle of a running node.
    ///
    /// # Panics
    /// If the node does not run.
    #[must_use]
    #[allow(clippy::expect_used, reason = "a tool of tests ends them by panicking")]
    pub fn network(&self, index: usize) -> &Network {
        self.member(index).network.as_ref().expect("the node does not run")
    }

    /// The simulated network below.
    ///
    /// # Panics
    /// On real sockets.
    #[must_use]
    #[allow(clippy::panic, reason = "a tool of tests ends them by panicking")]
    pub fn simulation(&self) -> &SimNetwork {
        match &self.world {
            World::Simulated(network) => network,
            _ => panic!("this cluster runs on real sockets"),
        }
    }

    /// Nodes of different groups can't reach each other until the guard is dropped.
    pub fn partition(&self, groups: &[&[usize]]) -> FaultGuard {
        let hosts: Vec<Vec<IpAddr>> = groups
            .iter()
            .map(|group| group.iter().map(|index| self.ip(*index)).collect())
            .collect();
        let groups: Vec<&[IpAddr]> = hosts.iter().map(Vec::as_slice).collect();
        self.simulation().install(faults::partition(&groups))
    }

    /// Waits until `condition` holds, looking again whenever something has happened; says how
    /// long it took, or `None` if it does not hold after `limit`.
    pub async fn until(
        &self,
        limit: Duration,
        condition: impl AsyncFn(&Cluster) -> bool,
    ) -> Option<Duration> {
        let began = Instant::now();
        loop {
            let rung = self.bell.notified();
            tokio::pin!(rung);
            rung.as_mut().enable();
            if condition(self).await {
                return Some(began.elapsed());
            }
            tokio::time::timeout_at(began + limit, rung).await.ok()?;
        }
    }

    /// Waits until every running node has at least `degree` peers.
    pub async fn until_met(&self, degree: usize, limit: Duration) -> Option<Duration> {
        let met = async |cluster: &Cluster| {
            for network in cluster.members.iter().filter_map(|member| member.network.as_ref()) {
                if network.peers().await.is_ok_and(|peers| peers.len() < degree) {
                    return false;
                }
            }
            true
        };
        self.until(limit, met).await
    }
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// On real sockets all nodes have one address, which the limits for one address and group must allow.
fn share_one_address(config: &mut Config) {
    let network = &mut config.network;
    network.max_outbound_per_group = 10_000;
    network.max_inbound_per_group = 10_000;
    network.max_inbound_per_ip = 10_000;
}
