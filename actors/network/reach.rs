//! Where a node listens, what it tells of itself, and whom it looks for first.

use std::{fs, time::Duration};

use actix::Addr;
use peerstage_core::{
    address::Address,
    book::AsMap,
    config::{Config, Host, Optional, PeerAddress},
    manager::Target,
    record::{Capabilities, Roles},
};

use tokio::task::AbortHandle;

use super::StartError;
use crate::{
    manager::{Connect, Named, NetworkManager},
    shell::Queue,
    transport::{Link, Listener, Transport},
};

/// How long a host name that did not resolve waits for the next try.
const RESOLVE_RETRY: Duration = Duration::from_secs(10);

pub(super) async fn listen(
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
pub(super) fn announced(config: &Config, listening: &[Address]) -> Vec<Address> {
    let external = &config.network.external_addresses;
    if !external.is_empty() {
        return external.clone();
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

/// The peers that are named by address; names are looked up by [`resolve`].
pub(super) fn targets(named: &[PeerAddress]) -> Vec<Target> {
    let target =
        |peer: &PeerAddress| peer.address().map(|address| Target { address, expected: peer.id });
    named.iter().filter_map(target).collect()
}

/// Starts the tasks beside the actors: accepting connections, and looking names up.
pub(super) fn background(
    config: &Config,
    listeners: Vec<Box<dyn Listener>>,
    accepted: &Queue<Link>,
    manager: &Addr<NetworkManager>,
) -> Vec<AbortHandle> {
    let accepting = |listener| actix_rt::spawn(accept(listener, accepted.clone()));
    let mut tasks: Vec<_> =
        listeners.into_iter().map(|listener| accepting(listener).abort_handle()).collect();
    let network = &config.network;
    let bootstrap = network.bootstrap.iter().map(|peer| (peer, Named::Bootstrap));
    let persistent = network.persistent_peers.iter().map(|peer| (peer, Named::Persistent));
    for (peer, named) in bootstrap.chain(persistent) {
        if peer.address().is_none() {
            let looking = resolve(peer.clone(), named, manager.clone());
            tasks.push(actix_rt::spawn(looking).abort_handle());
        }
    }
    tasks
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
async fn resolve(target: PeerAddress, named: Named, manager: Addr<NetworkManager>) {
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
                    found = manager.send(Connect { target: resolved, named }).await.is_ok();
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
