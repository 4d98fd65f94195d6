//! Entry point for the fuzz target of records. It panics only when a promise is broken.

use bytes::BytesMut;

use super::transport::{Opener, Sealer};

/// Records of one input at most.
const RECORDS_MAX: usize = 8;

/// Seals records, damages the stream they make, and opens what is left. Byte 0 is how many
/// records, byte 1 the size of the pieces they arrive in, one byte a record its length / 3; then
/// three bytes a damage: two say where, one is XORed there; a last odd byte cuts the end off.
///
/// # Panics
/// If anything but the records in front of the first damage comes out, or one of them doesn't.
pub fn fuzz_record(data: &[u8]) {
    let [count, piece_len, rest @ ..] = data else { return };
    let count = (usize::from(*count) % RECORDS_MAX).min(rest.len());
    let (lengths, damages) = rest.split_at(count);
    let mut sealer = Sealer::new(&[7; 32]);
    let mut stream = BytesMut::new();
    let mut ends = Vec::new();
    for length in lengths {
        let text = vec![*length; usize::from(*length) * 3];
        assert!(sealer.seal(&[&text], &mut stream).is_ok(), "it fits a record");
        ends.push(stream.len());
    }
    let intact = stream.clone();
    let mut damages = damages.chunks_exact(3);
    for damage in &mut damages {
        if let &[high, low, change] = damage
            && let Some(at) = usize::from(u16::from_be_bytes([high, low])).checked_rem(stream.len())
            && let Some(byte) = stream.get_mut(at)
        {
            *byte ^= change;
        }
    }
    if let Some(cut) = damages.remainder().first() {
        stream.truncate(stream.len().saturating_sub(usize::from(*cut)));
    }
    let same = stream.iter().zip(&intact).take_while(|(a, b)| a == b).count();
    let whole = ends.iter().filter(|end| **end <= same).count();
    let opened = open_all(&stream, usize::from(*piece_len).max(1));
    let expected = lengths.iter().take(whole).map(|length| vec![*length; usize::from(*length) * 3]);
    assert_eq!(opened, expected.collect::<Vec<_>>(), "the records in front of the damage");
}

/// Everything that opens; after an error nothing may.
fn open_all(stream: &[u8], piece_len: usize) -> Vec<Vec<u8>> {
    let mut opener = Opener::new(&[7; 32]);
    let (mut buffer, mut opened, mut failed) = (BytesMut::new(), Vec::new(), false);
    for piece in stream.chunks(piece_len) {
        buffer.extend_from_slice(piece);
        loop {
            match opener.open(&mut buffer) {
                Ok(Some(text)) => {
                    assert!(!failed, "a record opened after an error");
                    opened.push(text.to_vec());
                }
                Ok(None) => break,
                Err(_) => {
                    failed = true;
                    break;
                }
            }
        }
    }
    opened
}
