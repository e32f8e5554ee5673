//! Buckets in a folder, for a double that is killed and started again: what it acknowledged before, it has afterwards.
//!
//! `BUCKET/settings` is JSON; `BUCKET/objects/` has one file for each live object, named by its name in hex: a line of JSON,
//! then the bytes. A file is written beside its place and moved there. Nothing is synced: processes are killed here, not
//! machines. Noncurrent and soft-deleted generations are in memory only.

use std::fs;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use serde_json::{Value, json};

use super::bucket::{Bucket, Object, crc32c};

/// One bucket's folder.
#[derive(Clone, Debug)]
pub(crate) struct Folder(PathBuf);

impl Folder {
    /// Makes a bucket's folder anew, empty.
    pub(crate) fn made(root: &Path, bucket: &Bucket) -> Self {
        let folder = Self(root.join(&bucket.name));
        fs::remove_dir_all(&folder.0).ok();
        fs::create_dir_all(folder.0.join("objects")).expect("a folder");
        let settings = json!({
            "location": bucket.location,
            "versioning": bucket.versioning,
            "soft-delete-s": bucket.soft_delete_s,
        });
        folder.put("settings", settings.to_string().as_bytes());
        folder
    }

    /// The buckets that lie under `root`, with what they hold.
    pub(crate) fn all(root: &Path) -> Vec<Bucket> {
        fs::create_dir_all(root).expect("a folder");
        let entries = fs::read_dir(root).expect("a folder").map(|entry| entry.expect("an entry").path());
        // A bucket that was being made when the process was killed has no settings yet, and nobody was told of it.
        let made = entries.filter_map(|path| Some((fs::read(path.join("settings")).ok()?, path)));
        made.map(|(settings, path)| {
            let settings: Value = serde_json::from_slice(&settings).expect("settings");
            let name = path.file_name().and_then(|name| name.to_str()).expect("a name");
            let mut bucket = Bucket::new(name, settings["location"].as_str().expect("a location"));
            bucket.versioning = settings["versioning"] == true;
            bucket.soft_delete_s = settings["soft-delete-s"].as_u64().expect("seconds");
            bucket.in_folder(Self(path))
        })
        .collect()
    }

    pub(crate) fn objects(&self) -> Vec<Object> {
        let entries = fs::read_dir(self.0.join("objects")).expect("a folder");
        entries.map(|entry| object(&fs::read(entry.expect("an entry").path()).expect("a file"))).collect()
    }

    pub(crate) fn write(&self, object: &Object) {
        let about = json!({
            "name": object.name,
            "generation": object.generation,
            "content-type": object.content_type,
            "crc32c": object.crc32c,
        });
        self.put(&at(&object.name), &[about.to_string().as_bytes(), b"\n", &object.bytes].concat());
    }

    pub(crate) fn remove(&self, name: &str) {
        fs::remove_file(self.0.join(at(name))).expect("a file");
    }

    fn put(&self, place: &str, bytes: &[u8]) {
        let beside = self.0.join("unfinished");
        fs::write(&beside, bytes).and_then(|()| fs::rename(beside, self.0.join(place))).expect("a file");
    }
}

fn at(name: &str) -> String {
    format!("objects/{}", hex::encode(name))
}

fn object(file: &[u8]) -> Object {
    let end = file.iter().position(|byte| *byte == b'\n').expect("a line");
    let about: Value = serde_json::from_slice(&file[..end]).expect("JSON");
    let text = |name: &str| about[name].as_str().expect("a text").to_owned();
    let bytes = Bytes::copy_from_slice(&file[end + 1..]);
    let object = Object {
        name: text("name"),
        generation: about["generation"].as_i64().expect("a generation"),
        content_type: text("content-type"),
        crc32c: u32::try_from(about["crc32c"].as_u64().expect("a checksum")).expect("32 bits"),
        bytes,
    };
    assert_eq!(crc32c(&object.bytes), object.crc32c, "{} is not what was written", object.name);
    object
}
