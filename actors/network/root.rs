//! The composition root: makes the queues, starts the actors, connects them.

use std::sync::Arc;

use actix::{Actor, Addr};
use peerstage_core::{
    address::Address,
    book::AsMap,
    config::Config,
    kademlia::{Action, Kademlia},
    manager::{Manager, ManagerIdentity},
    nat::Told,
    record::SignedRecord,
    relay::Relay,
    requests::Requests,
    scoring::Scoring,
};
use rand::SeedableRng;
use rand_chacha::ChaCha20Rng;

use super::{
    StartError,
    core::{Actors, Core},
    reach::{self, Transports, announced, as_map, background, listen, outside},
    settings,
    stage::{Peers, Stage, start},
};
use crate::{
    bridge::{
        BlockchainBridge, ConsensusBridge, Handlers, JUDGE_QUEUE, Judge, Judged, Judging,
        MonitoringBridge, Signing, Watching,
    },
    circuits::Circuits,
    clock::Clock,
    discovery::{Discovery, DiscoveryLinks, ToDiscovery},
    manager::{Accepted, NetworkManager},
    nat::{NatInputs, NatTraversal, Seen},
    own::OwnNode,
    peer::{Arrivals, Directory, FromPeer},
    peer_store::{Entry, Keep, PeerStore, Restored, restore},
    relay::{MessageRelay, Order, RelayInputs, RelayLinks},
    requests::{Ask, RequestDesk, RequestInputs, Servers},
    scoring::{OBSERVATIONS, Observation, PeerScoring, ScoringLinks},
    shell::{Fatal, Intake, Ordered, Placement, Queue, QueueStream, Workers, tell},
    store::{
        StoreBackend,
        writer::{QueueLimits, StoreWriter},
    },
};

/// Messages that may wait for the relay or the requests. Bytes are bounded by the peers'
/// budgets; this bounds the count.
const ARRIVALS: usize = 262_144;
/// Questions and answers of discovery that may wait, and who can be asked: bounded in bytes by
/// the peers' budgets.
const DISCOVERY: usize = 16_384;
/// Comings and goings that may wait for the NatTraversal: control, two for each session.
const SEEN: usize = 4_096;
/// Messages about holes to be punched that may wait for it: a second's worth of several carriers.
const PUNCHES: usize = 64;

/// Everything a node is made of, resolved.
pub(crate) struct RootParts {
    pub(crate) config: Config,
    pub(crate) own: OwnNode,
    pub(crate) blockchain: Handlers,
    pub(crate) consensus: Handlers,
    pub(crate) servers: Servers,
    pub(crate) transports: Transports,
    pub(crate) backend: Box<dyn StoreBackend>,
    pub(crate) clock: Clock,
    pub(crate) seed: [u8; 32],
    pub(crate) workers: Workers,
    pub(crate) fatal: Fatal,
    /// Whether the store is written on this thread, as in a simulation.
    pub(crate) inline: bool,
}

