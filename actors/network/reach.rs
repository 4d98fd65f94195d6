//! Where a node listens, what it tells of itself, and whom it looks for first.

use std::{fs, io, sync::Arc, time::Duration};

use actix::Addr;
use peerstage_core::{
    address::{Address, Host, TransportKind},
    book::AsMap,
    bootstrap::{Bootstrap, BootstrapConfig},
    config::{Config, Optional, OwnAddress, PeerAddress},
    identity::{NetworkId, NodeId},
    manager::{NameId, Target},
    record::{Capabilities, Roles},
    time::Time,
};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use tokio::task::AbortHandle;

use super::{
    StartError,
    names::{Name, look_up},
};
use crate::{
    discovery::{FirstPeers, LanSettings, Seeds},
    manager::{Accepted, NetworkManager},
    nat::Outside,
    shell::Queue,
    transport::{Listener, QuicTransport, TcpTransport, Transport, quic::QuicListener},
};

/// Ports that are tried when TCP and QUIC are to share one that the system chooses.
const PORTS_TRIED: usize = 16;

/// How a node reaches others.
#[derive(Clone)]
pub(crate) struct Transports {
    /// Streams of bytes: TCP, or what stands for it.
    pub(crate) plain: Arc<dyn Transport>,
    /// QUIC, if the node has it.
    pub(crate) quic: Option<Arc<QuicTransport>>,
    /// Those that are used, in the order in which they are tried.
    pub(crate) kinds: Vec<TransportKind>,
}

/// Where connections are accepted.
pub(super) enum Listening {
    /// As streams of bytes.
    Plain(Box<dyn Listener>),
    /// As QUIC.
    Quic(Box<QuicListener>),
}

impl Listening {
    pub(super) fn local(&self) -> Address {
        match self {
            Listening::Plain(listener) => listener.local(),
            Listening::Quic(listener) => listener.local(),
        }
    }

    async fn accept(&mut self) -> io::Result<Accepted> {
        match self {
            Listening::Plain(listener) => listener.accept().await.map(Accepted::Plain),
            Listening::Quic(listener) => {
                let incoming = listener.accept().await?;
                Ok(Accepted::Quic(Box::new(incoming)))
            }
        }
    }
}

impl Transports {
    async fn listen(&self, address: Address) -> Result<Listening, StartError> {
        let listening = match (address.transport(), &self.quic) {
            (TransportKind::Quic, Some(quic)) => {
                quic.listen(address).map(|listener| Listening::Quic(Box::new(listener)))
            }
            _ => self.plain.listen(address).await.map(Listening::Plain),
        };
        listening.map_err(|error| StartError::Listen { address, error })
    }

    /// Listens at all addresses of one place, at one port: TCP's first.
    async fn listen_at(&self, place: &OwnAddress) -> Result<Vec<Listening>, StartError> {
        let mut kinds = self.kinds.clone();
        kinds.sort_unstable();
        let addresses: Vec<Address> = place.addresses(&kinds).collect();
        let mut tries = 0;
        loop {
            match self.listen_together(&addresses).await {
                Err(StartError::Listen { error, .. })
                    if place.port == 0
                        && error.kind() == io::ErrorKind::AddrInUse
                        && tries < PORTS_TRIED =>
                {
                    tries += 1;
                }
                done => return done,
            }
        }
    }

    async fn listen_together(&self, addresses: &[Address]) -> Result<Vec<Listening>, StartError> {
        let mut listening: Vec<Listening> = Vec::new();
        for address in addresses {
            // Behind the first, the port is the one that was chosen.
            let chosen = listening.first().map_or(address.port(), |first| first.local().port());
            let address = Address::new(address.ip(), chosen).over(address.transport());
            listening.push(self.listen(address).await?);
        }
        Ok(listening)
    }
}

pub(super) async fn listen(
    transports: &Transports,
    places: &[OwnAddress],
) -> Result<Vec<Listening>, StartError> {
    if let Some(quic) = &transports.quic {
        quic.settle_here();
    }
    let mut listening = Vec::new();
    for place in places {
        listening.extend(transports.listen_at(place).await?);
    }
    Ok(listening)
}

/// What the NatTraversal may use; a node on a transport of somebody's own, such as a simulated
/// one, has no surroundings.
pub(super) fn outside(config: &Config, transports: &Transports) -> Option<Outside> {
    let sockets = transports.quic.as_ref().map(|quic| quic.sockets()).unwrap_or_default();
    let is_real = transports.plain.name() == TcpTransport.name();
    is_real.then(|| Outside { sockets, servers: config.nat.stun_servers.clone() })
}

/// The addresses strangers are told: those configured, else those we listen at by name.
pub(super) fn announced(config: &Config, listening: &[Address]) -> Vec<Address> {
    let external = &config.network.external_addresses;
    if !external.is_empty() {
        let kinds = &config.network.transports;
        return external.iter().flat_map(|place| place.addresses(kinds)).collect();
    }
    listening.iter().copied().filter(Address::is_dialable).collect()
}

