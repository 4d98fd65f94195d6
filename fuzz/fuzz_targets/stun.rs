//! What arrives at the UDP port and looks like STUN is any bytes.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| peerstage_core::fuzzing::stun(data));
