//! The ConsensusBridge actor: proposals and votes, signed on the way out.

use actix::{Context, Handler, Message, Recipient, ResponseFuture, StreamHandler};
use bytes::Bytes;
use peerstage_core::{
    identity::{Keypair, NetworkId},
    kinds::Kind,
    messages::{Signed, Topic},
};

use super::{Judge, Judging};
use crate::{
    clock::Clock,
    network::SendError,
    payload::Delivery,
    relay::Broadcast,
    shell::{Lifeline, Workers, core_actor, fault_point},
};

/// From the chain: sign this as our validator and spread it.
#[derive(Debug, Message)]
#[rtype(result = "Result<Delivery, SendError>")]
pub struct Publish {
    /// [`Kind::Proposal`] or [`Kind::Vote`].
    pub kind: Kind,
    /// What it says.
    pub payload: Bytes,
}

/// What the bridge needs to sign.
pub struct Signing {
    /// The validator's key; `None` on a node that is no validator.
    pub key: Option<Keypair>,
    /// The network the signatures are for.
    pub network: NetworkId,
    /// The clock that stamps them.
    pub clock: Clock,
    /// Where signing happens.
    pub workers: Workers,
}

/// Hands proposals and votes to the chain, its verdicts to the relay, and signs the chain's own.
pub struct ConsensusBridge {
    judging: Judging,
    signing: Signing,
    relay: Recipient<Broadcast>,
    lifeline: Lifeline,
}

impl ConsensusBridge {
    fn begin(&mut self, ctx: &mut Context<Self>) {
        self.judging.begin(ctx);
    }

    /// A bridge to the chain's handlers.
    #[must_use]
    pub fn new(
        judging: Judging,
        signing: Signing,
        relay: Recipient<Broadcast>,
        lifeline: Lifeline,
    ) -> Self {
        ConsensusBridge { judging, signing, relay, lifeline }
    }
}

core_actor!(ConsensusBridge, mailbox = 1_024);

impl StreamHandler<Vec<Judge>> for ConsensusBridge {
    fn handle(&mut self, orders: Vec<Judge>, _: &mut Context<Self>) {
        fault_point("ConsensusBridge::Vec<Judge>");
        self.judging.judge(orders);
    }

    fn finished(&mut self, _: &mut Context<Self>) {}
}

impl Handler<Publish> for ConsensusBridge {
    type Result = ResponseFuture<Result<Delivery, SendError>>;

    fn handle(&mut self, order: Publish, _: &mut Context<Self>) -> Self::Result {
        fault_point("ConsensusBridge::Publish");
        let Publish { kind, payload } = order;
        let Some(key) = self.signing.key.clone() else {
            return Box::pin(async { Err(SendError::NotValidator) });
        };
        let (network, stamp) = (self.signing.network, self.signing.clock.wall());
        let (workers, relay) = (self.signing.workers.clone(), self.relay.clone());
        Box::pin(async move {
            let body = workers
                .run(move || Signed::seal(kind, &key, &network, stamp, &payload))
                .await
                .map_err(|_| SendError::Stopped)?;
            let order = Broadcast { kind, topic: Topic(0), body };
            relay.send(order).await.map_err(|_| SendError::Stopped)?
        })
    }
}
