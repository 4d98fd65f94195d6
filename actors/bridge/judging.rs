//! What both bridges to the chain do: its handlers judge what arrived.

use std::sync::Arc;

use actix::{Actor, AsyncContext, Context, StreamHandler};

use super::{Handlers, Judge, Judged};
use crate::shell::{Queue, QueueStream};

/// The chain's handlers, what they are to judge, and where their verdicts go.
pub struct Judging {
    handlers: Arc<Handlers>,
    orders: Option<QueueStream<Judge>>,
    verdicts: Queue<Judged>,
}

impl Judging {
    /// These handlers judge these orders.
    #[must_use]
    pub fn new(handlers: Handlers, orders: QueueStream<Judge>, verdicts: Queue<Judged>) -> Self {
        Judging { handlers: Arc::new(handlers), orders: Some(orders), verdicts }
    }

    /// From now on the orders reach the actor.
    pub(super) fn begin<A>(&mut self, ctx: &mut Context<A>)
    where
        A: Actor<Context = Context<A>> + StreamHandler<Vec<Judge>>,
    {
        if let Some(orders) = self.orders.take() {
            ctx.add_stream(orders);
        }
    }

    /// The chain's handlers.
    pub(super) fn handlers(&self) -> Arc<Handlers> {
        Arc::clone(&self.handlers)
    }

    /// Starts the handlers; the verdicts come later.
    pub(super) fn judge(&self, orders: Vec<Judge>) {
        actix_rt::spawn(self.handlers().judge_all(orders, self.verdicts.clone()));
    }
}
