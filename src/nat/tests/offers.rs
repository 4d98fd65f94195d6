//! What others can learn from a node by offering to punch, and what they can make it send.

use super::{
    super::attempt::{HEARD_MAX, PROBES_OF_TRY_MAX, WINDOW, probe_id},
    super::budget,
    *,
};
use crate::codec::Capped;
use std::collections::{BTreeMap, BTreeSet};

const PUBLIC: &str = "81.2.69.142:30400";

/// A node at home that three neighbourhoods see at [`PUBLIC`]; its id is 5.
fn at_home() -> Node {
    let mut node = Node::with(config(5), &["192.168.1.7"]);
    for n in 101..=103 {
        node.meets(n, Address::new([n, 1, 1, 1].into(), 30_400), true, quic(PUBLIC));
    }
    node
}

/// One of thousands of ids, which cost nothing.
fn stranger(n: u16) -> NodeId {
    let [a, b] = n.to_be_bytes();
    let mut id = [7; 32];
    (id[0], id[1]) = (a, b);
    NodeId(id)
}

fn message(step: PunchStep, nonce: [u8; 16], candidates: &[Address]) -> PunchMessage {
    let candidates = Capped::first(candidates.iter().copied());
    PunchMessage { nonce, step, mapping: 9, noise_key: [6; 32], candidates }
}

impl Node {
    fn hears(&mut self, from: NodeId, step: PunchStep, nonce: [u8; 16], candidates: &[Address]) {
        let message = message(step, nonce, candidates);
        self.tell(|m, now, out| m.on_punch(now, from, message, out));
    }

    /// What it tells a node that offers these, if it answers.
    fn answer_to(&mut self, from: NodeId, candidates: &[Address]) -> Option<Vec<Address>> {
        self.hears(from, PunchStep::Offer, [9; 16], candidates);
        let told = self.punches().into_iter().find_map(|action| match action {
            PunchAction::Tell(to, _, told) if to == from => Some(told),
            _ => None,
        })?;
        assert_eq!(told.step, PunchStep::Answer);
        Some(told.candidates.to_vec())
    }

    fn punches(&self) -> Vec<PunchAction> {
        let punch = |action: &Action| match action {
            Action::Punch(punch) => Some(punch.clone()),
            _ => None,
        };
        self.out.iter().filter_map(punch).collect()
    }

    fn probes(&self) -> Vec<SocketAddr> {
        let probe = |action: PunchAction| match action {
            PunchAction::Probe(to, _) => Some(to),
            _ => None,
        };
        self.punches().into_iter().filter_map(probe).collect()
    }

    /// Lets time pass; where probes went.
    fn probes_of(&mut self, span: Millis) -> Vec<SocketAddr> {
        let (until, mut all) = (self.now.plus(span), Vec::new());
        while let Some(deadline) = self.machine.deadline().filter(|at| *at <= until) {
            self.now = deadline;
            self.tell(|machine, now, out| machine.on_deadline(now, out));
            all.extend(self.probes());
        }
        self.now = until;
        all
    }
}

/// Whoever offers learns what strangers could use and no address of the LAN, also who claims to be in
/// it: everybody can read in our record what IP to claim.
#[test]
fn an_answer_tells_nothing_of_the_lan() {
    let mut node = at_home();
    for (n, offered) in [(1, "66.1.1.1:4"), (2, "81.2.69.142:999")] {
        let told = node.answer_to(stranger(n), &[quic(offered)]).unwrap();
        assert_eq!(told, [quic(PUBLIC)], "{offered}");
    }
    // Our own offers go to nodes of which no more is known.
    node.tell(|m, now, out| m.want(now, stranger(3), out));
    let [PunchAction::Tell(_, None, offer)] = &node.punches()[..] else { panic!("an offer") };
    assert_eq!(offer.candidates[..], [quic(PUBLIC)]);
}

