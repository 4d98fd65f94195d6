//! What several actors are made of, and the connections' part of it.

use std::sync::{Arc, Mutex};

use actix::{Actor, Addr, Recipient};
use actix_rt::ArbiterHandle;
use peerstage_core::{
    address::Address,
    circuits::Circuits as CircuitsMachine,
    config::{Config, Size},
    handshake::HandshakeConfig,
    kinds::KINDS,
    manager::Manager,
    nat::{self, NatConfig, Told},
};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha20Rng;
use tokio::task::AbortHandle;

use super::{
    core::{Actors, Core},
    reach::{Transports, targets},
    settings,
};
use crate::{
    bridge::{DirectCounts, Judged, MonitoringBridge, Subscribe},
    circuits::{CircuitLinks, Circuits, ToCircuits},
    clock::Clock,
    discovery::ToDiscovery,
    events::Event,
    manager::{Accepted, ManagerInputs, ManagerLinks, ManagerParts, NetworkManager, Opening},
    nat::{NatInputs, NatLinks, NatTraversal, Outside, Seen},
    own::OwnNode,
    peer::{Arrivals, ByteLimits, Directory, FromPeer, PeerLinks, PeerTiming, SessionEvent},
    peer_store::PeerStore,
    relay::{MessageRelay, Order},
    requests::{Ask, RequestDesk},
    scoring::Observation,
    shell::{Fatal, Intake, Placement, Pulse, Queue, QueueStream, Workers},
};

/// Peer exchange messages that may wait; peers send one a second.
const EXCHANGE: usize = 256;
/// Accepted connections that may wait for the manager, about a backlog.
const ACCEPTED: usize = 128;
/// What is said of circuits and may wait. Bytes are bounded by the peers' budgets; this bounds the
/// count. A peer whose messages find no room loses its circuits.
const CIRCUITS: usize = 262_144;
/// Session events that may wait: two for each connection there can be, with room.
const SESSIONS: usize = 65_536;

/// The queue of accepted connections, both ends, and the one to the Circuits.
type Connecting = ((Queue<Accepted>, QueueStream<Accepted>), Queue<ToCircuits>);

/// Starts an actor on a thread; on the current one, at once.
pub(super) fn start<A: Actor<Context = actix::Context<A>> + Send>(
    placement: &Placement,
    arbiter: &ArbiterHandle,
    actor: A,
) -> actix::Addr<A> {
    match placement {
        Placement::Inline => actor.start(),
        Placement::Threads { .. } => A::start_in_arbiter(arbiter, |_| actor),
    }
}

/// The queues from the peers to the relay, the requests and discovery.
pub(super) type ToActors = (Queue<FromPeer>, Queue<FromPeer>, Queue<ToDiscovery>, Queue<Seen>);

/// Everything that several actors are made of.
pub(super) struct Stage {
    pub(super) config: Config,
    pub(super) own: Arc<OwnNode>,
    pub(super) clock: Clock,
    pub(super) workers: Workers,
    pub(super) fatal: Fatal,
    pub(super) placement: Placement,
    pub(super) seeds: ChaCha20Rng,
    pub(super) observations: Queue<Observation>,
    pub(super) verdicts: Queue<Judged>,
    pub(super) monitoring: Addr<MonitoringBridge>,
    pub(super) subscribers: Subscribe,
    pub(super) directory: Directory,
    pub(super) direct: Queue<Arrivals>,
    pub(super) direct_counts: Arc<DirectCounts>,
}

/// The actors that the manager and the scoring talk to.
pub(super) struct Peers {
    pub(super) relay: Addr<MessageRelay>,
    pub(super) requests: Addr<RequestDesk>,
    pub(super) store: Addr<PeerStore>,
}

impl Stage {
    pub(super) fn seed(&mut self) -> [u8; 32] {
        let mut seed = [0u8; 32];
        self.seeds.fill_bytes(&mut seed);
        seed
    }

    pub(super) fn events(&self) -> Recipient<Event> {
        self.monitoring.clone().recipient()
    }

    fn opening(
        &mut self,
        transports: Transports,
        links: PeerLinks,
        sessions: Queue<SessionEvent>,
    ) -> Arc<Opening> {
        let (own, network) = (Arc::clone(&self.own), &self.config.network);
        let policy = settings::post_quantum(&self.config);
        let mut handshake =
            HandshakeConfig::new(own.keypair.clone(), own.network).with_policy(policy);
        handshake.timeout_ms = network.handshake_timeout.as_millis();
        Arc::new(Opening {
            transports,
            own,
            handshake,
            connection_timeout: network.connection_timeout.as_millis(),
            timing: PeerTiming {
                ping_interval: network.ping_interval.as_millis(),
                ping_timeout: network.ping_timeout.as_millis(),
                idle_timeout: network.idle_timeout.as_millis(),
                write_timeout: network.write_timeout.as_millis(),
            },
            queue_bytes: self.config.limits.outbound_queue.as_usize(),
            budget_bytes: self.config.limits.inbound_queue.as_usize(),
            limits: self.byte_limits(),
            links,
            sessions,
            clock: self.clock.clone(),
            placement: self.placement.clone(),
            seeds: Mutex::new(ChaCha20Rng::from_seed(self.seed())),
        })
    }

