//! The first byte picks a kind of message, the rest is its header and body.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| peerstage_core::fuzzing::message(data));
