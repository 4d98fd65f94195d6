//! Stories of askers and servers.

use proptest::prelude::*;

use super::*;

const A: NodeId = NodeId([1; 32]);
const B: NodeId = NodeId([2; 32]);
const C: NodeId = NodeId([3; 32]);
const BODY: Bytes = Bytes::from_static(b"q");

fn machine(peers: &[NodeId]) -> Requests {
    let mut requests = Requests::new(RequestConfig::default(), [1; 32]);
    for peer in peers {
        requests.on_peer_up(Time(0), *peer, &mut Vec::new());
    }
    requests
}

/// Whom the requests among the orders went to, with the id on the wire.
fn asked(out: &[RequestAction]) -> Vec<(NodeId, u64)> {
    let header = |message: &Outgoing| message.header.read::<RequestHeader>().unwrap().id;
    out.iter()
        .filter_map(|action| match action {
            RequestAction::Send { to, id: Some(_), message } => Some((*to, header(message))),
            _ => None,
        })
        .collect()
}

fn response(id: u64, status: ResponseStatus) -> Header {
    Header::of(&ResponseHeader { id, status })
}

fn request(id: u64, deadline_ms: u32) -> Header {
    Header::of(&RequestHeader { id, topic: Topic(5), deadline_ms })
}

fn statuses(out: &[RequestAction]) -> Vec<ResponseStatus> {
    let status = |message: &Outgoing| message.header.read::<ResponseHeader>().unwrap().status;
    out.iter()
        .filter_map(|action| match action {
            RequestAction::Send { id: None, message, .. } => Some(status(message)),
            _ => None,
        })
        .collect()
}

#[test]
fn an_answer_completes_the_request_and_is_observed() {
    let (mut requests, mut out) = (machine(&[A]), Vec::new());
    let id = requests.ask(Time(0), Target::Peer(A), Topic(1), BODY, 1_000, &mut out).unwrap();
    assert_eq!(asked(&out), [(A, 1)]);
    out.clear();
    let ok = response(1, ResponseStatus::Ok);
    requests.on_response(Time(70), A, &ok, Bytes::from_static(b"a"), &mut out);
    let answered = RequestAction::Observe { peer: A, service: Service::Answered(70) };
    let result = Ok((A, Bytes::from_static(b"a")));
    assert_eq!(out, [answered, RequestAction::Complete { id, result }]);
    assert_eq!(requests.deadline(), None);
}

#[test]
fn a_slow_or_busy_peer_is_replaced_and_a_late_answer_still_counts() {
    let (mut requests, mut out) = (machine(&[A, B, C]), Vec::new());
    let id = requests.ask(Time(0), Target::Any, Topic(1), BODY, 10_000, &mut out).unwrap();
    let first = asked(&out)[0].0;
    requests.on_deadline(Time(2_000), &mut out);
    let second = asked(&out)[1].0;
    let timeout = RequestAction::Observe { peer: first, service: Service::Timeout };
    assert!(out.contains(&timeout) && first != second);
    let busy = response(1, ResponseStatus::Busy);
    requests.on_response(Time(2_100), second, &busy, Bytes::new(), &mut out);
    let third = asked(&out)[2].0;
    assert!(third != first && third != second);
    out.clear();
    requests.on_response(Time(2_200), first, &response(1, ResponseStatus::Ok), BODY, &mut out);
    assert_eq!(out[1], RequestAction::Complete { id, result: Ok((first, BODY)) });
    out.clear();
    requests.on_response(Time(2_300), third, &response(1, ResponseStatus::Ok), BODY, &mut out);
    assert_eq!(out, [RequestAction::Count("late_response")]);
}

#[test]
fn best_asks_the_best_that_are_left_when_connections_are_lost() {
    let (mut requests, mut out) = (machine(&[A, B, C]), Vec::new());
    requests.on_score(B, 10);
    requests.on_score(C, 20);
    let id = requests.ask(Time(0), Target::Best(2), Topic(1), BODY, 9_000, &mut out).unwrap();
    let first = asked(&out)[0].0;
    requests.on_peer_down(Time(1), first, &mut out);
    let second = asked(&out)[1].0;
    requests.on_peer_down(Time(2), second, &mut out);
    let third = asked(&out).get(2).map(|ask| ask.0);
    assert_eq!((BTreeSet::from([first, second]), third), (BTreeSet::from([B, C]), Some(A)));
    requests.on_peer_down(Time(3), A, &mut out);
    let result = Err(RequestError::Disconnected);
    assert_eq!(out.last(), Some(&RequestAction::Complete { id, result }));
    let none = requests.ask(Time(4), Target::Any, Topic(1), BODY, 9_000, &mut out);
    assert_eq!(none, Err(RequestError::NoPeers));
}

