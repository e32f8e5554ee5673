//! The bytes of roots and blob entries. One encoding for each value: what decodes is what encodes.

use super::codec::{Reader, Writer, length_u32, padding_is_canonical};
use super::error::EnvelopeError;
use super::floe::FloeHeader;
use super::header::Header;
use super::labels::{
    ATTRIBUTE_BYTES_MAX, BLOB_PLAINTEXT_BYTES_MAX, CHECKSUMS_MAX, ENTRY_BYTES, PAD_MULTIPLE_BYTES,
    PAGE_DESCRIPTOR_BYTES, PAGE_ENTRIES_MAX, PAGES_MAX, PARTS_MAX, USER_METADATA_ENTRIES_MAX,
};
use super::manifest::{
    BlobEntry, Blobs, Checksum, ChecksumAlgorithm, ChecksumKind, ContentHeaders, Manifest, Part, Root, Totals,
};
use super::pages::{PageDescriptor, PageTable};

/// Attribute tags. Attributes stand in ascending order, each at most once, none of another tag.
mod tag {
    pub(super) const ENTITY_TAG: u16 = 1;
    pub(super) const CONTENT_TYPE: u16 = 2;
    pub(super) const CONTENT_ENCODING: u16 = 3;
    pub(super) const CONTENT_DISPOSITION: u16 = 4;
    pub(super) const CONTENT_LANGUAGE: u16 = 5;
    pub(super) const CACHE_CONTROL: u16 = 6;
    pub(super) const EXPIRES: u16 = 7;
    pub(super) const USER_METADATA: u16 = 8;
    pub(super) const CHECKSUMS: u16 = 9;
}

const fn invalid(field: &'static str) -> EnvelopeError {
    EnvelopeError::InvalidManifest { field }
}

/// The clear bytes of a root, padded. `class` is repeated inside so that the sealed part says it too.
pub(super) fn encode_root(root: &Root, class: u16) -> Result<Vec<u8>, EnvelopeError> {
    let mut writer = Writer::with_capacity(512);
    writer.u64(root.plaintext_bytes);
    writer.u64(root.padding_bytes);
    writer.u32(root.manifest.register_version);
    writer.u16(class);
    writer.u32(root.blob_count);
    match &root.blobs {
        Blobs::Inline(entries) => {
            writer.u16(0);
            for entry in entries {
                encode_entry(&mut writer, entry);
            }
        }
        Blobs::Paged(table) => {
            writer.u16(table.entries_per_page);
            for page in &table.pages {
                writer.u64(page.plaintext_bytes);
                writer.bytes(&page.digest);
            }
        }
    }
    encode_parts(&mut writer, &root.manifest.parts)?;
    encode_attributes(&mut writer, &root.manifest)?;
    writer.pad_to_multiple(PAD_MULTIPLE_BYTES);
    Ok(writer.into_vec())
}

/// Reads a root that was sealed behind `header`, and checks it against `header` and itself.
pub(super) fn decode_root(clear: &[u8], header: &Header) -> Result<Root, EnvelopeError> {
    // Inside a sealed part every defect of form is a defect of the manifest.
    decode_root_fields(clear, header).map_err(|error| match error {
        EnvelopeError::Truncated | EnvelopeError::TrailingBytes => invalid("structure"),
        other => other,
    })
}

fn decode_root_fields(clear: &[u8], header: &Header) -> Result<Root, EnvelopeError> {
    let mut reader = Reader::new(clear);
    let (plaintext_bytes, padding_bytes) = (reader.u64()?, reader.u64()?);
    let register_version = reader.u32()?;
    if reader.u16()? != header.binding.class {
        return Err(invalid("class"));
    }
    let blob_count = reader.u32()?;
    let blobs = decode_blobs(&mut reader, header, blob_count)?;
    let parts = decode_parts(&mut reader)?;
    let manifest =
        decode_attributes(&mut reader, Manifest { register_version, parts, ..Manifest::default() })?;
    if !padding_is_canonical(reader.rest(), PAD_MULTIPLE_BYTES) {
        return Err(invalid("padding"));
    }
    let root = Root { manifest, plaintext_bytes, padding_bytes, blob_count, blobs };
    check_totals(&root)?;
    Ok(root)
}

