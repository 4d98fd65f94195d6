//! Panics as log lines, and the end of the process when a core actor has died.

use std::panic::{self, PanicHookInfo};

/// What the process exits with when a core actor has died: `EX_SOFTWARE` of sysexits.h.
pub(super) const CORE_ACTOR_DIED: i32 = 70;

/// Writes panics to the log, in its format and on one line, instead of to standard error.
pub(super) fn log_panics() {
    panic::set_hook(Box::new(|info: &PanicHookInfo<'_>| {
        let payload = info.payload();
        let text = payload.downcast_ref::<&str>().copied();
        let text = text.or(payload.downcast_ref::<String>().map(String::as_str));
        let place = info.location().map(ToString::to_string).unwrap_or_default();
        let thread = std::thread::current();
        let thread = thread.name().unwrap_or("unnamed");
        tracing::error!(panic = text.unwrap_or("without words"), place, thread, "a panic: a bug");
    }));
}

/// Ends the process at once: a node without one of its core actors looks alive and is not.
/// Nothing is lost: bans were on disk before they were acknowledged.
pub(super) fn die(actor: &'static str) {
    tracing::error!(
        actor,
        "a core actor has died, so the node ends; a service manager should start it again"
    );
    std::process::exit(CORE_ACTOR_DIED);
}
