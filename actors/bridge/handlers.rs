//! The chain's handlers: closures or actors, by kind and topic.

use std::{
    collections::BTreeMap,
    future::{Future, poll_fn},
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::Arc,
    task::Poll,
};

use actix::{MailboxError, Recipient};
use peerstage_core::{
    frame,
    kinds::Kind,
    messages::{Signed, Topic},
    relay::Delivered,
};

use super::{About, Judge, Judged, blockchain::Watching};
use crate::{
    payload::{Inbound, Payload, Verdict},
    peer::{Arrival, Arrivals},
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

/// Verdicts handed to the relay together: a slow handler holds back no more than these.
const TOGETHER: usize = 16;

/// Sends the verdict; if the handler panicked or was dropped, says Ignore.
struct VerdictGuard {
    judged: Option<Judged>,
    verdicts: Queue<Judged>,
    _permit: Option<Arc<BytePermit>>,
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

    /// Judges messages in order; the verdicts go to `verdicts`, many at a time. A handler that
    /// answers at once costs no task of its own; one that waits goes on by itself.
    pub(super) async fn judge_all(self: Arc<Self>, orders: Vec<Judge>, verdicts: Queue<Judged>) {
        let (mut judged, mut tally) = (Vec::new(), Tally::default());
        for order in orders {
            judged.extend(self.judge(order, &verdicts, &mut tally).await);
            if judged.len() >= TOGETHER {
                verdicts.push_all(std::mem::take(&mut judged));
            }
        }
        verdicts.push_all(judged);
    }

    /// The verdict on a message, if it is there at once.
    async fn judge(
        &self,
        order: Judge,
        verdicts: &Queue<Judged>,
        tally: &mut Tally,
    ) -> Option<Judged> {
        let Judge { ticket, message, permit } = order;
        let kind = message.kind;
        let Some(handler) = self.by_topic.get(&(kind, message.topic)) else {
            // A topic that nobody handles here may be handled elsewhere: it is passed on.
            let forward = self.forward_unhandled || kind == Kind::Custom;
            let verdict = if forward { Verdict::Accept } else { Verdict::Ignore };
            return Some(Judged { ticket, verdict, about: None });
        };
        let about = Some(About {
            kind,
            id: message.id,
            from: message.peer,
            first_byte: message.first_byte,
        });
        match poll_once(handler, message).await {
            Polled::Verdict(verdict) => {
                tally.count(kind, &verdict);
                Some(Judged { ticket, verdict, about })
            }
            Polled::Panicked => Some(Judged { ticket, verdict: Verdict::Ignore, about }),
            Polled::Waits(waiting) => {
                let ignored = Judged { ticket, verdict: Verdict::Ignore, about };
                let verdicts = verdicts.clone();
                let guard = VerdictGuard { judged: Some(ignored), verdicts, _permit: permit };
                actix_rt::spawn(async move {
                    let mut guard = guard;
                    let verdict = waiting.await;
                    Tally::default().count(kind, &verdict);
                    guard.judged = Some(Judged { ticket, verdict, about });
                });
                None
            }
        }
    }

    /// Hands over what a peer sent to this node alone, in order; `watching` is told of each
    /// verdict.
    pub(super) async fn hand_over(self: Arc<Self>, arrivals: Arrivals, watching: Arc<Watching>) {
        let Arrivals { peer, messages, permit, .. } = arrivals;
        let mut tally = Tally::default();
        for Arrival { message, .. } in messages {
            let Some(header) = message.header.gossip() else { continue };
            let Some(handler) = self.by_topic.get(&(message.kind, header.topic)) else {
                metrics::counter!("peerstage_direct_dropped_total", "reason" => "no_handler")
                    .increment(1);
                continue;
            };
            let about = About {
                kind: message.kind,
                id: watching.id_of(header.topic, &message),
                from: peer,
                first_byte: message.first_byte,
            };
            let message = Delivered {
                peer,
                kind: message.kind,
                topic: header.topic,
                // The chain may keep it for as long as it likes.
                body: frame::keep(&message.body),
                id: about.id,
                hops: 0,
                first_byte: message.first_byte,
                direct: true,
            };
            match poll_once(handler, message).await {
                Polled::Verdict(verdict) => {
                    tally.count(about.kind, &verdict);
                    watching.tell(&about, &verdict);
                }
                Polled::Panicked => watching.tell(&about, &Verdict::Ignore),
                Polled::Waits(waiting) => {
                    let (permit, watching) = (Arc::clone(&permit), Arc::clone(&watching));
                    actix_rt::spawn(async move {
                        let verdict = waiting.await;
                        Tally::default().count(about.kind, &verdict);
                        watching.tell(&about, &verdict);
                        drop(permit);
                    });
                }
            }
        }
    }
}

/// What became of a handler's future when it was looked at for the first time.
enum Polled {
    Verdict(Verdict),
    Waits(VerdictFuture),
    Panicked,
}

/// Calls a handler and looks at its future once. A panic costs this message and no other.
async fn poll_once(handler: &Handler, message: Delivered) -> Polled {
    let mut message = Some(message);
    poll_fn(|cx| {
        let Some(message) = message.take() else { return Poll::Ready(Polled::Panicked) };
        let polled = catch_unwind(AssertUnwindSafe(|| {
            let mut future = handler(message);
            match future.as_mut().poll(cx) {
                Poll::Ready(verdict) => Polled::Verdict(verdict),
                Poll::Pending => Polled::Waits(future),
            }
        }));
        Poll::Ready(polled.unwrap_or(Polled::Panicked))
    })
    .await
}

/// Verdicts of one batch, counted together.
#[derive(Default)]
struct Tally(BTreeMap<(Kind, &'static str), u64>);

impl Tally {
    fn count(&mut self, kind: Kind, verdict: &Verdict) {
        *self.0.entry((kind, label(verdict))).or_default() += 1;
    }
}

impl Drop for Tally {
    fn drop(&mut self) {
        for ((kind, verdict), count) in std::mem::take(&mut self.0) {
            metrics::counter!(
                "peerstage_verdicts_total", "kind" => kind.name(), "verdict" => verdict
            )
            .increment(count);
        }
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
        id: (!message.direct).then_some(message.id),
        hops: message.hops,
        first_byte: message.first_byte,
    })
}
