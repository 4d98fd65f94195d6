//! The chain's handlers: closures or actors, by kind and topic.

use std::{collections::BTreeMap, future::Future, pin::Pin, sync::Arc};

use actix::{MailboxError, Recipient};
use peerstage_core::{
    kinds::Kind,
    messages::{Signed, Topic},
    relay::Delivered,
};

use super::{About, Judged};
use crate::{
    payload::{Inbound, Payload, Verdict},
    shell::{BytePermit, Queue},
};

type VerdictFuture = Pin<Box<dyn Future<Output = Verdict> + Send>>;

/// A chain's handler for one kind and topic.
pub type Handler = Arc<dyn Fn(Delivered) -> VerdictFuture + Send + Sync>;

/// All handlers of a bridge.
#[derive(Clone, Default)]
pub struct Handlers {
    by_topic: BTreeMap<(Kind, Topic), Handler>,
    forward_unhandled: bool,
}

/// Sends the verdict; if the handler panicked or was dropped, says Ignore.
struct VerdictGuard {
    judged: Option<Judged>,
    verdicts: Queue<Judged>,
    _permit: Option<BytePermit>,
}

impl Drop for VerdictGuard {
    fn drop(&mut self) {
        if let Some(judged) = self.judged.take() {
            // Full only if the relay has stopped reading; it times the verdict out itself.
            let _ = self.verdicts.push(judged);
        }
    }
}

impl Handlers {
    /// Adds a handler; a second one for the same payload takes the place of the first.
    pub fn insert<P: Payload>(&mut self, handler: Handler) {
        self.by_topic.insert((P::KIND, P::TOPIC), handler);
    }

    /// Forwards what no handler judges, instead of keeping it.
    pub fn forward_unhandled(&mut self) {
        self.forward_unhandled = true;
    }

    /// Runs the handler of a message on the current thread; its verdict goes to `verdicts`.
    pub(super) fn judge(&self, order: super::Judge, verdicts: Queue<Judged>) {
        let super::Judge { ticket, message, permit } = order;
        let about = Some(About {
            kind: message.kind,
            id: message.id,
            from: message.peer,
            first_byte: message.first_byte,
        });
        // A topic that nobody handles here may be handled elsewhere: it is passed on.
        let forward = self.forward_unhandled || message.kind == Kind::Custom;
        let unhandled = if forward { Verdict::Accept } else { Verdict::Ignore };
        let Some(handler) = self.by_topic.get(&(message.kind, message.topic)) else {
            let _ = verdicts.push(Judged { ticket, verdict: unhandled, about: None });
            return;
        };
        let handler = Arc::clone(handler);
        let kind = message.kind.name();
        actix_rt::spawn(async move {
            let ignored = Judged { ticket, verdict: Verdict::Ignore, about };
            let mut guard = VerdictGuard { judged: Some(ignored), verdicts, _permit: permit };
            // The handler's own code runs inside the future, so that its panic ends here too.
            let verdict = handler(message).await;
            metrics::counter!("peerstage_verdicts_total", "kind" => kind, "verdict" => label(&verdict))
                .increment(1);
            guard.judged = Some(Judged { ticket, verdict, about });
        });
    }
}

/// The label of a verdict in metrics and events.
pub(crate) fn label(verdict: &Verdict) -> &'static str {
    match verdict {
        Verdict::Accept => "accepted",
        Verdict::Ignore => "ignored",
        Verdict::Reject(_) => "rejected",
    }
}

/// A handler from a closure.
pub fn closure_handler<P, F, Fut>(handle: F) -> Handler
where
    P: Payload,
    F: Fn(Inbound<P>) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Verdict> + Send + 'static,
{
    let handle = Arc::new(handle);
    Arc::new(move |message| {
        let handle = Arc::clone(&handle);
        Box::pin(async move {
            match read::<P>(message) {
                Ok(inbound) => handle(inbound).await,
                Err(reason) => Verdict::Reject(reason),
            }
        })
    })
}

/// A handler that asks an actix actor.
pub fn recipient_handler<P: Payload>(recipient: Recipient<Inbound<P>>) -> Handler {
    closure_handler(move |inbound: Inbound<P>| {
        let answer = recipient.send(inbound);
        async move {
            answer.await.unwrap_or_else(|error: MailboxError| {
                tracing::warn!(%error, "the chain's actor gave no verdict");
                Verdict::Ignore
            })
        }
    })
}

/// Reads the payload of a message; the reason if it is not one.
fn read<P: Payload>(message: Delivered) -> Result<Inbound<P>, String> {
    let (origin, bytes) = if message.kind.row().signed {
        let signed = Signed::parse(&message.body).ok_or("the signed prefix is cut short")?;
        (Some(signed.origin), signed.payload)
    } else {
        (None, message.body)
    };
    let payload = P::decode(bytes).map_err(|error| error.to_string())?;
    Ok(Inbound {
        payload,
        from: message.peer,
        origin,
        id: message.id,
        hops: message.hops,
        first_byte: message.first_byte,
    })
}
