//! Peer exchange: what peers ask for and tell of others, and whom the relay learns of by it.

use peerstage_core::{
    codec::{self, Capped},
    frame::Message,
    identity::NodeId,
    kinds::Kind,
    lanes::plain,
    manager::Action,
    messages::{Outgoing, Peers, PeersRequest},
    record::{SignedRecord, VerifiedRecord},
    scoring::Fault,
    time::Time,
};

use super::NetworkManager;
use crate::{discovery::ToDiscovery, relay::RecordSeen, scoring::Observation, shell::tell};

impl NetworkManager {
    /// What a peer asks for or tells of others.
    pub(super) fn on_exchange(
        &mut self,
        peer: NodeId,
        message: &Message,
        now: Time,
        out: &mut Vec<Action>,
    ) {
        let (peer, body) = (&peer, &message.body);
        let limit = message.kind.row().body_max;
        let malformed = Observation::Fault { peer: *peer, fault: Fault::MalformedMessage };
        if message.kind == Kind::PeersRequest {
            match codec::decode_canonical::<PeersRequest>(body, limit) {
                Ok(request) => self.machine.on_peers_requested(now, peer, request.count, out),
                Err(_) => drop(self.links.observations.push(malformed)),
            }
            return;
        }
        let Ok(peers) = codec::decode_canonical::<Peers>(body, limit) else {
            return drop(self.links.observations.push(malformed));
        };
        let records: Result<Vec<_>, _> =
            peers.records.iter().map(|bytes| SignedRecord::decode(bytes)).collect();
        match records {
            Ok(records) => {
                let nodes = records.iter().map(|r| r.record.public_key.node_id());
                let nodes: Vec<NodeId> = nodes.collect();
                self.machine.on_records(now, peer, records, out);
                self.tell_records(&nodes);
            }
            Err(_) => drop(self.links.observations.push(malformed)),
        }
    }

    /// The relay needs the keys of nodes that were never met most of all: messages to them are
    /// sealed and routed.
    pub(super) fn tell_records(&self, nodes: &[NodeId]) {
        for record in nodes.iter().filter_map(|node| self.machine.book().record(node)) {
            self.tell_record(record);
        }
    }

    pub(super) fn tell_record(&self, record: &VerifiedRecord) {
        let seen = RecordSeen {
            node: record.node(),
            noise_key: record.record().noise_key,
            validator: record.validator(),
        };
        tell("record_seen", &self.links.relay_records, seen);
        let known = ToDiscovery::Record(Box::new(record.clone()));
        let _ = self.opening.links.discovery.push(known);
    }
}

/// Our own record, to a peer that has an older one.
pub(super) fn record_message(record: &[u8]) -> Outgoing {
    let records = [Capped::first(record.iter().copied())];
    let peers = Peers { records: Capped::first(records) };
    plain(Kind::Peers, codec::encode(&peers).unwrap_or_default())
}

/// Records as a message of peer exchange.
pub(super) fn peers_message(records: &[SignedRecord]) -> Outgoing {
    let encoded = records.iter().filter_map(|record| record.encode().ok());
    let peers = Peers { records: Capped::first(encoded.map(Capped::first)) };
    plain(Kind::Peers, codec::encode(&peers).unwrap_or_default())
}
