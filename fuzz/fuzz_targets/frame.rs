//! The reader of frames takes any bytes in any pieces.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| peerstage_core::fuzzing::frame(data));
