//! Panics that a test plans: every handler of every actor begins with its fault point.

#[cfg(feature = "testkit")]
use std::sync::{Mutex, PoisonError};

/// The handler that panics the next time it runs, as `Actor::Message`.
#[cfg(feature = "testkit")]
static PLAN: Mutex<Option<String>> = Mutex::new(None);

/// The next run of this handler in the process panics, once.
#[cfg(feature = "testkit")]
#[doc(hidden)]
pub fn plan_fault(handler: &str) {
    *PLAN.lock().unwrap_or_else(PoisonError::into_inner) = Some(handler.to_owned());
}

/// Withdraws the plan; whether it was still open.
#[cfg(feature = "testkit")]
#[doc(hidden)]
pub fn disarm_fault() -> bool {
    PLAN.lock().unwrap_or_else(PoisonError::into_inner).take().is_some()
}

/// Panics if a test planned it here.
#[cfg(feature = "testkit")]
pub(crate) fn fault_point(handler: &str) {
    // The lock is given back before the panic: the plan isn't poisoned.
    let planned = {
        let mut plan = PLAN.lock().unwrap_or_else(PoisonError::into_inner);
        plan.take_if(|planned| planned == handler).is_some()
    };
    if planned {
        super::injected_panic();
    }
}

/// Nothing, outside tests.
#[cfg(not(feature = "testkit"))]
#[inline]
pub(crate) fn fault_point(_: &str) {}
