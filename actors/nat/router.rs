//! Asks the router to map ports: PCP, NAT-PMP and UPnP side by side, whoever answers first.
//!
//! Side by side, since a router that knows none of them is silent, and one after another that
//! silence would last twelve seconds.
//!
//! # Security
//! Provided: whatever the router says is bounded in time and size by the crates that read it.
//! Not provided: trust in it; see [`peerstage_core::nat`].

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    num::NonZeroU16,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use crab_nat::{
    GatewayAddress, InternetProtocol, PortMapping, PortMappingOptions, PortMappingType,
    TimeoutConfig, natpmp, pcp,
};
use futures_util::{
    FutureExt, StreamExt,
    future::{BoxFuture, join_all},
    stream::FuturesUnordered,
};
use igd_next::{
    AddPortError, PortMappingProtocol, SearchOptions,
    aio::{Gateway, tokio as upnp, tokio::Tokio},
};
use peerstage_core::{
    address::TransportKind,
    nat::{Granted, Method},
    time::{Millis, Time},
};

/// For how long a port is asked for: renewed at half of it, and gone soon after a crash.
const LEASE: Duration = Duration::from_secs(60 * 60);
/// How long a renewal and then all protocols together may take: the tries below are over in 4 s
/// each time, a UPnP device may answer for 3 s and then be asked three things.
const PATIENCE: Duration = Duration::from_secs(12);
/// PCP and NAT-PMP: sent four times, 0.25 s, 0.5 s, 1 s and 2 s apart (RFC 6886 section 3.1; PCP
/// would wait longer than UPnP needs to refuse).
const TRIES: TimeoutConfig = TimeoutConfig {
    initial_timeout: Duration::from_millis(250),
    max_retries: 3,
    max_retry_timeout: None,
};
/// How long UPnP devices are listened for.
const SEARCH: Duration = Duration::from_secs(5);
/// How long the router may take to give mappings back when the node stops.
const GOODBYE: Duration = Duration::from_secs(2);
/// What the router shows its owner.
const DESCRIPTION: &str = "peerstage";

/// Where the router is, and where it sees us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) gateway: Ipv4Addr,
    pub(crate) own: Ipv4Addr,
}

/// A mapping that is to be renewed, and given back.
#[derive(Clone)]
enum Held {
    /// By PCP or NAT-PMP.
    Leased(Box<PortMapping>),
    /// By UPnP.
    Upnp(Device),
}

/// A mapping by UPnP.
#[derive(Clone)]
struct Device {
    gateway: Box<Gateway<Tokio>>,
    protocol: PortMappingProtocol,
    /// Where it was seen outside.
    external: SocketAddr,
    /// When the mapping was asked for.
    since: Time,
}

impl Device {
    fn granted(self, now: Time) -> (Granted, Held) {
        let life = lease_ms().saturating_sub(now.since(self.since));
        let granted = Granted { external: self.external, life, method: Method::Upnp };
        (granted, Held::Upnp(self))
    }
}

/// The router, and what it maps for us.
#[derive(Clone, Default)]
pub(crate) struct Router {
    held: Arc<Mutex<Vec<(TransportKind, Held)>>>,
}

impl Router {
    /// Asks for a port, or for it again.
    ///
    /// # Errors
    /// What every protocol said.
    pub(crate) async fn map(
        &self,
        place: Place,
        transport: TransportKind,
        port: u16,
        now: Time,
    ) -> Result<Granted, String> {
        let port = NonZeroU16::new(port).ok_or("port 0 can't be mapped")?;
        let asked = async {
            match self.renew(place, transport, port, now).await {
                Some(renewed) => Ok(renewed),
                None => first(place, transport, port, now).await,
            }
        };
        let (granted, held) = tokio::time::timeout(PATIENCE, asked)
            .await
            .map_err(|_| format!("no answer within {} s", PATIENCE.as_secs()))??;
        let mut all = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|(known, _)| *known != transport);
        all.push((transport, held));
        Ok(granted)
    }

    /// The mapping that there is, for longer: PCP knows whose it is by its nonce (RFC 6887 section
    /// 11.2.1), and peers know its port.
    async fn renew(
        &self,
        place: Place,
        transport: TransportKind,
        port: NonZeroU16,
        now: Time,
    ) -> Option<(Granted, Held)> {
        let held = {
            let all = self.held.lock().unwrap_or_else(PoisonError::into_inner);
            all.iter().find(|(known, _)| *known == transport).map(|(_, held)| held.clone())
        };
        match held? {
            Held::Leased(mut mapping) => {
                let gateway = GatewayAddress::from(place.gateway);
                if mapping.gateway() != gateway {
                    return None;
                }
                mapping.renew().await.ok()?;
                let (ip, method) = match mapping.mapping_type() {
                    PortMappingType::Pcp { external_ip, .. } => (external_ip, Method::Pcp),
                    PortMappingType::NatPmp => {
                        let ip = natpmp::external_address(gateway, None).await.ok()?;
                        (ip.into(), Method::NatPmp)
                    }
                };
                Some(leased(*mapping, ip, method))
            }
            Held::Upnp(mut device) => {
                let Device { gateway, protocol, external, since } = &device;
                let seen = SocketAddr::new(gateway.get_external_ip().await.ok()?, external.port());
                // Some routers write each mapping to a memory that wears out.
                if now.since(*since) >= lease_ms() / 2 || seen != *external {
                    let own = SocketAddr::new(place.own.into(), port.get());
                    add(gateway, *protocol, seen.port(), own).await.ok()?;
                    (device.external, device.since) = (seen, now);
                }
                Some(device.granted(now))
            }
        }
    }

    /// Gives all mappings back, as far as the router listens.
    pub(crate) async fn unmap(&self) {
        let held = std::mem::take(&mut *self.held.lock().unwrap_or_else(PoisonError::into_inner));
        let returned = held.into_iter().map(|(_, held)| async move {
            match held {
                Held::Leased(mapping) => give_back(*mapping).await,
                Held::Upnp(Device { gateway, protocol, external, .. }) => {
                    gateway.remove_port(protocol, external.port()).await.is_ok()
                }
            }
        });
        // Whoever does not answer forgets by itself when the lease ends.
        let _ = tokio::time::timeout(GOODBYE, join_all(returned)).await;
    }
}