/// In a private network the addresses there are what strangers use.
#[test]
fn in_a_private_network_private_addresses_are_told_and_sent_to() {
    let mut node = Node::with(NatConfig { allow_private: true, ..config(5) }, &["192.168.1.7"]);
    let offered = [quic("192.168.9.9:30400"), quic("127.0.0.1:1")];
    let told = node.answer_to(stranger(1), &offered).unwrap();
    assert_eq!(told, [quic("192.168.1.7:30400")]);
    node.hears(stranger(1), PunchStep::Go, [9; 16], &[]);
    let sent: BTreeSet<_> = node.probes_of(4_000).into_iter().collect();
    assert_eq!(sent, [socket("192.168.9.9:30400")].into());
}

#[test]
fn an_answer_tells_only_what_the_operator_says() {
    let external = vec![address("93.184.216.34:7"), quic("93.184.216.34:7")];
    let mut node = Node::with(NatConfig { external, ..config(5) }, &["192.168.1.7"]);
    for n in 101..=103 {
        node.meets(n, Address::new([n, 1, 1, 1].into(), 30_400), true, quic(PUBLIC));
    }
    for (n, offered) in [(1, "66.1.1.1:4"), (2, PUBLIC), (3, "93.184.216.34:9")] {
        let told = node.answer_to(stranger(n), &[quic(offered)]);
        assert_eq!(told.unwrap(), [quic("93.184.216.34:7")], "{offered}");
    }
}

/// Whoever names our own public IP has us probe nobody's LAN, ours neither.
#[test]
fn no_offer_has_us_probe_a_lan() {
    let mut node = at_home();
    let inside = [quic("192.168.1.9:30400"), quic("10.0.0.1:53"), quic("127.0.0.1:1")];
    let offered: Vec<_> = [quic("81.2.69.142:5")].into_iter().chain(inside).collect();
    node.answer_to(stranger(1), &offered).unwrap();
    node.hears(stranger(1), PunchStep::Go, [9; 16], &[]);
    let mut sent: BTreeSet<_> = node.probes().into_iter().collect();
    sent.extend(node.probes_of(4_000));
    assert_eq!(sent, [socket("81.2.69.142:5")].into());
}

/// Ids cost nothing: whoever has thousands takes all answers, and none of the node's own punches.
#[test]
fn offers_take_no_place_of_our_own_punches() {
    let mut node = at_home();
    let mut answers = 0;
    for n in 0..100 {
        answers += usize::from(node.answer_to(stranger(n), &[quic("66.1.1.1:4")]).is_some());
    }
    assert_eq!(answers, ANSWERED_MAX);
    for n in 200..210 {
        node.tell(|m, now, out| m.want(now, stranger(n), out));
        assert_eq!(node.punches().len(), usize::from(n < 200 + OPENED_MAX as u16));
    }
    // One a second in the long run, however fast the places become free.
    let began = node.now;
    for n in 1_000..3_000 {
        let asks = node.answer_to(stranger(n), &[quic("66.2.2.2:4")]);
        answers += usize::from(asks.is_some());
        node.hears(stranger(n), PunchStep::Go, [9; 16], &[]);
        node.probes_of(100);
    }
    let seconds = node.now.since(began) / 1_000;
    assert!(answers as u64 <= 8 + seconds, "{answers} answers in {seconds} s");
}

/// Addresses of one network are one victim's, whatever they are.
#[test]
fn two_addresses_of_one_network_are_sent_to() {
    let networks: [&[&str]; 2] = [
        &["66.1.1.1:4", "66.1.1.2:4", "66.1.1.3:4", "66.1.2.1:4"],
        &["[2a01:4:4:1::1]:4", "[2a01:4:4:2::1]:4", "[2a01:4:4:3::1]:4", "[2a01:4:5:1::1]:4"],
    ];
    for named in networks {
        let mut node = at_home();
        let offered: Vec<_> = named.iter().map(|text| quic(text)).collect();
        node.answer_to(stranger(1), &offered).unwrap();
        node.hears(stranger(1), PunchStep::Go, [9; 16], &[]);
        let mut sent: BTreeSet<_> = node.probes().into_iter().collect();
        sent.extend(node.probes_of(4_000));
        let wanted = [named[0], named[1], named[3]].map(socket);
        assert_eq!(sent, wanted.into());
    }
}

