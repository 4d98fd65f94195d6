//! A request to the admin interface is any bytes.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| peerstage::admin::fuzz_body(data));