/// Starts a node on the current thread, which runs an actix system.
pub(crate) async fn start_node(parts: RootParts, placement: Placement) -> Result<Core, StartError> {
    let listeners = listen(&parts.transports, &parts.config.network.listen).await?;
    let listening: Vec<Address> = listeners.iter().map(|listener| listener.local()).collect();
    let own = Arc::new(parts.own);
    let told = settings::told_at_start(&parts.config, announced(&parts.config, &listening));
    let own_record = own.sign_record(parts.clock.wall(), &told)?;
    let restored = restore(&*parts.backend)?;
    let (observations, observations_in) = Queue::new("observations", OBSERVATIONS);
    let (verdicts, verdicts_in) = Queue::new("verdicts", JUDGE_QUEUE);
    let (direct, direct_in) = Queue::new("direct", ARRIVALS);
    let (orders, orders_in) = Intake::new("orders");
    let (asks, asks_in) = Intake::new("asks");
    let (monitoring, events) = MonitoringBridge::new(parts.fatal.lifeline("monitoring"));
    let mut stage = Stage {
        config: parts.config,
        own,
        clock: parts.clock,
        workers: parts.workers,
        fatal: parts.fatal,
        placement,
        seeds: ChaCha20Rng::from_seed(parts.seed),
        observations,
        verdicts,
        monitoring: monitoring.start(),
        subscribers: events,
        directory: Directory::default(),
        direct,
        direct_counts: Arc::default(),
    };
    let store = stage.store(parts.backend, parts.inline)?;
    let (blockchain, to_blockchain) = stage.blockchain(parts.blockchain, direct_in);
    let (to_consensus, consensus_in) = Queue::new("consensus", JUDGE_QUEUE);
    let (punches, punches_in) = Queue::new("punches", PUNCHES);
    let bridges = (to_blockchain, to_consensus);
    let (relay, gossip) = stage.relay(bridges, punches, verdicts_in, orders_in);
    let consensus = stage.consensus(parts.consensus, consensus_in, &relay);
    let (requests, questions) = stage.requests(parts.servers, asks_in);

    let from_peers = [gossip.clone(), questions.clone()];
    let peers = Peers { relay: relay.clone(), requests: requests.clone(), store: store.clone() };
    let as_map = as_map(&stage.config)?;
    let (machine, scoring) = stage.machines(&listening, &told.addresses, &restored, as_map)?;
    keep_salt(&machine, &restored, &store);
    let told = (told, own_record, listening.as_slice());
    let inputs = (gossip, questions, punches_in, orders.clone());
    let outward = stage.outward(machine, &peers, inputs, parts.transports, told, &restored);
    let Outward { accepted, manager, discovery, nat, circuits } = outward;
    let scoring = stage.scoring(scoring, &peers, &manager, observations_in, restored);
    let retries = stage.seed();
    let acceptors = background(&stage.config, listeners, &accepted, &manager, retries);
    let actors = Actors {
        relay,
        requests,
        manager,
        discovery,
        nat,
        circuits,
        scoring,
        store,
        blockchain,
        consensus,
        monitoring: stage.monitoring.clone(),
    };
    let mut core = stage.finish(actors, listening, from_peers, (orders, asks), acceptors);
    // A simulated node shares its thread with all others: it hangs only if the world does.
    if !parts.inline {
        core.watch();
    }
    Ok(core)
}

/// The salt of a new address book outlives the node.
fn keep_salt(machine: &Manager, restored: &Restored, store: &Addr<PeerStore>) {
    if restored.book_salt.is_none() {
        let salt = Entry::BookSalt(machine.book().salt());
        tell("keep", &store.clone().recipient(), Keep(vec![salt]));
    }
}

/// What the relay and the requests hear, what the NatTraversal hears of punches, and the relay's orders.
type Inputs = (Queue<FromPeer>, Queue<FromPeer>, QueueStream<Seen>, Intake<Order>);

/// What discovery found of no use in the store.
fn forgotten(action: Action) -> Option<Entry> {
    match action {
        Action::ForgetNode(node) => Some(Entry::ForgetKademliaNode(node)),
        Action::ForgetClaim(key) => Some(Entry::ForgetClaim(key)),
        _ => None,
    }
}

/// The actors between this node and others' places.
struct Outward {
    /// Connections that were made.
    accepted: Queue<Accepted>,
    /// Keeps the connections.
    manager: Addr<NetworkManager>,
    /// Finds nodes.
    discovery: Addr<Discovery>,
    /// Finds out where this node is.
    nat: Addr<NatTraversal>,
    /// Carries connections, and has them carried.
    circuits: Addr<Circuits>,
}

impl Stage {
    /// Whoever has to do with other nodes' places, and the queue of the connections they make.
    fn outward(
        &mut self,
        machine: Manager,
        peers: &Peers,
        (gossip, questions, punches, orders): Inputs,
        transports: Transports,
        (told, own_record, listening): (Told, SignedRecord, &[Address]),
        restored: &Restored,
    ) -> Outward {
        let (lookups, lookups_in) = Queue::new("discovery", DISCOVERY);
        let (seen, seen_in) = Queue::new("seen", SEEN);
        let outside = outside(&self.config, &transports);
        let to_actors = (gossip, questions, lookups.clone(), seen);
        let (circuits, connecting) = self.circuits();
        let (accepted, ways) = (connecting.0.0.clone(), (transports, told));
        let manager = self.manager(machine, peers, to_actors, connecting, ways);
        let (lookups, told) = ((lookups, lookups_in), (own_record, listening));
        let discovery = self.discovery(&manager, peers, lookups, told, restored);
        let inputs = NatInputs { seen: seen_in, punches };
        let nat = self.nat(listening, outside, inputs, &manager, orders);
        Outward { accepted, manager, discovery, nat, circuits }
    }

