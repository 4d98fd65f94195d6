//! One step of an actor: feed one input, perform its actions, re-arm the timer.

use std::{pin::Pin, time::Duration};

use actix::{Actor, ActorFutureExt, AsyncContext, Context, SpawnHandle, fut};
use peerstage_core::time::Time;

use crate::clock::Clock;

/// Inputs after which an actor lets its thread's other tasks run.
pub const BUDGET: u32 = 64;

/// The one timer of an actor.
#[derive(Debug, Default)]
pub struct Timer {
    armed: Option<(Time, SpawnHandle)>,
    spent: u32,
}

/// An actor that is a shell around one machine.
pub trait Shell: Actor<Context = Context<Self>> {
    /// The machine's orders.
    type Action;

    /// The clock this actor lives by.
    fn clock(&self) -> &Clock;

    /// The actor's timer.
    fn timer(&mut self) -> &mut Timer;

    /// The machine's next deadline.
    fn deadline(&self) -> Option<Time>;

    /// The deadline has come.
    fn on_deadline(&mut self, now: Time, out: &mut Vec<Self::Action>);

    /// Carries out one order.
    fn perform(&mut self, action: Self::Action, ctx: &mut Context<Self>);

    /// After every step, whatever caused it: what the machine doesn't see, such as a socket.
    fn settle(&mut self, _now: Time, _ctx: &mut Context<Self>) {}
}

/// The accessors of a [`Shell`] whose fields are called `clock` and `timer`.
macro_rules! clock_and_timer {
    () => {
        fn clock(&self) -> &$crate::clock::Clock {
            &self.clock
        }

        fn timer(&mut self) -> &mut $crate::shell::Timer {
            &mut self.timer
        }
    };
}
pub(crate) use clock_and_timer;

/// The same, and the deadline of a [`Shell`] whose field `machine` is all that has one.
macro_rules! machine_clock_and_timer {
    () => {
        $crate::shell::clock_and_timer!();

        fn deadline(&self) -> Option<Time> {
            self.machine.deadline()
        }

        fn on_deadline(&mut self, now: Time, out: &mut Vec<Self::Action>) {
            self.machine.on_deadline(now, out);
        }
    };
}
pub(crate) use machine_clock_and_timer;

/// Feeds one input to the actor's machine, performs every action in order, re-arms the timer.
/// A deadline that has passed is served first, so a flood of inputs can't hold a timer back.
pub fn step<A: Shell, R>(
    actor: &mut A,
    ctx: &mut Context<A>,
    input: impl FnOnce(&mut A, Time, &mut Vec<A::Action>) -> R,
) -> R {
    let now = actor.clock().now();
    let mut out = Vec::new();
    if actor.deadline().is_some_and(|deadline| deadline <= now) {
        actor.on_deadline(now, &mut out);
    }
    let result = input(actor, now, &mut out);
    for action in out {
        actor.perform(action, ctx);
    }
    actor.settle(now, ctx);
    rearm(actor, ctx);
    spend(actor, ctx);
    result
}

fn rearm<A: Shell>(actor: &mut A, ctx: &mut Context<A>) {
    let deadline = actor.deadline();
    let now = actor.clock().now();
    let timer = actor.timer();
    // A timer that fires too early costs one empty step; moving it with every message would cost
    // much more.
    if timer.armed.is_some_and(|(at, _)| deadline.is_none_or(|deadline| at <= deadline)) {
        return;
    }
    if let Some((_, handle)) = timer.armed.take() {
        ctx.cancel_future(handle);
    }
    let Some(at) = deadline.filter(|at| *at != Time::NEVER) else { return };
    let wait = Duration::from_millis(at.since(now));
    let handle = ctx.run_later(wait, |actor, ctx| {
        actor.timer().armed = None;
        step(actor, ctx, |_, _, _| ());
    });
    actor.timer().armed = Some((at, handle));
}

/// Every [`BUDGET`] inputs the actor stands back once, so that its neighbours' timers run.
fn spend<A: Shell>(actor: &mut A, ctx: &mut Context<A>) {
    let timer = actor.timer();
    timer.spent += 1;
    if timer.spent < BUDGET {
        return;
    }
    timer.spent = 0;
    let yielded: Pin<Box<dyn Future<Output = ()>>> = Box::pin(tokio::task::yield_now());
    #[expect(clippy::disallowed_methods, reason = "the one place that may hold an actor back")]
    ctx.wait(fut::wrap_future::<_, A>(yielded).map(|(), _, _| ()));
}