/// Whoever has offers answered that name an IP spends nothing of what our own punches may send there.
#[test]
fn strangers_spend_none_of_our_own_datagrams() {
    let (mut node, there) = (at_home(), [quic("66.1.1.1:4"), quic("66.1.1.1:5")]);
    for n in 0..4 {
        node.answer_to(stranger(n), &there).unwrap();
        node.hears(stranger(n), PunchStep::Go, [9; 16], &[]);
    }
    node.probes_of(5_000);
    node.answer_to(stranger(9), &there).unwrap();
    node.hears(stranger(9), PunchStep::Go, [9; 16], &[]);
    assert_eq!(node.probes(), [], "nothing is left for others");
    node.tell(|m, now, out| m.want(now, stranger(10), out));
    let [PunchAction::Tell(_, None, offer)] = &node.punches()[..] else { panic!("an offer") };
    let nonce = offer.nonce;
    node.hears(stranger(10), PunchStep::Answer, nonce, &there);
    let sent = node.probes().len() + node.probes_of(2_000).len();
    assert_eq!(sent, 20, "ten to each of two ports");
}

/// However many nodes name an address, it gets a bounded number of datagrams.
#[test]
fn an_offer_cannot_make_us_flood_anybody() {
    let mut node = at_home();
    let lies = ["10.0.0.1:1", "127.0.0.1:2", "224.0.0.1:3", "66.1.1.1:4", "66.2.1.1:4"];
    let ports = (5..8).map(|n| quic(&format!("66.3.1.1:{n}")));
    let lies: Vec<Address> = lies.into_iter().map(quic).chain(ports).collect();
    let mut sent: BTreeMap<SocketAddr, u32> = BTreeMap::new();
    for n in 0..500 {
        for step in [PunchStep::Offer, PunchStep::Go, PunchStep::Offer] {
            node.hears(stranger(n), step, [9; 16], &lies);
            node.probes().iter().for_each(|to| *sent.entry(*to).or_default() += 1);
        }
        for to in node.probes_of(1_000) {
            *sent.entry(to).or_default() += 1;
        }
    }
    let mut by_ip: BTreeMap<IpAddr, (usize, u32)> = BTreeMap::new();
    for (to, count) in &sent {
        assert!(Address::from(*to).is_routable(), "{to}");
        let (ports, all) = by_ip.entry(to.ip()).or_default();
        (*ports, *all) = (*ports + 1, *all + count);
    }
    assert_eq!(by_ip.len(), 3, "{by_ip:?}");
    // 40 at once, and four a minute in 500 seconds.
    let most = budget::ANSWERED_MAX + 34;
    assert!(by_ip.values().all(|(ports, all)| *ports <= 2 && *all <= most), "{by_ip:?}");
    assert!(by_ip.values().any(|(_, all)| *all > budget::ANSWERED_MAX));
    let strange = binding_request(TransactionId([3; 12]));
    node.tell(|m, now, out| assert!(!m.on_datagram(now, socket("66.1.1.1:4"), &strange, out)));
    assert_eq!(node.out, []);
}

#[test]
fn who_is_connected_or_banned_gets_no_answer() {
    let mut node = at_home();
    let offered = [quic("66.1.1.1:4")];
    assert_eq!(node.answer_to(peer(101), &offered), None);
    node.tell(|m, now, out| m.on_peer_gone(now, &peer(101), out));
    assert!(node.answer_to(peer(101), &offered).is_some());
    let until = node.now.plus(60_000);
    node.machine.on_banned(node.now, stranger(1), until);
    assert_eq!(node.answer_to(stranger(1), &offered), None);
    node.machine.on_banned(node.now, stranger(1), Time::ZERO);
    assert!(node.answer_to(stranger(1), &offered).is_some());
    // A ban ends what is under way.
    node.machine.on_banned(node.now, stranger(1), until);
    node.hears(stranger(1), PunchStep::Go, [9; 16], &[]);
    assert_eq!(node.probes(), []);
}