/// Which autonomous system addresses belong to, if the operator provides a list.
pub(super) fn as_map(config: &Config) -> Result<AsMap, StartError> {
    let Optional::Some(path) = &config.network.as_map_file else { return Ok(AsMap::default()) };
    let path = config.path(path);
    let failed = |reason: String| StartError::AsMap { path: path.clone(), reason };
    let text = fs::read_to_string(&path).map_err(|error| failed(error.to_string()))?;
    let map = AsMap::parse(&text).map_err(|error| failed(error.to_string()))?;
    tracing::info!(prefixes = map.len(), path = %path.display(), "autonomous systems read");
    Ok(map)
}

/// A node that is named by address, and every address that its name stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NamedNode {
    /// The first of them.
    pub(crate) target: Target,
    /// All of them.
    pub(crate) addresses: Vec<Address>,
}

impl NamedNode {
    /// What a name stands for with these transports; nothing if it needs DNS or none fits.
    pub(crate) fn of(peer: &PeerAddress, kinds: &[TransportKind]) -> Option<Self> {
        let addresses: Vec<Address> = peer.addresses(kinds).collect();
        let target = Target { address: *addresses.first()?, expected: peer.id };
        Some(NamedNode { target, addresses })
    }
}

/// The peers that are named by address; names are looked up by [`Name`]. One that is named
/// once for each transport is one.
pub(super) fn targets(peers: &[PeerAddress], kinds: &[TransportKind]) -> Vec<NamedNode> {
    let mut all: Vec<NamedNode> = Vec::new();
    for named in peers.iter().filter_map(|peer| NamedNode::of(peer, kinds)) {
        let is_same = |other: &&mut NamedNode| {
            other.target.expected == named.target.expected
                && other.target.address.socket() == named.target.address.socket()
        };
        match all.iter_mut().find(is_same) {
            Some(same) => {
                let new = named.addresses.iter().filter(|one| !same.addresses.contains(one));
                let new: Vec<Address> = new.copied().collect();
                same.addresses.extend(new);
            }
            None => all.push(named),
        }
    }
    all
}

/// Starts the tasks beside the actors: accepting connections, and looking names up.
pub(super) fn background(
    config: &Config,
    listeners: Vec<Listening>,
    accepted: &Queue<Accepted>,
    manager: &Addr<NetworkManager>,
    retries: [u8; 32],
) -> Vec<AbortHandle> {
    let mut retries = ChaCha8Rng::from_seed(retries);
    let accepting = |listener| actix_rt::spawn(accept(listener, accepted.clone()));
    let mut tasks: Vec<_> =
        listeners.into_iter().map(|listener| accepting(listener).abort_handle()).collect();
    let network = &config.network;
    let bootstrap = network.bootstrap.iter().map(|peer| (peer, false));
    let persistent = network.persistent_peers.iter().map(|peer| (peer, true));
    let names = bootstrap.chain(persistent).filter(|(peer, _)| matches!(peer.host, Host::Name(_)));
    for ((peer, persistent), number) in names.zip(0..) {
        let rng = ChaCha8Rng::from_rng(&mut retries);
        let name = (NameId(number), persistent);
        let name = Name::new(peer.clone(), name, manager.clone().recipient(), rng);
        tasks.push(actix_rt::spawn(name.follow(look_up)).abort_handle());
    }
    tasks
}

async fn accept(mut listener: Listening, accepted: Queue<Accepted>) {
    loop {
        match listener.accept().await {
            // A full queue drops the connection, which closes it: the manager is behind.
            Ok(new) => drop(accepted.push(new)),
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// How the first peers are found, by configuration.
pub(super) fn first_peers(
    config: &Config,
    (node, network_id): (NodeId, NetworkId),
    listening: &[Address],
    now: Time,
    seed: [u8; 32],
) -> FirstPeers {
    let (network, discovery) = (&config.network, &config.discovery);
    let names: Vec<String> = discovery.dns_seeds.iter().map(|name| name.0.to_string()).collect();
    let peers = network.bootstrap.iter().chain(&network.persistent_peers);
    let named: Vec<String> = peers.map(ToString::to_string).chain(names.iter().cloned()).collect();
    let settings = BootstrapConfig {
        named: !named.is_empty(),
        seeds: !names.is_empty(),
        min_peers: usize::try_from(network.min_peers).unwrap_or(usize::MAX),
        interval: discovery.dns_interval.as_millis(),
    };
    let (port, servers) = (discovery.dns_seed_port, discovery.dns_servers.clone());
    FirstPeers {
        machine: Bootstrap::new(now, settings, seed),
        seeds: Seeds { names, port, servers, allow_private: network.allow_private_addresses },
        lan: LanSettings {
            mode: discovery.lan,
            network: network_id,
            node,
            listening: listening.to_vec(),
        },
        named: named.join(", "),
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
    if config.relay.serve {
        capabilities = capabilities.with(Capabilities::RELAY);
    }
    if config.nat.circuits {
        capabilities = capabilities.with(Capabilities::CIRCUITS);
    }
    if config.discovery.rendezvous_point {
        capabilities = capabilities.with(Capabilities::RENDEZVOUS);
    }
    (roles, capabilities)
}
