//! Describes a node and starts it.

use std::{future::Future, net::Ipv4Addr, path::PathBuf, sync::Arc, thread};

use actix::Recipient;
use bytes::Bytes;
use peerstage_core::{
    address::Address,
    config::{Config, ConfigError, Optional, OwnAddress, PeerAddress, Role, Text},
    identity::{Keypair, NetworkId, NodeId, PublicKey},
    messages::Topic,
    record::RecordError,
    scoring::PolicyError,
};
use tokio::sync::oneshot;

use super::{
    Network,
    core::Core,
    parts::{entropy, load_key, open_store, transports},
    reach::describe,
    root::{RootParts, start_node},
};
use crate::{
    bridge::{Handlers, closure_handler, recipient_handler},
    clock::Clock,
    identity_file::IdentityFileError,
    own::OwnNode,
    payload::{Inbound, Payload, Verdict},
    requests::{Reply, Servers},
    shell::{Fatal, Placement, Workers},
    store::{StoreBackend, StoreError, memory::MemoryStore, open::OpenError},
    transport::Transport,
};

/// Why a node did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration contradicts itself.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// An address given to the builder is none.
    #[error(
        "\"{0}\" is no address; expected IP:PORT, HOST:PORT, NODE_ID@HOST:PORT or \
         /ip4/IP/udp/PORT/quic"
    )]
    Address(String),
    /// The key file.
    #[error(transparent)]
    Identity(#[from] IdentityFileError),
    /// The store.
    #[error("the peer store: {0}")]
    Open(#[from] OpenError),
    /// The store's contents.
    #[error("the peer store: {0}")]
    Store(#[from] StoreError),
    /// The listening address.
    #[error("can't listen at {address}: {error}")]
    Listen {
        /// Where.
        address: Address,
        /// Why not.
        error: std::io::Error,
    },
    /// The list of autonomous systems.
    #[error("network.as_map_file: {path}: {reason}", path = path.display())]
    AsMap {
        /// The file.
        path: PathBuf,
        /// Why it can't be used.
        reason: String,
    },
    /// The scoring rules.
    #[error(transparent)]
    Scoring(#[from] PolicyError),
    /// Our own record.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// The operating system.
    #[error("the operating system: {0}")]
    System(#[from] std::io::Error),
    /// No entropy.
    #[error("no entropy from the operating system: {0}")]
    Entropy(String),
}

/// A node that is being described. Nothing happens before [`Builder::start`].
#[must_use]
pub struct Builder {
    config: Config,
    network: NetworkId,
    keypair: Option<Keypair>,
    validator: Option<Keypair>,
    blockchain: Handlers,
    consensus: Handlers,
    servers: Servers,
    persistent: bool,
    /// Whether the places to listen at are the caller's.
    listens: bool,
    backend: Option<Box<dyn StoreBackend>>,
    environment: Environment,
    fatal: Option<Fatal>,
    problem: Option<StartError>,
}

/// The world a node runs in: the real one, or a simulated one.
struct Environment {
    /// Instead of TCP and QUIC.
    transport: Option<Arc<dyn Transport>>,
    clock: Option<Clock>,
    seed: Option<[u8; 32]>,
}

impl Builder {
    pub(super) fn new(network: NetworkId) -> Self {
        let mut config = Config::default();
        let anywhere = OwnAddress { ip: Ipv4Addr::UNSPECIFIED.into(), port: 0, transport: None };
        config.network.listen = vec![anywhere];
        Builder {
            config,
            network,
            keypair: None,
            validator: None,
            blockchain: Handlers::default(),
            consensus: Handlers::default(),
            servers: Servers::new(),
            persistent: false,
            listens: false,
            backend: None,
            environment: Environment { transport: None, clock: None, seed: None },
            fatal: None,
            problem: None,
        }
    }

    /// A node as its configuration says: keys and store in its data directory.
    pub fn from_config(config: Config) -> Self {
        let mut builder = Builder::new(config.network_id());
        builder.config = config;
        builder.persistent = true;
        builder
    }

    /// Where to listen: `IP:PORT`, which is over TCP and QUIC, or in full,
    /// `/ip4/IP/udp/PORT/quic`; port 0 takes a free one. May be said more than once. Without
    /// this: every IPv4 address, a free port.
    pub fn listen(mut self, address: &str) -> Self {
        match address.parse::<OwnAddress>() {
            Ok(address) => {
                if !std::mem::replace(&mut self.listens, true) {
                    self.config.network.listen.clear();
                }
                self.config.network.listen.push(address);
                if !Address::new(address.ip, address.port).is_routable() {
                    self.config.network.allow_private_addresses = true;
                }
            }
            Err(_) => self.problem = Some(StartError::Address(address.to_owned())),
        }
        self
    }

    /// Nodes to ask for peers at the start: `HOST:PORT`, `NODE_ID@HOST:PORT`, in full such as
    /// `/dns/HOST/udp/PORT/quic/p2p/NODE_ID`, or where another node is [`Network::listening`].
    pub fn bootstrap<A: ToString>(mut self, addresses: impl IntoIterator<Item = A>) -> Self {
        for address in addresses {
            let address = address.to_string();
            match address.parse::<PeerAddress>() {
                Ok(address) => self.config.network.bootstrap.push(address),
                Err(_) => self.problem = Some(StartError::Address(address)),
            }
        }
        self
    }

    /// Keeps the node's key, peers and bans in this folder; without this they live in memory.
    pub fn data_dir(mut self, folder: impl Into<PathBuf>) -> Self {
        self.config.node.data_dir = folder.into();
        self.persistent = true;
        self
    }

    /// The node's key, instead of one of its own making.
    pub fn keypair(mut self, keypair: Keypair) -> Self {
        self.keypair = Some(keypair);
        self
    }

    /// Speaks for the validator with this key.
    pub fn validator(mut self, keypair: Keypair) -> Self {
        self.validator = Some(keypair);
        self
    }

    /// The validators known at the start.
    pub fn validators(mut self, validators: impl IntoIterator<Item = PublicKey>) -> Self {
        self.config.network.validators = validators.into_iter().map(Text).collect();
        self
    }

    /// Changes anything else in the configuration.
    pub fn configure(mut self, change: impl FnOnce(&mut Config)) -> Self {
        change(&mut self.config);
        self
    }

    /// Judges payloads of this type: nothing is forwarded before the verdict. Payloads that no
    /// handler judges are kept to themselves, unless [`Builder::forward_unhandled`] says
    /// otherwise.
    pub fn on<P, F, Fut>(mut self, handle: F) -> Self
    where
        P: Payload,
        F: Fn(Inbound<P>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Verdict> + Send + 'static,
    {
        self.handlers::<P>().insert::<P>(closure_handler(handle));
        self
    }

    /// As [`Builder::on`], by an actix actor.
    pub fn to<P: Payload>(mut self, recipient: Recipient<Inbound<P>>) -> Self {
        self.handlers::<P>().insert::<P>(recipient_handler(recipient));
        self
    }

    /// Answers the requests of peers about a topic.
    pub fn serve<F, Fut>(mut self, topic: Topic, serve: F) -> Self
    where
        F: Fn(NodeId, Bytes) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Reply> + Send + 'static,
    {
        let server = move |peer, body| Box::pin(serve(peer, body)) as _;
        self.servers.insert(topic, Arc::new(server));
        self
    }

    /// Forwards what no handler judges, as a node without a chain does. Peers that do judge blame
    /// whoever forwards an invalid block or transaction to them: for networks of such nodes only.
    pub fn forward_unhandled(mut self) -> Self {
        self.blockchain.forward_unhandled();
        self.consensus.forward_unhandled();
        self
    }

    /// A store of the chain's own.
    pub fn store(mut self, backend: Box<dyn StoreBackend>) -> Self {
        self.backend = Some(backend);
        self
    }

    /// Another way to move bytes, instead of TCP and QUIC.
    pub fn transport(mut self, transport: Arc<dyn Transport>) -> Self {
        self.environment.transport = Some(transport);
        self
    }

    /// Another clock, and a seed for everything that is random: for simulations.
    pub fn simulated(mut self, clock: Clock, seed: [u8; 32]) -> Self {
        self.environment.clock = Some(clock);
        self.environment.seed = Some(seed);
        self
    }

    /// What to do when a core actor dies. Without this: an alarm in the log, and the node is not
    /// ready any more.
    pub fn on_fatal(mut self, hook: impl Fn(&'static str) + Send + Sync + 'static) -> Self {
        self.fatal = Some(Fatal::new(hook));
        self
    }

    /// Starts the node on threads of its own. May be called on any runtime.
    ///
    /// # Errors
    /// [`StartError`] says what to change.
    pub async fn start(self) -> Result<Network, StartError> {
        let (started, ready) = oneshot::channel();
        let (stop, stopped) = oneshot::channel();
        let threads = thread::available_parallelism().map_or(2, usize::from);
        thread::Builder::new().name("peerstage".to_owned()).spawn(move || {
            let system = actix_rt::System::new();
            system.block_on(async move {
                let placement = Placement::threads(threads);
                let workers = Workers::threads(threads);
                let core = match self.parts(workers, false) {
                    Ok(parts) => start_node(parts, placement).await,
                    Err(error) => Err(error),
                };
                let running = core.is_ok();
                let _ = started.send(core);
                if running {
                    let _ = stopped.await;
                }
            });
        })?;
        let core =
            ready.await.map_err(|_| std::io::Error::other("the network's thread ended"))??;
        *core.thread.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(stop);
        Ok(Network::from_core(core))
    }

    /// Starts the node on the current thread, which must run an actix system. For simulations,
    /// and for chains that want everything on one thread.
    ///
    /// # Errors
    /// [`StartError`] says what to change.
    pub async fn start_here(self) -> Result<Network, StartError> {
        let parts = self.parts(Workers::Inline, true)?;
        Ok(Network::from_core(start_node(parts, Placement::Inline).await?))
    }

    fn handlers<P: Payload>(&mut self) -> &mut Handlers {
        if P::KIND.row().signed { &mut self.consensus } else { &mut self.blockchain }
    }

    /// Resolves everything that was left open.
    fn parts(mut self, workers: Workers, inline: bool) -> Result<RootParts, StartError> {
        if let Some(problem) = self.problem {
            return Err(problem);
        }
        self.config.validate()?;
        let seed = match self.environment.seed {
            Some(seed) => seed,
            None => entropy()?,
        };
        let keypair = match self.keypair.take() {
            Some(keypair) => keypair,
            None if self.persistent => load_key(&self.config, &self.config.node.key_file)?,
            None => Keypair::from_seed(&entropy()?),
        };
        if self.validator.is_none() && self.config.node.role == Role::Validator {
            self.validator = Some(match &self.config.node.validator_key_file {
                Optional::Some(file) => load_key(&self.config, file)?,
                Optional::None => keypair.clone(),
            });
        }
        let backend = match self.backend.take() {
            Some(backend) => backend,
            None if self.persistent => open_store(&self.config)?,
            None => Box::new(MemoryStore::new()),
        };
        let agent = match self.config.node.name.as_str() {
            "" => concat!("peerstage/", env!("CARGO_PKG_VERSION")).to_owned(),
            name => format!(concat!("peerstage/", env!("CARGO_PKG_VERSION"), " ({})"), name),
        };
        let (roles, capabilities) = describe(&self.config, self.validator.is_some());
        let about = (agent, self.config.node.metadata.clone());
        let fatal = self.fatal.unwrap_or_else(|| {
            Fatal::new(|actor| tracing::error!(actor, "a core actor has died; restart the node"))
        });
        let transports =
            transports(&mut self.config, self.environment.transport, &keypair, self.network);
        let pace = super::settings::pace(&self.config);
        let network_id = self.network;
        let able = (capabilities, super::settings::uplink(&self.config));
        let own = OwnNode::new(keypair, self.validator, network_id, about, roles, able, pace);
        Ok(RootParts {
            own,
            config: self.config,
            blockchain: self.blockchain,
            consensus: self.consensus,
            servers: self.servers,
            transports,
            backend,
            clock: self.environment.clock.unwrap_or_else(Clock::system),
            seed,
            workers,
            fatal,
            inline,
        })
    }
}

impl Network {
    fn from_core(core: Core) -> Self {
        Network { core: Arc::new(core) }
    }
}
