//! The Admin actor: carries out an operator's requests on the network.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use actix::{Actor, ActorContext, Context, Handler, Message, ResponseFuture};
use peerstage_core::{
    address::Host,
    config::PeerAddress,
    identity::NodeId,
    kinds::{KINDS, Kind},
    messages::Topic,
};
use tokio::sync::mpsc;

use super::{
    checks::{self, ANSWER_TIMEOUT, Readiness},
    request::{AdminError, AdminRequest, AdminResponse, PeerName},
};
use crate::{
    Subscription,
    network::Network,
    shell::{Lifeline, Stop, fault_point},
};

/// Requests that may wait; more are told that the node is busy.
const MAILBOX: usize = 256;
/// The longest reason of a ban, bytes: a line.
const REASON_BYTES_MAX: usize = 256;
/// How long the look-up of a host name may take: the usual time-out of a resolver.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(5);

/// Subscribes to the node's events.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "Feed")]
pub struct Follow;

/// The answer to [`Follow`].
#[derive(actix::MessageResponse)]
pub struct Feed(pub Subscription);

/// What the actor is made of.
pub struct AdminParts {
    /// The network it administrates.
    pub network: Network,
    /// Fewer peers than this are not ready, `network.min_peers`.
    pub min_peers: usize,
    /// Told when an operator asks the node to stop.
    pub shutdown: mpsc::Sender<()>,
    /// Told when the actor dies.
    pub lifeline: Option<Lifeline>,
}

/// The actor.
pub struct Admin {
    parts: Arc<Shared>,
    lifeline: Option<Lifeline>,
}

struct Shared {
    network: Network,
    min_peers: usize,
    shutdown: mpsc::Sender<()>,
}

impl Admin {
    /// The actor around a network.
    #[must_use]
    pub fn new(parts: AdminParts) -> Self {
        let AdminParts { network, min_peers, shutdown, lifeline } = parts;
        Admin { parts: Arc::new(Shared { network, min_peers, shutdown }), lifeline }
    }
}

impl Actor for Admin {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        ctx.set_mailbox_capacity(MAILBOX);
    }

    fn stopped(&mut self, _: &mut Context<Self>) {
        if let Some(lifeline) = &mut self.lifeline
            && !std::thread::panicking()
        {
            lifeline.release();
        }
    }
}

impl Handler<AdminRequest> for Admin {
    type Result = ResponseFuture<Result<AdminResponse, AdminError>>;

    fn handle(&mut self, request: AdminRequest, _: &mut Context<Self>) -> Self::Result {
        fault_point("Admin::AdminRequest");
        let parts = Arc::clone(&self.parts);
        Box::pin(async move { parts.answer(request).await })
    }
}

impl Handler<Stop> for Admin {
    type Result = ();

    fn handle(&mut self, Stop: Stop, ctx: &mut Context<Self>) {
        fault_point("Admin::Stop");
        ctx.stop();
    }
}

impl Handler<Follow> for Admin {
    type Result = Feed;

    fn handle(&mut self, Follow: Follow, _: &mut Context<Self>) -> Feed {
        fault_point("Admin::Follow");
        Feed(self.parts.network.subscribe())
    }
}

impl Shared {
    async fn answer(&self, request: AdminRequest) -> Result<AdminResponse, AdminError> {
        let network = &self.network;
        Ok(match request {
            AdminRequest::Status => AdminResponse::Status(Box::new(network.status().await?)),
            AdminRequest::Readiness => AdminResponse::Readiness(self.readiness().await),
            AdminRequest::Peers => AdminResponse::Peers(self.peers_by_score().await?),
            AdminRequest::Peer(name) => self.peer(name).await?,
            AdminRequest::Explain(name) => self.explain(name).await?,
            AdminRequest::Bans => AdminResponse::Bans(network.bans().await?),
            AdminRequest::Kinds => AdminResponse::Kinds(KINDS.to_vec()),
            AdminRequest::Ban { peer, reason, duration } => {
                self.ban(peer, &reason, duration).await?
            }
            AdminRequest::Unban(name) => {
                let peer = self.resolve(name).await?;
                match network.unban(peer).await? {
                    true => AdminResponse::done_to(peer),
                    false => return Err(AdminError::NotBanned(peer)),
                }
            }
            AdminRequest::Connect(target) => {
                network.connect(resolved(target).await?).await?;
                AdminResponse::done()
            }
            AdminRequest::Disconnect(name) => {
                let peer = self.resolve(name).await?;
                match network.disconnect(peer).await? {
                    true => AdminResponse::done_to(peer),
                    false => return Err(AdminError::NotConnected(peer)),
                }
            }
            AdminRequest::Broadcast { kind, topic, body } => {
                check_topic(kind, topic)?;
                AdminResponse::Delivery(network.broadcast_bytes(kind, topic, body).await?)
            }
            AdminRequest::SetRelayMode { kind, mode } => {
                network.set_relay_mode(kind, mode).await?;
                AdminResponse::done()
            }
            AdminRequest::SetValidators(keys) => {
                network.set_validators(keys).await?;
                AdminResponse::done()
            }
            AdminRequest::Shutdown => {
                // Full means that somebody has asked already.
                let _ = self.shutdown.try_send(());
                AdminResponse::done()
            }
        })
    }

