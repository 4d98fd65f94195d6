//! A dialling node meets a hostile listener.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| peerstage_core::fuzzing::handshake_initiator(data));