fn decode_blobs(reader: &mut Reader<'_>, header: &Header, blob_count: u32) -> Result<Blobs, EnvelopeError> {
    let entries_per_page = reader.u16()?;
    let count = blob_count as usize;
    if entries_per_page == 0 {
        if !(1..=PAGE_ENTRIES_MAX).contains(&count) || header.pages_bytes != 0 {
            return Err(invalid("blob count"));
        }
        return (0..count).map(|_| decode_entry(reader)).collect::<Result<_, _>>().map(Blobs::Inline);
    }
    let page_count = count.div_ceil(usize::from(entries_per_page));
    let sane = usize::from(entries_per_page) <= PAGE_ENTRIES_MAX && (1..=PAGES_MAX).contains(&page_count);
    if !sane || u64::from(header.pages_bytes) != super::pages::pages_bytes(blob_count, entries_per_page) {
        return Err(invalid("pages"));
    }
    let page = |reader: &mut Reader<'_>| {
        Ok::<_, EnvelopeError>(PageDescriptor { plaintext_bytes: reader.u64()?, digest: reader.array()? })
    };
    debug_assert_eq!(PAGE_DESCRIPTOR_BYTES, 8 + super::labels::PAGE_DIGEST_BYTES);
    let pages = (0..page_count).map(|_| page(reader)).collect::<Result<_, _>>()?;
    Ok(Blobs::Paged(PageTable { entries_per_page, pages, blob_count, first_offset: header.record_bytes() }))
}

fn check_totals(root: &Root) -> Result<(), EnvelopeError> {
    let blobs_total = match &root.blobs {
        Blobs::Inline(entries) => {
            let totals = Totals::of(entries)?;
            if totals.padding_bytes != root.padding_bytes {
                return Err(invalid("padding total"));
            }
            Some(totals.plaintext_bytes)
        }
        Blobs::Paged(table) => {
            table.pages.iter().try_fold(0_u64, |sum, page| sum.checked_add(page.plaintext_bytes))
        }
    };
    if blobs_total != Some(root.plaintext_bytes) {
        return Err(invalid("total"));
    }
    let parts = &root.manifest.parts;
    let parts_total = parts.iter().try_fold(0_u64, |sum, part| sum.checked_add(part.plaintext_bytes));
    if !parts.is_empty() && parts_total != Some(root.plaintext_bytes) {
        return Err(invalid("parts total"));
    }
    Ok(())
}

pub(super) fn encode_entry(writer: &mut Writer, entry: &BlobEntry) {
    let before = writer.len();
    writer.bytes(&entry.blob);
    for number in [entry.ordinal, entry.plaintext_bytes, entry.padding_bytes, entry.body_offset_bytes] {
        writer.u32(number);
    }
    writer.bytes(entry.floe_header.as_bytes());
    debug_assert_eq!(writer.len() - before, ENTRY_BYTES);
}

pub(super) fn decode_entry(reader: &mut Reader<'_>) -> Result<BlobEntry, EnvelopeError> {
    let entry = BlobEntry {
        blob: reader.array()?,
        ordinal: reader.u32()?,
        plaintext_bytes: reader.u32()?,
        padding_bytes: reader.u32()?,
        body_offset_bytes: reader.u32()?,
        floe_header: FloeHeader::from_bytes(reader.array()?),
    };
    if entry.sealed_plaintext_bytes() > BLOB_PLAINTEXT_BYTES_MAX as u64 {
        return Err(invalid("blob length"));
    }
    Ok(entry)
}