/// The other side knows what its probes look like, and so can forge them in anybody's name.
#[test]
fn forged_probes_lead_to_two_strangers_at_most_and_not_for_long() {
    for opener in [false, true] {
        let mut node = at_home();
        let (other, mut nonce) = (stranger(1), [9; 16]);
        let targets: Vec<_> = (1..=8).map(|n| quic(&format!("66.1.{n}.1:4"))).collect();
        if opener {
            node.tell(|m, now, out| m.want(now, other, out));
            let [PunchAction::Tell(_, _, offer)] = &node.punches()[..] else { panic!("offer") };
            nonce = offer.nonce;
            node.hears(other, PunchStep::Answer, nonce, &targets);
        } else {
            node.answer_to(other, &targets).unwrap();
            node.hears(other, PunchStep::Go, nonce, &[]);
        }
        let (began, mut sent) = (node.now, node.probes());
        let nodes = if opener { [peer(5), other] } else { [other, peer(5)] };
        let forged = binding_request(probe_id(&nonce, nodes, !opener));
        let private = ["10.0.0.1:53", "192.168.1.1:53", "127.0.0.1:53"].map(socket);
        let victims = (1..=60).map(|n| socket(&format!("67.1.{n}.1:53")));
        let (mut dials, mut last) = (0, began);
        for from in private.into_iter().chain(victims) {
            node.tell(|m, now, out| {
                let _ = m.on_datagram(now, from, &forged, out);
            });
            let dial = |action: &PunchAction| matches!(action, PunchAction::Dial(..));
            dials += node.punches().iter().filter(|action| dial(action)).count();
            let mut now = node.probes();
            now.extend(node.probes_of(100));
            last = if now.is_empty() { last } else { node.now };
            sent.extend(now);
            if node.now.since(began) >= 2 * WINDOW {
                break;
            }
        }
        assert_eq!(dials, if opener { HEARD_MAX } else { 0 });
        assert!(sent.iter().all(|to| Address::from(*to).is_routable()), "{sent:?}");
        let all: BTreeSet<_> = sent.iter().collect();
        assert_eq!(all.len(), TARGETS_MAX + HEARD_MAX);
        assert!(sent.len() <= PROBES_OF_TRY_MAX, "{} probes", sent.len());
        assert!(last.since(began) <= 2 * WINDOW);
    }
}

/// Anybody can send a request in anybody's name, as many as they like.
#[test]
fn a_strange_probe_computes_nothing() {
    let mut node = at_home();
    let before = node.machine.puncher.own.told.clone();
    // Had it looked again, it would see this.
    node.machine.config.external = vec![quic("93.184.216.34:7")];
    let strange = binding_request(TransactionId([3; 12]));
    node.tell(|m, now, out| assert!(!m.on_datagram(now, socket("66.1.1.1:4"), &strange, out)));
    assert_eq!(node.machine.puncher.own.told, before);
    node.tell(|m, now, out| m.on_peer_gone(now, &peer(101), out));
    assert_eq!(node.machine.puncher.own.told, [quic("93.184.216.34:7")]);
}

/// What others have us send to pushes out nobody whom we dialled ourselves, and is no stranger.
#[test]
fn offers_make_no_strangers_of_those_whom_we_dialled() {
    let mut node = Node::with(config(5), &["192.168.1.7"]);
    for n in 101..=103 {
        node.meets(n, Address::new([n, 1, 1, 1].into(), 30_400), true, quic(PUBLIC));
    }
    let dialled = quic("20.1.1.1:30400");
    node.tell(|m, now, _| m.on_dialled(now, &dialled));
    for n in 0..400 {
        let targets = (0..4).map(|k| quic(&format!("66.{k}.{}.{}:4", n / 250, n % 250)));
        node.answer_to(stranger(n), &targets.collect::<Vec<_>>()).unwrap();
        node.hears(stranger(n), PunchStep::Go, [9; 16], &[]);
        node.probes_of(1_000);
    }
    let verdict = |node: &Node| node.verdict(TransportKind::Quic);
    node.meets(1, dialled, false, quic(PUBLIC));
    node.meets(2, quic("66.1.1.100:9"), false, quic(PUBLIC));
    assert_eq!(verdict(&node), Verdict::Unknown);
    node.meets(3, quic("66.9.9.9:9"), false, quic(PUBLIC));
    assert_eq!(verdict(&node), Verdict::Forwarded);
    // When nobody else can be remembered, nobody is answered.
    let (now, ip) = (node.now, |n: u32| IpAddr::from((0x1400_0000 + n).to_be_bytes()));
    assert!((0..9_000).any(|n| !node.machine.puncher.answered_budget.take(now, ip(n))));
    node.now = node.now.plus(10_000);
    assert_eq!(node.answer_to(stranger(999), &[quic("66.1.1.1:4")]), None);
}

