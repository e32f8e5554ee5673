//! The head: where the log ends, kept beside it, so that a removed tail is seen.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use serde::{Deserialize, Serialize};

use super::chain::{Chain, Digest, Purpose, lower_hex, split};
use super::record::VERSION;

/// The file's name.
pub(super) const HEAD: &str = "head";

/// One slot. 4 KiB, so that no two slots share a sector of any disk: a torn write of one leaves the other.
pub(super) const SLOT_BYTES: usize = 4096;

/// Where the log ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Head {
    /// How often a head was written, this one included. Slot `turn % 2` holds it.
    pub(super) turn: u64,
    /// The last record's sequence number; 0 for an empty log.
    pub(super) seq: u64,
    /// The last record's hash.
    pub(super) hash: Digest,
    /// The segment it is in, by the sequence number of the segment's first record.
    pub(super) segment: u64,
    /// The segment's length up to and including it.
    pub(super) bytes: u64,
}

/// A head as it was found.
pub(super) struct Found {
    pub(super) head: Head,
    /// In the slot that was written before, if that one is whole too.
    pub(super) before: Option<Head>,
    /// Bytes behind both slots: nobody reads them, and no commit writes any.
    pub(super) behind_bytes: u64,
    pub(super) environment: String,
    pub(super) region: String,
}

#[derive(Serialize, Deserialize)]
struct Fields {
    v: u8,
    turn: u64,
    environment: String,
    region: String,
    seq: u64,
    head: String,
    segment: u64,
    bytes: u64,
}

impl Head {
    /// The slot's bytes: one line, then spaces.
    pub(super) fn encode(&self, chain: &Chain, environment: &str, region: &str) -> io::Result<Vec<u8>> {
        let fields = Fields {
            v: VERSION,
            turn: self.turn,
            environment: environment.to_owned(),
            region: region.to_owned(),
            seq: self.seq,
            head: hex::encode(self.hash),
            segment: self.segment,
            bytes: self.bytes,
        };
        let mut slot = serde_json::to_vec(&fields)?;
        slot.pop();
        chain.close(Purpose::Head, &mut slot, 0);
        slot.resize(SLOT_BYTES, b' ');
        Ok(slot)
    }

    /// Where in the file this head's slot begins.
    pub(super) const fn offset(&self) -> u64 {
        (self.turn % 2) * SLOT_BYTES as u64
    }
}

/// One slot, read. `None` if a byte of it is wrong; with `chain`, also if it is not ours.
fn decode(slot: &[u8], index: u64, chain: Option<&Chain>) -> Option<(Head, Fields)> {
    let end = slot.iter().position(|byte| *byte == b'\n')?;
    let (line, padding) = (&slot[..end], &slot[end + 1..]);
    let parts = split(line)?;
    if chain.is_some_and(|chain| !chain.authentic(Purpose::Head, &parts)) {
        return None;
    }
    let fields: Fields = serde_json::from_slice(line).ok()?;
    let head = Head {
        turn: fields.turn,
        seq: fields.seq,
        hash: lower_hex(fields.head.as_bytes())?,
        segment: fields.segment,
        bytes: fields.bytes,
    };
    let whole = fields.v == VERSION && head.turn % 2 == index && padding.iter().all(|byte| *byte == b' ');
    whole.then_some((head, fields))
}

/// Reads the head file. `Ok(None)` if neither slot is whole; with `chain`, also if neither is ours.
pub(super) fn read(file: &File, chain: Option<&Chain>) -> io::Result<Option<Found>> {
    let mut bytes = vec![0; 2 * SLOT_BYTES];
    match file.read_exact_at(&mut bytes, 0) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        other => other?,
    }
    let (even, odd) = bytes.split_at(SLOT_BYTES);
    let mut slots: Vec<_> = [decode(even, 0, chain), decode(odd, 1, chain)].into_iter().flatten().collect();
    slots.sort_by_key(|(head, _)| head.turn);
    let Some((head, fields)) = slots.pop() else { return Ok(None) };
    let before = slots.pop().map(|(head, _)| head).filter(|before| before.turn + 1 == head.turn);
    let behind_bytes = file.metadata()?.len().saturating_sub(2 * SLOT_BYTES as u64);
    Ok(Some(Found { head, before, behind_bytes, environment: fields.environment, region: fields.region }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::AuditKeys;
    use crate::audit::chain::GENESIS;
    use crate::model::Secret;

    fn chain() -> Chain {
        let keys = AuditKeys { chain: Secret::new([1; 32]), pseudonym: Secret::new([2; 32]) };
        Chain::new(&keys, "dev", "fr")
    }

    fn head(turn: u64) -> Head {
        Head { turn, seq: turn, hash: GENESIS, segment: 1, bytes: 10 }
    }

    fn written(heads: &[Head]) -> File {
        let file = tempfile::tempfile().unwrap();
        for head in heads {
            file.write_all_at(&head.encode(&chain(), "dev", "fr").unwrap(), head.offset()).unwrap();
        }
        file
    }

    fn turn(file: &File) -> Option<(u64, bool)> {
        read(file, Some(&chain())).unwrap().map(|found| (found.head.turn, found.before.is_some()))
    }

    #[test]
    fn the_newest_whole_slot_counts() {
        assert_eq!(turn(&written(&[head(0), head(1)])), Some((1, true)));
        assert_eq!(turn(&written(&[head(0), head(1), head(2)])), Some((2, true)));
        let torn = written(&[head(0), head(1), head(2)]);
        torn.write_all_at(b"x", 100).unwrap();
        assert_eq!(turn(&torn), Some((1, false)));
        torn.write_all_at(b"x", 100 + SLOT_BYTES as u64).unwrap();
        assert_eq!(turn(&torn), None);
        assert_eq!(turn(&tempfile::tempfile().unwrap()), None);
    }

    #[test]
    fn an_old_slot_put_in_the_place_of_the_new_one_is_not_whole() {
        let file = written(&[head(2), head(3)]);
        file.write_all_at(&head(2).encode(&chain(), "dev", "fr").unwrap(), SLOT_BYTES as u64).unwrap();
        assert_eq!(turn(&file), Some((2, false)));
    }

    #[test]
    fn padding_is_part_of_the_slot() {
        let file = written(&[head(0), head(1)]);
        file.write_all_at(b"x", 2 * SLOT_BYTES as u64 - 1).unwrap();
        assert_eq!(turn(&file), Some((0, false)));
    }
}