    async fn readiness(&self) -> Readiness {
        let status = tokio::time::timeout(ANSWER_TIMEOUT, self.network.status()).await;
        let status = status.ok().and_then(Result::ok);
        checks::readiness(status.as_ref(), self.network.listening(), self.min_peers)
    }

    async fn peers_by_score(&self) -> Result<Vec<crate::status::PeerInfo>, AdminError> {
        let mut peers = self.network.peers().await?;
        peers.sort_by(|a, b| b.score.total_cmp(&a.score).then(a.peer.cmp(&b.peer)));
        Ok(peers)
    }

    async fn peer(&self, name: PeerName) -> Result<AdminResponse, AdminError> {
        let peer = self.resolve(name).await?;
        let info = self.network.peer(peer).await?.ok_or(AdminError::NotConnected(peer))?;
        Ok(AdminResponse::Peer(Box::new(info)))
    }

    async fn explain(&self, name: PeerName) -> Result<AdminResponse, AdminError> {
        let peer = self.resolve(name.clone()).await?;
        let explanation = self.network.explain(peer).await?;
        let explanation = Box::new(explanation.ok_or(AdminError::UnknownPeer(name))?);
        let text = explanation.to_text();
        Ok(AdminResponse::Explained { explanation, text })
    }

    async fn ban(
        &self,
        name: PeerName,
        reason: &str,
        duration: Option<Duration>,
    ) -> Result<AdminResponse, AdminError> {
        let bad = |error: String, hint| AdminError::BadInput { error, hint };
        if reason.len() > REASON_BYTES_MAX || reason.chars().any(char::is_control) {
            let error = format!("a reason is one line of at most {REASON_BYTES_MAX} bytes");
            return Err(bad(error, "shorten the reason"));
        }
        if duration == Some(Duration::ZERO) {
            return Err(bad("a ban of 0s is none".to_owned(), "write a duration such as 1h"));
        }
        let peer = self.resolve(name).await?;
        if peer == self.network.id() {
            return Err(bad("a node can't ban itself".to_owned(), "name another peer"));
        }
        self.network.ban(peer, reason, duration).await?;
        Ok(AdminResponse::done_to(peer))
    }

    /// Whom a name means: a whole id means itself, digits the one peer, connected, banned or
    /// with a score, that begins with them.
    async fn resolve(&self, name: PeerName) -> Result<NodeId, AdminError> {
        if let Some(peer) = name.whole() {
            return Ok(peer);
        }
        let connected = self.network.peers().await?.into_iter().map(|info| info.peer);
        let banned = self.network.bans().await?.into_iter().map(|ban| ban.peer);
        let scored = self.network.scored_peers().await?;
        let known = connected.chain(banned).chain(scored);
        let known: BTreeSet<NodeId> = known.filter(|peer| name.matches(peer)).collect();
        match (known.first(), known.len()) {
            (Some(peer), 1) => Ok(*peer),
            (None, _) => Err(AdminError::UnknownPeer(name)),
            (Some(_), count) => Err(AdminError::Ambiguous { name, count }),
        }
    }
}

/// Only the chain's own messages have topics.
fn check_topic(kind: Kind, topic: Topic) -> Result<(), AdminError> {
    if kind == Kind::Custom || topic == Topic::default() {
        return Ok(());
    }
    let error = format!("a {kind} has no topic");
    Err(AdminError::BadInput { error, hint: "leave the topic out, or use the kind custom" })
}

/// The network dials numbers; names are looked up here.
async fn resolved(target: PeerAddress) -> Result<PeerAddress, AdminError> {
    let Host::Name(name) = &target.host else { return Ok(target) };
    let unknown = |why: String| AdminError::BadInput {
        error: format!("can't look up {name}: {why}"),
        hint: "check the spelling, or give an IP address",
    };
    let lookup = tokio::net::lookup_host((name.as_str(), target.port));
    let found = tokio::time::timeout(LOOKUP_TIMEOUT, lookup).await;
    let found = found.map_err(|_| unknown("no answer within 5 s".to_owned()))?;
    let mut found = found.map_err(|error| unknown(error.to_string()))?;
    let first = found.next().ok_or_else(|| unknown("it has no address".to_owned()))?;
    Ok(PeerAddress { host: Host::Ip(first.ip().to_canonical()), ..target })
}
