//! The handle on a running network.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use actix::MailboxError;
use bytes::Bytes;
use peerstage_core::{
    address::Address,
    config::PeerAddress,
    identity::{NetworkId, NodeId, PublicKey},
    kinds::{Kind, RelayMode},
    messages::{GossipHeader, Outgoing, Topic},
    relay::DIRECT_HOPS,
    requests::Target,
    scoring::{BanRecord, Explanation, Report},
};
use tokio::sync::oneshot;

use super::{Builder, core::Core};
use crate::{
    bridge::{Publish, Subscription},
    events::What,
    manager::{Connect, Disconnect, Named, PeerQuery, SetValidators, Shutdown},
    payload::{Delivery, Payload},
    peer::Unsent,
    relay::{Order, SetMode},
    requests::{Ask, RequestError},
    scoring::{Ban, Bans, Explain, ScoresOf, TellReport, Tracked, Unban},
    status::{PeerInfo, Status},
};

/// A running network. Cheap to clone; the network runs until [`Network::shutdown`] or until the
/// last handle is dropped.
#[derive(Clone)]
pub struct Network {
    pub(super) core: Arc<Core>,
}

/// Why a message was not sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// Longer than its kind may be here.
    #[error("{length} bytes are more than the {limit} bytes this kind may have")]
    TooLong {
        /// Length of the message, bytes.
        length: usize,
        /// Limit of the kind, the protocol's or our own in `limits`, bytes.
        limit: usize,
    },
    /// A kind that neighbours exchange, or that goes through another call.
    #[error("a {0} is not sent this way")]
    WrongKind(Kind),
    /// This node does not speak for a validator of the current set.
    #[error("only a validator of the current set sends this")]
    NotValidator,
    /// There is no way to that node.
    #[error("there is no way to this node")]
    NoRoute,
    /// The queue to that node is full, and the node takes nothing out of it.
    #[error("the queue to this node is full, and the node takes nothing")]
    TooSlow,
    /// The network has stopped.
    #[error("the network has stopped")]
    Stopped,
}

impl From<MailboxError> for SendError {
    fn from(_: MailboxError) -> Self {
        SendError::Stopped
    }
}

/// The network has stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the network has stopped")]
pub struct Stopped;

impl From<MailboxError> for Stopped {
    fn from(_: MailboxError) -> Self {
        Stopped
    }
}

impl Network {
    /// Starts to describe a node of the network `name`; nodes of other networks can't connect.
    pub fn builder(name: &str) -> Builder {
        Builder::new(NetworkId::from_name(name))
    }

    /// Starts to describe a node of the network with this genesis hash.
    pub fn builder_for(network: NetworkId) -> Builder {
        Builder::new(network)
    }

    /// This node's id.
    #[must_use]
    pub fn id(&self) -> NodeId {
        self.core.node
    }

    /// Where this node listens.
    #[must_use]
    pub fn listening(&self) -> &[Address] {
        &self.core.listening
    }

    /// Spreads a payload in its kind's relay mode. No peers is not an error: the message is kept
    /// and announced to peers that come. The chain's own handler is not asked.
    ///
    /// # Errors
    /// [`SendError`]: too long, not allowed, or the network has stopped.
    pub async fn broadcast<P: Payload>(&self, payload: P) -> Result<Delivery, SendError> {
        self.broadcast_bytes(P::KIND, P::TOPIC, payload.encode()).await
    }

    /// As [`Network::broadcast`], for bytes.
    ///
    /// # Errors
    /// As [`Network::broadcast`].
    pub async fn broadcast_bytes(
        &self,
        kind: Kind,
        topic: Topic,
        body: Bytes,
    ) -> Result<Delivery, SendError> {
        if kind.row().signed {
            return self.core.actors.consensus.send(Publish { kind, payload: body }).await?;
        }
        self.order(None, kind, topic, body).await
    }

