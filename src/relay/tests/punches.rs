//! The network's own messages, about holes to be punched.

use super::*;
use crate::nat::MESSAGE_MAX;

/// Three nodes in a row whose chains judge messages of their own topics, and know all keys.
fn row() -> Network {
    let mut config = RelayConfig::default();
    config.pending.judge_custom = true;
    let mut net = Network::with_config(4, 0, 1, &config);
    net.link(0, 1);
    net.link(1, 2);
    net.share_records(0);
    net
}

fn send(net: &mut Network, to: usize, topic: Topic, body: Bytes) -> Result<Broadcast, RelayError> {
    let node = keypair(to).node_id();
    net.step(0, |relay, now, out| relay.send_to(now, node, Kind::Custom, topic, body, out))
}

fn send_from(net: &mut Network, (from, to): (usize, usize), body: &[u8]) {
    let (node, body) = (keypair(to).node_id(), Bytes::copy_from_slice(body));
    let sent = net.step(from, |relay, now, out| {
        relay.send_to(now, node, Kind::Custom, Topic::PUNCH, body, out)
    });
    assert!(sent.is_ok());
}

fn counted(net: &Network, reason: DropReason) -> usize {
    net.counts.get(&reason).copied().unwrap_or(0)
}

/// The chain is not asked, so nothing waits for its word: what waits in vain would soon keep
/// everything else out.
#[test]
fn the_chain_is_not_asked() {
    let mut net = row();
    for (topic, waits) in [(Topic::PUNCH, 0), (Topic(7), 1)] {
        send(&mut net, 2, topic, Bytes::from_static(b"stuck")).unwrap();
        net.run(300);
        assert_eq!(net.nodes[2].relay.status().pending, waits);
    }
    let [punch] = &net.nodes[2].delivered[..] else { panic!("one") };
    assert!(punch.is_punch() && punch.peer == keypair(0).node_id());
}

#[test]
fn a_long_one_is_dropped() {
    let mut net = row();
    for (length, heard) in [(MESSAGE_MAX + 1, 0), (100_000, 0), (MESSAGE_MAX, 1)] {
        let sent = send(&mut net, 2, Topic::PUNCH, vec![0; length].into());
        assert!(sent.is_ok(), "{length}");
        net.run(300);
        assert_eq!(net.nodes[2].delivered.len(), heard, "{length}");
    }
    assert_eq!(counted(&net, DropReason::TooLong), 2);
    assert_eq!(net.penalties, []);
}

/// A neighbour has a connection, so what it says of a hole to it means nothing.
#[test]
fn one_without_a_seal_is_dropped() {
    let mut net = row();
    send(&mut net, 1, Topic::PUNCH, Bytes::from_static(b"me")).unwrap();
    send(&mut net, 1, Topic(7), Bytes::from_static(b"chain")).unwrap();
    net.run(300);
    let heard: Vec<Topic> = net.nodes[1].delivered.iter().map(|message| message.topic).collect();
    assert_eq!(heard, [Topic(7)]);
    assert_eq!(net.penalties, [], "the connection may be a moment old");
}

#[test]
fn a_carrier_brings_so_many_and_no_more() {
    let mut net = row();
    for n in 0..200u32 {
        send(&mut net, 2, Topic::PUNCH, n.to_le_bytes().to_vec().into()).unwrap();
    }
    net.run(300);
    assert!((32..40).contains(&net.nodes[2].delivered.len()));
    assert!(counted(&net, DropReason::RoutedLimit) > 100);
    net.run(10_000);
    send(&mut net, 2, Topic::PUNCH, Bytes::from_static(b"later")).unwrap();
    net.run(300);
    assert_eq!(net.nodes[2].delivered.last().unwrap().body.as_ref(), b"later");
}

/// A key that only its owner has vouched for pushes out none that are proven: it is not kept.
#[test]
fn a_given_key_is_used_once() {
    let mut config = RelayConfig::default();
    config.routed.keys_max = 1;
    let mut net = Network::with_config(4, 0, 1, &config);
    net.link(0, 1);
    net.link(1, 2);
    net.link(1, 3);
    let key = |n: usize| crate::sealed::public_of(&keypair(n).noise_secret());
    net.nodes[0].relay.on_record(keypair(3).node_id(), key(3));
    let (to, body) = ((keypair(2).node_id(), key(2)), Bytes::from_static(b"answer"));
    let sent = net.step(0, |r, now, out| r.send_sealed(now, to, Topic::PUNCH, &body, out));
    assert_eq!(sent.unwrap().routed, [to.0]);
    net.run(300);
    assert_eq!(net.nodes[2].delivered[0].body, body);
    assert_eq!(send(&mut net, 2, Topic(7), Bytes::new()), Err(RelayError::NoRoute));
    assert!(send(&mut net, 3, Topic(7), Bytes::new()).is_ok(), "the proven one is still there");
}

/// Whoever fills the carriers with offers keeps no answer out that this node waits for.
#[test]
fn an_answer_that_is_awaited_comes_through_a_flood() {
    let mut net = row();
    send_from(&mut net, (2, 0), b"our offer");
    net.run(300);
    for n in 0..200u32 {
        send(&mut net, 2, Topic::PUNCH, n.to_le_bytes().to_vec().into()).unwrap();
    }
    let limited = |net: &Network| net.nodes[2].delivered.len();
    net.run(300);
    let before = limited(&net);
    assert!(
        (36..44).contains(&before),
        "{before}: what a carrier may bring, and four of the awaited"
    );
    // A stranger's flood, and the answer.
    net.link(1, 3);
    net.share_records(0);
    for n in 0..200u32 {
        send_from(&mut net, (3, 2), &n.to_le_bytes());
    }
    net.run(300);
    send_from(&mut net, (2, 0), b"another");
    net.run(300);
    send(&mut net, 2, Topic::PUNCH, Bytes::from_static(b"the answer")).unwrap();
    net.run(300);
    assert_eq!(net.nodes[2].delivered.last().unwrap().body.as_ref(), b"the answer");
}
