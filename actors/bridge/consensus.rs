//! The ConsensusBridge actor: proposals and votes, signed on the way out.

use actix::{Actor, Context, Handler, Message, Recipient, ResponseFuture};
use bytes::Bytes;
use peerstage_core::{
    identity::{Keypair, NetworkId},
    kinds::Kind,
    messages::{Signed, Topic},
};

use super::{Handlers, Judge, Judged};
use crate::{
    clock::Clock,
    network::SendError,
    payload::Delivery,
    relay::Broadcast,
    shell::{Lifeline, Queue, Workers},
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
    handlers: Handlers,
    verdicts: Queue<Judged>,
    signing: Signing,
    relay: Recipient<Broadcast>,
    lifeline: Lifeline,
}

impl ConsensusBridge {
    /// A bridge to these handlers.
    #[must_use]
    pub fn new(
        handlers: Handlers,
        verdicts: Queue<Judged>,
        signing: Signing,
        relay: Recipient<Broadcast>,
        lifeline: Lifeline,
    ) -> Self {
        ConsensusBridge { handlers, verdicts, signing, relay, lifeline }
    }
}

impl Actor for ConsensusBridge {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        ctx.set_mailbox_capacity(super::JUDGE_MAILBOX);
    }

    fn stopped(&mut self, _: &mut Context<Self>) {
        if !std::thread::panicking() {
            self.lifeline.release();
        }
    }
}

impl Handler<Judge> for ConsensusBridge {
    type Result = ();

    fn handle(&mut self, order: Judge, _: &mut Context<Self>) {
        self.handlers.judge(order, self.verdicts.clone());
    }
}

impl Handler<Publish> for ConsensusBridge {
    type Result = ResponseFuture<Result<Delivery, SendError>>;

    fn handle(&mut self, order: Publish, _: &mut Context<Self>) -> Self::Result {
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