    fn store(
        &self,
        backend: Box<dyn StoreBackend>,
        inline: bool,
    ) -> Result<Addr<PeerStore>, StartError> {
        let (name, limits) = (backend.name(), QueueLimits::default());
        let writer = if inline {
            StoreWriter::inline(backend, limits, Box::new(|_| ()))
        } else {
            StoreWriter::spawn(backend, limits, Box::new(|_| ()))?
        };
        let lifeline = self.fatal.lifeline("store");
        let flush = self.config.store.flush_interval.as_duration();
        let (events, clock) = (self.events(), self.clock.clone());
        Ok(PeerStore::new(writer, name, flush, events, clock, lifeline).start())
    }

    fn blockchain(
        &self,
        handlers: Handlers,
        direct: QueueStream<Arrivals>,
    ) -> (Addr<BlockchainBridge>, Queue<Judge>) {
        let (queue, judge) = Queue::new("blockchain", JUDGE_QUEUE);
        let watching = Watching {
            counts: Arc::clone(&self.direct_counts),
            subscribers: self.subscribers.clone(),
            events: self.events(),
            clock: self.clock.clone(),
        };
        let judging = Judging::new(handlers, judge, self.verdicts.clone());
        let lifeline = self.fatal.lifeline("blockchain");
        let actor = BlockchainBridge::new(judging, direct, watching, lifeline);
        (start(&self.placement, &self.placement.bridges(), actor), queue)
    }

    fn relay(
        &mut self,
        (blockchain, consensus): (Queue<Judge>, Queue<Judge>),
        punches: Queue<Seen>,
        verdicts: QueueStream<Judged>,
        orders: QueueStream<Ordered<Order>>,
    ) -> (Addr<MessageRelay>, Queue<FromPeer>) {
        let (gossip, arrivals) = Queue::new("gossip", ARRIVALS);
        let own = Arc::clone(&self.own);
        let validator = own.validator.as_ref().map(|key| key.public());
        let (settings, keypair) = (settings::relay(&self.config), own.keypair.clone());
        let mut machine = Relay::new(settings, own.network, keypair, validator, self.seed());
        machine.set_validators(self.config.network.validators.iter().map(|key| key.0).collect());
        let links = RelayLinks {
            blockchain,
            consensus,
            observations: self.observations.clone(),
            events: self.events(),
            subscribers: self.subscribers.clone(),
            directory: self.directory.clone(),
            punches,
        };
        let verified = Queue::new("verified", JUDGE_QUEUE);
        let inputs = RelayInputs { arrivals, orders, verdicts, verified };
        let lifeline = self.fatal.lifeline("relay");
        let (workers, clock) = (self.workers.clone(), self.clock.clone());
        let actor =
            MessageRelay::new(machine, own.network, links, inputs, workers, clock, lifeline);
        (start(&self.placement, &self.placement.relay(), actor), gossip)
    }

    fn consensus(
        &self,
        handlers: Handlers,
        orders: QueueStream<Judge>,
        relay: &Addr<MessageRelay>,
    ) -> Addr<ConsensusBridge> {
        let signing = Signing {
            key: self.own.validator.clone(),
            network: self.own.network,
            clock: self.clock.clone(),
            workers: self.workers.clone(),
        };
        let judging = Judging::new(handlers, orders, self.verdicts.clone());
        let relay = relay.clone().recipient();
        let lifeline = self.fatal.lifeline("consensus");
        let actor = ConsensusBridge::new(judging, signing, relay, lifeline);
        start(&self.placement, &self.placement.bridges(), actor)
    }

