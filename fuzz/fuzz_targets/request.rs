//! libFuzzer's entry to `terroir::testing::fuzz::request`.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| terroir::testing::fuzz::request(data));
