//! The documents that clients send, read under caps, and the writer for those that we send.

mod bodies;
mod read;
mod write;

pub use bodies::{
    CompletedPart, Delete, KeyToDelete, complete_multipart_upload, delete, location_constraint,
};
pub use write::NAMESPACE;

pub(in crate::s3) use bodies::{part_number, unquote};
pub(in crate::s3) use write::Writer;

/// The longest XML body, in bytes: 2 MiB. as much as S3's own documents allow `Delete`. 10,000 parts with the longest
/// checksum, their quotes as entities, are 1,778,993 bytes, 1,000 keys of 1,024 bytes 1,052,065 (as botocore writes them).
pub const DOCUMENT_BYTES_MAX: usize = 2 * 1024 * 1024;
/// How deep elements may nest.
pub const DEPTH_MAX: usize = 32;
/// Keys in one `DeleteObjects` (S3 API reference).
pub const DELETE_KEYS_MAX: usize = 1000;
/// Parts in one upload (S3 User Guide, "Multipart upload limits").
pub const PARTS_MAX: usize = 10_000;

/// Lets the writers' tests read what they wrote with the reader that clients' documents go through.
#[cfg(test)]
pub(in crate::s3) fn walk_for_tests(body: &[u8], root: &str, mut visit: impl FnMut(&[&str], Option<String>)) {
    read::walk(body, root, |node| {
        visit(node.path, node.text);
        Ok(())
    })
    .unwrap();
}
