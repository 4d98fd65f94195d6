//! A listening node meets a hostile dialler.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| peerstage_core::fuzzing::handshake_responder(data));
