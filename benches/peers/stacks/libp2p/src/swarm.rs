//! How the swarms are set up, and the waits they have in common.

use std::time::Duration;

use anyhow::{Result, anyhow, bail};
use futures::StreamExt;
use libp2p::{
    Multiaddr, PeerId, Swarm, SwarmBuilder,
    identity::Keypair,
    multiaddr::Protocol,
    noise,
    swarm::{NetworkBehaviour, SwarmEvent},
    tcp, yamux,
};

/// A swarm over TCP (Noise, Yamux) or QUIC that does not close idle connections.
pub fn build<B: NetworkBehaviour>(
    quic: bool,
    behaviour: impl FnOnce(&Keypair) -> Result<B>,
) -> Result<Swarm<B>> {
    let identity = Keypair::generate_ed25519();
    let behaviour = behaviour(&identity)?;
    let builder = SwarmBuilder::with_existing_identity(identity).with_tokio();
    let patient = |config: libp2p::swarm::Config| {
        config.with_idle_connection_timeout(Duration::from_secs(3_600))
    };
    if quic {
        let builder = builder.with_quic().with_behaviour(|_| behaviour)?;
        return Ok(builder.with_swarm_config(patient).build());
    }
    let tcp = tcp::Config::default().nodelay(true);
    let builder = builder.with_tcp(tcp, noise::Config::new, yamux::Config::default)?;
    Ok(builder.with_behaviour(|_| behaviour)?.with_swarm_config(patient).build())
}

/// Listens on the loopback interface; returns the address with the peer's id.
pub async fn listen<B: NetworkBehaviour>(swarm: &mut Swarm<B>, quic: bool) -> Result<Multiaddr> {
    let address = if quic { "/ip4/127.0.0.1/udp/0/quic-v1" } else { "/ip4/127.0.0.1/tcp/0" };
    swarm.listen_on(address.parse()?)?;
    loop {
        if let SwarmEvent::NewListenAddr { address, .. } = swarm.select_next_some().await {
            return address.with_p2p(*swarm.local_peer_id()).map_err(|_| anyhow!("another id"));
        }
    }
}

/// Connects, and waits until the connection is usable.
pub async fn connect<B: NetworkBehaviour>(
    swarm: &mut Swarm<B>,
    address: &Multiaddr,
) -> Result<PeerId> {
    swarm.dial(address.clone())?;
    loop {
        match swarm.select_next_some().await {
            SwarmEvent::ConnectionEstablished { peer_id, .. } => return Ok(peer_id),
            SwarmEvent::OutgoingConnectionError { error, .. } => bail!("{error}"),
            _ => {}
        }
    }
}

/// Runs a swarm whose events nobody needs.
pub async fn idle<B: NetworkBehaviour>(mut swarm: Swarm<B>) {
    loop {
        swarm.select_next_some().await;
    }
}

/// The peer an address names.
pub fn peer_of(address: &Multiaddr) -> Result<PeerId> {
    match address.iter().last() {
        Some(Protocol::P2p(peer)) => Ok(peer),
        _ => bail!("{address} names no peer"),
    }
}
