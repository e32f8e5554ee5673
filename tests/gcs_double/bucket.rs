//! What a bucket holds and what it refuses: generations, preconditions, soft delete. No network, and no disk unless it is given a
//! folder.

use std::collections::BTreeMap;

use bytes::Bytes;
use crc_fast::{CrcAlgorithm, checksum};

use super::folder::Folder;
use super::json::base64_of;

/// The most names a page of a listing gives (Cloud Storage documentation, "Objects: list").
pub(crate) const PAGE_NAMES_MAX: usize = 1000;

/// Why a call was refused: an HTTP status, a reason as the JSON API spells it, and words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) status: u16,
    pub(crate) reason: &'static str,
    pub(crate) message: String,
}

impl Refusal {
    pub(crate) fn new(status: u16, reason: &'static str, message: impl Into<String>) -> Self {
        Self { status, reason, message: message.into() }
    }

    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new(400, "invalid", message)
    }

    pub(crate) fn not_found(message: impl Into<String>) -> Self {
        Self::new(404, "notFound", message)
    }
}

/// One generation of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Object {
    pub(crate) name: String,
    pub(crate) generation: i64,
    pub(crate) content_type: String,
    pub(crate) bytes: Bytes,
    pub(crate) crc32c: u32,
}

/// Preconditions of a call; all of them must hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(clippy::struct_field_names, reason = "as the service names them")]
pub(crate) struct Conditions {
    pub(crate) generation_match: Option<i64>,
    pub(crate) generation_not_match: Option<i64>,
    pub(crate) metageneration_match: Option<i64>,
    pub(crate) metageneration_not_match: Option<i64>,
}

impl Conditions {
    fn check(&self, live: Option<&Object>) -> Result<(), Refusal> {
        let generation = live.map_or(0, |object| object.generation);
        // Objects of this double are never patched, so a live one has metageneration 1.
        let metageneration = i64::from(live.is_some());
        let held = self.generation_match.is_none_or(|wanted| wanted == generation)
            && self.generation_not_match.is_none_or(|unwanted| unwanted != generation)
            && self.metageneration_match.is_none_or(|wanted| wanted == metageneration)
            && self.metageneration_not_match.is_none_or(|unwanted| unwanted != metageneration);
        if held {
            Ok(())
        } else {
            Err(Refusal::new(412, "conditionNotMet", "at least one of the preconditions does not hold"))
        }
    }
}

/// What a listing asks for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Listing {
    pub(crate) prefix: String,
    /// The first name, inclusive.
    pub(crate) start: String,
    /// The end, exclusive; empty: none.
    pub(crate) end: String,
    pub(crate) versions: bool,
    pub(crate) soft_deleted: bool,
    pub(crate) token: String,
    /// 0: as many as a page takes.
    pub(crate) names_max: usize,
}

/// A bucket.
#[derive(Clone, Debug)]
pub(crate) struct Bucket {
    pub(crate) name: String,
    pub(crate) location: String,
    pub(crate) versioning: bool,
    /// 0: nothing is kept.
    pub(crate) soft_delete_s: u64,
    live: BTreeMap<String, Object>,
    /// Where live objects also lie, so that they outlive the process.
    folder: Option<Folder>,
    noncurrent: Vec<Object>,
    soft_deleted: Vec<Object>,
}

impl Bucket {
    /// As a new bucket of Google's is: no versioning, seven days of soft delete.
    pub(crate) fn new(name: &str, location: &str) -> Self {
        Self {
            name: name.to_owned(),
            location: location.to_owned(),
            versioning: false,
            soft_delete_s: 604_800,
            live: BTreeMap::new(),
            folder: None,
            noncurrent: Vec::new(),
            soft_deleted: Vec::new(),
        }
    }

    /// The same, with what its folder holds; what is written and deleted from now on, is there too.
    pub(crate) fn in_folder(self, folder: Folder) -> Self {
        let live = folder.objects().into_iter().map(|object| (object.name.clone(), object)).collect();
        Self { live, folder: Some(folder), ..self }
    }

    /// The live names, in order.
    pub(crate) fn names(&self) -> Vec<String> {
        self.live.keys().cloned().collect()
    }

    /// Writes a generation. `declared` is the checksum that the client sent.
    pub(crate) fn insert(
        &mut self,
        object: Object,
        declared: Option<u32>,
        conditions: Conditions,
    ) -> Result<Object, Refusal> {
        is_name(&object.name)?;
        if let Some(declared) = declared.filter(|declared| *declared != object.crc32c) {
            // Word for word what the service says: it has no code for this.
            let [declared, calculated] = [declared, object.crc32c].map(base64_of);
            let message =
                format!("Provided CRC32C \"{declared}\" doesn't match calculated CRC32C \"{calculated}\".");
            return Err(Refusal::invalid(message));
        }
        conditions.check(self.live.get(&object.name))?;
        self.revive(object.clone());
        Ok(object)
    }

