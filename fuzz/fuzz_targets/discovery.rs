//! Discovery takes any questions and answers, in any order.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| peerstage_core::fuzzing::discovery(data));
