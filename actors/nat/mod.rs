//! The NatTraversal actor: finds out where strangers can reach this node, and has it told.

mod messages;
mod router;

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use actix::{
    AsyncContext, Context, Handler, MessageResult, Recipient, ResponseFuture, StreamHandler,
};
use futures_util::stream;
use peerstage_core::{
    address::TransportKind,
    config::StunServer,
    nat::{Action, Granted, NatTraversal as Machine},
    time::Time,
};
use quinn::AsyncUdpSocket;

use crate::{
    clock::Clock,
    relay::Order,
    shell::{
        Intake, Lifeline, Queue, QueueStream, Shell, Timer, core_actor, fault_point,
        machine_clock_and_timer, step, tell,
    },
    transport::quic::{Datagram, SharedSocket},
};

mod punching;

pub use messages::{FromNat, GiveBack, ReachabilityQuery, Seen};
pub(crate) use router::{Router, interfaces, place};

/// Between two looks at the names of the STUN servers: their addresses change seldom.
const NAMES: Duration = Duration::from_secs(10 * 60);
/// The same while one does not resolve: a machine that starts may have no name server yet.
const NAMES_MISSING: Duration = Duration::from_secs(30);
/// Answers from outside that may wait: each is to an order of the machine, which has few open.
const FOUND: usize = 64;

/// The machine's surroundings; a simulated node has none.
pub(crate) struct Outside {
    /// The node's UDP ports.
    pub(crate) sockets: Vec<Arc<SharedSocket>>,
    /// The servers of the configuration.
    pub(crate) servers: Vec<StunServer>,
}

/// Whom the NatTraversal talks to.
pub(crate) struct NatLinks {
    pub(crate) manager: Recipient<FromNat>,
    /// To other nodes, sealed, by way of common peers.
    pub(crate) orders: Intake<Order>,
}

/// The queues into the NatTraversal.
pub(crate) struct NatInputs {
    /// From the manager.
    pub(crate) seen: QueueStream<Seen>,
    /// From the relay.
    pub(crate) punches: QueueStream<Seen>,
}

/// What a task outside has found.
enum Found {
    /// The machine's addresses.
    Interfaces(Vec<IpAddr>),
    /// The STUN servers' addresses, name by name; `None` if one does not resolve now.
    Servers(Vec<Option<Vec<SocketAddr>>>),
    /// What the router said.
    Granted(TransportKind, Result<Granted, String>),
}

/// The actor.
pub struct NatTraversal {
    machine: Machine,
    outside: Option<Outside>,
    router: Router,
    /// The STUN servers' addresses, name by name.
    servers: Vec<Vec<SocketAddr>>,
    inputs: Option<NatInputs>,
    found: (Queue<Found>, Option<QueueStream<Found>>),
    links: NatLinks,
    timer: Timer,
    clock: Clock,
    lifeline: Lifeline,
}

impl NatTraversal {
    pub(crate) fn new(
        machine: Machine,
        outside: Option<Outside>,
        inputs: NatInputs,
        links: NatLinks,
        clock: Clock,
        lifeline: Lifeline,
    ) -> Self {
        let (found, found_in) = Queue::new("found", FOUND);
        NatTraversal {
            machine,
            outside,
            router: Router::default(),
            servers: Vec::new(),
            inputs: Some(inputs),
            found: (found, Some(found_in)),
            links,
            timer: Timer::default(),
            clock,
            lifeline,
        }
    }

    fn begin(&mut self, ctx: &mut Context<Self>) {
        if let Some(inputs) = self.inputs.take() {
            ctx.add_stream(inputs.seen);
            ctx.add_stream(inputs.punches);
        }
        if let Some(found) = self.found.1.take() {
            ctx.add_stream(found);
        }
        for socket in self.outside.iter().flat_map(|outside| &outside.sockets) {
            if let Some(datagrams) = socket.take_datagrams() {
                let next = |mut datagrams: tokio::sync::mpsc::Receiver<Datagram>| async move {
                    let datagram = datagrams.recv().await?;
                    Some((datagram, datagrams))
                };
                ctx.add_stream(Box::pin(stream::unfold(datagrams, next)));
            }
        }
        step(self, ctx, |actor, now, out| actor.machine.on_start(now, out));
        self.look_up(ctx);
    }

