//! The fuzz target of discovery: a neighbour that says anything, in any order.

use super::{
    Action, Answer, Contact, Kademlia, KademliaConfig, Outcome, Query, SignedClaim, StorageLimits,
    Wish,
};
use crate::{
    address::Address,
    bootstrap::{Bootstrap, BootstrapConfig, TARGETS_MAX, TXT_PREFIX},
    codec::{self, Capped},
    identity::{Keypair, NetworkId, NodeId},
    manager::SessionId,
    record::{Capabilities, NodeRecord, Roles, SignedRecord, Uplink},
    time::Time,
};

const NET: NetworkId = NetworkId([9; 32]);
const NOW: Time = Time(1_700_000_000_000);
const SESSION: SessionId = SessionId(1);

fn record(seed: u8) -> Option<SignedRecord> {
    let key = Keypair::from_seed(&[seed; 32]);
    let record = NodeRecord {
        public_key: key.public(),
        noise_key: [1; 32],
        addresses: Capped::first([Address::new([8, 8, 8, seed].into(), 30_400)]),
        roles: Roles::FULL,
        capabilities: Capabilities::RENDEZVOUS,
        coordinate: None,
        uplink: Uplink::default(),
        validator: None,
        sequence: 1,
        issued: NOW,
        expires: NOW.plus(3_600_000),
    };
    record.sign(&key, &NET).ok()
}

/// The input as a TXT record.
fn seeds(data: &[u8]) {
    let config = BootstrapConfig { named: true, seeds: true, min_peers: 1, interval: 9 };
    let mut first = Bootstrap::new(NOW, config, [1; 32]);
    let text = format!("{TXT_PREFIX}{}", String::from_utf8_lossy(data));
    assert!(first.targets(&[text], &NET, NodeId([0; 32])).len() <= TARGETS_MAX);
}

/// A machine that knows one other node, and that node's record.
fn acquainted(out: &mut Vec<Action>) -> Option<(Kademlia, SignedRecord)> {
    let storage = StorageLimits { claims_max: 8, rendezvous: true, ..StorageLimits::default() };
    let config = KademliaConfig { storage, ..KademliaConfig::default() };
    let own = Keypair::from_seed(&[1; 32]);
    let mut machine = Kademlia::new(NOW, config, own, NET, [2; 32]);
    machine.on_own_record(record(1)?);
    let theirs = record(2)?;
    let record = theirs.clone().verify(&NET, NOW).ok()?;
    let address = record.record().addresses.first().copied()?;
    let (session, outbound, visit, group) = (SESSION, true, false, None);
    let contact = Contact { session, record, address, outbound, visit, group };
    machine.on_contact_up(NOW, contact, out);
    Some((machine, theirs))
}

/// Each step of the script is a question, an answer with honest or any bytes in it, time, or a
/// wish of ours.
///
/// # Panics
/// If more is kept than may be, a task ends twice, or an answer is longer than its kind.
pub fn fuzz_discovery(data: &[u8]) {
    let _ = SignedClaim::decode(data).map(|claim| claim.verify(&NET, NOW));
    seeds(data);
    let mut out = Vec::new();
    let Some((mut machine, theirs)) = acquainted(&mut out) else { return };
    let (mut now, mut wished) = (NOW, 0u32);
    for step in data.chunks(24) {
        let (steer, rest) = step.split_first().map_or((0, step), |(steer, rest)| (*steer, rest));
        let id = u64::from(rest.first().copied().unwrap_or(0));
        match steer % 6 {
            0 => {
                if let Ok(query) = codec::decode::<Query>(rest, rest.len()) {
                    machine.on_query(now, SESSION, id, query, &mut out);
                }
            }
            1 => {
                let claim = Capped::first(rest.iter().copied());
                machine.on_query(now, SESSION, id, Query::PutRecord { claim }, &mut out);
            }
            2 => {
                let honest = theirs.encode().unwrap_or_default();
                let nodes = [Capped::first(honest), Capped::first(rest.iter().copied())];
                let count = usize::from(steer / 64);
                let nodes = Capped::first(nodes.into_iter().take(count));
                machine.on_answer(now, SESSION, id, Answer::Nodes { nodes }, &mut out);
            }
            3 => {
                if let Ok(answer) = codec::decode::<Answer>(rest, rest.len()) {
                    machine.on_answer(now, SESSION, id, answer, &mut out);
                }
            }
            4 => {
                let wish = Wish::FindNode(NodeId([steer; 32]));
                wished =
                    wished.saturating_add(u32::from(machine.wish(now, wish, &mut out).is_ok()));
            }
            _ => {
                now = machine.deadline().unwrap_or(now).max(now);
                machine.on_deadline(now, &mut out);
            }
        }
        assert!(machine.storage().len() <= 8, "more claims than may be");
    }
    machine.on_deadline(now.plus(1 << 24), &mut out);
    for action in out {
        match action {
            Action::Complete { result, .. } => {
                assert!(wished > 0, "a task ended twice");
                wished = wished.saturating_sub(1);
                assert!(!matches!(result, Ok(Outcome::Stored(_))), "nothing was published");
            }
            Action::Send { message, .. } => {
                assert!(message.body.len() <= message.kind.row().body_max);
            }
            _ => {}
        }
    }
    assert_eq!(wished, 0, "a task never ended");
}
