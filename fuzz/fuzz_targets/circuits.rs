//! What peers may say of circuits is anything, in any order.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| peerstage_core::fuzzing::circuits(data));