fn encode_parts(writer: &mut Writer, parts: &[Part]) -> Result<(), EnvelopeError> {
    let count = u16::try_from(parts.len()).ok().filter(|_| parts.len() <= PARTS_MAX);
    writer.u16(count.ok_or(EnvelopeError::LimitExceeded { what: "parts" })?);
    for part in parts {
        writer.u16(part.number);
        writer.u64(part.plaintext_bytes);
        encode_checksums(writer, &part.checksums)?;
    }
    Ok(())
}

fn decode_parts(reader: &mut Reader<'_>) -> Result<Vec<Part>, EnvelopeError> {
    let count = usize::from(reader.u16()?);
    if count > PARTS_MAX {
        return Err(invalid("parts"));
    }
    let mut parts: Vec<Part> = Vec::new();
    for _ in 0..count {
        let (number, plaintext_bytes) = (reader.u16()?, reader.u64()?);
        if number == 0
            || usize::from(number) > PARTS_MAX
            || parts.last().is_some_and(|last| last.number >= number)
        {
            return Err(invalid("part number"));
        }
        parts.push(Part { number, plaintext_bytes, checksums: decode_checksums(reader)? });
    }
    Ok(parts)
}

fn encode_checksums(writer: &mut Writer, checksums: &[Checksum]) -> Result<(), EnvelopeError> {
    let count = u8::try_from(checksums.len()).ok().filter(|_| checksums.len() <= CHECKSUMS_MAX);
    writer.u8(count.ok_or(EnvelopeError::LimitExceeded { what: "checksums" })?);
    for checksum in checksums {
        if checksum.digest.len() != checksum.algorithm.digest_bytes() {
            return Err(invalid("checksum"));
        }
        writer.u8(checksum.algorithm as u8);
        writer.u8(checksum.kind as u8);
        writer.bytes(&checksum.digest);
    }
    Ok(())
}

fn decode_checksums(reader: &mut Reader<'_>) -> Result<Vec<Checksum>, EnvelopeError> {
    let count = usize::from(reader.u8()?);
    if count > CHECKSUMS_MAX {
        return Err(invalid("checksums"));
    }
    (0..count)
        .map(|_| {
            let algorithm = match reader.u8()? {
                1 => ChecksumAlgorithm::Crc32,
                2 => ChecksumAlgorithm::Crc32c,
                3 => ChecksumAlgorithm::Crc64Nvme,
                4 => ChecksumAlgorithm::Sha1,
                5 => ChecksumAlgorithm::Sha256,
                _ => return Err(invalid("checksum")),
            };
            let kind = match reader.u8()? {
                1 => ChecksumKind::FullObject,
                2 => ChecksumKind::Composite,
                _ => return Err(invalid("checksum")),
            };
            Ok(Checksum { algorithm, kind, digest: reader.bytes(algorithm.digest_bytes())?.into() })
        })
        .collect()
}

fn encode_attributes(writer: &mut Writer, manifest: &Manifest) -> Result<(), EnvelopeError> {
    let ContentHeaders {
        content_type,
        content_encoding,
        content_disposition,
        content_language,
        cache_control,
        expires,
    } = &manifest.content;
    let mut attributes: Vec<(u16, Vec<u8>)> = Vec::new();
    let texts = [
        (tag::ENTITY_TAG, (!manifest.entity_tag.is_empty()).then_some(&manifest.entity_tag)),
        (tag::CONTENT_TYPE, content_type.as_ref()),
        (tag::CONTENT_ENCODING, content_encoding.as_ref()),
        (tag::CONTENT_DISPOSITION, content_disposition.as_ref()),
        (tag::CONTENT_LANGUAGE, content_language.as_ref()),
        (tag::CACHE_CONTROL, cache_control.as_ref()),
        (tag::EXPIRES, expires.as_ref()),
    ];
    attributes
        .extend(texts.into_iter().filter_map(|(tag, text)| text.map(|text| (tag, text.as_bytes().to_vec()))));
    if !manifest.user_metadata.is_empty() {
        attributes.push((tag::USER_METADATA, encode_user_metadata(&manifest.user_metadata)?));
    }
    if !manifest.checksums.is_empty() {
        let mut value = Writer::default();
        encode_checksums(&mut value, &manifest.checksums)?;
        attributes.push((tag::CHECKSUMS, value.into_vec()));
    }
    writer.u16(u16::try_from(attributes.len()).unwrap_or(u16::MAX));
    for (tag, value) in attributes {
        if value.len() > ATTRIBUTE_BYTES_MAX {
            return Err(EnvelopeError::LimitExceeded { what: "attribute" });
        }
        writer.u16(tag);
        writer.u32(length_u32(value.len(), "attribute")?);
        writer.bytes(&value);
    }
    Ok(())
}

