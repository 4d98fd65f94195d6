//! Finding nodes on the local network by multicast DNS (RFC 6762, RFC 6763).
//!
//! # Security
//! Provided: off unless the operator switches it on; in mode "private" nothing is said or heard
//! through an interface that has an address which strangers can reach; what is heard is a place to dial while peers are
//! missing, where the node must prove its id and the network; how many are kept is bounded
//! ([`peerstage_core::manager::FOUND_MAX`]), and they are dialled no oftener than any stranger.
//! Not provided: a bound on what the multicast DNS library keeps of what the local network claims,
//! for as long as each claim says; secrecy towards the local network, which learns the node's id and port, and the
//! id of its network; mode "private" for an interface that becomes public while the node runs.

use std::{collections::BTreeSet, net::IpAddr};

use mdns_sd::{IfKind, IfPredicate, ResolvedService, ServiceDaemon, ServiceEvent, ServiceInfo};
use peerstage_core::{
    address::{Address, TransportKind},
    config::LanMode,
    identity::{NetworkId, NodeId},
};
use tokio::task::AbortHandle;

use super::ToDiscovery;
use crate::shell::Queue;

/// The service of nodes that listen on TCP, and of those that listen on QUIC.
const SERVICES: [(TransportKind, &str); 2] = [
    (TransportKind::Tcp, "_peerstage._tcp.local."),
    (TransportKind::Quic, "_peerstage._udp.local."),
];
/// The names in the service's TXT record.
const NETWORK: &str = "network";
const ID: &str = "id";

/// What is told on the local network.
#[derive(Clone, Debug)]
pub(crate) struct LanSettings {
    pub(crate) mode: LanMode,
    pub(crate) network: NetworkId,
    pub(crate) node: NodeId,
    pub(crate) listening: Vec<Address>,
}

/// The running service; ends when it is dropped.
pub(crate) struct Lan {
    daemon: ServiceDaemon,
    hearing: Vec<AbortHandle>,
}

impl Lan {
    /// Tells of this node, and hears of others.
    pub(crate) fn start(
        settings: &LanSettings,
        found: Queue<ToDiscovery>,
    ) -> Result<Option<Self>, mdns_sd::Error> {
        if settings.mode == LanMode::Off {
            return Ok(None);
        }
        let daemon = ServiceDaemon::new()?;
        if settings.mode == LanMode::Private {
            let names = names_of_public(netdev::get_interfaces());
            let public = IfPredicate::new(move |at| {
                names.contains(&at.name) || Address::new(at.ip(), 1).is_routable()
            });
            daemon.disable_interface(IfKind::Predicate(public))?;
        }
        let mut hearing = Vec::new();
        for (transport, name) in SERVICES {
            let mut places = settings.listening.iter().filter(|at| at.transport() == transport);
            let Some(place) = places.next() else { continue };
            daemon.register(service(settings, name, *place)?)?;
            let (heard, found) = (daemon.browse(name)?, found.clone());
            let (network, own) = (settings.network, settings.node);
            let hears = actix_rt::spawn(async move {
                while let Ok(event) = heard.recv_async().await {
                    let ServiceEvent::ServiceResolved(service) = event else { continue };
                    for (node, address) in nodes(&service, transport, network, own) {
                        // A full queue drops it: it is announced again.
                        let _ = found.push(ToDiscovery::Lan { node, address });
                    }
                }
            });
            hearing.push(hears.abort_handle());
        }
        Ok(Some(Lan { daemon, hearing }))
    }
}

/// The interfaces that strangers reach by one of their addresses: by the others, such as those of the
/// link, they are no less public.
fn names_of_public(interfaces: Vec<netdev::Interface>) -> BTreeSet<String> {
    let is_public = |interface: &netdev::Interface| {
        interface.ip_addrs().into_iter().any(|ip| Address::new(ip, 1).is_routable())
    };
    interfaces.into_iter().filter(is_public).map(|interface| interface.name).collect()
}

impl Drop for Lan {
    fn drop(&mut self) {
        self.hearing.iter().for_each(AbortHandle::abort);
        // The daemon says goodbye on its own thread.
        let _ = self.daemon.shutdown();
    }
}

/// This node, as it is announced.
fn service(
    settings: &LanSettings,
    kind: &str,
    listening: Address,
) -> Result<ServiceInfo, mdns_sd::Error> {
    let (network, id) = (settings.network.to_string(), settings.node.to_string());
    let name = format!("peerstage-{}", settings.node.short());
    let host = format!("{name}.local.");
    let everywhere = listening.ip().is_unspecified();
    let ip = if everywhere { String::new() } else { listening.ip().to_string() };
    let words = [(NETWORK, network.as_str()), (ID, id.as_str())];
    let info = ServiceInfo::new(kind, &name, &host, ip.as_str(), listening.port(), &words[..])?;
    Ok(if everywhere { info.enable_addr_auto() } else { info })
}

/// Where a node that was heard of is, if it is another one of this network.
fn nodes(
    service: &ResolvedService,
    transport: TransportKind,
    network: NetworkId,
    own: NodeId,
) -> Vec<(NodeId, Address)> {
    let word = |name| service.get_property_val_str(name);
    let same = word(NETWORK).and_then(|id| id.parse::<NetworkId>().ok()) == Some(network);
    let node = word(ID).and_then(|id| id.parse::<NodeId>().ok());
    let Some(node) = node.filter(|node| same && *node != own) else { return Vec::new() };
    let mut ips: Vec<IpAddr> = service.addresses.iter().map(|ip| ip.to_ip_addr()).collect();
    ips.sort_unstable();
    let addresses = ips.into_iter().map(|ip| Address::new(ip, service.port).over(transport));
    addresses.filter(Address::is_dialable).map(|address| (node, address)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A machine of a provider has a public IPv4 address and one of the link by IPv6 on one interface.
    #[test]
    fn an_interface_is_public_with_all_its_addresses() {
        let interface = |name: &str, v4: &str, v6: &str| {
            let mut interface = netdev::Interface::dummy();
            interface.name = name.to_owned();
            interface.ipv4 = vec![v4.parse().unwrap()];
            interface.ipv6 = vec![v6.parse().unwrap()];
            interface
        };
        let both = [
            interface("eth0", "81.2.69.142/24", "fe80::1/64"),
            interface("eth1", "192.168.1.7/24", "fe80::2/64"),
        ];
        assert_eq!(names_of_public(both.into()), ["eth0".to_owned()].into());
    }
}
