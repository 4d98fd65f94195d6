//! What every handle on a network shares: the addresses of its actors.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use actix::Addr;
use peerstage_core::{
    address::Address,
    identity::NodeId,
    kinds::{KINDS, Kind},
};
use tokio::{sync::oneshot, task::AbortHandle};

use super::Stopped;
use crate::{
    bridge::{BlockchainBridge, ConsensusBridge, DirectCounts, MonitoringBridge, Subscribe},
    circuits::Circuits,
    clock::Clock,
    discovery::{Discovery, DiscoveryQuery},
    manager::{ManagerQuery, NetworkManager, PeerQuery},
    nat::{GiveBack, NatTraversal, ReachabilityQuery},
    own::OwnNode,
    peer::{Directory, FromPeer},
    peer_store::{CloseStore, PeerStore, StoreQuery},
    relay::{CountsQuery, MessageRelay, Order},
    requests::{Ask, RequestDesk},
    scoring::{Bans, PeerScoring, ScoresOf},
    shell::{Fatal, Intake, PanicNow, Placement, Pulse, Queue, Stop, watch},
    status::{BookStatus, PeerInfo, Status, Traffic},
};

/// The core actors of a node.
pub(super) struct Actors {
    pub(super) relay: Addr<MessageRelay>,
    pub(super) requests: Addr<RequestDesk>,
    pub(super) manager: Addr<NetworkManager>,
    pub(super) discovery: Addr<Discovery>,
    pub(super) scoring: Addr<PeerScoring>,
    pub(super) store: Addr<PeerStore>,
    pub(super) blockchain: Addr<BlockchainBridge>,
    pub(super) consensus: Addr<ConsensusBridge>,
    pub(super) monitoring: Addr<MonitoringBridge>,
    pub(super) nat: Addr<NatTraversal>,
    pub(super) circuits: Addr<Circuits>,
}

/// A running network's insides. Only the composition root and the handle see it.
pub(crate) struct Core {
    pub(super) node: NodeId,
    pub(super) own: Arc<OwnNode>,
    pub(super) listening: Vec<Address>,
    pub(super) min_peers: usize,
    /// The longest bodies this node takes and sends, by the position of their kind in the table.
    pub(super) body_limits: [usize; KINDS.len()],
    pub(super) request_timeout: Duration,
    pub(super) shutdown_timeout: Duration,
    pub(super) clock: Clock,
    pub(super) started: peerstage_core::time::Time,
    /// The queues from the peers to the relay and to the requests.
    pub(super) from_peers: [Queue<FromPeer>; 2],
    /// The chain's own orders to the relay and to the requests.
    pub(super) orders: Intake<Order>,
    pub(super) asks: Intake<Ask>,
    pub(super) directory: Directory,
    pub(super) direct: Arc<DirectCounts>,
    pub(super) actors: Actors,
    pub(super) events: Subscribe,
    pub(super) facts: Mutex<BTreeMap<String, String>>,
    pub(super) fatal: Fatal,
    pub(super) pulse: Pulse,
    pub(super) placement: Placement,
    /// The tasks that accept connections.
    pub(super) acceptors: Vec<AbortHandle>,
    /// Ends the thread that the core actors live on, if they have one.
    pub(super) thread: Mutex<Option<tokio::sync::oneshot::Sender<()>>>,
}

impl Core {
    /// The longest body of a kind, bytes.
    pub(super) fn body_max(&self, kind: Kind) -> usize {
        self.body_limits.get(kind.index()).copied().unwrap_or(0)
    }

    pub(super) fn publish(&self, facts: BTreeMap<String, String>) {
        if let Some(height) = facts.get("height").and_then(|height| height.parse().ok()) {
            self.own.height.store(height, std::sync::atomic::Ordering::Relaxed);
        }
        self.facts.lock().unwrap_or_else(PoisonError::into_inner).extend(facts);
    }

    pub(super) async fn peers(&self, one: Option<NodeId>) -> Result<Vec<PeerInfo>, Stopped> {
        let rows = self.actors.manager.send(PeerQuery(one)).await?;
        let scores =
            self.actors.scoring.send(ScoresOf(rows.iter().map(|row| row.peer).collect())).await?;
        let now = self.clock.now();
        let info = |(row, score): (crate::manager::PeerRow, crate::scoring::ScoreOf)| PeerInfo {
            peer: row.peer,
            address: row.address,
            transport: row.address.transport().carrier().name().to_owned(),
            path: path_of(&row).to_owned(),
            group: row.group.to_string(),
            place: row.place.name().to_owned(),
            blocks_only: row.blocks_only,
            outbound: row.outbound,
            validator: row.validator,
            agent: row.agent,
            metadata: row.metadata,
            suite: row.suite.to_owned(),
            connected: row.since,
            connected_ms: now.since(row.since),
            score: score.score,
            standing: score.standing.name().to_owned(),
            round_trip_ms: row.round_trip_ms,
            traffic: Traffic { bytes_in: row.bytes_in, bytes_out: row.bytes_out },
            queued_bytes: row.queued_bytes,
        };
        Ok(rows.into_iter().zip(scores).map(info).collect())
    }