    /// Sends a payload to one node: directly if it is connected, else sealed to its key and
    /// routed through peers. A custom payload is for that node alone; while the queue to a
    /// connected node is full, the call waits for room, so that whoever sends faster than the
    /// node reads is slowed down and loses nothing. It waits for no longer than
    /// `network.write_timeout` in which the node takes nothing of the kind, or twice that.
    ///
    /// # Errors
    /// [`SendError`].
    pub async fn send<P: Payload>(&self, to: NodeId, payload: P) -> Result<Delivery, SendError> {
        let (kind, topic, body) = (P::KIND, P::TOPIC, payload.encode());
        let limit = self.core.body_max(kind);
        if body.len() > limit {
            return Err(SendError::TooLong { length: body.len(), limit });
        }
        // Nothing of a message to one neighbour is decided by the relay.
        if kind == Kind::Custom
            && let Some(outbox) = self.core.directory.outbox(&to)
        {
            let header = GossipHeader { hops: DIRECT_HOPS, topic }.into();
            match outbox.send(Outgoing { kind, header, body: body.clone() }).await {
                Ok(()) => return Ok(Delivery { queued: 1, ..Delivery::default() }),
                Err(Unsent::TooSlow) => return Err(SendError::TooSlow),
                // There may be a way through others.
                Err(Unsent::Closed) => {}
            }
        }
        self.order(Some(to), kind, topic, body).await
    }

    async fn order(
        &self,
        to: Option<NodeId>,
        kind: Kind,
        topic: Topic,
        body: Bytes,
    ) -> Result<Delivery, SendError> {
        if topic == Topic::PUNCH {
            return Err(SendError::WrongKind(kind));
        }
        let (answer, answered) = oneshot::channel();
        let bytes = body.len();
        let order = Order { to, sealed_to: None, kind, topic, body, answer };
        self.core.orders.send(bytes, order).await.ok_or(SendError::Stopped)?;
        answered.await.unwrap_or(Err(SendError::Stopped))
    }

    /// Asks a peer, any peer, or the best few one after the other, and waits for the answer;
    /// without a deadline as long as `timeouts.request` says.
    ///
    /// # Errors
    /// [`RequestError`]: no peer, refused, or no answer within `deadline`.
    pub async fn request(
        &self,
        target: Target,
        topic: Topic,
        body: impl Into<Bytes>,
        deadline: impl Into<Option<Duration>>,
    ) -> Result<Bytes, RequestError> {
        let deadline = deadline.into().unwrap_or(self.core.request_timeout);
        let body = body.into();
        let (answer, answered) = oneshot::channel();
        let (bytes, order) = (body.len(), Ask { target, topic, body, deadline, answer });
        self.core.asks.send(bytes, order).await.ok_or(RequestError::Stopped)?;
        answered.await.unwrap_or(Err(RequestError::Stopped))
    }

    /// Every connected peer.
    ///
    /// # Errors
    /// [`Stopped`].
    pub async fn peers(&self) -> Result<Vec<PeerInfo>, Stopped> {
        self.core.peers(None).await
    }

    /// One connected peer.
    ///
    /// # Errors
    /// [`Stopped`].
    pub async fn peer(&self, peer: NodeId) -> Result<Option<PeerInfo>, Stopped> {
        Ok(self.core.peers(Some(peer)).await?.pop())
    }

    /// The connected peers with the best scores, best first.
    ///
    /// # Errors
    /// [`Stopped`].
    pub async fn top_peers(&self, count: usize) -> Result<Vec<PeerInfo>, Stopped> {
        let mut peers = self.core.peers(None).await?;
        peers.sort_by(|a, b| b.score.total_cmp(&a.score));
        peers.truncate(count);
        Ok(peers)
    }

    /// Why a peer has the score it has: every event that moved it; `None` for a stranger.
    ///
    /// # Errors
    /// [`Stopped`].
    pub async fn explain(&self, peer: NodeId) -> Result<Option<Explanation>, Stopped> {
        Ok(self.core.actors.scoring.send(Explain { peer }).await?)
    }

    /// The chain's own judgement of a peer's behaviour.
    ///
    /// # Errors
    /// [`Stopped`].
    pub async fn report(&self, peer: NodeId, report: Report, why: &str) -> Result<(), Stopped> {
        Ok(self.core.actors.scoring.send(TellReport { peer, report, why: why.to_owned() }).await?)
    }

    /// How far a peer is trusted, 0 to 1.
    ///
    /// # Errors
    /// [`Stopped`].
    pub async fn trust(&self, peer: NodeId) -> Result<f64, Stopped> {
        let scores = self.core.actors.scoring.send(ScoresOf(vec![peer])).await?;
        Ok(scores.first().map_or(0.0, |score| score.trust))
    }

    /// The bans in force.
    ///
    /// # Errors
    /// [`Stopped`].
    pub async fn bans(&self) -> Result<Vec<BanRecord>, Stopped> {
        Ok(self.core.actors.scoring.send(Bans).await?)
    }

    /// Every peer that has a score, connected or not.
    ///
    /// # Errors
    /// [`Stopped`].
    pub async fn scored_peers(&self) -> Result<Vec<NodeId>, Stopped> {
        Ok(self.core.actors.scoring.send(Tracked).await?)
    }

