//! libFuzzer's entry to `terroir::testing::fuzz::xml`.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| terroir::testing::fuzz::xml(data));
