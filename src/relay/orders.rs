//! How messages stand, and which is the oldest of those that stand alike.

use super::{slab::Order, table::Limits};

/// How a message stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Being looked at, or waiting for a check or a verdict.
    Held,
    /// Asked of a peer; the position of the question.
    Asked(u32),
    /// Dropped without a verdict: it may come again.
    Loose,
    /// Announced, asked for and not come: it may yet.
    Missed,
    Accepted,
    Ignored,
    Rejected,
}

/// Messages by how they stand, each the longest first.
#[derive(Default)]
pub(super) struct Orders {
    pub(super) accepted: Order,
    pub(super) refused: Order,
    pub(super) loose: Order,
    pub(super) missed: Order,
}

impl State {
    /// Whether it is not here: it was announced or dropped, and may come.
    pub(super) fn is_absent(self) -> bool {
        matches!(self, State::Asked(_) | State::Loose | State::Missed)
    }
}

impl Orders {
    /// The order of what stands like this, if it has one.
    pub(super) fn of(&mut self, state: State) -> Option<&mut Order> {
        match state {
            State::Held | State::Asked(_) => None,
            State::Loose => Some(&mut self.loose),
            State::Missed => Some(&mut self.missed),
            State::Accepted => Some(&mut self.accepted),
            State::Ignored | State::Rejected => Some(&mut self.refused),
        }
    }

    /// The oldest message of an order with more than it may have.
    pub(super) fn surplus(&self, limits: &Limits) -> Option<u32> {
        let Orders { accepted, refused, loose, missed } = self;
        let bounded = [(accepted, limits.accepted), (refused, limits.refused)];
        let unjudged = [(loose, limits.refused), (missed, limits.refused)];
        let over = |(order, max): (&Order, usize)| order.first().filter(|_| order.len() > max);
        bounded.into_iter().chain(unjudged).find_map(over)
    }
}
