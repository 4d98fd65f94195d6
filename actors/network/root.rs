//! The composition root: makes the queues, starts the actors, connects them.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use actix::Actor;
use actix_rt::ArbiterHandle;
use peerstage_core::{
    address::Address,
    config::{Config, Host, PeerAddress},
    handshake::HandshakeConfig,
    manager::{Manager, ManagerIdentity, Target},
    record::{Capabilities, Roles},
    relay::Relay,
    requests::Requests,
    scoring::Scoring,
    time::Time,
};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha20Rng;

use super::{StartError, core::Core, settings};
use crate::{
    bridge::{BlockchainBridge, ConsensusBridge, Handlers, JUDGE_QUEUE, MonitoringBridge, Signing},
    clock::Clock,
    events::Event,
    manager::{Connect, ManagerInputs, ManagerLinks, ManagerParts, NetworkManager, Opening},
    own::OwnNode,
    peer::{PeerLinks, SessionEvent},
    peer_store::{PeerStore, restore},
    relay::{MessageRelay, RelayInputs, RelayLinks},
    requests::{RequestDesk, RequestInputs, Servers},
    scoring::{OBSERVATIONS, PeerScoring, ScoringLinks},
    shell::{Fatal, Placement, Queue, Workers},
    store::{
        StoreBackend,
        writer::{QueueLimits, StoreWriter},
    },
    transport::{Link, Listener, Transport},
};

/// Messages that may wait for the relay or the requests. Bytes are bounded by the peers'
/// budgets; this bounds the count.
const ARRIVALS: usize = 262_144;
/// Peer exchange messages that may wait; peers send one a second.
const EXCHANGE: usize = 256;
/// Accepted connections that may wait for the manager, about a backlog.
const ACCEPTED: usize = 128;
/// Session events that may wait: two for each connection there can be, with room.
const SESSIONS: usize = 65_536;
/// How long a host name that did not resolve waits for the next try.
const RESOLVE_RETRY: Duration = Duration::from_secs(10);

/// Everything a node is made of, resolved.
pub(crate) struct RootParts {
    pub(crate) config: Config,
    pub(crate) own: OwnNode,
    pub(crate) blockchain: Handlers,
    pub(crate) consensus: Handlers,
    pub(crate) servers: Servers,
    pub(crate) transport: Arc<dyn Transport>,
    pub(crate) backend: Box<dyn StoreBackend>,
    pub(crate) clock: Clock,
    pub(crate) seed: [u8; 32],
    pub(crate) workers: Workers,
    pub(crate) fatal: Fatal,
    /// Whether the store is written on this thread, as in a simulation.
    pub(crate) inline: bool,
    pub(crate) listen: Vec<Address>,
}

/// Starts an actor on a thread; on the current one, at once.
fn start<A: Actor<Context = actix::Context<A>> + Send>(
    placement: &Placement,
    arbiter: &ArbiterHandle,
    actor: A,
) -> actix::Addr<A> {
    match placement {
        Placement::Inline => actor.start(),
        Placement::Threads { .. } => A::start_in_arbiter(arbiter, |_| actor),
    }
}

