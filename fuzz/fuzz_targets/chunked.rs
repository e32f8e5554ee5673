//! libFuzzer's entry to `terroir::testing::fuzz::chunked`.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| terroir::testing::fuzz::chunked(data));
