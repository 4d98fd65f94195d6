//! The shell around every machine: one input, all its actions, one timer.
//!
//! What actix 0.13 makes necessary: a mailbox bounds nothing and drains until it is empty, so bulk
//! goes through [`Queue`]s that an actor reads as a stream, mailboxes carry control, and every
//! [`BUDGET`] inputs the actor yields to its thread. A deadline is checked at every input too, so
//! a flood delays no timer. A panicking actor dies in silence, so each has a [`Lifeline`].

mod bytes_budget;
mod core_actor;
mod fatal;
mod fault;
mod intake;
mod placement;
mod queue;
mod step;
mod tell;
mod watchdog;
mod workers;

pub use bytes_budget::{ByteBudget, BytePermit};
pub(crate) use core_actor::core_actor;
pub use core_actor::{PanicNow, Stop};
pub(crate) use fatal::injected_panic;
pub use fatal::{Fatal, Lifeline};
pub(crate) use fault::fault_point;
#[cfg(feature = "testkit")]
pub use fault::{disarm_fault, plan_fault};
pub use intake::{Intake, Ordered};
pub use placement::Placement;
pub use queue::{Queue, QueueFull, QueueStream};
pub use step::{BUDGET, Shell, Timer, step};
pub(crate) use step::{clock_and_timer, machine_clock_and_timer};
pub use tell::tell;
pub(crate) use watchdog::watch;
pub use watchdog::{AreYouThere, Pulse};
pub use workers::{Workers, WorkersGone};
