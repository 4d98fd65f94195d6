//! Signature checks, gathered: one run of a worker for all that wait.
//!
//! Each signature is verified by itself and strictly; what is shared is the way to the worker and
//! back, which costs more than a check where many votes arrive together.

use std::{collections::VecDeque, sync::Arc};

use bytes::Bytes;
use peerstage_core::{identity::NetworkId, kinds::Kind, messages::Signed, relay::VerdictTicket};

use super::{Verified, VerifiedRun};
use crate::shell::BytePermit;

/// Checks of one run at most: 25 ms of a worker, at 50 us each.
const RUN_MAX: usize = 512;

/// One signature to be checked.
pub(super) struct Check {
    pub(super) ticket: VerdictTicket,
    pub(super) kind: Kind,
    pub(super) body: Bytes,
    /// The message's share of its peer's budget, which bounds what waits here.
    pub(super) permit: Option<Arc<BytePermit>>,
}

/// What is to be checked, and whether a worker is at it.
#[derive(Default)]
pub(super) struct Checks {
    waiting: VecDeque<Check>,
    running: bool,
}

impl Checks {
    pub(super) fn add(&mut self, check: Check) {
        self.waiting.push_back(check);
    }

    /// What goes to a worker now, if anything: while one is at it the rest gathers.
    pub(super) fn next_run(&mut self) -> Option<Vec<Check>> {
        if self.running || self.waiting.is_empty() {
            return None;
        }
        self.running = true;
        let count = self.waiting.len().min(RUN_MAX);
        Some(self.waiting.drain(..count).collect())
    }

    /// The worker has done its run, or is gone.
    pub(super) fn ended(&mut self) {
        self.running = false;
    }
}

/// Checks each signature.
pub(super) fn run(checks: Vec<Check>, network: &NetworkId) -> VerifiedRun {
    let verify = |Check { ticket, kind, body, permit }| {
        let valid = Signed::parse(&body).is_some_and(|signed| signed.verify(kind, network));
        Verified { ticket, valid, permit }
    };
    VerifiedRun(checks.into_iter().map(verify).collect())
}

#[cfg(test)]
mod tests {
    use peerstage_core::{identity::Keypair, time::Time};

    use super::*;

    const NETWORK: NetworkId = NetworkId([9; 32]);

    fn vote(n: u64, good: bool) -> Check {
        let key = Keypair::from_seed(&[7; 32]);
        let mut body = Signed::seal(Kind::Vote, &key, &NETWORK, Time(n), b"yes").to_vec();
        if !good {
            body[50] ^= 1;
        }
        Check { ticket: VerdictTicket(n), kind: Kind::Vote, body: body.into(), permit: None }
    }

    /// What one read brought is one run, and what comes meanwhile is the next.
    #[test]
    fn votes_that_come_together_cost_one_run() {
        let (mut checks, mut runs) = (Checks::default(), Vec::new());
        (0..200).for_each(|n| checks.add(vote(n, true)));
        runs.extend(checks.next_run().map(|run| run.len()));
        for n in 200..300 {
            checks.add(vote(n, true));
            runs.extend(checks.next_run().map(|run| run.len()));
        }
        assert_eq!(runs, [200], "one worker at a time");
        checks.ended();
        runs.extend(checks.next_run().map(|run| run.len()));
        checks.ended();
        assert!(checks.next_run().is_none());
        assert_eq!(runs, [200, 100]);
    }

    #[test]
    fn a_run_is_bounded_and_the_rest_is_the_next() {
        let mut checks = Checks::default();
        (0..RUN_MAX as u64 + 1).for_each(|n| checks.add(vote(n, true)));
        assert_eq!(checks.next_run().map(|run| run.len()), Some(RUN_MAX));
        checks.ended();
        assert_eq!(checks.next_run().map(|run| run.len()), Some(1));
    }

    /// A bad signature among good ones spoils none of them, and none of them saves it.
    #[test]
    fn each_signature_is_judged_by_itself() {
        let checks = (0..9).map(|n| vote(n, n != 4)).collect();
        let VerifiedRun(results) = run(checks, &NETWORK);
        for (n, Verified { ticket, valid, .. }) in (0..9).zip(results) {
            assert_eq!((ticket, valid), (VerdictTicket(n), n != 4));
        }
    }
}
