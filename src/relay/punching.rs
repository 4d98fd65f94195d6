//! Whom this node has sent an offer to punch a moment ago.
//!
//! # Security
//! Provided: memory is bounded, and each of these may send a few messages and no more.
//! Not provided: anything for those who only answer: whoever offers to punch is a stranger.

use crate::{
    identity::NodeId,
    time::{Millis, Time},
};

/// How long an answer is awaited, ms: as long as the punch waits for it, and some more.
const AWAITED_FOR: Millis = 5_000;
/// Nodes whose answers are awaited: as many punches of our own go on at once.
const AWAITED_MAX: usize = crate::nat::OPENED_MAX;
/// Messages of one of them after one of ours: its answer, and it may come by several carriers.
const MESSAGES_MAX: u32 = 4;

#[derive(Clone, Copy)]
struct Awaited {
    node: NodeId,
    until: Time,
    left: u32,
}

/// Nodes that were sent a message of a punch, the latest last.
#[derive(Default)]
pub(super) struct Punching {
    awaited: Vec<Awaited>,
}

impl Punching {
    /// This node was sent a message of a punch that it is to answer.
    pub(super) fn on_sent(&mut self, now: Time, node: NodeId) {
        self.awaited.retain(|other| other.node != node && other.until > now);
        if self.awaited.len() >= AWAITED_MAX {
            self.awaited.remove(0);
        }
        let until = now.plus(AWAITED_FOR);
        self.awaited.push(Awaited { node, until, left: MESSAGES_MAX });
    }

    /// Whether a message of this node is awaited; it is one less.
    pub(super) fn is_awaited(&mut self, now: Time, node: &NodeId) -> bool {
        let mut awaited = self.awaited.iter_mut();
        let found = awaited.find(|other| other.node == *node && other.until > now);
        let Some(found) = found.filter(|found| found.left > 0) else { return false };
        found.left = found.left.saturating_sub(1);
        true
    }
}