    /// Does something outside on a task of its own; what it finds comes back through the queue.
    fn find(&self, work: impl Future<Output = Found> + 'static) {
        let found = self.found.0.clone();
        actix_rt::spawn(async move {
            // Control: one for each order of the machine.
            let _ = found.push_control(work.await);
        });
    }

    /// Looks the servers' names up. A node without a UDP port can't ask them.
    fn look_up(&mut self, _: &mut Context<Self>) {
        let Some(outside) = &self.outside else { return };
        if outside.servers.is_empty() || outside.sockets.is_empty() {
            return;
        }
        let servers = outside.servers.clone();
        self.find(async move { Found::Servers(resolve(servers).await) });
    }

    /// A name that does not resolve now keeps the addresses that it had.
    fn take_servers(&mut self, ctx: &mut Context<Self>, found: Vec<Option<Vec<SocketAddr>>>) {
        let again = if found.iter().all(Option::is_some) { NAMES } else { NAMES_MISSING };
        ctx.run_later(again, Self::look_up);
        self.servers.resize(found.len(), Vec::new());
        for (known, found) in self.servers.iter_mut().zip(found) {
            if let Some(found) = found {
                *known = found;
            }
        }
        let servers = self.servers.concat();
        step(self, ctx, |actor, now, out| actor.machine.set_stun_servers(now, &servers, out));
    }

    /// The port of an address's family; a socket of IPv6 takes no packets of IPv4.
    fn socket_for(&self, to: SocketAddr) -> Option<&Arc<SharedSocket>> {
        let mut sockets = self.outside.iter().flat_map(|outside| &outside.sockets);
        let fits = |socket: &&Arc<SharedSocket>| {
            socket.local_addr().is_ok_and(|local| local.is_ipv4() == to.is_ipv4())
        };
        sockets.find(fits)
    }

    /// Sends from the port of the server's family.
    fn send(&self, to: SocketAddr, datagram: [u8; 20]) {
        let Some(socket) = self.socket_for(to).cloned() else { return };
        actix_rt::spawn(async move {
            if let Err(error) = socket.send(to, &datagram).await {
                tracing::debug!(%to, %error, "a STUN request could not be sent");
            }
        });
    }
}

/// The addresses behind the names: the lowest of each family, so that one name is one server, and
/// the same one whatever order its name server puts them in.
async fn resolve(servers: Vec<StunServer>) -> Vec<Option<Vec<SocketAddr>>> {
    let mut addresses = Vec::new();
    for server in servers {
        match tokio::net::lookup_host(server.to_string()).await {
            Ok(found) => {
                let all: Vec<SocketAddr> = found.collect();
                let of = |is_v4| all.iter().copied().filter(|a| a.is_ipv4() == is_v4).min();
                addresses.push(Some([of(true), of(false)].into_iter().flatten().collect()));
            }
            Err(error) => {
                tracing::warn!(%server, %error, "a STUN server's name does not resolve");
                addresses.push(None);
            }
        }
    }
    addresses
}

core_actor!(NatTraversal, mailbox = 1_024);

impl Shell for NatTraversal {
    type Action = Action;

    machine_clock_and_timer!();

