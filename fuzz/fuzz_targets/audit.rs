//! libFuzzer's entry to `terroir::testing::fuzz::audit`.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| terroir::testing::fuzz::audit(data));