/// Starts a node on the current thread, which runs an actix system.
pub(crate) async fn start_node(parts: RootParts, placement: Placement) -> Result<Core, StartError> {
    let RootParts { config, own, transport, clock, fatal, workers, .. } = parts;
    let mut seeds = ChaCha20Rng::from_seed(parts.seed);
    let mut seed = || {
        let mut seed = [0u8; 32];
        seeds.fill_bytes(&mut seed);
        seed
    };
    let own = Arc::new(own);
    let listeners = listen(&*transport, &parts.listen).await?;
    let listening: Vec<Address> = listeners.iter().map(|listener| listener.local()).collect();
    let own_addresses = announced(&config, &listening);
    own.sign_record(clock.wall(), own_addresses.iter().copied())?;

    let backend_name = parts.backend.name();
    let restored = restore(&*parts.backend)?;
    if restored.unreadable > 0 {
        tracing::warn!(
            count = restored.unreadable,
            "stored entries that can't be read were left out"
        );
    }

    let (arrivals, arrivals_in) = Queue::new("gossip", ARRIVALS);
    let (questions, questions_in) = Queue::new("requests", ARRIVALS);
    let (exchange, exchange_in) = Queue::new("exchange", EXCHANGE);
    let (observations, observations_in) = Queue::new("observations", OBSERVATIONS);
    let (sessions, sessions_in) = Queue::<SessionEvent>::new("sessions", SESSIONS);
    let (accepted, accepted_in) = Queue::<Link>::new("accepted", ACCEPTED);
    let (verdicts, verdicts_in) = Queue::new("verdicts", JUDGE_QUEUE);
    let (to_blockchain, blockchain_in) = Queue::new("blockchain", JUDGE_QUEUE);
    let (to_consensus, consensus_in) = Queue::new("consensus", JUDGE_QUEUE);

    let (monitoring, events) = MonitoringBridge::new(fatal.lifeline("monitoring"));
    let monitoring = monitoring.start();
    let event = || monitoring.clone().recipient::<Event>();

    let writer = if parts.inline {
        StoreWriter::inline(parts.backend, QueueLimits::default(), Box::new(|_| ()))
    } else {
        StoreWriter::spawn(parts.backend, QueueLimits::default(), Box::new(|_| ()))?
    };
    let lifeline = fatal.lifeline("store");
    let store = PeerStore::new(writer, backend_name, event(), clock.clone(), lifeline).start();

    let blockchain = BlockchainBridge::new(
        parts.blockchain,
        blockchain_in,
        verdicts.clone(),
        fatal.lifeline("blockchain"),
    );
    let blockchain = start(&placement, &placement.bridges(), blockchain);

    let validator = own.validator.as_ref().map(|key| key.public());
    let machine =
        Relay::new(settings::relay(&config), own.network, own.keypair.clone(), validator, seed());
    let links = RelayLinks {
        blockchain: to_blockchain,
        consensus: to_consensus,
        observations: observations.clone(),
        events: event(),
    };
    let inputs = RelayInputs {
        arrivals: arrivals_in,
        verdicts: verdicts_in,
        verified: Queue::new("verified", JUDGE_QUEUE),
    };
    let relay = MessageRelay::new(
        machine,
        own.network,
        links,
        inputs,
        workers.clone(),
        clock.clone(),
        fatal.lifeline("relay"),
    );
    let relay = start(&placement, &placement.relay(), relay);

    let signing = Signing {
        key: own.validator.clone(),
        network: own.network,
        clock: clock.clone(),
        workers: workers.clone(),
    };
    let consensus = ConsensusBridge::new(
        parts.consensus,
        consensus_in,
        verdicts,
        signing,
        relay.clone().recipient(),
        fatal.lifeline("consensus"),
    );
    let consensus = start(&placement, &placement.bridges(), consensus);

    let requests = RequestDesk::new(
        Requests::new(settings::requests(&config), seed()),
        parts.servers,
        RequestInputs { arrivals: questions_in, answers: Queue::new("answers", JUDGE_QUEUE) },
        observations.clone(),
        clock.clone(),
        fatal.lifeline("requests"),
    );
    let requests = start(&placement, &placement.relay(), requests);

    let manager_settings = settings::manager(&config);
    let mut handshake = HandshakeConfig::new(own.keypair.clone(), own.network)
        .with_policy(settings::post_quantum(&config));
    handshake.timeout_ms = config.network.handshake_timeout.as_millis();
    let opening = Arc::new(Opening {
        transport: Arc::clone(&transport),
        own: Arc::clone(&own),
        handshake,
        connection_timeout: manager_settings.connection_timeout,
        ping_interval: config.network.ping_interval.as_millis(),
        ping_timeout: config.network.ping_timeout.as_millis(),
        queue_bytes: config.limits.outbound_queue.as_usize(),
        budget_bytes: config.limits.inbound_queue.as_usize(),
        links: PeerLinks {
            network: own.network,
            gossip: arrivals,
            requests: questions,
            exchange,
            observations: observations.clone(),
        },
        sessions,
        clock: clock.clone(),
        workers,
        placement: placement.clone(),
        seeds: Mutex::new(ChaCha20Rng::from_seed(seed())),
    });
    let identity = ManagerIdentity { node: own.id(), network: own.network, validator };
    let now = clock.now();
    let mut machine = Manager::new(identity, manager_settings, seed());
    listening.iter().chain(&own_addresses).for_each(|own| machine.on_listening(now, *own));
    machine.restore(now, restored.addresses, restored.records);
    for ban in restored.bans.iter().filter(|ban| ban.until > now) {
        machine.ban(ban.peer, ban.until, ban.address.map(|address| address.ip()));
    }
    let (bootstrap, unresolved_bootstrap) = targets(&config.network.bootstrap);
    let (persistent, unresolved) = targets(&config.network.persistent_peers);
    let manager = NetworkManager::new(ManagerParts {
        machine,
        opening,
        links: ManagerLinks {
            relay_up: relay.clone().recipient(),
            relay_down: relay.clone().recipient(),
            relay_records: relay.clone().recipient(),
            requests_up: requests.clone().recipient(),
            requests_down: requests.clone().recipient(),
            observations: observations.clone(),
            store: store.clone().recipient(),
            events: event(),
        },
        inputs: ManagerInputs {
            sessions: sessions_in,
            exchange: exchange_in,
            accepted: accepted_in,
        },
        bootstrap,
        persistent,
        own: Arc::clone(&own),
        own_addresses,
        clock: clock.clone(),
        lifeline: fatal.lifeline("manager"),
    })
    .start();

    let links = ScoringLinks {
        relay: relay.clone().recipient(),
        requests: requests.clone().recipient(),
        manager: manager.clone().recipient(),
        store: store.clone().recipient(),
        events: event(),
    };
    let scoring = PeerScoring::new(
        Scoring::new(settings::scoring(&config), now)?,
        links,
        observations_in,
        (restored.bans, restored.scores),
        clock.clone(),
        fatal.lifeline("scoring"),
    )
    .start();

    let mut tasks: Vec<_> = listeners
        .into_iter()
        .map(|listener| actix_rt::spawn(accept(listener, accepted.clone())).abort_handle())
        .collect();
    for target in unresolved_bootstrap.into_iter().chain(unresolved) {
        tasks.push(actix_rt::spawn(resolve(target, manager.clone())).abort_handle());
    }
    let started: Time = clock.now();
    Ok(Core {
        node: own.id(),
        own,
        listening,
        min_peers: usize::try_from(config.network.min_peers).unwrap_or(usize::MAX),
        clock,
        started,
        relay,
        requests,
        manager,
        scoring,
        store,
        blockchain,
        consensus,
        monitoring,
        events,
        facts: Mutex::default(),
        fatal,
        placement,
        acceptors: tasks,
        thread: Mutex::default(),
    })
}

