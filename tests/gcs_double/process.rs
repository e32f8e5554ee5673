//! The double as a process, for harnesses that are not Rust: `gcs-double [--port 0] [--seed 1] [--demand-token]`.
//!
//! It prints one line, its address, and ends when its standard input closes, so that it never outlives who started it.
//! `command.rs` says how it is told what to do.

use std::io::{Read, Write};

use double::{Double, Settings};

#[allow(dead_code, unused_imports, reason = "the integration tests use the rest")]
#[path = "mod.rs"]
mod double;

#[tokio::main]
async fn main() {
    let mut settings = Settings::default();
    let mut port = 0;
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut number = || words.next().and_then(|text| text.parse::<u64>().ok()).expect("a number");
        match word.as_str() {
            "--port" => port = u16::try_from(number()).expect("a port"),
            "--seed" => settings.seed = number(),
            "--demand-token" => settings.demand_token = true,
            other => panic!("unknown argument {other}"),
        }
    }
    let double = Double::start_at(settings, port).await;
    println!("{}", double.url());
    std::io::stdout().flush().expect("a reader");
    let waiting = tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new()));
    waiting.await.expect("a thread").expect("a standard input");
}
