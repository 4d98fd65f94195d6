//! Stories of nodes that ask STUN servers.

use super::{super::verdict::PATIENCE, *};

#[test]
fn two_servers_that_agree_show_the_nat_and_the_port() {
    let mut node = Node::at(&["192.168.1.7"], false);
    let servers = [socket("11.0.0.1:3478"), socket("12.0.0.1:3478")];
    node.tell(|m, now, out| m.set_stun_servers(now, &servers, out));
    let asked: Vec<_> = node.out.clone();
    let requests: Vec<(SocketAddr, [u8; 20])> = asked
        .iter()
        .filter_map(|action| match action {
            Action::Ask { server, request } => Some((*server, *request)),
            _ => None,
        })
        .collect();
    assert_eq!(requests.len(), 2);
    for (server, request) in &requests {
        let datagram = answer(request, "81.2.69.142:30400");
        node.tell(|m, now, out| assert!(m.on_datagram(now, *server, &datagram, out)));
    }
    assert_eq!(node.machine.reachability(node.now).mapping, Mapping::EndpointIndependent);
    assert_eq!(node.announced, [quic("81.2.69.142:30400"), address("81.2.69.142:30400")]);
    // Nobody comes for half an hour: the port can be punched, TCP can't.
    node.passes_answered(PATIENCE, "81.2.69.142:30400");
    assert_eq!(node.verdict(TransportKind::Quic), Verdict::Punchable);
    assert_eq!(node.verdict(TransportKind::Tcp), Verdict::OutboundOnly);
}

/// Two names, or two ports, of one machine are one destination.
#[test]
fn one_server_under_two_names_is_one_word() {
    let mut node = Node::at(&["192.168.1.7"], false);
    let one = socket("11.0.0.1:3478");
    let servers = [one, one, socket("11.0.0.1:3479")];
    node.tell(|m, now, out| m.set_stun_servers(now, &servers, out));
    let mut asked = 0;
    for action in node.out.clone() {
        let Action::Ask { server, request } = action else { continue };
        asked += 1;
        let datagram = answer(&request, "81.2.69.142:30400");
        node.tell(|m, now, out| assert!(m.on_datagram(now, server, &datagram, out)));
    }
    assert_eq!(asked, 2, "each address once");
    assert_eq!(node.machine.reachability(node.now).mapping, Mapping::Unknown);
    assert_eq!(node.announced, []);
}

/// Attack row 34: an answer counts from the server that was asked, with the bits of the request.
#[test]
fn spoofed_answers_are_nobodys() {
    let mut node = Node::at(&["192.168.1.7"], false);
    let servers = [socket("11.0.0.1:3478"), socket("12.0.0.1:3478")];
    node.tell(|m, now, out| m.set_stun_servers(now, &servers, out));
    let asked = node.out.iter().find_map(|action| match action {
        Action::Ask { server, request } => Some((*server, *request)),
        _ => None,
    });
    let (server, request) = asked.unwrap();
    let mut guessed = request;
    guessed[19] ^= 1;
    let elsewhere = socket("13.0.0.1:3478");
    for (from, request) in [(elsewhere, request), (server, guessed)] {
        let datagram = answer(&request, "66.66.66.66:1");
        node.tell(|m, now, out| assert!(!m.on_datagram(now, from, &datagram, out)));
    }
    let datagram = answer(&request, "81.2.69.142:30400");
    node.tell(|m, now, out| assert!(m.on_datagram(now, server, &datagram, out)));
    node.tell(|m, now, out| assert!(!m.on_datagram(now, server, &datagram, out), "only once"));
    assert_eq!(node.announced, [], "one server's word is not enough");
}

#[test]
fn a_symmetric_nat_shows_each_server_another_port_and_none_of_them_is_told() {
    let mut node = Node::at(&["192.168.1.7"], false);
    let servers = [socket("11.0.0.1:3478"), socket("12.0.0.1:3478")];
    node.tell(|m, now, out| m.set_stun_servers(now, &servers, out));
    for (port, action) in [40_000, 40_001].into_iter().zip(node.out.clone()) {
        let Action::Ask { server, request } = action else { panic!("{action:?}") };
        let datagram = answer(&request, &format!("81.2.69.142:{port}"));
        node.tell(|m, now, out| assert!(m.on_datagram(now, server, &datagram, out)));
    }
    assert_eq!(node.machine.reachability(node.now).mapping, Mapping::AddressDependent);
    // For whoever forwards the port, and so that others learn that somebody is there.
    assert_eq!(node.announced, [address("81.2.69.142:30400")]);
}

/// RFC 8489 section 6.2.1: at 0, 500, 1,500, 3,500, 7,500, 15,500 and 31,500 ms, given up at
/// 39,500 ms.
#[test]
fn a_silent_server_is_asked_seven_times_and_then_left_alone() {
    let mut node = Node::at(&["192.168.1.7"], false);
    let servers = [socket("11.0.0.1:3478"), socket("12.0.0.1:3478")];
    let start = node.now;
    node.tell(|m, now, out| m.set_stun_servers(now, &servers, out));
    let first = servers[0];
    let times: Vec<Millis> = node
        .passes(60_000)
        .iter()
        .filter(|(_, server, _)| *server == first)
        .map(|(at, ..)| at.since(start))
        .collect();
    assert_eq!(times, [500, 1_500, 3_500, 7_500, 15_500, 31_500]);
    assert_eq!(node.machine.reachability(node.now).mapping, Mapping::Blocked);
    let again = node.passes(6 * 60_000);
    assert!(again.iter().any(|(_, server, _)| *server == first), "it may come back");
}

#[test]
fn a_new_public_address_is_told_within_a_minute() {
    let mut node = Node::at(&["192.168.1.7"], false);
    let servers = [socket("11.0.0.1:3478"), socket("12.0.0.1:3478")];
    node.tell(|m, now, out| m.set_stun_servers(now, &servers, out));
    let answer_all = |node: &mut Node, asked: Vec<(SocketAddr, [u8; 20])>, seen: &str| {
        for (server, request) in asked {
            let datagram = answer(&request, seen);
            node.tell(|m, now, out| assert!(m.on_datagram(now, server, &datagram, out)));
        }
    };
    let asked = |out: &[Action]| {
        let ask = |action: &Action| match action {
            Action::Ask { server, request } => Some((*server, *request)),
            _ => None,
        };
        out.iter().filter_map(ask).collect::<Vec<_>>()
    };
    let first = asked(&node.out);
    answer_all(&mut node, first, "81.2.69.142:30400");
    let moved = node.now;
    let again: Vec<_> =
        node.passes(25_000).into_iter().map(|(_, server, request)| (server, request)).collect();
    assert_eq!(again.len(), 2);
    node.announcements = 0;
    answer_all(&mut node, again, "81.2.69.99:30400");
    assert_eq!(node.announcements, 1, "the old one is not withdrawn between two answers");
    assert_eq!(node.announced, [quic("81.2.69.99:30400"), address("81.2.69.99:30400")]);
    assert!(node.now.since(moved) <= 60_000);
}
