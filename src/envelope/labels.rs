//! Every constant of `docs/format.md`, named as there. A number or a label of the format stands nowhere else.

/// First bytes of every stored blob. The first is not ASCII, so that no text file is taken for one.
pub const MAGIC: [u8; 8] = *b"\x89TERROIR";
/// The format version this code writes, and the only one it reads.
pub const FORMAT_VERSION: u16 = 1;
/// AES-256-GCM, HKDF-SHA-384, FLOE bodies. The only suite.
pub const SUITE: u8 = 1;
/// Flags defined in this format version: none.
pub const FLAGS: u16 = 0;

/// Length of the clear header.
pub const HEADER_BYTES: usize = 158;
/// Offset of the derivation context (environment, region, tenant, class) in the clear header.
pub const CONTEXT_OFFSET: usize = 14;
/// Length of the derivation context.
pub const CONTEXT_BYTES: usize = 52;
/// The longest environment or region code.
pub const SLUG_BYTES_MAX: usize = 16;

/// AES-256 keys, and every other key here.
pub const KEY_BYTES: usize = 32;
/// AES-GCM nonces (96 bits, NIST SP 800-38D §8.2).
pub const NONCE_BYTES: usize = 12;
/// AES-GCM tags (128 bits).
pub const TAG_BYTES: usize = 16;
/// What sealing adds to a small part: nonce in front, tag behind.
pub const SEAL_OVERHEAD_BYTES: usize = NONCE_BYTES + TAG_BYTES;
/// A sealed DEK.
pub const WRAP_BYTES: usize = KEY_BYTES + SEAL_OVERHEAD_BYTES;
/// The commitment to the DEK.
pub const COMMITMENT_BYTES: usize = 32;
/// Locators and roots are padded with zeros to a multiple of this, so that names and metadata do not show in lengths.
pub const PAD_MULTIPLE_BYTES: usize = 256;

/// Longest bucket name (S3 rule).
pub const BUCKET_BYTES_MAX: usize = 63;
/// Longest object key (S3 rule).
pub const OBJECT_KEY_BYTES_MAX: usize = 1024;
/// Longest S3 version id.
pub const S3_VERSION_BYTES_MAX: usize = 64;
/// Longest subject.
pub const SUBJECT_BYTES_MAX: usize = 256;

/// Length of one blob entry in a manifest.
pub const ENTRY_BYTES: usize = 106;
/// Length of one page descriptor in a root.
pub const PAGE_DESCRIPTOR_BYTES: usize = 56;
/// Most blob entries in a page, or in a root without pages.
pub const PAGE_ENTRIES_MAX: usize = 1024;
/// Most pages under a root.
pub const PAGES_MAX: usize = 1024;
/// Most S3 parts of a version (S3 rule).
pub const PARTS_MAX: usize = 10_000;
/// Most checksums of a version, and of a part.
pub const CHECKSUMS_MAX: usize = 5;
/// Most entries of user metadata.
pub const USER_METADATA_ENTRIES_MAX: usize = 256;
/// Longest value of an attribute.
pub const ATTRIBUTE_BYTES_MAX: usize = 16_384;
/// Longest root, sealed.
pub const ROOT_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Digest of a sealed page in the root: SHA-384.
pub const PAGE_DIGEST_BYTES: usize = 48;

/// FLOE header: parameters, IV, header tag.
pub const FLOE_HEADER_BYTES: usize = 74;
/// FLOE parameters.
pub const FLOE_PARAMS_BYTES: usize = 10;
/// FLOE IV.
pub const FLOE_IV_BYTES: usize = 32;
/// FLOE header tag.
pub const FLOE_TAG_BYTES: usize = 32;
/// What a FLOE segment adds to its plaintext: length word, nonce, tag.
pub const SEGMENT_OVERHEAD_BYTES: usize = 32;
/// Encrypted segment length of bodies.
pub const SEGMENT_BYTES: usize = 65_568;
/// Plaintext bytes of a full segment of a body.
pub const SEGMENT_PLAINTEXT_BYTES: usize = SEGMENT_BYTES - SEGMENT_OVERHEAD_BYTES;
/// Segments of FLOE that share a segment key: positions differing only in their low 20 bits.
pub const FLOE_ROTATION_BITS: u32 = 20;
/// Most plaintext and padding bytes in one blob.
pub const BLOB_PLAINTEXT_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Key that seals a locator, from the KEK.
pub const LABEL_LOCATOR: &[u8] = b"terroir/1 locator";
/// Key that seals a DEK where no subject key is used.
pub const LABEL_WRAP: &[u8] = b"terroir/1 wrap";
/// Key that seals a DEK, from the KEK and a subject key.
pub const LABEL_WRAP_SUBJECT: &[u8] = b"terroir/1 wrap+subject";
/// Commitment to the DEK.
pub const LABEL_COMMITMENT: &[u8] = b"terroir/1 commitment";
/// FLOE key of a version's bodies.
pub const LABEL_BODY: &[u8] = b"terroir/1 body";
/// Key that seals a root.
pub const LABEL_ROOT: &[u8] = b"terroir/1 root";
/// Key that seals a page.
pub const LABEL_PAGE: &[u8] = b"terroir/1 page";
/// From a secret and a purpose to the key of a family of fields.
pub const LABEL_FIELD_PURPOSE: &[u8] = b"terroir/1 field purpose";
/// From a field family's key and a salt to the key and commitment of one field.
pub const LABEL_FIELD: &[u8] = b"terroir/1 field";
/// From a field family's key to its pseudonym key.
pub const LABEL_PSEUDONYM: &[u8] = b"terroir/1 pseudonym";
/// First byte of a sealed field.
pub const FIELD_VERSION: u8 = 1;
/// Random salt of a sealed field.
pub const FIELD_SALT_BYTES: usize = 32;
/// What sealing adds to a field: version, salt, commitment, nonce, tag.
pub const FIELD_OVERHEAD_BYTES: usize = 1 + FIELD_SALT_BYTES + COMMITMENT_BYTES + SEAL_OVERHEAD_BYTES;
/// Longest clear field.
pub const FIELD_BYTES_MAX: usize = 1024 * 1024;
/// FLOE: purpose of the message key.
pub const FLOE_MESSAGE_KEY: &[u8] = b"MESSAGE_KEY:";
/// FLOE: purpose of the header tag.
pub const FLOE_HEADER_TAG: &[u8] = b"HEADER_TAG:";
/// FLOE: purpose of a segment key.
pub const FLOE_SEGMENT_KEY: &[u8] = b"DEK:";
