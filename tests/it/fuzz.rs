//! The fuzz targets on the stable compiler: every file of the committed corpus through its body, and some mutations of them.
//!
//! libFuzzer searches, and needs a nightly compiler; this keeps what it found. A target without a body, without a corpus, or
//! with one that is not read here fails.

use std::collections::BTreeSet;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use terroir::testing::fuzz::{Body, TARGETS};

/// Files of one target's corpus: a person can still look through them.
const FILES_MAX: usize = 64;
/// Bytes of one of them: they are cloned with the repository.
const FILE_BYTES_MAX: u64 = 4096;
/// Mutations of one target's corpus: all targets together take some seconds without optimisation.
const MUTATIONS: usize = 600;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz")
}

/// The targets' names as cargo knows them.
fn declared() -> BTreeSet<String> {
    let text = fs::read_to_string(folder().join("Cargo.toml")).unwrap();
    let manifest: toml::Table = text.parse().unwrap();
    let name = |bin: &toml::Value| bin["name"].as_str().unwrap().to_owned();
    manifest["bin"].as_array().unwrap().iter().map(name).collect()
}

/// One target's corpus, by name of file.
fn corpus(target: &str) -> Vec<(String, Vec<u8>)> {
    let folder = folder().join("corpus").join(target);
    let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{target} has no corpus: {error}"));
    let mut files: Vec<(String, Vec<u8>)> = entries
        .map(|entry| entry.unwrap())
        .map(|entry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap()))
        .collect();
    files.sort();
    files
}

/// Runs a body; what it panics with gets the input's name, and the input, so that it can become a seed.
fn run(target: &str, body: Body, name: &str, bytes: &[u8]) {
    assert!(
        catch_unwind(AssertUnwindSafe(|| body(bytes))).is_ok(),
        "{target} fails on {name}; put these bytes (hex) into fuzz/corpus/{target}/: {}",
        hex::encode(bytes)
    );
}

#[test]
fn every_declared_fuzz_target_has_a_body_an_entry_and_a_corpus() {
    let bodies: BTreeSet<String> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(bodies, declared(), "bodies, and what fuzz/Cargo.toml declares");
    for (name, _) in TARGETS {
        let entry = fs::read_to_string(folder().join("fuzz_targets").join(format!("{name}.rs"))).unwrap();
        assert!(
            entry.contains(&format!("terroir::testing::fuzz::{name}(data)")),
            "{name} fuzzes something else"
        );
        let files = corpus(name);
        assert!((1..=FILES_MAX).contains(&files.len()), "{name}: {} files", files.len());
        for (file, bytes) in files {
            assert!(bytes.len() as u64 <= FILE_BYTES_MAX, "{name}/{file}: {} bytes", bytes.len());
        }
    }
    let folders = fs::read_dir(folder().join("corpus")).unwrap();
    let folders: BTreeSet<String> =
        folders.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    assert_eq!(folders, bodies, "a corpus that nobody replays");
}

#[test]
fn the_corpus_of_every_fuzz_target_replays() {
    for (target, body) in TARGETS {
        for (name, bytes) in corpus(target) {
            run(target, body, &name, &bytes);
        }
    }
}

#[test]
fn mutations_of_the_corpus_replay() {
    let seed =
        std::env::var("TERROIR_TEST_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(20_261_130);
    println!("TERROIR_TEST_SEED={seed}");
    for (target, body) in TARGETS {
        let mut random = Random(seed);
        let corpus = corpus(target);
        for _ in 0..MUTATIONS {
            let (name, bytes) = &corpus[random.below(corpus.len())];
            let (_, other) = &corpus[random.below(corpus.len())];
            let mutated = mutated(bytes, other, &mut random);
            run(target, body, &format!("a mutation of {name}"), &mutated);
        }
    }
}

#[test]
fn a_body_that_fails_names_its_input() {
    let body: Body = |bytes| assert!(bytes.is_empty(), "not empty");
    run("sample", body, "nothing", b"");
    let failure = catch_unwind(|| run("sample", body, "a-seed", b"\x01\xff")).unwrap_err();
    let text = failure.downcast_ref::<String>().unwrap();
    assert!(text.contains("sample fails on a-seed") && text.contains("01ff"), "{text}");
}

/// `SplitMix64` (Steele, Lea, Flood, 2014): good enough to choose places with.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end.max(1) as u64).unwrap()
    }

    fn byte(&mut self) -> u8 {
        self.next().to_le_bytes()[0]
    }
}

/// One to four changes such as libFuzzer makes.
fn mutated(bytes: &[u8], other: &[u8], random: &mut Random) -> Vec<u8> {
    let mut out = bytes.to_vec();
    for _ in 0..=random.below(4) {
        let at = random.below(out.len() + 1);
        let end = (at + random.below(16)).min(out.len());
        match random.below(7) {
            0 if at < out.len() => out[at] ^= 1 << random.below(8),
            1 if at < out.len() => out[at] = random.byte(),
            2 => drop(out.drain(at..end)),
            3 => out.insert(at, random.byte()),
            4 => {
                let copy = out[at..end].to_vec();
                let to = random.below(out.len() + 1);
                out.splice(to..to, copy);
            }
            5 => {
                let from = random.below(other.len() + 1);
                out.splice(at.., other[from..].iter().copied());
            }
            6 => out.truncate(at),
            _ => {}
        }
    }
    out.truncate(usize::try_from(FILE_BYTES_MAX).unwrap());
    out
}