#[test]
fn the_deadline_ends_every_request() {
    let (mut requests, mut out) = (machine(&[A]), Vec::new());
    let id = requests.ask(Time(0), Target::Any, Topic(1), BODY, u32::MAX, &mut out).unwrap();
    while let Some(at) = requests.deadline() {
        requests.on_deadline(at, &mut out);
    }
    assert_eq!(
        out.last(),
        Some(&RequestAction::Complete { id, result: Err(RequestError::Timeout) })
    );
}

#[test]
fn unsolicited_answers_are_a_fault_and_late_ones_are_not() {
    let (mut requests, mut out) = (machine(&[A]), Vec::new());
    let fault = RequestFault::ProtocolViolation;
    requests.on_response(Time(0), A, &response(1, ResponseStatus::Ok), BODY, &mut out);
    assert_eq!(out, [RequestAction::Penalise { peer: A, fault }]);
    out.clear();
    requests.on_response(Time(0), A, &Header::new(b"?").unwrap(), BODY, &mut out);
    let fault = RequestFault::MalformedMessage;
    assert_eq!(out, [RequestAction::Penalise { peer: A, fault }]);
}

/// Attack row 42: a request flood is answered with a typed refusal, and the cost of huge answers
/// is paid back before the next question.
#[test]
fn over_its_quota_a_peer_gets_a_typed_refusal() {
    let (mut requests, mut out) = (machine(&[A, B]), Vec::new());
    for id in 1..=200 {
        requests.on_request(Time(0), A, &request(id, u32::MAX), BODY, &mut out);
    }
    assert_eq!(statuses(&out), vec![ResponseStatus::Busy; 136]);
    out.clear();
    for id in 1..=20 {
        requests.on_request(Time(0), B, &request(id, 60_000), BODY, &mut out);
        if let Some(RequestAction::Serve { ticket, .. }) = out.last() {
            let huge = Answer::Ok(Bytes::from(vec![0; 2 * 1024 * 1024]));
            requests.on_answer(Time(0), *ticket, huge, &mut out);
        }
    }
    let ok = statuses(&out).iter().filter(|status| **status == ResponseStatus::Ok).count();
    assert_eq!(ok, 8, "16 MiB at once");
    out.clear();
    requests.on_request(Time(3_000), B, &request(99, 1_000), BODY, &mut out);
    assert!(matches!(out.last(), Some(RequestAction::Serve { .. })), "credit comes back");
}

#[test]
fn an_id_in_use_is_a_fault_and_an_expired_question_frees_its_place() {
    let (mut requests, mut out) = (machine(&[A]), Vec::new());
    requests.on_request(Time(0), A, &request(1, 500), BODY, &mut out);
    let Some(RequestAction::Serve { ticket, deadline, .. }) = out.last().cloned() else {
        panic!("served")
    };
    requests.on_request(Time(1), A, &request(1, 500), BODY, &mut out);
    let fault = RequestFault::ProtocolViolation;
    assert_eq!(out.last(), Some(&RequestAction::Penalise { peer: A, fault }));
    requests.on_deadline(deadline, &mut out);
    out.clear();
    requests.on_answer(Time(501), ticket, Answer::Failed, &mut out);
    assert_eq!(out, [RequestAction::Count("late_answer")]);
    requests.on_request(Time(502), A, &request(1, 500), BODY, &mut out);
    assert!(matches!(out.last(), Some(RequestAction::Serve { .. })));
}

/// The questions that are to be worked on, and those that are not any more.
fn work(out: &mut Vec<RequestAction>) -> (Vec<ServeTicket>, Vec<ServeTicket>) {
    let (mut begun, mut abandoned) = (Vec::new(), Vec::new());
    for action in out.drain(..) {
        match action {
            RequestAction::Serve { ticket, .. } => begun.push(ticket),
            RequestAction::Abandon(ticket) => abandoned.push(ticket),
            _ => {}
        }
    }
    (begun, abandoned)
}

