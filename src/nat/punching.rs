//! What the NatTraversal is told of punches.

use super::{Action, NatTraversal, PunchAction, PunchMessage, puncher::Puncher};
use crate::{identity::NodeId, time::Time};

impl NatTraversal {
    /// A connection with this node is wanted, and dialling may not do: a hole is punched.
    pub fn want(&mut self, now: Time, peer: NodeId, out: &mut Vec<Action>) {
        if self.config.hole_punching {
            self.punch(out, |puncher, out| puncher.want(now, peer, out));
        }
    }

    /// A node that wants a hole punched has sent this, sealed and signed.
    pub fn on_punch(
        &mut self,
        now: Time,
        peer: NodeId,
        message: PunchMessage,
        out: &mut Vec<Action>,
    ) {
        if self.config.hole_punching {
            self.punch(out, |puncher, out| puncher.on_message(now, peer, message, out));
        }
    }

    /// A node is banned until then, and gets no answers; a time that is over lifts the ban.
    pub fn on_banned(&mut self, now: Time, node: NodeId, until: Time) {
        self.puncher.on_banned(now, node, until);
    }

    pub(super) fn punch<T>(
        &mut self,
        out: &mut Vec<Action>,
        input: impl FnOnce(&mut Puncher, &mut Vec<PunchAction>) -> T,
    ) -> T {
        let mut orders = Vec::new();
        let result = input(&mut self.puncher, &mut orders);
        out.extend(orders.into_iter().map(Action::Punch));
        result
    }
}
