//! The encodings that ADR 0002 compares, on one message.

use serde::{Deserialize, Serialize};
use wincode::{SchemaRead, SchemaWrite};

use crate::{figure, microseconds};

/// A kibibyte and 128 numbers, as a message with a body and a list.
#[derive(Debug, PartialEq, Serialize, Deserialize, SchemaWrite, SchemaRead)]
struct Message {
    body: Vec<u8>,
    numbers: Vec<u64>,
}

/// Prints both, after they have agreed on the bytes.
pub(crate) fn print() {
    let message = Message { body: vec![7; 1024], numbers: (0..128).collect() };
    let encode = || bincode::serialize(&message).unwrap_or_default();
    let bytes = encode();
    assert_eq!(wincode::serialize(&message).ok().as_ref(), Some(&bytes), "the same bytes");
    assert_eq!(bincode::deserialize::<Message>(&bytes).ok().as_ref(), Some(&message));
    assert_eq!(wincode::deserialize::<Message>(&bytes).ok().as_ref(), Some(&message));

    let old = microseconds(|| (encode(), bincode::deserialize::<Message>(&bytes)));
    figure("bincode 1.3.3, encode and decode 2 KiB", old);
    let new = microseconds(|| (wincode::serialize(&message), wincode::deserialize::<Message>(&bytes)));
    figure("wincode 0.6, encode and decode 2 KiB", new);
    println!("wincode is {:.1} times as fast", old / new);
}