    fn perform(&mut self, action: Action, _: &mut Context<Self>) {
        match action {
            Action::Announce(candidates) => {
                if !tell("from_nat", &self.links.manager, FromNat::OwnAddresses(candidates)) {
                    self.machine.on_unheard();
                }
            }
            _ if self.outside.is_none() => {}
            Action::Ask { server, request } => self.send(server, request),
            Action::Punch(action) => self.perform_punch(action),
            Action::LookAtInterfaces => self.find(async {
                let looked = tokio::task::spawn_blocking(router::interfaces).await;
                Found::Interfaces(looked.unwrap_or_default())
            }),
            Action::Map { transport, port } => {
                let (router, now) = (self.router.clone(), self.clock.now());
                self.find(async move {
                    let place = tokio::task::spawn_blocking(router::place).await;
                    let granted = match place {
                        Ok(Ok(place)) => router.map(place, transport, port, now).await,
                        Ok(Err(why)) => Err(why),
                        Err(error) => Err(error.to_string()),
                    };
                    Found::Granted(transport, granted)
                });
            }
        }
    }
}

impl StreamHandler<Vec<Found>> for NatTraversal {
    fn handle(&mut self, all: Vec<Found>, ctx: &mut Context<Self>) {
        fault_point("NatTraversal::Vec<Found>");
        for found in all {
            match found {
                Found::Interfaces(ips) => {
                    step(self, ctx, |actor, now, out| actor.machine.on_interfaces(now, ips, out));
                }
                Found::Servers(found) => self.take_servers(ctx, found),
                Found::Granted(transport, granted) => step(self, ctx, |actor, now, out| {
                    actor.machine.on_granted(now, transport, granted, out);
                }),
            }
        }
    }

    fn finished(&mut self, _: &mut Context<Self>) {}
}

impl StreamHandler<Datagram> for NatTraversal {
    fn handle(&mut self, datagram: Datagram, ctx: &mut Context<Self>) {
        fault_point("NatTraversal::Datagram");
        let Datagram { from, bytes } = datagram;
        let is_ours =
            step(self, ctx, |actor, now, out| actor.machine.on_datagram(now, from, &bytes, out));
        if !is_ours {
            metrics::counter!("peerstage_stun_answers_refused_total").increment(1);
        }
    }

    fn finished(&mut self, _: &mut Context<Self>) {}
}

impl StreamHandler<Vec<Seen>> for NatTraversal {
    fn handle(&mut self, all: Vec<Seen>, ctx: &mut Context<Self>) {
        fault_point("NatTraversal::Vec<Seen>");
        for seen in all {
            step(self, ctx, |actor, now, out| match seen {
                Seen::At { peer, remote, outbound, observed, relay } => {
                    actor.machine.on_peer(now, (peer, remote, outbound), observed, out);
                    if let Some(relay) = relay {
                        actor.machine.on_relay(now, peer, relay, out);
                    }
                }
                Seen::Wanted(peer) => actor.machine.want(now, peer, out),
                Seen::Dialled(address) => actor.machine.on_dialled(now, &address),
                Seen::Punch { peer, body } => actor.on_punch(now, peer, &body, out),
                Seen::Banned(nodes) => {
                    for (node, until) in nodes {
                        actor.machine.on_banned(now, node, until);
                    }
                }
                Seen::Gone(peer) => actor.machine.on_peer_gone(now, &peer, out),
            });
        }
    }

    fn finished(&mut self, _: &mut Context<Self>) {}
}

impl Handler<ReachabilityQuery> for NatTraversal {
    type Result = MessageResult<ReachabilityQuery>;

    fn handle(
        &mut self,
        ReachabilityQuery: ReachabilityQuery,
        _: &mut Context<Self>,
    ) -> Self::Result {
        fault_point("NatTraversal::ReachabilityQuery");
        MessageResult(self.machine.reachability(self.clock.now()))
    }
}

impl Handler<GiveBack> for NatTraversal {
    type Result = ResponseFuture<()>;

    fn handle(&mut self, GiveBack: GiveBack, _: &mut Context<Self>) -> Self::Result {
        fault_point("NatTraversal::GiveBack");
        let router = self.router.clone();
        Box::pin(async move { router.unmap().await })
    }
}
