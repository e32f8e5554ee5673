//! The envelope: `docs/format.md` in code. Bytes in, bytes out; imports nothing of ours, does no I/O, reads no clock.
//!
//! Writing: a [`Dek`] for a [`Binding`] → [`BodySealer`] for each blob → [`Sealer`] puts heads in front and makes the version record.
//! Reading: [`Closed`] → [`Located`] → [`Confirmed`] → [`OpenVersion`], whose [`Root`] plans ranges; [`BodyOpener`] opens segments.
//! Only this module makes a [`Sealed`], and stores take nothing else.

mod body;
mod capacity;
mod cipher;
mod codec;
mod derive;
mod error;
mod field;
mod floe;
mod header;
mod keys;
pub mod labels;
mod locator;
mod manifest;
mod manifest_codec;
mod open;
mod padding;
mod pages;
mod plan;
mod record;
mod sealed;
#[cfg(feature = "testing")]
pub mod testing;
mod verify;

pub use body::{BodyOpener, BodySealer, SealedBody, body_bytes, segment_count};
pub use capacity::record_entries_max;
pub use cipher::{Implementation, self_test};
pub use error::{EnvelopeError, Random, RandomFailed};
pub use field::FieldKey;
pub use floe::FloeHeader;
pub use header::{Binding, Expected, Header, Kind, Slug};
pub use keys::{Dek, Kek, SubjectKey};
pub use locator::Locator;
pub use manifest::{
    BlobEntry, Blobs, Checksum, ChecksumAlgorithm, ChecksumKind, ContentHeaders, Manifest, Part, Root,
};
pub use open::{Closed, Confirmed, Located, OpenUpload, OpenVersion};
pub use padding::{padme, padme_padding};
pub use pages::{Page, PageDescriptor, PageTable};
pub use plan::BlobRange;
pub use record::{SealedVersion, Sealer};
pub use sealed::{Record, Sealed};
pub use verify::{LOCATOR_END_BYTES_MAX, open_front};
