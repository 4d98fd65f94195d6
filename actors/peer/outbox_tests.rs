//! The way to a peer as stories: who is woken, who gives up, who is told.

use std::{
    pin::pin,
    sync::atomic::AtomicUsize,
    task::{Poll, Wake},
};

use bytes::Bytes;
use peerstage_core::{
    header::Header,
    kinds::Kind,
    messages::{GossipHeader, Topic},
};

use super::{super::sending::Unsent, *};

const TIMEOUT: Millis = 20_000;

#[derive(Default)]
struct Counted(AtomicUsize);

impl Wake for Counted {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// A task that counts how often it is woken.
struct Task {
    woken: Arc<Counted>,
    waker: Waker,
}

impl Task {
    fn new() -> Task {
        let woken = Arc::<Counted>::default();
        Task { waker: Waker::from(Arc::clone(&woken)), woken }
    }

    fn cx(&self) -> Context<'_> {
        Context::from_waker(&self.waker)
    }

    fn woken(&self) -> usize {
        self.woken.0.load(Ordering::SeqCst)
    }
}

fn custom(length: usize) -> Outgoing {
    let header = GossipHeader { hops: 255, topic: Topic(1) }.into();
    Outgoing { kind: Kind::Custom, header, body: Bytes::from(vec![0; length]) }
}

fn block(length: usize) -> Outgoing {
    let header = GossipHeader { hops: 0, topic: Topic(0) }.into();
    Outgoing { kind: Kind::Block, header, body: Bytes::from(vec![0; length]) }
}

fn response(length: usize) -> Outgoing {
    Outgoing { kind: Kind::Response, header: Header::EMPTY, body: Bytes::from(vec![0; length]) }
}

/// Queues whose custom messages find no room.
fn full(length: usize) -> Outbox {
    let outbox = Outbox::new(Time(0), 8 << 20);
    while outbox.push(custom(length)) == Pushed::Queued {}
    outbox
}

/// Attack row 43: whoever waits for a peer that takes nothing is told so after the timeout, and
/// the peer is slow.
#[test]
fn nobody_waits_for_ever_for_a_peer_that_takes_nothing() {
    let (outbox, task) = (full(100_000), Task::new());
    let mut sending = pin!(outbox.send(custom(100_000)));
    assert!(sending.as_mut().poll(&mut task.cx()).is_pending());
    assert!(outbox.is_crowded(), "the actor hears of it");
    assert!(!outbox.is_slow(Time(1_000), TIMEOUT));
    assert_eq!(outbox.slow_at(TIMEOUT), Some(Time(21_000)));
    assert!(!outbox.is_slow(Time(20_999), TIMEOUT));
    assert_eq!(task.woken(), 0);
    assert!(outbox.is_slow(Time(21_000), TIMEOUT));
    assert_eq!(task.woken(), 1);
    assert_eq!(sending.poll(&mut task.cx()), Poll::Ready(Err(Unsent::TooSlow)));
}

/// A peer of a slow line is waited for as long as something of the kind leaves.
#[test]
fn a_slow_line_is_waited_for() {
    let (outbox, task) = (full(100_000), Task::new());
    let pace = Pace { rate_factor: 1, bytes_per_second: 1, blocks_only: false };
    outbox.set_pace(Time(0), pace);
    let mut sending = pin!(outbox.send(custom(100_000)));
    let (mut text, mut done) = (BytesMut::new(), None);
    assert!(sending.as_mut().poll(&mut task.cx()).is_pending());
    for now in (0..2_400).map(|quarter| Time(quarter * 250)) {
        if task.woken() > 0 {
            done = Some(now);
            break;
        }
        assert!(!outbox.is_slow(now, TIMEOUT), "it takes 16 KiB a second");
        text.clear();
        outbox.fill(now, &mut text, 65_519);
    }
    assert_eq!(sending.poll(&mut task.cx()), Poll::Ready(Ok(())));
    let done = done.expect("half of 2 MiB has left");
    assert!(Time(40_000) < done && done < Time(120_000), "{done:?}");
}

/// What other kinds have waiting is no business of whoever waits for room for its own.
#[test]
fn room_of_the_own_kind_wakes_however_full_the_rest_is() {
    let (outbox, task) = (full(1_000), Task::new());
    let mut sending = pin!(outbox.send(custom(1_000)));
    assert!(sending.as_mut().poll(&mut task.cx()).is_pending());
    let mut text = BytesMut::new();
    for now in (0..60_000).map(Time) {
        while outbox.push(block(2_000_000)) == Pushed::Queued {}
        text.clear();
        outbox.fill(now, &mut text, 20_000);
        if task.woken() > 0 {
            break;
        }
    }
    assert_eq!(task.woken(), 1);
    assert_eq!(sending.poll(&mut task.cx()), Poll::Ready(Ok(())));
}

/// A caller that looks often is remembered once, and one that has given up not at all.
#[test]
fn a_caller_is_one_waker_however_often_it_looks() {
    let (outbox, task) = (full(1_000), Task::new());
    let mut first = Box::pin(outbox.send(custom(1_000)));
    let mut second = Box::pin(outbox.send(custom(1_000)));
    for _ in 0..100 {
        assert!(first.as_mut().poll(&mut task.cx()).is_pending());
        assert!(second.as_mut().poll(&mut task.cx()).is_pending());
    }
    assert_eq!(outbox.lock().senders.len(), 2);
    drop(first);
    assert_eq!(outbox.lock().senders.len(), 1);
    outbox.close();
    assert_eq!(task.woken(), 1);
    assert_eq!(second.as_mut().poll(&mut task.cx()), Poll::Ready(Err(Unsent::Closed)));
    drop(second);
    assert!(outbox.lock().senders.is_empty());
}

/// Responses that nobody reads end the connection, also when they are queued in a batch and the
/// writer waits for its socket.
#[test]
fn an_overflow_wakes_the_writer_whatever_it_waits_for() {
    for quietly in [true, false] {
        let (outbox, writer) = (Outbox::new(Time(0), 8 << 20), Task::new());
        outbox.register(&writer.cx());
        outbox.register_stalled();
        let push =
            |message| if quietly { outbox.push_quietly(message) } else { outbox.push(message) };
        while push(response(4_000_000)) != Pushed::Overflowed {}
        outbox.wake();
        assert!(outbox.is_overflowed());
        assert_eq!(writer.woken(), 1, "quietly: {quietly}");
    }
}

/// Nothing is queued behind the last word, and nobody is told that it was.
#[test]
fn nothing_follows_the_last_word() {
    let outbox = Outbox::new(Time(0), 1 << 20);
    let last = || custom(1);
    outbox.push(custom(100));
    assert!(!outbox.close_with(last()), "something waits");
    assert_eq!(outbox.push(custom(100)), Pushed::Queued);
    outbox.fill(Time(0), &mut BytesMut::new(), 60_000);
    assert!(outbox.close_with(last()));
    let waits = outbox.bytes();
    for clone in [outbox.clone(), outbox.clone()] {
        assert_eq!(clone.push(custom(100)), Pushed::Dropped);
        assert_eq!(clone.push_quietly(custom(100)), Pushed::Dropped);
    }
    assert_eq!(outbox.bytes(), waits);
}