fn decode_attributes(reader: &mut Reader<'_>, mut manifest: Manifest) -> Result<Manifest, EnvelopeError> {
    let mut previous = 0;
    for _ in 0..reader.u16()? {
        let (tag, length) = (reader.u16()?, reader.u32()? as usize);
        if tag <= previous || length > ATTRIBUTE_BYTES_MAX {
            return Err(invalid("attribute"));
        }
        previous = tag;
        let value = reader.bytes(length)?;
        let content = &mut manifest.content;
        match tag {
            tag::ENTITY_TAG => manifest.entity_tag = text(value).and_then(not_empty)?,
            tag::CONTENT_TYPE => content.content_type = Some(text(value)?),
            tag::CONTENT_ENCODING => content.content_encoding = Some(text(value)?),
            tag::CONTENT_DISPOSITION => content.content_disposition = Some(text(value)?),
            tag::CONTENT_LANGUAGE => content.content_language = Some(text(value)?),
            tag::CACHE_CONTROL => content.cache_control = Some(text(value)?),
            tag::EXPIRES => content.expires = Some(text(value)?),
            tag::USER_METADATA => manifest.user_metadata = decode_user_metadata(value)?,
            tag::CHECKSUMS => {
                let mut reader = Reader::new(value);
                manifest.checksums = decode_checksums(&mut reader)?;
                reader.end()?;
                if manifest.checksums.is_empty() {
                    return Err(invalid("checksums"));
                }
            }
            _ => return Err(invalid("unknown attribute")),
        }
    }
    Ok(manifest)
}

fn encode_user_metadata(entries: &[(String, String)]) -> Result<Vec<u8>, EnvelopeError> {
    if entries.len() > USER_METADATA_ENTRIES_MAX {
        return Err(EnvelopeError::LimitExceeded { what: "user metadata" });
    }
    let mut writer = Writer::default();
    writer.u16(u16::try_from(entries.len()).unwrap_or(u16::MAX));
    for (name, value) in entries {
        writer.long(name.as_bytes(), ATTRIBUTE_BYTES_MAX, "user metadata")?;
        writer.long(value.as_bytes(), ATTRIBUTE_BYTES_MAX, "user metadata")?;
    }
    Ok(writer.into_vec())
}

fn decode_user_metadata(value: &[u8]) -> Result<Vec<(String, String)>, EnvelopeError> {
    let mut reader = Reader::new(value);
    let count = usize::from(reader.u16()?);
    if !(1..=USER_METADATA_ENTRIES_MAX).contains(&count) {
        return Err(invalid("user metadata"));
    }
    let mut entries = Vec::new();
    for _ in 0..count {
        let length = usize::from(reader.u16()?);
        let name = text(reader.bytes(length)?)?;
        let length = usize::from(reader.u16()?);
        entries.push((name, text(reader.bytes(length)?)?));
    }
    reader.end()?;
    Ok(entries)
}

fn text(value: &[u8]) -> Result<String, EnvelopeError> {
    String::from_utf8(value.to_vec()).map_err(|_| invalid("text"))
}

fn not_empty(text: String) -> Result<String, EnvelopeError> {
    if text.is_empty() { Err(invalid("attribute")) } else { Ok(text) }
}
