//! Blocks and transactions that a peer brought, one or many at a time.

use super::{
    Action, Scoring,
    facts::{Delivery, Fault},
    history::Cause,
    score::Axis,
};
use crate::{identity::NodeId, time::Time};

impl Scoring {
    /// The chain has judged a block of this peer.
    pub fn on_block(&mut self, now: Time, peer: NodeId, delivery: Delivery, out: &mut Vec<Action>) {
        self.on_blocks(now, peer, delivery, 1, out);
    }

    /// The chain has judged so many blocks of this peer alike: as [`Scoring::on_block`] for each.
    pub fn on_blocks(
        &mut self,
        now: Time,
        peer: NodeId,
        delivery: Delivery,
        count: u32,
        out: &mut Vec<Action>,
    ) {
        if delivery == Delivery::Invalid {
            return (0..count).for_each(|_| self.on_fault(now, peer, Fault::InvalidBlock, out));
        }
        let (category, behaviour) = delivery.block();
        let moved = (Axis::BlockPropagation, category, behaviour);
        self.delivered(now, peer, Cause::Block(delivery), moved, count, out);
    }

    /// The chain has judged a transaction of this peer.
    pub fn on_transaction(
        &mut self,
        now: Time,
        peer: NodeId,
        delivery: Delivery,
        out: &mut Vec<Action>,
    ) {
        self.on_transactions(now, peer, delivery, 1, out);
    }

    /// So many transactions alike: as [`Scoring::on_transaction`] for each.
    pub fn on_transactions(
        &mut self,
        now: Time,
        peer: NodeId,
        delivery: Delivery,
        count: u32,
        out: &mut Vec<Action>,
    ) {
        if delivery == Delivery::Invalid {
            let fault = Fault::InvalidTransaction;
            return (0..count).for_each(|_| self.on_fault(now, peer, fault, out));
        }
        let (category, behaviour) = delivery.transaction();
        let moved = (Axis::TransactionRelay, category, behaviour);
        self.delivered(now, peer, Cause::Transaction(delivery), moved, count, out);
    }

    fn delivered(
        &mut self,
        now: Time,
        peer: NodeId,
        cause: Cause,
        (axis, category, behaviour): (Axis, i32, i32),
        count: u32,
        out: &mut Vec<Action>,
    ) {
        let late = category < 0;
        if count == 0 || (late && self.overloaded) {
            return;
        }
        let changes = [
            (axis, i64::from(category)),
            (Axis::Behaviour, i64::from(behaviour)),
            (Axis::Trust, if late { 0 } else { self.policy.trust_valid }),
        ];
        self.update_times(now, peer, cause, &changes, count, out);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use crate::scoring::{
        Delivery,
        tests::{World, id},
    };

    proptest! {
        /// 500 deliveries in one call: the score, the trust and the explanation are the same as
        /// one after the other, also past the limits of the axes.
        #[test]
        fn many_at_once_are_as_one_after_the_other(
            batches in proptest::collection::vec((any::<bool>(), 0usize..3, 0u32..500), 1..12),
        ) {
            let (mut once, mut each) = (World::strict(), World::strict());
            let peer = once.connect(1);
            each.connect(1);
            for (blocks, delivery, count) in batches {
                let delivery = [Delivery::First, Delivery::Timely, Delivery::Late][delivery];
                if blocks {
                    once.scoring.on_blocks(once.now, peer, delivery, count, &mut once.out);
                } else {
                    once.scoring.on_transactions(once.now, peer, delivery, count, &mut once.out);
                }
                for _ in 0..count {
                    if blocks {
                        each.scoring.on_block(each.now, peer, delivery, &mut each.out);
                    } else {
                        each.scoring.on_transaction(each.now, peer, delivery, &mut each.out);
                    }
                }
                prop_assert_eq!(
                    once.scoring.explain(once.now, id(1)),
                    each.scoring.explain(each.now, id(1))
                );
            }
            prop_assert_eq!(once.scoring.trust(peer), each.scoring.trust(peer));
        }
    }
}
