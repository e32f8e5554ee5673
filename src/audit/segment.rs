//! Segment files: their names, and reading records from a place on.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use super::chain::{Chain, Digest, LINE_BYTES_MAX, Purpose, sha256};
use super::record::{self, Cut};

/// The name of the segment whose first record has this sequence number. 20 digits hold every `u64`, so names sort as
/// numbers do.
pub(super) fn name(first: u64) -> String {
    format!("{first:020}.jsonl")
}

/// The sequence number in a segment's name.
fn first_of(name: &str) -> Option<u64> {
    let first = name.strip_suffix(".jsonl")?.parse().ok()?;
    (self::name(first) == name).then_some(first)
}

/// The segments in `dir` by first sequence number, sorted, and the names of files that are neither segment nor known.
pub(super) fn list(dir: &Path) -> io::Result<(Vec<u64>, Vec<PathBuf>)> {
    let (mut segments, mut strangers) = (Vec::new(), Vec::new());
    for entry in fs::read_dir(dir)? {
        let file_name = entry?.file_name();
        match file_name.to_str() {
            Some("lock" | "head" | "head.new") => {}
            Some(name) if first_of(name).is_some() => segments.extend(first_of(name)),
            _ => strangers.push(PathBuf::from(file_name)),
        }
    }
    segments.sort_unstable();
    strangers.sort();
    Ok((segments, strangers))
}

/// What [`next_line`] found.
pub(super) enum LineRead {
    /// A line; the buffer holds it without its newline.
    Line,
    /// Bytes without a newline at the end, or more than a line may have.
    NoLine,
    /// Nothing more.
    End,
}

/// Reads a line of at most [`LINE_BYTES_MAX`] into `buffer`.
pub(super) fn next_line(reader: &mut impl BufRead, buffer: &mut Vec<u8>) -> io::Result<LineRead> {
    buffer.clear();
    let count = reader.by_ref().take(LINE_BYTES_MAX as u64 + 1).read_until(b'\n', buffer)?;
    Ok(match buffer.last() {
        None => LineRead::End,
        Some(b'\n') => {
            buffer.truncate(count - 1);
            LineRead::Line
        }
        Some(_) => LineRead::NoLine,
    })
}

/// A place in the log: behind a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) seq: u64,
    pub(super) hash: Digest,
    pub(super) segment: u64,
    pub(super) bytes: u64,
}

/// Walks `file` from `place` over whole, chained, authentic records. Answers where that ends, and what follows it, if
/// anything does.
pub(super) fn walk(file: &File, place: Place, chain: &Chain) -> io::Result<(Place, Option<Rest>)> {
    let len = file.metadata()?.len();
    let mut reader = BufReader::new(file);
    reader.seek(SeekFrom::Start(place.bytes))?;
    let mut place = place;
    let mut line = Vec::new();
    while let LineRead::Line = next_line(&mut reader, &mut line)? {
        let next = record::read(&line).filter(|link| {
            link.seq == place.seq + 1
                && link.prev == place.hash
                && chain.authentic(Purpose::Record, &link.split)
        });
        let Some(record) = next else { break };
        place.seq = record.seq;
        place.hash = record.split.hash;
        place.bytes += line.len() as u64 + 1;
    }
    Ok((place, (len > place.bytes).then(|| Rest { bytes: len - place.bytes })))
}

/// Bytes behind the last record of a segment.
pub(super) struct Rest {
    pub(super) bytes: u64,
}

/// What would be cut off `file` behind `place`. The caller bounds its length first.
pub(super) fn cut_of(file: &File, place: &Place, rest: &Rest) -> io::Result<Cut> {
    let mut bytes = Vec::new();
    let mut reader = file;
    reader.seek(SeekFrom::Start(place.bytes))?;
    reader.take(rest.bytes).read_to_end(&mut bytes)?;
    Ok(Cut { bytes: rest.bytes, sha256: sha256(&bytes) })
}

/// Whether the record that ends at `place` is the one `place` names.
pub(super) fn ends_at(file: &File, place: &Place) -> io::Result<bool> {
    if place.seq == 0 {
        return Ok(place.bytes == 0);
    }
    let start = place.bytes.saturating_sub(LINE_BYTES_MAX as u64 + 2);
    let mut tail = Vec::new();
    let mut reader = file;
    reader.seek(SeekFrom::Start(start))?;
    reader.take(place.bytes - start).read_to_end(&mut tail)?;
    let Some(lines) = tail.strip_suffix(b"\n") else { return Ok(false) };
    let line = lines.rsplit(|byte| *byte == b'\n').next().unwrap_or(lines);
    Ok(record::read(line).is_some_and(|link| link.seq == place.seq && link.split.hash == place.hash))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_has_one_name() {
        assert_eq!(first_of(&name(1)), Some(1));
        assert_eq!(first_of(&name(u64::MAX)), Some(u64::MAX));
        for bad in ["1.jsonl", "00000000000000000001.json", "+0000000000000000001.jsonl", "head", ""] {
            assert_eq!(first_of(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_line_that_never_ends_is_read_only_so_far() {
        let endless = vec![b'x'; LINE_BYTES_MAX * 3];
        let mut buffer = Vec::new();
        let found = next_line(&mut endless.as_slice(), &mut buffer).unwrap();
        assert!(matches!(found, LineRead::NoLine));
        assert_eq!(buffer.len(), LINE_BYTES_MAX + 1);
    }
}
