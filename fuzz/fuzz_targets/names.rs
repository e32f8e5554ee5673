//! libFuzzer's entry to `terroir::testing::fuzz::names`.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| terroir::testing::fuzz::names(data));