/// Attack row 42: questions with the shortest of deadlines, by an asker that also comes back with
/// a new connection. Work that goes on in vain is work, until the chain says that it has ended.
#[test]
fn a_place_is_taken_until_the_work_has_ended() {
    let config = RequestConfig { serving_per_peer: 16, ..RequestConfig::default() };
    let (mut requests, mut out) = (Requests::new(config, [1; 32]), Vec::new());
    requests.on_peer_up(Time(0), A, &mut out);
    let (mut begun, mut abandoned) = (Vec::new(), Vec::new());
    for id in 1..=5_000 {
        let now = Time(id * 2);
        requests.on_deadline(now, &mut out);
        if id == 2_500 {
            requests.on_peer_up(now, A, &mut out);
        }
        requests.on_request(now, A, &request(id, 1), BODY, &mut out);
        let (new, old) = work(&mut out);
        begun.extend(new);
        abandoned.extend(old);
    }
    assert_eq!(begun.len(), 16, "none has ended");
    assert_eq!(abandoned, begun, "nobody waits for them");
    requests.on_answer(Time(20_000), begun[0], Answer::Failed, &mut out);
    for id in [6_001, 6_002] {
        requests.on_request(Time(20_000), A, &request(id, 1), BODY, &mut out);
    }
    assert_eq!(work(&mut out).0.len(), 1, "one place is free");
}

/// Nobody makes us begin work only to break it off.
#[test]
fn every_question_is_worked_on_for_a_while() {
    let (mut requests, mut out) = (machine(&[A]), Vec::new());
    requests.on_request(Time(0), A, &request(1, 0), BODY, &mut out);
    assert_eq!(requests.deadline(), Some(Time(1_000)));
    let (begun, _) = work(&mut out);
    requests.on_deadline(Time(999), &mut out);
    assert_eq!(out, []);
    requests.on_answer(Time(999), begun[0], Answer::Ok(BODY), &mut out);
    assert_eq!(statuses(&out), [ResponseStatus::Ok]);
}

/// What a peer that is gone asked is broken off, and nothing of it is left when that is done.
#[test]
fn the_work_for_a_peer_that_is_gone_is_broken_off() {
    let (mut requests, mut out) = (machine(&[A]), Vec::new());
    for id in 1..=3 {
        requests.on_request(Time(0), A, &request(id, 9_000), BODY, &mut out);
    }
    let (begun, _) = work(&mut out);
    requests.on_peer_down(Time(1), A, &mut out);
    assert_eq!(work(&mut out).1, begun);
    for ticket in begun {
        requests.on_answer(Time(2), ticket, Answer::Ok(BODY), &mut out);
    }
    assert_eq!(out, vec![RequestAction::Count("late_answer"); 3]);
    assert_eq!(requests.deadline(), None);
    out.clear();
    requests.on_request(Time(3), A, &request(9, 9_000), BODY, &mut out);
    assert_eq!(out, [RequestAction::Count("unknown_peer")]);
}

proptest! {
    /// Whatever arrives, every request completes exactly once and nothing is left behind.
    #[test]
    fn every_request_completes_exactly_once(
        inputs in proptest::collection::vec((0u8..7, 0u8..3, 0u64..6, 0u64..4_000), 0..120),
    ) {
        let (mut requests, mut out) = (machine(&[A, B, C]), Vec::new());
        let (mut now, mut ids, names) = (Time(0), BTreeSet::new(), [A, B, C]);
        for (what, who, wire, span) in inputs {
            let peer = names[usize::from(who)];
            now = now.plus(span);
            let status = if wire % 2 == 0 { ResponseStatus::Ok } else { ResponseStatus::Busy };
            match what {
                0 => requests.on_peer_up(now, peer, &mut out),
                1 => requests.on_peer_down(now, peer, &mut out),
                2 => requests.on_response(now, peer, &response(wire, status), BODY, &mut out),
                3 => requests.on_request(now, peer, &request(wire, 1_000), BODY, &mut out),
                4 => requests.on_deadline(now, &mut out),
                _ => {
                    let target = [Target::Any, Target::Best(2), Target::Peer(peer)];
                    let target = target[(wire % 3) as usize];
                    ids.extend(requests.ask(now, target, Topic(0), BODY, 5_000, &mut out));
                }
            }
        }
        while let Some(at) = requests.deadline() {
            now = now.max(at);
            requests.on_deadline(now, &mut out);
        }
        let completed = out.iter().filter_map(|action| match action {
            RequestAction::Complete { id, .. } => Some(*id),
            _ => None,
        });
        let completed: Vec<RequestId> = completed.collect();
        prop_assert_eq!(completed.len(), ids.len());
        prop_assert_eq!(completed.into_iter().collect::<BTreeSet<_>>(), ids);
        prop_assert_eq!(requests.open_bytes, 0);
        prop_assert!(requests.peers.values().all(|peer| peer.open.is_empty()));
    }
}