    pub(super) async fn status(&self) -> Result<Status, Stopped> {
        let report = self.actors.manager.send(ManagerQuery).await?;
        let mut counts = self.actors.relay.send(CountsQuery).await?;
        self.direct.add_to(counts.kinds.entry(Kind::Custom).or_default());
        let bans = self.actors.scoring.send(Bans).await?;
        let store = self.actors.store.send(StoreQuery).await?;
        let discovery = self.actors.discovery.send(DiscoveryQuery).await?.0;
        let reach = self.actors.nat.send(ReachabilityQuery).await?.into();
        let now = self.clock.now();
        let healthy = store.ends_with("(healthy)");
        Ok(Status {
            node: self.node,
            agent: self.own.agent.clone(),
            network: self.own.network,
            started: self.started,
            uptime_ms: now.since(self.started),
            listen: self.listening.clone(),
            reach,
            validator: self.own.validator.as_ref().map(|key| key.public()),
            peers: report.status.peers,
            inbound: report.status.inbound,
            outbound: report.status.outbound,
            validators: report.validators,
            banned: bans.len(),
            known_addresses: report.status.addresses,
            book: BookStatus {
                new: report.status.addresses.saturating_sub(report.status.tried),
                tried: report.status.tried,
                records: report.status.records,
                blocks_only: report.status.blocks_only,
                anchors: report.status.anchors,
                feelers: report.status.feelers.dialled,
                feelers_answered: report.status.feelers.answered,
            },
            discovery,
            traffic: Traffic { bytes_in: report.bytes_in, bytes_out: report.bytes_out },
            kinds: counts.kinds.iter().map(|(kind, c)| (kind.name().to_owned(), *c)).collect(),
            drops: counts.drops.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect(),
            store,
            chain: self.facts.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            ready: report.status.peers >= self.min_peers && healthy && self.trouble().is_empty(),
        })
    }

    /// Starts to ask every core actor for signs of life.
    pub(super) fn watch(&mut self) {
        let actors = vec![
            ("monitoring", self.actors.monitoring.clone().recipient()),
            ("store", self.actors.store.clone().recipient()),
            ("blockchain", self.actors.blockchain.clone().recipient()),
            ("consensus", self.actors.consensus.clone().recipient()),
            ("relay", self.actors.relay.clone().recipient()),
            ("requests", self.actors.requests.clone().recipient()),
            ("manager", self.actors.manager.clone().recipient()),
            ("discovery", self.actors.discovery.clone().recipient()),
            ("scoring", self.actors.scoring.clone().recipient()),
            ("nat", self.actors.nat.clone().recipient()),
            ("circuits", self.actors.circuits.clone().recipient()),
        ];
        let watching = actix_rt::spawn(watch(self.pulse.clone(), actors, self.fatal.clone()));
        self.acceptors.push(watching.abort_handle());
    }

    /// Waits until the relay and the requests know every peer that the manager knows now.
    pub(super) async fn catch_up(&self) -> Result<(), Stopped> {
        for queue in &self.from_peers {
            let (mark, reached) = oneshot::channel();
            queue.push_control(FromPeer::Mark(mark)).map_err(|_| Stopped)?;
            reached.await.map_err(|_| Stopped)?;
        }
        Ok(())
    }

    /// The core actors that are dead or silent.
    pub(super) fn trouble(&self) -> Vec<&'static str> {
        if self.fatal.is_told() { vec!["a core actor has died"] } else { self.pulse.silent() }
    }

    /// Ends every actor in order; the manager has said its goodbyes before.
    pub(super) async fn stop(&self) {
        let _ = self.actors.nat.send(GiveBack).await;
        let _ = self.actors.store.send(CloseStore).await;
        self.crash().await;
    }

    /// Ends every actor and every thread, without goodbyes and without closing the store.
    pub(super) async fn crash(&self) {
        self.halt().await;
        self.placement.stop();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            let _ = thread.send(());
        }
    }

    async fn halt(&self) {
        self.acceptors.iter().for_each(AbortHandle::abort);
        let _ = self.actors.nat.send(Stop).await;
        let _ = self.actors.circuits.send(Stop).await;
        let _ = self.actors.manager.send(Stop).await;
        let _ = self.actors.discovery.send(Stop).await;
        let _ = self.actors.relay.send(Stop).await;
        let _ = self.actors.requests.send(Stop).await;
        let _ = self.actors.scoring.send(Stop).await;
        let _ = self.actors.blockchain.send(Stop).await;
        let _ = self.actors.consensus.send(Stop).await;
        let _ = self.actors.store.send(Stop).await;
        let _ = self.actors.monitoring.send(Stop).await;
    }

    /// Makes a core actor panic, by name; whether there is one of that name.
    pub(super) fn panic_in(&self, actor: &str) -> bool {
        let sent = match actor {
            "relay" => self.actors.relay.try_send(PanicNow),
            "requests" => self.actors.requests.try_send(PanicNow),
            "manager" => self.actors.manager.try_send(PanicNow),
            "discovery" => self.actors.discovery.try_send(PanicNow),
            "scoring" => self.actors.scoring.try_send(PanicNow),
            "store" => self.actors.store.try_send(PanicNow),
            "blockchain" => self.actors.blockchain.try_send(PanicNow),
            "consensus" => self.actors.consensus.try_send(PanicNow),
            "monitoring" => self.actors.monitoring.try_send(PanicNow),
            "nat" => self.actors.nat.try_send(PanicNow),
            "circuits" => self.actors.circuits.try_send(PanicNow),
            _ => return false,
        };
        sent.is_ok()
    }
}

impl Drop for Core {
    /// The last handle is gone: the acceptors and the thread end.
    fn drop(&mut self) {
        self.acceptors.iter().for_each(AbortHandle::abort);
        self.placement.stop();
    }
}

/// How a connection gets to the peer.
fn path_of(row: &crate::manager::PeerRow) -> &'static str {
    match (row.address.is_circuit(), row.punched) {
        (true, _) => "relayed",
        (false, true) => "punched",
        (false, false) => "direct",
    }
}
