//! Frames as stories: in order, interleaved, and every way to get them wrong.

use proptest::prelude::*;

use super::*;

fn frame(lane: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(payload.len()).unwrap().to_le_bytes();
    [&[lane, flags, length[0], length[1]], payload].concat()
}

fn head(kind: u8, header: &[u8], body_length: u32) -> Vec<u8> {
    let header_length = u8::try_from(header.len()).unwrap();
    [&[kind, header_length][..], &body_length.to_le_bytes(), header].concat()
}

fn feed(assembler: &mut Assembler, record: Vec<u8>) -> Result<Vec<Message>, FrameError> {
    let mut out = Vec::new();
    assembler.on_record(Time(1), &record, &mut out).map(|()| out)
}

fn refused(record: Vec<u8>) -> FrameError {
    feed(&mut Assembler::default(), record).unwrap_err()
}

#[test]
fn a_ping_in_one_frame_has_golden_bytes() {
    let record = frame(2, 3, &[&head(2, b"", 8)[..], &7u64.to_le_bytes()].concat());
    assert_eq!(
        crate::identity::hex(&record),
        "02030e00020008000000".to_owned() + "0700000000000000"
    );
    let messages = feed(&mut Assembler::default(), record).unwrap();
    assert_eq!(messages[0].kind, Kind::Ping);
    assert_eq!(&messages[0].body[..], &7u64.to_le_bytes());
}

#[test]
fn a_vote_overtakes_a_block_between_two_of_its_frames() {
    let mut assembler = Assembler::default();
    let block = [&head(20, b"h", 6)[..], b"abc"].concat();
    assert_eq!(feed(&mut assembler, frame(1, FLAG_FIRST, &block)).unwrap(), vec![]);
    assert_eq!(assembler.oldest_unfinished(), Some(Time(1)));
    let vote = [&head(31, b"", 1)[..], b"v"].concat();
    let rest = [frame(0, 3, &vote), frame(1, FLAG_LAST, b"def")].concat();
    let kinds: Vec<_> =
        feed(&mut assembler, rest).unwrap().into_iter().map(|m| (m.kind, m.body)).collect();
    assert_eq!(
        kinds,
        vec![(Kind::Vote, Bytes::from_static(b"v")), (Kind::Block, Bytes::from_static(b"abcdef"))]
    );
    assert_eq!(assembler.oldest_unfinished(), None);
}

/// Attack row 4: refused from the head, nothing allocated for the body.
#[test]
fn an_oversized_body_is_refused_from_its_head() {
    let mut assembler = Assembler::default();
    let record = frame(1, FLAG_FIRST, &head(20, b"", u32::MAX));
    let error = feed(&mut assembler, record).unwrap_err();
    assert_eq!(error, FrameError::Oversized { kind: Kind::Block, length: u32::MAX });
    assert_eq!(assembler.reserved_bytes(), 0);
}

/// Attack row 5: a claim of 4 MiB with one byte sent reserves at most what the rule allows.
#[test]
fn memory_grows_with_the_bytes_that_arrive() {
    let mut assembler = Assembler::default();
    let first = [&head(20, b"", 4 * 1024 * 1024)[..], b"x"].concat();
    feed(&mut assembler, frame(1, FLAG_FIRST, &first)).unwrap();
    assert!(assembler.reserved_bytes() <= 1 + GROW_AHEAD);
    for sent in 1..40usize {
        feed(&mut assembler, frame(1, 0, &[0u8; 30_000])).unwrap();
        assert!(assembler.reserved_bytes() <= 2 * (1 + sent * 30_000) + GROW_AHEAD);
    }
}

#[test]
fn every_malformed_frame_has_its_error() {
    assert_eq!(refused(vec![1, 0, 0]), FrameError::Truncated);
    assert_eq!(refused(vec![1, 0, 9, 0, 1]), FrameError::Truncated);
    assert_eq!(refused(frame(5, 3, b"")), FrameError::UnknownLane(5));
    assert_eq!(refused(frame(1, 4, b"")), FrameError::UnknownFlags);
    assert_eq!(refused(frame(1, 0, b"x")), FrameError::OutOfOrder);
    assert_eq!(refused(frame(1, FLAG_FIRST, b"abc")), FrameError::Truncated);
    assert_eq!(refused(frame(1, 3, &head(99, b"", 0))), FrameError::UnknownKind(99));
    assert_eq!(refused(frame(1, 3, &head(31, b"", 0))), FrameError::WrongLane(Kind::Vote));
    assert_eq!(refused(frame(1, 3, &head(20, b"", 1))), FrameError::WrongLength);
    assert_eq!(
        refused(frame(1, 1, &[&head(20, b"", 1)[..], b"ab"].concat())),
        FrameError::WrongLength
    );
    let mut two_starts = frame(1, 1, &head(20, b"", 5));
    two_starts.extend(frame(1, 1, &head(20, b"", 5)));
    assert_eq!(refused(two_starts), FrameError::OutOfOrder);
    let mut too_short = frame(1, 1, &head(20, b"", 5));
    too_short.extend(frame(1, 2, b"abcd"));
    assert_eq!(refused(too_short), FrameError::WrongLength);
}

proptest! {
    #[test]
    fn arbitrary_records_never_panic(record in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = feed(&mut Assembler::default(), record);
    }
}

/// Promise 2: a record is copied once for all its small messages; what is kept beyond has memory
/// of its own, so that a small message doesn't keep alive what came with it.
#[test]
fn small_messages_share_a_copy_and_a_kept_one_has_memory_of_its_own() {
    let of_length = |length: usize| {
        let whole = [&head(20, b"h", length as u32)[..], &vec![7; length]].concat();
        frame(1, FLAG_FIRST | FLAG_LAST, &whole)
    };
    let record = [of_length(100), of_length(200), of_length(40_000)].concat();
    let out = feed(&mut Assembler::default(), record).unwrap();
    let distance = out[1].body.as_ptr() as usize - out[0].body.as_ptr() as usize;
    assert_eq!(distance, FRAME_HEADER + MESSAGE_HEAD + 1 + 100, "one copy");
    for message in &out {
        let kept = keep(&message.body);
        assert_eq!(kept, message.body);
        assert_eq!(kept.as_ptr() == message.body.as_ptr(), message.body.len() > COPY_MAX);
    }
}
