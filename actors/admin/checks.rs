//! Whether the node serves: the checks behind `/livez` and `/readyz`.

use std::time::Duration;

use peerstage_core::address::Address;
use serde::{Deserialize, Serialize};

use crate::status::Status;

/// How long the core actors have to answer before they count as stuck. A guess: far above the
/// longest a healthy actor is busy, and below the usual time-out of a probe.
pub(super) const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

/// The result of every check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Readiness {
    /// Whether all of them passed.
    pub ready: bool,
    /// One by one.
    pub checks: Vec<Check>,
}

/// One check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// Its stable name: `core_actors`, `listening`, `peers` or `store`.
    pub name: String,
    /// Whether it passed.
    pub ok: bool,
    /// What was seen.
    pub detail: String,
}

impl Readiness {
    /// Whether the core actors answer: the node lives, ready or not.
    #[must_use]
    pub fn lives(&self) -> bool {
        self.checks.iter().any(|check| check.name == "core_actors" && check.ok)
    }

    /// A line a check, as Kubernetes prints its own.
    #[must_use]
    pub fn to_text(&self) -> String {
        let line = |check: &Check| {
            let sign = if check.ok { '+' } else { '-' };
            let word = if check.ok { "ok" } else { "failed" };
            format!("[{sign}]{} {word}: {}\n", check.name, check.detail)
        };
        let lines: String = self.checks.iter().map(line).collect();
        format!("{lines}{}\n", if self.ready { "ready" } else { "not ready" })
    }
}

/// Judges a status; `None` is a network that does not answer.
pub(super) fn readiness(
    status: Option<&Status>,
    listening: &[Address],
    min_peers: usize,
) -> Readiness {
    let places: Vec<String> = listening.iter().map(Address::to_string).collect();
    let alive = match status {
        Some(_) => "all answer".to_owned(),
        None => format!("no answer within {} s", ANSWER_TIMEOUT.as_secs()),
    };
    let peers = status.map_or(0, |status| status.peers);
    let store = status.map_or("unknown", |status| status.store.as_str());
    let checks = vec![
        check("core_actors", status.is_some(), alive),
        check("listening", !places.is_empty(), places.join(", ")),
        check("peers", status.is_some() && peers >= min_peers, format!("{peers} of {min_peers}")),
        check("store", store.ends_with("(healthy)"), store.to_owned()),
    ];
    Readiness { ready: checks.iter().all(|check| check.ok), checks }
}

fn check(name: &str, ok: bool, detail: String) -> Check {
    Check { name: name.to_owned(), ok, detail }
}
