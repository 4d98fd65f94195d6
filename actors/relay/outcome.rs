//! What became of the chain's own message, in numbers.

use peerstage_core::{
    identity::NodeId,
    kinds::Kind,
    messages::{MessageId, Outgoing, RoutedHeader},
    relay,
};

use crate::payload::Delivery;

/// How many queues took one message that an order sent.
pub(super) struct Outcome {
    what: What,
    queued: usize,
    refused: usize,
}

enum What {
    /// A message that spreads.
    Gossip(MessageId),
    /// A message to one neighbour alone.
    Direct,
    /// A message sealed to this node, handed to carriers.
    Sealed(NodeId),
}

impl Outcome {
    /// `None` for what is no message of the chain's, such as an announcement.
    pub(super) fn of(
        message: &Outgoing,
        id: Option<MessageId>,
        queued: usize,
        refused: usize,
    ) -> Option<Self> {
        let what = match (id, message.kind) {
            (Some(id), _) => What::Gossip(id),
            (None, Kind::Custom) => What::Direct,
            (None, Kind::Routed) => What::Sealed(message.header.read::<RoutedHeader>()?.to),
            _ => return None,
        };
        Some(Outcome { what, queued, refused })
    }
}

/// Sums up an order: what the machine ordered, and what the queues said.
pub(super) fn delivery(sent: &relay::Broadcast, outcomes: &[Outcome]) -> Delivery {
    let mut sum = Delivery { queued: 0, lazy: sent.announced.len(), dropped: sent.unreachable };
    for outcome in outcomes {
        match outcome.what {
            What::Gossip(id) if Some(id) == sent.id => {
                sum.queued += outcome.queued;
                sum.lazy += outcome.refused;
            }
            What::Direct => {
                sum.queued += outcome.queued;
                sum.dropped += outcome.refused;
            }
            // One carrier is enough.
            What::Sealed(node) if sent.routed.contains(&node) => {
                let queued = outcome.queued > 0;
                sum.queued += usize::from(queued);
                sum.dropped += usize::from(!queued);
            }
            What::Gossip(_) | What::Sealed(_) => {}
        }
    }
    sum
}
