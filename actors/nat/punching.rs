//! Punching holes: probes from the node's UDP port, and messages to the other side through peers.

use bytes::Bytes;
use peerstage_core::{
    codec,
    identity::NodeId,
    kinds::Kind,
    messages::Topic,
    nat::{Action, MESSAGE_MAX, PunchAction, PunchMessage, PunchOutcome, Punched},
    time::Time,
};
use tokio::sync::oneshot;

use super::{FromNat, NatTraversal};
use crate::{relay::Order, shell::tell};

impl NatTraversal {
    pub(super) fn on_punch(
        &mut self,
        now: Time,
        peer: NodeId,
        body: &Bytes,
        out: &mut Vec<Action>,
    ) {
        match codec::decode_canonical::<PunchMessage>(body, MESSAGE_MAX) {
            Ok(message) => self.machine.on_punch(now, peer, message, out),
            Err(_) => metrics::counter!("peerstage_punches_refused_total").increment(1),
        }
    }

    pub(super) fn perform_punch(&self, action: PunchAction) {
        match action {
            PunchAction::Tell(peer, key, message) => self.tell_peer(peer, key, &message),
            // Now or never: the next one is due in a moment.
            PunchAction::Probe(to, datagram) => {
                let sent = self.socket_for(to).map(|socket| socket.send_now(to, &datagram));
                if let Some(Err(error)) = sent {
                    tracing::debug!(%to, %error, "a probe could not be sent");
                }
            }
            PunchAction::Dial(peer, address) => {
                tell("from_nat", &self.links.manager, FromNat::HolePunched { peer, address });
            }
            PunchAction::Ended(punched) => show(&punched),
        }
    }

    fn tell_peer(&self, to: NodeId, sealed_to: Option<[u8; 32]>, message: &PunchMessage) {
        let Ok(body) = codec::encode(message) else { return };
        let body = Bytes::from(body);
        let (answer, answered) = oneshot::channel();
        let (kind, topic, bytes) = (Kind::Custom, Topic::PUNCH, body.len());
        let order = Order { to: Some(to), sealed_to, kind, topic, body, answer };
        let orders = self.links.orders.clone();
        actix_rt::spawn(async move {
            if orders.send(bytes, order).await.is_some()
                && let Ok(Err(error)) = answered.await
            {
                tracing::debug!(peer = %to.short(), %error, "no peer carries a punch");
            }
        });
    }
}

/// Counts what came of a punch, by what the NATs do.
fn show(punched: &Punched) {
    let Punched { peer, outcome, took, mappings: [ours, theirs] } = punched;
    let (peer, success) = (peer.short(), *outcome == PunchOutcome::Connected);
    let outcome = outcome.name();
    let labels = [("outcome", outcome), ("ours", ours.name()), ("theirs", theirs.name())];
    metrics::counter!("peerstage_punches_total", &labels).increment(1);
    if success {
        // Milliseconds of a punch are far below 2^53.
        metrics::histogram!("peerstage_punch_seconds").record(*took as f64 / 1_000.0);
    }
    let (ours, theirs) = (ours.name(), theirs.name());
    tracing::debug!(%peer, outcome, took, ours, theirs, "a hole was punched, or was not");
}