    /// Connects to an address and keeps at it until the peer there is disconnected.
    ///
    /// # Errors
    /// [`Stopped`].
    pub async fn connect(&self, target: PeerAddress) -> Result<(), Stopped> {
        self.core.actors.manager.send(Connect { target, named: Named::Now }).await?;
        Ok(())
    }

    /// Disconnects a peer and leaves it alone for five minutes; whether it was connected. Then a
    /// peer of the configuration is dialled again; one of [`Network::connect`] is not.
    ///
    /// # Errors
    /// [`Stopped`].
    pub async fn disconnect(&self, peer: NodeId) -> Result<bool, Stopped> {
        Ok(self.core.actors.manager.send(Disconnect { peer }).await?)
    }

    /// Bans a peer. Returns when the ban is on disk.
    ///
    /// # Errors
    /// [`Stopped`].
    pub async fn ban(
        &self,
        peer: NodeId,
        why: &str,
        duration: Option<Duration>,
    ) -> Result<(), Stopped> {
        Ok(self.core.actors.scoring.send(Ban { peer, why: why.to_owned(), duration }).await?)
    }

    /// Lifts a ban; whether there was one.
    ///
    /// # Errors
    /// [`Stopped`].
    pub async fn unban(&self, peer: NodeId) -> Result<bool, Stopped> {
        Ok(self.core.actors.scoring.send(Unban { peer }).await?)
    }

    /// Tells the network which validators there are; votes reach exactly these.
    ///
    /// # Errors
    /// [`Stopped`].
    pub async fn set_validators(
        &self,
        validators: impl IntoIterator<Item = PublicKey>,
    ) -> Result<(), Stopped> {
        let set = SetValidators(validators.into_iter().collect());
        self.core.actors.relay.send(set.clone()).await?;
        Ok(self.core.actors.manager.send(set).await?)
    }

    /// Changes how a kind spreads, from now on.
    ///
    /// # Errors
    /// [`SendError::WrongKind`] for kinds that do not spread; [`SendError::Stopped`].
    pub async fn set_relay_mode(&self, kind: Kind, mode: RelayMode) -> Result<(), SendError> {
        if kind.row().relay.is_none() {
            return Err(SendError::WrongKind(kind));
        }
        Ok(self.core.actors.relay.send(SetMode { kind, mode }).await?)
    }

    /// Publishes facts about the chain (its height, its head) in [`Status::chain`].
    pub fn publish(&self, facts: impl IntoIterator<Item = (String, String)>) {
        self.core.publish(facts.into_iter().collect::<BTreeMap<_, _>>());
    }

    /// What happens from now on.
    #[must_use]
    pub fn subscribe(&self) -> Subscription {
        self.core.events.subscribe()
    }

    /// The node at a glance.
    ///
    /// # Errors
    /// [`Stopped`].
    pub async fn status(&self) -> Result<Status, Stopped> {
        self.core.status().await
    }

    /// The core actors that are dead, or were silent for five seconds. Answers at once, whatever
    /// state the node is in.
    #[must_use]
    pub fn trouble(&self) -> Vec<&'static str> {
        self.core.trouble()
    }

    /// Waits until the node has at least `peers` peers.
    ///
    /// # Errors
    /// [`Stopped`].
    pub async fn ready(&self, peers: usize) -> Result<(), Stopped> {
        let mut events = self.subscribe();
        loop {
            if self.core.actors.manager.send(PeerQuery(None)).await?.len() >= peers {
                return self.core.catch_up().await;
            }
            let connected = |what: &What| matches!(what, What::PeerConnected { .. }).then_some(());
            events.find(connected).await.ok_or(Stopped)?;
        }
    }

    /// Says goodbye to every peer, writes what is to be kept, and stops.
    pub async fn shutdown(&self) {
        let goodbyes = self.core.actors.manager.send(Shutdown);
        if tokio::time::timeout(self.core.shutdown_timeout, goodbyes).await.is_err() {
            tracing::warn!("some peers did not take our goodbye in time");
        }
        self.core.stop().await;
    }

    /// Ends every actor at once, without goodbyes and without closing the store: what a killed
    /// process does. For tests.
    #[doc(hidden)]
    pub async fn crash(&self) {
        self.core.crash().await;
    }

    /// Makes a core actor panic; whether there is one of that name. For tests.
    #[doc(hidden)]
    #[must_use]
    pub fn panic_in(&self, actor: &str) -> bool {
        self.core.panic_in(actor)
    }
}