/// The default router and our own address in its network; asks the system, so it may block.
pub(crate) fn place() -> Result<Place, String> {
    let interface = netdev::get_default_interface()?;
    let gateway = interface.gateway.as_ref().and_then(|gateway| gateway.ipv4.first().copied());
    let gateway = gateway.ok_or("no IPv4 router is known")?;
    let nets = || interface.ipv4.iter();
    let own = nets().find(|net| net.contains(&gateway)).or_else(|| nets().next());
    let own = own.ok_or("no IPv4 address is known")?.addr();
    Ok(Place { gateway, own })
}

/// The machine's addresses, of interfaces that are up; asks the system, so it may block.
pub(crate) fn interfaces() -> Vec<IpAddr> {
    let up = netdev::get_interfaces().into_iter().filter(|interface| interface.is_up());
    let mut ips: Vec<IpAddr> = up.flat_map(|interface| interface.ip_addrs()).collect();
    ips.sort();
    ips.dedup();
    ips
}

/// Gives a mapping back by both protocols: all were asked at once, and a router that knows both
/// keeps the one that came last, whichever answered first.
async fn give_back(mapping: PortMapping) -> bool {
    let (gateway, protocol) = (mapping.gateway(), mapping.protocol());
    let port = Some(mapping.internal_port());
    let older = natpmp::try_drop_mapping(gateway, protocol, port, Some(TRIES));
    let (first, second) = tokio::join!(mapping.try_drop(), older);
    first.is_ok() || second.is_ok()
}

type Outcome = Result<(Granted, Held), String>;

/// The first protocol that grants it; what all said, if none does.
async fn first(place: Place, transport: TransportKind, port: NonZeroU16, now: Time) -> Outcome {
    let tries: [BoxFuture<'_, Outcome>; 3] = [
        by_pcp(place, transport, port).boxed(),
        by_nat_pmp(place, transport, port).boxed(),
        by_upnp(place, transport, port, now).boxed(),
    ];
    let mut tries: FuturesUnordered<_> = tries.into_iter().collect();
    let mut refusals = Vec::new();
    while let Some(outcome) = tries.next().await {
        match outcome {
            Ok(granted) => return Ok(granted),
            Err(refusal) => refusals.push(refusal),
        }
    }
    Err(refusals.join("; "))
}

fn protocol(transport: TransportKind) -> InternetProtocol {
    match transport {
        TransportKind::Quic => InternetProtocol::Udp,
        _ => InternetProtocol::Tcp,
    }
}

/// The same port outside as inside: what leaves shows the mapping's port then.
fn options(port: NonZeroU16) -> PortMappingOptions {
    PortMappingOptions {
        external_port: Some(port),
        lifetime_seconds: u32::try_from(LEASE.as_secs()).ok(),
        timeout_config: Some(TRIES),
    }
}

fn leased(mapping: PortMapping, ip: IpAddr, method: Method) -> (Granted, Held) {
    let external = SocketAddr::new(ip, mapping.external_port().get());
    let life = u64::from(mapping.lifetime()).saturating_mul(1_000);
    (Granted { external, life, method }, Held::Leased(Box::new(mapping)))
}

async fn by_pcp(place: Place, transport: TransportKind, port: NonZeroU16) -> Outcome {
    let (gateway, own) = (place.gateway.into(), place.own.into());
    let request = pcp::BaseMapRequest::new(gateway, own, protocol(transport), port);
    let mapping = pcp::port_mapping(request, None, None, options(port))
        .await
        .map_err(|error| format!("PCP: {error}"))?;
    match mapping.mapping_type() {
        PortMappingType::Pcp { external_ip, .. } => Ok(leased(mapping, external_ip, Method::Pcp)),
        PortMappingType::NatPmp => Err("PCP: an answer of NAT-PMP".to_owned()),
    }
}

