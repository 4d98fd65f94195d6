//! What every core actor has in common: its mailbox, its lifeline, its end.

use actix::Message;

/// Ends a core actor in order.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct Stop;

/// A test wants to see what a panic in a handler does.
#[doc(hidden)]
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct PanicNow;

/// Makes a struct with a `lifeline` and a method `begin` a core actor with a mailbox of so many
/// messages. The mailbox carries control only; bulk comes through queues.
macro_rules! core_actor {
    ($Actor:ident, mailbox = $mailbox:expr) => {
        impl actix::Actor for $Actor {
            type Context = actix::Context<Self>;

            fn started(&mut self, ctx: &mut actix::Context<Self>) {
                ctx.set_mailbox_capacity($mailbox);
                self.begin(ctx);
            }

            fn stopped(&mut self, _: &mut actix::Context<Self>) {
                if !std::thread::panicking() {
                    self.lifeline.release();
                }
            }
        }

        impl actix::Handler<$crate::shell::Stop> for $Actor {
            type Result = ();

            fn handle(&mut self, _: $crate::shell::Stop, ctx: &mut actix::Context<Self>) {
                $crate::shell::fault_point(concat!(stringify!($Actor), "::Stop"));
                actix::ActorContext::stop(ctx);
            }
        }

        impl actix::Handler<$crate::shell::AreYouThere> for $Actor {
            type Result = ();

            fn handle(
                &mut self,
                question: $crate::shell::AreYouThere,
                _: &mut actix::Context<Self>,
            ) {
                $crate::shell::fault_point(concat!(stringify!($Actor), "::AreYouThere"));
                question.answer();
            }
        }

        impl actix::Handler<$crate::shell::PanicNow> for $Actor {
            type Result = ();

            fn handle(&mut self, _: $crate::shell::PanicNow, _: &mut actix::Context<Self>) {
                $crate::shell::injected_panic();
            }
        }
    };
}
pub(crate) use core_actor;
