//! What is carried for others, in a queue of its own within the lane for bulk.
//!
//! # Security
//! Provided: messages of circuits wait for their kinds' rates by themselves, so strangers' messages
//! hold up nothing of the node's own; while both wait, those of circuits have a quarter of the
//! lane. Not provided: shares among circuits beyond first come, first served.

use std::collections::VecDeque;

use super::Lanes;
use crate::{
    kinds::{Kind, Lane},
    messages::Outgoing,
    time::Time,
};

/// Bytes of the node's own that leave while something carried waits, before one message of that
/// does, which is at most a third as long.
const OWN_RUN: usize = 48 * 1024;

/// Messages of circuits.
#[derive(Debug, Default)]
pub(super) struct Carried {
    pub(super) queue: VecDeque<Outgoing>,
    /// Bytes of the lane's others since one of these began.
    own_run: usize,
}

/// Whether it is a message of a circuit.
pub(super) fn is_carried(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::CircuitOpen
            | Kind::CircuitOpened
            | Kind::CircuitData
            | Kind::CircuitCredit
            | Kind::CircuitClose
    )
}

impl Lanes {
    fn pace_of(&self, message: Option<&Outgoing>, now: Time) -> Option<u64> {
        Some(self.buckets.get(message?.kind.index())?.wait(now))
    }

    /// Whether something carried waits in a lane: seldom, and this is asked for every message.
    fn is_shared(&self, lane: usize) -> bool {
        lane == Lane::Bulk as usize && !self.carried.queue.is_empty()
    }

    /// How long the first message that waits in a shared lane does for its kind's rate: of the
    /// node's own, and carried.
    fn paces(&self, lane: usize, now: Time) -> [Option<u64>; 2] {
        let own = self.queues.get(lane).and_then(VecDeque::front);
        [self.pace_of(own, now), self.pace_of(self.carried.queue.front(), now)]
    }

    /// How long a lane in which nothing has begun waits for a kind's rate.
    pub(super) fn pace_wait(&self, lane: usize, now: Time) -> Option<u64> {
        if self.is_shared(lane) {
            return self.paces(lane, now).into_iter().flatten().min();
        }
        self.pace_of(self.queues.get(lane)?.front(), now)
    }

    /// Takes the message that the lane begins with next.
    pub(super) fn take_next(&mut self, lane: usize, now: Time) -> Option<Outgoing> {
        if !self.is_shared(lane) {
            if lane == Lane::Bulk as usize {
                self.carried.own_run = 0;
            }
            return self.queues.get_mut(lane)?.pop_front();
        }
        let turn = match self.paces(lane, now) {
            [Some(0), Some(0)] => self.carried.own_run >= OWN_RUN,
            [own, Some(wait)] => own.is_none_or(|own| own > wait),
            [_, None] => false,
        };
        if turn {
            self.carried.own_run = 0;
            return self.carried.queue.pop_front();
        }
        let message = self.queues.get_mut(lane)?.pop_front()?;
        self.carried.own_run = self.carried.own_run.saturating_add(super::cost(&message));
        Some(message)
    }
}
