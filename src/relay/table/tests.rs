use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

const LIMITS: Limits = Limits { accepted: 6, refused: 3, bodies: 4, body_bytes: 20 };

fn id(n: u8) -> MessageId {
    MessageId([n; 32])
}

fn table(limits: Limits) -> Table {
    Table::new(limits, [7, 8])
}

fn accept(table: &mut Table, now: Time, id: MessageId, length: usize) {
    let at = table.find(Kind::Block, &id).unwrap_or_else(|| table.insert(now, id, Kind::Block));
    table.set(now, at, State::Accepted);
    table.keep(at, Kind::Block, Topic(0), 0, Bytes::from(vec![0; length]));
}

#[test]
fn garbage_never_evicts_what_was_accepted() {
    let mut table = table(LIMITS);
    assert_eq!(table.note(Time(1), id(0), Kind::Block, State::Accepted), None);
    for n in 1..100 {
        assert_eq!(table.note(Time(2), id(n), Kind::Block, State::Rejected), None);
        assert_eq!(table.note(Time(2), id(n + 100), Kind::Block, State::Loose), None);
        assert_eq!(table.note(Time(2), id(n / 2 + 200), Kind::Block, State::Missed), None);
    }
    let kept = table.find(Kind::Block, &id(0)).and_then(|at| table.get(at)).unwrap();
    assert_eq!((kept.state, kept.at), (State::Accepted, Time(1)));
    assert_eq!(table.len(), 1 + 3 + 3 + 3);
    table.sweep(Time(20), 10, 10);
    assert_eq!((table.len(), table.loose_and_cells().0), (3, 3), "only what got no verdict");
}

/// A message that is here after all ends the question for it, and leaves those for the same id as
/// of another kind alone.
#[test]
fn a_note_names_the_question_that_it_answers() {
    let mut table = table(LIMITS);
    for (kind, ask) in [(Kind::Block, 7), (Kind::Vote, 8)] {
        let at = table.insert(Time(0), id(1), kind);
        table.set(Time(0), at, State::Asked(ask));
    }
    assert_eq!(table.note(Time(1), id(1), Kind::Block, State::Ignored), Some(7));
    assert_eq!(table.note(Time(1), id(1), Kind::Block, State::Ignored), None);
    assert!(table.came_as_another(Kind::Vote, &id(1)));
    assert!(!table.came_as_another(Kind::Block, &id(1)), "it was asked for, no more");
    let vote = table.find(Kind::Vote, &id(1)).unwrap();
    assert_eq!(table.asked_as_another(Kind::Block, &id(1)), Some((vote, 8)));
    assert_eq!(table.asked_as_another(Kind::Vote, &id(1)), None);
}

#[test]
fn bodies_are_bounded_in_count_bytes_and_time() {
    let mut table = table(Limits { bodies: 3, body_bytes: 10, ..LIMITS });
    for n in 0..5 {
        accept(&mut table, Time(u64::from(n)), id(n), 4);
    }
    let recent: Vec<MessageId> =
        (0..9).filter_map(|skip| table.recent(skip).map(|entry| entry.id)).collect();
    assert_eq!((recent, table.body_bytes()), (vec![id(4), id(3)], 8));
    table.sweep_bodies(Time(14), 10);
    assert_eq!((table.body_bytes(), table.len()), (4, 5), "ids stay");
    accept(&mut table, Time(20), id(0), 4);
    assert_eq!(table.recent(0).map(|entry| entry.id), Some(id(0)), "ours may come anew");
    for n in 10..30 {
        assert_eq!(table.note(Time(21), id(n), Kind::Routed, State::Accepted), None);
    }
    assert_eq!((table.body_bytes(), table.bodies(), table.len()), (0, 0, 6));
}

#[test]
fn a_message_is_announced_again_after_ever_longer_pauses() {
    let mut table = table(LIMITS);
    accept(&mut table, Time(0), id(1), 4);
    let (a, b) = (PeerSlot(1), PeerSlot(200));
    let mut announced = Vec::new();
    for second in 0..100 {
        let mut to: PeerSet = [a, b].into_iter().collect();
        table.recent(0).unwrap().announce(Time(second * 1_000), &mut to, 10_000);
        if !to.is_empty() {
            announced.push((second, to.len()));
        }
        if second == 20 {
            table.recent(0).unwrap().has.insert(a);
        }
    }
    assert_eq!(announced, [(0, 2), (10, 2), (30, 1), (70, 1)]);
}

#[test]
fn a_message_is_served_so_often_to_each_and_no_more() {
    let mut table = table(LIMITS);
    accept(&mut table, Time(0), id(1), 4);
    let at = table.find(Kind::Block, &id(1)).unwrap();
    for slot in [PeerSlot(3), PeerSlot(300)] {
        assert!(!table.may_serve(at, slot, 3, || false), "no room");
        let served = (0..9).filter(|_| table.may_serve(at, slot, 3, || true)).count();
        assert_eq!(served, 3);
    }
    assert_eq!(table.served_again.len(), 2);
    table.forget_peers(&PeerSet::one(PeerSlot(3)));
    assert_eq!(table.served_again.len(), 1);
    assert!(
        table.may_serve(at, PeerSlot(3), 1, || true)
            && !table.may_serve(at, PeerSlot(3), 1, || true)
    );
    table.sweep(Time(100), 10, 10);
    assert!(table.served_again.is_empty(), "gone with the message");
}

