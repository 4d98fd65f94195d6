//! The connection machine meets a peer that completed the handshake and then does anything.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| peerstage_core::fuzzing::connection(data));