async fn by_nat_pmp(place: Place, transport: TransportKind, port: NonZeroU16) -> Outcome {
    let said = |error: natpmp::Failure| format!("NAT-PMP: {error}");
    let gateway = place.gateway.into();
    let mapping = natpmp::port_mapping(gateway, protocol(transport), port, options(port))
        .await
        .map_err(said)?;
    let ip = natpmp::external_address(gateway, None).await.map_err(said)?;
    Ok(leased(mapping, ip.into(), Method::NatPmp))
}

async fn by_upnp(place: Place, transport: TransportKind, port: NonZeroU16, now: Time) -> Outcome {
    let said = |error: &dyn std::fmt::Display| format!("UPnP: {error}");
    let mut search = SearchOptions::default();
    search.bind_addr = SocketAddr::new(place.own.into(), 0);
    search.timeout = Some(SEARCH);
    let gateway = upnp::search_gateway(search).await.map_err(|error| said(&error))?;
    let ip = gateway.get_external_ip().await.map_err(|error| said(&error))?;
    let protocol = match protocol(transport) {
        InternetProtocol::Udp => PortMappingProtocol::UDP,
        InternetProtocol::Tcp => PortMappingProtocol::TCP,
    };
    let own = SocketAddr::new(place.own.into(), port.get());
    let outside = match add(&gateway, protocol, port.get(), own).await {
        Ok(()) => port.get(),
        Err(AddPortError::PortInUse) => gateway
            .add_any_port(protocol, own, lease_s(), DESCRIPTION)
            .await
            .map_err(|error| said(&error))?,
        Err(error) => return Err(said(&error)),
    };
    let external = SocketAddr::new(ip, outside);
    Ok(Device { gateway: Box::new(gateway), protocol, external, since: now }.granted(now))
}

fn lease_s() -> u32 {
    u32::try_from(LEASE.as_secs()).unwrap_or(0)
}

fn lease_ms() -> Millis {
    Millis::try_from(LEASE.as_millis()).unwrap_or(Millis::MAX)
}

/// Asks for this very port outside. Some routers know no end of a mapping (error 725); it is given
/// back when the node stops.
async fn add(
    gateway: &Gateway<Tokio>,
    protocol: PortMappingProtocol,
    outside: u16,
    own: SocketAddr,
) -> Result<(), AddPortError> {
    match gateway.add_port(protocol, outside, own, lease_s(), DESCRIPTION).await {
        Err(AddPortError::OnlyPermanentLeasesSupported) => {
            gateway.add_port(protocol, outside, own, 0, DESCRIPTION).await
        }
        done => done,
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::UdpSocket;

    use super::*;

    /// A router that knows NAT-PMP only (RFC 6886 sections 3.2, 3.3 and 3.5), at the port that is
    /// its alone. Answers to so many requests and returns how often a mapping was given back.
    async fn router(socket: UdpSocket) -> usize {
        let mut returned = 0;
        let mut request = [0; 64];
        // By either way of giving it back.
        while returned < 2 {
            let (length, from) = socket.recv_from(&mut request).await.unwrap();
            let epoch = 7u32.to_be_bytes();
            let answer = match &request[..length] {
                // Another version: ours is 0, which is result code 1.
                [2, ..] => [&[0, 128, 0, 1][..], &epoch].concat(),
                [0, 0] => [&[0, 128, 0, 0][..], &epoch, &[203, 0, 113, 9]].concat(),
                [0, kind, _, _, inside @ ..] => {
                    let lifetime = &inside[4..8];
                    if lifetime == [0; 4] {
                        returned += 1;
                    }
                    let outside = if lifetime == [0; 4] { [0, 0] } else { [0x9c, 0x40] };
                    let ports = [&inside[..2], &outside].concat();
                    [&[0, kind + 128, 0, 0][..], &epoch, &ports, lifetime].concat()
                }
                other => panic!("{other:?}"),
            };
            socket.send_to(&answer, from).await.unwrap();
        }
        returned
    }

    #[tokio::test]
    async fn a_router_of_the_oldest_kind_maps_a_port_and_takes_it_back() {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, crab_nat::GATEWAY_PORT)).await.unwrap();
        let running = tokio::spawn(router(socket));
        let place = Place { gateway: Ipv4Addr::LOCALHOST, own: Ipv4Addr::LOCALHOST };
        let router = Router::default();
        let granted = router.map(place, TransportKind::Quic, 30_400, Time(1)).await.unwrap();
        assert_eq!(granted.external, "203.0.113.9:40000".parse().unwrap());
        assert_eq!((granted.method, granted.life), (Method::NatPmp, 3_600_000));
        router.unmap().await;
        assert_eq!(running.await.unwrap(), 2);
    }

    #[test]
    fn the_machine_has_an_address() {
        assert!(interfaces().contains(&Ipv4Addr::LOCALHOST.into()));
    }
}