    /// The live object, or the generation asked for.
    pub(crate) fn find(
        &self,
        name: &str,
        generation: i64,
        conditions: Conditions,
    ) -> Result<&Object, Refusal> {
        let live = self.live.get(name);
        let found = match generation {
            0 => live,
            _ => live
                .into_iter()
                .chain(self.noncurrent.iter().filter(|it| it.name == name))
                .find(|it| it.generation == generation),
        };
        let found = found.ok_or_else(|| Refusal::not_found("no such object"))?;
        conditions.check(Some(found))?;
        Ok(found)
    }

    /// Deletes the live object, or for good the generation asked for.
    pub(crate) fn delete(
        &mut self,
        name: &str,
        generation: i64,
        conditions: Conditions,
    ) -> Result<(), Refusal> {
        let found = self.find(name, generation, Conditions::default())?.clone();
        conditions.check(Some(&found))?;
        if self.live.get(name) == Some(&found) {
            self.live.remove(name);
            if let Some(folder) = &self.folder {
                folder.remove(name);
            }
            if generation == 0 {
                self.retire(found);
                return Ok(());
            }
        } else {
            self.noncurrent.retain(|it| *it != found);
        }
        self.bury(found);
        Ok(())
    }

    /// Makes a soft-deleted generation live again, under a new number.
    pub(crate) fn restore(
        &mut self,
        name: &str,
        generation: i64,
        conditions: Conditions,
        renumbered: i64,
    ) -> Result<Object, Refusal> {
        let at = self.soft_deleted.iter().position(|it| it.name == name && it.generation == generation);
        let at = at.ok_or_else(|| Refusal::not_found("no such soft-deleted object"))?;
        conditions.check(self.live.get(name))?;
        let restored = Object { generation: renumbered, ..self.soft_deleted[at].clone() };
        self.revive(restored.clone());
        Ok(restored)
    }

    /// A page, and the token of the next one.
    pub(crate) fn list(&self, asked: &Listing) -> Result<(Vec<Object>, String), Refusal> {
        if asked.versions && asked.soft_deleted {
            return Err(Refusal::invalid("versions and softDeleted exclude each other"));
        }
        let after = match asked.token.split_once(' ') {
            Some((generation, name)) => (
                name.to_owned(),
                generation.parse::<i64>().map_err(|_| Refusal::invalid("not a page token of ours"))?,
            ),
            None if asked.token.is_empty() => (String::new(), 0),
            None => return Err(Refusal::invalid("not a page token of ours")),
        };
        let mut found: Vec<&Object> = if asked.soft_deleted {
            self.soft_deleted.iter().collect()
        } else if asked.versions {
            self.live.values().chain(&self.noncurrent).collect()
        } else {
            self.live.values().collect()
        };
        found.retain(|it| {
            it.name.starts_with(&asked.prefix)
                && it.name >= asked.start
                && (asked.end.is_empty() || it.name < asked.end)
                && (it.name.clone(), it.generation) > after
        });
        found.sort_by(|a, b| (&a.name, a.generation).cmp(&(&b.name, b.generation)));
        let names_max =
            if asked.names_max == 0 { PAGE_NAMES_MAX } else { asked.names_max.min(PAGE_NAMES_MAX) };
        let more = found.len() > names_max;
        found.truncate(names_max);
        let token = match found.last() {
            Some(last) if more => format!("{} {}", last.generation, last.name),
            _ => String::new(),
        };
        Ok((found.into_iter().cloned().collect(), token))
    }

    fn revive(&mut self, object: Object) {
        if let Some(folder) = &self.folder {
            folder.write(&object);
        }
        if let Some(before) = self.live.insert(object.name.clone(), object) {
            self.retire(before);
        }
    }

    fn retire(&mut self, object: Object) {
        if self.versioning {
            self.noncurrent.push(object);
        } else {
            self.bury(object);
        }
    }

    fn bury(&mut self, object: Object) {
        if self.soft_delete_s > 0 {
            self.soft_deleted.push(object);
        }
    }
}

/// Cloud Storage documentation, "Object naming".
fn is_name(name: &str) -> Result<(), Refusal> {
    let bad = name.is_empty()
        || name.len() > 1024
        || name.contains(['\r', '\n'])
        || matches!(name, "." | "..")
        || name.starts_with(".well-known/acme-challenge/");
    if bad { Err(Refusal::invalid("not a name for an object")) } else { Ok(()) }
}

/// CRC-32C, as Google keeps it of every object.
pub(crate) fn crc32c(bytes: &[u8]) -> u32 {
    u32::try_from(checksum(CrcAlgorithm::Crc32Iscsi, bytes)).unwrap()
}

/// Where `what` first stands. By its first byte, since `windows` on 16 MiB takes seconds in a test's build.
pub(crate) fn find(text: &[u8], what: &[u8]) -> Option<usize> {
    let mut at = 0;
    while let Some(step) = text[at..].iter().position(|byte| *byte == what[0]) {
        at += step;
        if text[at..].starts_with(what) {
            return Some(at);
        }
        at += 1;
    }
    None
}