/// Of two offers that cross, that of the node with the lower id counts: nonces can be chosen.
#[test]
fn crossing_offers_are_settled_by_what_nobody_can_choose() {
    for (other, answered) in [(9, false), (2, true)] {
        for nonce in [[0; 16], [255; 16]] {
            let mut node = at_home();
            node.tell(|m, now, out| m.want(now, peer(other), out));
            node.hears(peer(other), PunchStep::Offer, nonce, &[quic("66.1.1.1:4")]);
            assert_eq!(node.punches().len(), usize::from(answered), "{other} {nonce:?}");
        }
    }
}

/// Probes are forged at no cost: a machine that was sent enough is not dialled either.
#[test]
fn a_forged_probe_leads_to_no_dial_where_nothing_may_be_sent() {
    let mut node = at_home();
    let (now, victim) = (node.now, socket("67.1.1.1:53"));
    while node.machine.puncher.opened_budget.take(now, victim.ip()) {}
    node.tell(|m, now, out| m.want(now, stranger(1), out));
    let [PunchAction::Tell(_, _, offer)] = &node.punches()[..] else { panic!("an offer") };
    let nonce = offer.nonce;
    node.hears(stranger(1), PunchStep::Answer, nonce, &[quic("66.1.1.1:4")]);
    let forged = binding_request(probe_id(&nonce, [peer(5), stranger(1)], false));
    node.tell(|m, now, out| assert!(m.on_datagram(now, victim, &forged, out)));
    assert_eq!(node.punches(), []);
    node.tell(|m, now, out| assert!(m.on_datagram(now, socket("68.1.1.1:53"), &forged, out)));
    let there = quic("68.1.1.1:53");
    assert!(node.punches().contains(&PunchAction::Dial(stranger(1), there)));
}

/// Whoever loses when two offers cross is answered at once, even if it asked a moment ago.
#[test]
fn an_offer_that_crosses_ours_is_not_too_early() {
    let mut node = at_home();
    let other = [quic("66.1.1.1:4")];
    assert!(node.answer_to(peer(2), &other).is_some());
    assert!(node.answer_to(peer(2), &other).is_none(), "one a second");
    node.probes_of(2_500);
    for _ in 0..2 {
        assert!(node.answer_to(peer(2), &other).is_some());
        node.probes_of(2_500);
    }
    node.tell(|m, now, out| m.want(now, peer(2), out));
    assert!(node.answer_to(peer(2), &other).is_some());
    node.tell(|m, now, out| m.on_peer_gone(now, &peer(2), out));
}

/// As many bans are known as the manager has; the one that ends soonest gives way.
#[test]
fn the_latest_ban_counts_however_many_there_are() {
    let mut node = at_home();
    let until = node.now.plus(60_000);
    for n in 0..u16::try_from(crate::manager::BANS_MAX).unwrap() {
        node.machine.on_banned(node.now, stranger(n), until.plus(u64::from(n)));
    }
    node.machine.on_banned(node.now, stranger(5_000), until.plus(9_999));
    assert_eq!(node.answer_to(stranger(5_000), &[quic("66.1.1.1:4")]), None);
    assert!(node.answer_to(stranger(0), &[quic("66.1.1.1:4")]).is_some(), "its ban ended first");
}