    fn requests(
        &mut self,
        servers: Servers,
        asks: QueueStream<Ordered<Ask>>,
    ) -> (Addr<RequestDesk>, Queue<FromPeer>) {
        let (questions, arrivals) = Queue::new("requests", ARRIVALS);
        let machine = Requests::new(settings::requests(&self.config), self.seed());
        let inputs = RequestInputs { arrivals, asks, answers: Queue::new("answers", JUDGE_QUEUE) };
        let (observations, clock) = (self.observations.clone(), self.clock.clone());
        let lifeline = self.fatal.lifeline("requests");
        let actor = RequestDesk::new(machine, servers, inputs, observations, clock, lifeline);
        (start(&self.placement, &self.placement.relay(), actor), questions)
    }

    fn discovery(
        &mut self,
        manager: &Addr<NetworkManager>,
        peers: &Peers,
        inputs: (Queue<ToDiscovery>, QueueStream<ToDiscovery>),
        (own_record, listening): (SignedRecord, &[Address]),
        restored: &Restored,
    ) -> Addr<Discovery> {
        let (now, own) = (self.clock.now(), Arc::clone(&self.own));
        let settings = settings::kademlia(&self.config);
        let key = own.keypair.clone();
        let mut machine = Kademlia::new(now, settings, key, own.network, self.seed());
        machine.on_own_record(own_record);
        let mut gone = Vec::new();
        machine.restore(now, restored.nodes.clone(), restored.claims.clone(), &mut gone);
        let gone: Vec<Entry> = gone.into_iter().filter_map(forgotten).collect();
        if !gone.is_empty() {
            tell("keep", &peers.store.clone().recipient(), Keep(gone));
        }
        let links = DiscoveryLinks {
            visits: manager.clone().recipient(),
            ends: manager.clone().recipient(),
            learnt: manager.clone().recipient(),
            connect: manager.clone().recipient(),
            events: self.events(),
            refresh: manager.clone().recipient(),
            store: peers.store.clone().recipient(),
            observations: self.observations.clone(),
        };
        let lifeline = self.fatal.lifeline("discovery");
        let seed = self.seed();
        let identity = (own.id(), own.network);
        let first = reach::first_peers(&self.config, identity, listening, now, seed);
        Discovery::new(machine, first, links, inputs, own, self.clock.clone(), lifeline).start()
    }

    /// The machines of the manager and the scoring, with what the store still knew.
    fn machines(
        &mut self,
        listening: &[Address],
        own_addresses: &[Address],
        restored: &Restored,
        as_map: AsMap,
    ) -> Result<(Manager, Scoring), StartError> {
        let now = self.clock.now();
        let own = Arc::clone(&self.own);
        let validator = own.validator.as_ref().map(|key| key.public());
        let identity = ManagerIdentity { node: own.id(), network: own.network, validator };
        let mut machine = Manager::new(
            identity,
            settings::manager(&self.config, validator.is_some()),
            self.seed(),
        );
        machine.set_book(restored.book_salt, Arc::new(as_map));
        for address in listening.iter().chain(own_addresses) {
            machine.on_listening(now, *address);
        }
        machine.restore(now, restored.addresses.clone(), restored.records.clone());
        machine.restore_anchors(restored.anchors.iter().copied());
        for ban in restored.bans.iter().filter(|ban| ban.until > now) {
            machine.ban(ban.peer, ban.until, ban.address);
        }
        let validators = self.config.network.validators.iter().map(|key| key.0).collect();
        machine.set_validators(now, validators, &mut Vec::new());
        Ok((machine, Scoring::new(settings::scoring(&self.config), now)?))
    }

    fn scoring(
        &self,
        machine: Scoring,
        peers: &Peers,
        manager: &Addr<NetworkManager>,
        observations: QueueStream<Observation>,
        restored: Restored,
    ) -> Addr<PeerScoring> {
        let links = ScoringLinks {
            relay: peers.relay.clone().recipient(),
            requests: peers.requests.clone().recipient(),
            manager: manager.clone().recipient(),
            store: peers.store.clone().recipient(),
            events: self.events(),
        };
        let (clock, lifeline) = (self.clock.clone(), self.fatal.lifeline("scoring"));
        let known = (restored.bans, restored.scores);
        PeerScoring::new(machine, links, observations, known, clock, lifeline).start()
    }
}
