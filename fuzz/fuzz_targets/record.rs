//! The sealed records of the secure channel, flipped, cut and reordered.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| peerstage_core::fuzzing::record(data));