/// The table as four queues and a map: what it is to behave like.
#[derive(Default)]
struct Model {
    states: BTreeMap<u8, State>,
    orders: [VecDeque<u8>; 4],
    bodies: VecDeque<(u8, usize)>,
    has: BTreeSet<(u8, u16)>,
}

impl Model {
    fn order(state: State) -> Option<usize> {
        match state {
            State::Held | State::Asked(_) => None,
            State::Accepted => Some(0),
            State::Ignored | State::Rejected => Some(1),
            State::Loose => Some(2),
            State::Missed => Some(3),
        }
    }

    fn set(&mut self, n: u8, state: State) {
        self.orders.iter_mut().for_each(|order| order.retain(|other| *other != n));
        self.states.insert(n, state);
        let Some(order) = Self::order(state) else { return };
        self.orders[order].push_back(n);
        let max = if order == 0 { LIMITS.accepted } else { LIMITS.refused };
        if self.orders[order].len() > max {
            let oldest = self.orders[order].pop_front().unwrap();
            self.states.remove(&oldest);
            self.bodies.retain(|(other, _)| *other != oldest);
            self.has.retain(|(other, _)| *other != oldest);
        }
    }

    fn keep(&mut self, n: u8, length: usize) {
        if !self.states.contains_key(&n) || self.bodies.iter().any(|(other, _)| *other == n) {
            return;
        }
        self.bodies.push_back((n, length));
        let bytes = |bodies: &VecDeque<(u8, usize)>| bodies.iter().map(|b| b.1).sum::<usize>();
        while self.bodies.len() > LIMITS.bodies || bytes(&self.bodies) > LIMITS.body_bytes {
            self.bodies.pop_front();
        }
    }
}

proptest! {
    /// Whatever happens to messages, in whatever turn: one entry each, in the state it was given
    /// last, evicted oldest first in its own order, and nothing left of what was evicted.
    #[test]
    fn the_table_is_its_model(
        steps in proptest::collection::vec((0u8..24, 0u8..7, 0u16..200), 0..400),
    ) {
        let (mut table, mut model) = (table(LIMITS), Model::default());
        for (now, (n, what, slot)) in steps.into_iter().enumerate() {
            let now = Time(now as u64);
            let at = table.find(Kind::Block, &id(n));
            prop_assert_eq!(at.is_some(), model.states.contains_key(&n));
            let at = at.unwrap_or_else(|| table.insert(now, id(n), Kind::Block));
            model.states.entry(n).or_insert(State::Held);
            table.get_mut(at).unwrap().has.insert(PeerSlot(slot));
            model.has.insert((n, slot));
            match what {
                0 if model.bodies.iter().all(|(other, _)| *other != n) => {
                    accept(&mut table, now, id(n), usize::from(slot % 9));
                    model.set(n, State::Accepted);
                    model.keep(n, usize::from(slot % 9));
                }
                1 if model.states[&n] != State::Accepted => {
                    table.set(now, at, State::Rejected);
                    model.set(n, State::Rejected);
                }
                2 if model.states[&n] != State::Accepted => {
                    table.set(now, at, State::Loose);
                    model.set(n, State::Loose);
                }
                3 if model.states[&n] != State::Accepted => {
                    table.set(now, at, State::Held);
                    model.set(n, State::Held);
                }
                4 if model.states[&n] != State::Accepted => {
                    table.set(now, at, State::Missed);
                    model.set(n, State::Missed);
                }
                5 => {
                    table.forget_peers(&PeerSet::one(PeerSlot(slot)));
                    model.has.retain(|(_, other)| *other != slot);
                }
                _ => {}
            }
            prop_assert_eq!(table.len(), model.states.len());
            for n in 0..24 {
                let entry = table.find(Kind::Block, &id(n)).and_then(|at| table.get(at));
                prop_assert_eq!(entry.map(|entry| entry.state), model.states.get(&n).copied());
                let has: Vec<u16> = entry.iter().flat_map(|e| e.has.iter()).map(|s| s.0).collect();
                let range = model.has.range((n, 0)..=(n, u16::MAX));
                prop_assert_eq!(has, range.map(|(_, slot)| *slot).collect::<Vec<_>>());
            }
            let bodies: Vec<(u8, usize)> = (0..table.bodies())
                .filter_map(|skip| {
                    let entry = table.recent(skip)?;
                    Some((entry.id.0[0], entry.body.as_ref()?.len()))
                })
                .collect();
            prop_assert_eq!(bodies, model.bodies.iter().rev().copied().collect::<Vec<_>>());
            let bytes: usize = model.bodies.iter().map(|body| body.1).sum();
            prop_assert_eq!(table.body_bytes(), bytes);
        }
    }
}
