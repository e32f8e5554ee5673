//! libFuzzer's entry to `terroir::testing::fuzz::range`.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| terroir::testing::fuzz::range(data));