async fn listen(
    transport: &dyn Transport,
    addresses: &[Address],
) -> Result<Vec<Box<dyn Listener>>, StartError> {
    let mut listeners = Vec::new();
    for address in addresses {
        let listener = transport
            .listen(*address)
            .await
            .map_err(|error| StartError::Listen { address: *address, error })?;
        listeners.push(listener);
    }
    Ok(listeners)
}

/// The addresses strangers are told: those configured, else those we listen at by name.
fn announced(config: &Config, listening: &[Address]) -> Vec<Address> {
    let external = &config.network.external_addresses;
    if !external.is_empty() {
        return external.clone();
    }
    listening.iter().copied().filter(Address::is_dialable).collect()
}

/// Targets with an address, and those whose name must be looked up first.
fn targets(named: &[PeerAddress]) -> (Vec<Target>, Vec<PeerAddress>) {
    let target =
        |peer: &PeerAddress| peer.address().map(|address| Target { address, expected: peer.id });
    let unresolved = named.iter().filter(|peer| peer.address().is_none()).cloned().collect();
    (named.iter().filter_map(target).collect(), unresolved)
}

async fn accept(mut listener: Box<dyn Listener>, accepted: Queue<Link>) {
    loop {
        match listener.accept().await {
            // A full queue drops the link, which closes it: the manager is behind.
            Ok(link) => drop(accepted.push(link)),
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// Looks a host name up until it resolves, then connects to what it names.
async fn resolve(target: PeerAddress, manager: actix::Addr<NetworkManager>) {
    loop {
        let host = (target.host.to_string(), target.port);
        match tokio::net::lookup_host(host).await {
            Ok(addresses) => {
                let mut found = false;
                for address in addresses {
                    let resolved = PeerAddress {
                        id: target.id,
                        host: Host::Ip(address.ip()),
                        port: address.port(),
                    };
                    found = manager.send(Connect { target: resolved }).await.is_ok();
                }
                if found {
                    return;
                }
            }
            Err(error) => tracing::warn!(%target, %error, "host name does not resolve; will retry"),
        }
        tokio::time::sleep(RESOLVE_RETRY).await;
    }
}

/// The roles and capabilities a node tells of itself.
pub(super) fn describe(config: &Config, validator: bool) -> (Roles, Capabilities) {
    let roles = if validator { Roles::FULL.with(Roles::VALIDATOR) } else { Roles::FULL };
    let mut capabilities = Capabilities::default();
    if config.network.post_quantum != peerstage_core::config::PostQuantum::Classical {
        capabilities = capabilities.with(Capabilities::HYBRID);
    }
    if config.relay.carry_routed {
        capabilities = capabilities.with(Capabilities::ROUTING);
    }
    (roles, capabilities)
}