    fn byte_limits(&self) -> ByteLimits {
        let limits = &self.config.limits;
        let upload = [limits.max_upload_rate, limits.max_upload_rate_per_peer];
        let download = [limits.max_download_rate, limits.max_download_rate_per_peer];
        let bytes = |sizes: [Size; 2]| sizes.map(|size| size.0);
        ByteLimits::new(self.clock.now(), bytes(upload), bytes(download))
    }

    pub(super) fn manager(
        &mut self,
        machine: Manager,
        peers: &Peers,
        (gossip, requests, discovery, seen): ToActors,
        ((_, accepted_in), circuits): Connecting,
        (transports, told): (Transports, Told),
    ) -> Addr<NetworkManager> {
        let (exchange, exchange_in) = Queue::new("exchange", EXCHANGE);
        let (sessions, sessions_in) = Queue::<SessionEvent>::new("sessions", SESSIONS);
        let links = PeerLinks {
            network: self.own.network,
            gossip,
            requests,
            exchange,
            discovery,
            direct: self.direct.clone(),
            circuits,
            body_limits: KINDS.map(|row| self.config.body_max(row.kind)),
            observations: self.observations.clone(),
        };
        let kinds = transports.kinds.clone();
        let opening = self.opening(transports, links, sessions);
        let relay = peers.relay.clone();
        let actor = NetworkManager::new(ManagerParts {
            machine,
            opening,
            links: ManagerLinks {
                relay_records: relay.recipient(),
                observations: self.observations.clone(),
                store: peers.store.clone().recipient(),
                events: self.events(),
                seen,
            },
            inputs: ManagerInputs {
                sessions: sessions_in,
                exchange: exchange_in,
                accepted: accepted_in,
            },
            bootstrap: targets(&self.config.network.bootstrap, &kinds),
            persistent: targets(&self.config.network.persistent_peers, &kinds),
            own: Arc::clone(&self.own),
            circuits: self.config.nat.circuits,
            told,
            clock: self.clock.clone(),
            lifeline: self.fatal.lifeline("manager"),
        });
        actor.start()
    }

    /// Connections that peers carry.
    pub(super) fn circuits(&self) -> (Addr<Circuits>, Connecting) {
        let (accepted, accepted_in) = Queue::new("accepted", ACCEPTED);
        let (circuits, circuits_in) = Queue::new("circuits", CIRCUITS);
        let machine = CircuitsMachine::new(self.own.id(), settings::circuits(&self.config));
        let observations = self.observations.clone();
        let links = CircuitLinks { accepted: accepted.clone(), observations };
        let (lifeline, queue) = (self.fatal.lifeline("circuits"), (circuits.clone(), circuits_in));
        let actor = Circuits::new(machine, links, queue, self.clock.clone(), lifeline);
        let actor = start(&self.placement, &self.placement.relay(), actor);
        (actor, ((accepted, accepted_in), circuits))
    }

    /// Finds out where strangers reach the node.
    pub(super) fn nat(
        &mut self,
        listening: &[Address],
        outside: Option<Outside>,
        inputs: NatInputs,
        manager: &Addr<NetworkManager>,
        orders: Intake<Order>,
    ) -> Addr<NatTraversal> {
        let network = &self.config.network;
        let external = network.external_addresses.iter();
        let config = NatConfig {
            node: self.own.id(),
            listening: listening.to_vec(),
            external: external.flat_map(|place| place.addresses(&network.transports)).collect(),
            allow_private: network.allow_private_addresses,
            port_mapping: self.config.nat.port_mapping,
            hole_punching: settings::punches(&self.config),
            noise_key: self.own.noise_key(),
        };
        let machine = nat::NatTraversal::new(config, self.seed());
        let links = NatLinks { manager: manager.clone().recipient(), orders };
        let (clock, lifeline) = (self.clock.clone(), self.fatal.lifeline("nat"));
        NatTraversal::new(machine, outside, inputs, links, clock, lifeline).start()
    }

    /// Everything is started: what the handles share.
    pub(super) fn finish(
        self,
        actors: Actors,
        listening: Vec<Address>,
        from_peers: [Queue<FromPeer>; 2],
        (orders, asks): (Intake<Order>, Intake<Ask>),
        acceptors: Vec<AbortHandle>,
    ) -> Core {
        Core {
            node: self.own.id(),
            listening,
            body_limits: KINDS.map(|row| self.config.body_max(row.kind)),
            min_peers: usize::try_from(self.config.network.min_peers).unwrap_or(usize::MAX),
            request_timeout: self.config.timeouts.request.as_duration(),
            shutdown_timeout: self.config.timeouts.shutdown.as_duration(),
            own: self.own,
            clock: self.clock.clone(),
            started: self.clock.now(),
            from_peers,
            orders,
            asks,
            directory: self.directory,
            direct: self.direct_counts,
            actors,
            events: self.subscribers,
            facts: Mutex::default(),
            fatal: self.fatal,
            pulse: Pulse::new(self.clock),
            placement: self.placement,
            acceptors,
            thread: Mutex::default(),
        }
    }
}
