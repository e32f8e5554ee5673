//! An audit log that somebody changed: verified with its keys it is whole only if no byte of it differs.

use std::fs;
use std::path::PathBuf;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};

use super::input::Input;
use crate::audit::testing::{File, authentic, log_of, rehashed};
use crate::audit::{AuditKeys, verify};
use crate::model::{Environment, RegionId, Secret};

/// What a report lists before it only counts.
const FINDINGS_MAX: usize = 1000;

static LOG: LazyLock<Vec<File>> = LazyLock::new(|| {
    let (environment, region) = whose();
    log_of(&keys(), &environment, &region).expect("a small log")
});

thread_local! {
    static FOLDER: Folder = Folder::new();
}

/// The first bytes choose a file and what is done to it; the rest does it.
pub fn audit(data: &[u8]) {
    let mut input = Input::new(data);
    let (choice, file) = (input.byte() % 4, usize::from(input.byte()) % LOG.len());
    let mut files = LOG.clone();
    let changed = match choice {
        0 => input.edited(&files[file].1),
        // By somebody who knows the format and not the key.
        1 => rehashed(&input.edited(&files[file].1)),
        2 => input.rest().to_vec(),
        // By somebody with the key, who says something else.
        _ => {
            let (environment, region) = whose();
            authentic(input.rest(), &keys(), &environment, &region)
        }
    };
    files[file].1 = changed;
    let is_whole = files == *LOG;
    FOLDER.with(|folder| {
        folder.write(&files);
        let report = verify(&folder.path, Some(&keys())).expect("a log that can be read");
        assert_eq!(report.is_clean(), is_whole, "with keys: {:?}", report.findings);
        assert!(report.findings.len() <= FINDINGS_MAX && report.authenticated);
        let lines = files.iter().map(|(_, bytes)| bytes.split(|byte| *byte == b'\n').count());
        assert!(report.records <= lines.sum::<usize>() as u64, "{} records", report.records);
        if choice == 0 {
            let report = verify(&folder.path, None).expect("a log that can be read");
            assert_eq!(report.is_clean(), is_whole, "without keys: {:?}", report.findings);
        }
    });
}

fn keys() -> AuditKeys {
    AuditKeys { chain: Secret::new([0x51; 32]), pseudonym: Secret::new([0x52; 32]) }
}

fn whose() -> (Environment, RegionId) {
    ("test".parse().expect("an environment"), "fr".parse().expect("a region"))
}

/// A folder of this thread for the log under test, in the system's folder for such; gone with the thread.
struct Folder {
    path: PathBuf,
}

impl Folder {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("terroir-fuzz-{}-{number}", std::process::id()));
        fs::create_dir_all(&path).expect("a temporary folder");
        Self { path }
    }

    fn write(&self, files: &[File]) {
        for (name, bytes) in files {
            fs::write(self.path.join(name), bytes).expect("a file in a temporary folder");
        }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.path);
    }
}
