//! The three XML bodies of the operations we serve. An element they do not know is an error: it would be a wish ignored.

use std::fmt;

use crate::model::{Checksum, ChecksumAlgorithm, ObjectKey};

use super::super::checksum;
use super::super::error::{Code, S3Error};
use super::read::walk;
use super::{DELETE_KEYS_MAX, PARTS_MAX};

/// The body of `DeleteObjects`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delete {
    /// What to delete, in the order sent; 1..=1,000.
    pub keys: Vec<KeyToDelete>,
    /// `Quiet`: answer only with errors.
    pub quiet: bool,
}

/// One entry of a [`Delete`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyToDelete {
    /// Which key.
    pub key: ObjectKey,
    /// Why this one cannot be done although the rest can (a version id, a condition): answer it with this.
    pub refusal: Option<S3Error>,
}

/// One part of a `CompleteMultipartUpload`.
#[derive(Clone, PartialEq, Eq)]
pub struct CompletedPart {
    /// 1..=10,000, ascending.
    pub number: u16,
    /// Unquoted; perhaps not one of ours.
    pub etag: String,
    /// The checksum the client remembers for the part.
    pub checksum: Option<Checksum>,
}

impl fmt::Debug for CompletedPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CompletedPart({})", self.number)
    }
}

/// Reads the body of `CreateBucket`: the constraint, or `None` for an empty body or none inside.
pub fn location_constraint(body: &[u8]) -> Result<Option<String>, S3Error> {
    if body.is_empty() {
        return Ok(None);
    }
    let mut constraint = None;
    walk(body, "CreateBucketConfiguration", |node| match (node.path, node.text) {
        (["LocationConstraint"], Some(text)) => set_once(&mut constraint, text.trim().to_owned()),
        (["Location" | "Bucket" | "Tags", ..], _) => {
            Err(S3Error::not_implemented("Directory buckets and bucket tags are not implemented."))
        }
        _ => Err(Code::MalformedXml.into()),
    })?;
    Ok(constraint.filter(|text| !text.is_empty()))
}

/// Reads the body of `DeleteObjects`.
///
/// # Errors
/// `MalformedXML` for no key, an empty one, or over [`DELETE_KEYS_MAX`]; `KeyTooLongError`.
pub fn delete(body: &[u8]) -> Result<Delete, S3Error> {
    let (mut keys, mut quiet) = (Vec::new(), None);
    let (mut key, mut refusal) = (None, None);
    walk(body, "Delete", |node| match (node.path, node.text) {
        (["Quiet"], Some(text)) => set_once(&mut quiet, boolean(&text)?),
        (["Object", "Key"], Some(text)) => set_once(&mut key, parse_key(&text)?),
        // The null version is the only one a bucket without versioning has.
        (["Object", "VersionId"], Some(text)) if text.trim() == "null" => Ok(()),
        (["Object", "VersionId"], Some(_)) => {
            refusal = Some(S3Error::not_implemented("Deleting by version id is not implemented."));
            Ok(())
        }
        (["Object", "ETag" | "LastModifiedTime" | "Size"], Some(_)) => {
            refusal = Some(S3Error::not_implemented("Conditional deletes are not implemented."));
            Ok(())
        }
        (["Object"], _) => {
            let key = key.take().ok_or(Code::MalformedXml)?;
            keys.push(KeyToDelete { key, refusal: refusal.take() });
            if keys.len() > DELETE_KEYS_MAX { Err(Code::MalformedXml.into()) } else { Ok(()) }
        }
        _ => Err(Code::MalformedXml.into()),
    })?;
    if keys.is_empty() {
        return Err(Code::MalformedXml.into());
    }
    Ok(Delete { keys, quiet: quiet.unwrap_or(false) })
}

/// Reads the body of `CompleteMultipartUpload`.
///
/// # Errors
/// `InvalidPartOrder` unless strictly ascending; `InvalidArgument` for a number outside 1..=10,000; `MalformedXML` for
/// no part at all or over [`PARTS_MAX`].
pub fn complete_multipart_upload(body: &[u8]) -> Result<Vec<CompletedPart>, S3Error> {
    let mut parts: Vec<CompletedPart> = Vec::new();
    let (mut number, mut etag, mut sum) = (None, None, None);
    walk(body, "CompleteMultipartUpload", |node| match (node.path, node.text) {
        (["Part", "PartNumber"], Some(text)) => set_once(&mut number, part_number(text.trim())?),
        (["Part", "ETag"], Some(text)) => set_once(&mut etag, unquote(text.trim()).to_owned()),
        (["Part", name], Some(text)) => {
            let named = |algorithm: &ChecksumAlgorithm| checksum::element_name(*algorithm) == *name;
            let algorithm = ChecksumAlgorithm::ALL.into_iter().find(named).ok_or(Code::MalformedXml)?;
            set_once(&mut sum, checksum::parse(algorithm, text.trim())?)
        }
        (["Part"], _) => {
            let number = number.take().ok_or(Code::MalformedXml)?;
            let etag = etag.take().ok_or(Code::MalformedXml)?;
            if parts.last().is_some_and(|last| last.number >= number) {
                return Err(Code::InvalidPartOrder.into());
            }
            parts.push(CompletedPart { number, etag, checksum: sum.take() });
            if parts.len() > PARTS_MAX { Err(Code::MalformedXml.into()) } else { Ok(()) }
        }
        _ => Err(Code::MalformedXml.into()),
    })?;
    if parts.is_empty() { Err(Code::MalformedXml.into()) } else { Ok(parts) }
}

/// Reads a part number, 1..=10,000.
pub(in crate::s3) fn part_number(text: &str) -> Result<u16, S3Error> {
    let is_decimal = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let number = text.parse::<u16>().ok().filter(|number| is_decimal && (1..=10_000).contains(number));
    number.ok_or_else(|| {
        S3Error::because(
            Code::InvalidArgument,
            "Part number must be an integer between 1 and 10000, inclusive",
        )
    })
}

/// An entity tag without the quotes it may or may not have.
pub(in crate::s3) fn unquote(text: &str) -> &str {
    text.strip_prefix('"').and_then(|inner| inner.strip_suffix('"')).unwrap_or(text)
}

fn parse_key(text: &str) -> Result<ObjectKey, S3Error> {
    text.parse().map_err(|_| if text.is_empty() { Code::MalformedXml } else { Code::KeyTooLong }.into())
}

fn boolean(text: &str) -> Result<bool, S3Error> {
    match text.trim() {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(Code::MalformedXml.into()),
    }
}

/// A repeated element would leave it to chance which of the two counts.
fn set_once<T>(slot: &mut Option<T>, value: T) -> Result<(), S3Error> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(Code::MalformedXml.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NS: &str = "xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"";

    fn delete_code(body: &str) -> Code {
        delete(body.as_bytes()).unwrap_err().code()
    }

    #[test]
    fn a_location_constraint_is_read_with_any_prefix_and_without_a_body() {
        assert_eq!(location_constraint(b"").unwrap(), None);
        let plain = format!(
            "<CreateBucketConfiguration {NS}><LocationConstraint>fr</LocationConstraint></CreateBucketConfiguration>"
        );
        assert_eq!(location_constraint(plain.as_bytes()).unwrap().as_deref(), Some("fr"));
        let prefixed = "<?xml version=\"1.0\" encoding=\"utf-8\"?>\r\n<!-- c --><s:CreateBucketConfiguration xmlns:s=\"x\">\n \
             <s:LocationConstraint> fr </s:LocationConstraint>\n</s:CreateBucketConfiguration>\n";
        assert_eq!(location_constraint(prefixed.as_bytes()).unwrap().as_deref(), Some("fr"));
        assert_eq!(location_constraint(b"<CreateBucketConfiguration/>").unwrap(), None);
        let twice = "<CreateBucketConfiguration><LocationConstraint>fr</LocationConstraint>\
             <LocationConstraint>us</LocationConstraint></CreateBucketConfiguration>";
        assert!(location_constraint(twice.as_bytes()).is_err(), "two constraints leave the place to chance");
        let directory =
            "<CreateBucketConfiguration><Bucket><Type>Directory</Type></Bucket></CreateBucketConfiguration>";
        assert_eq!(location_constraint(directory.as_bytes()).unwrap_err().code(), Code::NotImplemented);
    }

    #[test]
    fn keys_to_delete_keep_their_spaces_entities_and_controls() {
        let body = format!(
            "<Delete {NS}><Object><Key> a&amp;&lt;&#13;&#x1;b\u{e9} </Key></Object><Object><Key><![CDATA[<x>]]></Key>\
             <VersionId>null</VersionId></Object><Quiet>true</Quiet></Delete>"
        );
        let read = delete(body.as_bytes()).unwrap();
        assert!(read.quiet);
        let keys: Vec<_> = read.keys.iter().map(|k| k.key.as_str()).collect();
        assert_eq!(keys, [" a&<\r\u{1}b\u{e9} ", "<x>"]);
        assert!(read.keys.iter().all(|k| k.refusal.is_none()));
    }

    #[test]
    fn a_versioned_or_conditional_delete_refuses_that_key_only() {
        let body = "<Delete><Object><Key>a</Key><VersionId>v1</VersionId></Object><Object><Key>b</Key></Object>\
             <Object><ETag>x</ETag><Key>c</Key></Object></Delete>";
        let refused: Vec<_> =
            delete(body.as_bytes()).unwrap().keys.iter().map(|k| k.refusal.is_some()).collect();
        assert_eq!(refused, [true, false, true]);
    }

    #[test]
    fn delete_objects_takes_a_thousand_keys_and_no_more() {
        let of = |n: usize| format!("<Delete>{}</Delete>", "<Object><Key>k</Key></Object>".repeat(n));
        assert_eq!(delete(of(1000).as_bytes()).unwrap().keys.len(), 1000);
        assert_eq!(delete_code(&of(1001)), Code::MalformedXml);
        assert_eq!(delete_code(&of(0)), Code::MalformedXml);
        let long = format!("<Delete><Object><Key>{}</Key></Object></Delete>", "k".repeat(1025));
        assert_eq!(delete_code(&long), Code::KeyTooLong);
        assert_eq!(delete_code("<Delete><Object><Key></Key></Object></Delete>"), Code::MalformedXml);
        assert_eq!(delete_code("<Delete><Object></Object></Delete>"), Code::MalformedXml);
    }

    /// As botocore writes it, with the entity for the quotes that other clients send.
    #[test]
    fn ten_thousand_parts_with_the_longest_checksum_were_too_long_to_complete() {
        let mut body = format!("<CompleteMultipartUpload {NS}>");
        for number in 1..=PARTS_MAX {
            let etag = "&quot;0123456789abcdef0123456789abcdef&quot;";
            let sum = "ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=";
            let part = format!(
                "<Part><ETag>{etag}</ETag><ChecksumSHA256>{sum}</ChecksumSHA256><PartNumber>{number}</PartNumber></Part>"
            );
            body.push_str(&part);
        }
        body.push_str("</CompleteMultipartUpload>");
        assert!(body.len() > 1_700_000, "{} bytes", body.len());
        assert_eq!(complete_multipart_upload(body.as_bytes()).map(|parts| parts.len()), Ok(PARTS_MAX));
    }

    #[test]
    fn a_thousand_of_the_longest_keys_were_too_long_to_delete() {
        let object = format!("<Object><Key>{}</Key></Object>", "k".repeat(1024));
        let body = format!("<Delete {NS}>{}</Delete>", object.repeat(DELETE_KEYS_MAX));
        assert!(body.len() > 1024 * 1024, "{} bytes", body.len());
        assert_eq!(delete(body.as_bytes()).unwrap().keys.len(), DELETE_KEYS_MAX);
    }

    #[test]
    fn a_document_type_an_entity_and_a_deep_or_big_document_are_refused() {
        let laughs =
            "<!DOCTYPE Delete [<!ENTITY a \"aaaa\">]><Delete><Object><Key>&a;</Key></Object></Delete>";
        let cases = [
            laughs.to_owned(),
            "<Delete><Object><Key>&unknown;</Key></Object></Delete>".to_owned(),
            "<Delete><Object><Key>&#0;</Key></Object></Delete>".to_owned(),
            "<?xml version=\"1.0\" encoding=\"utf-16\"?><Delete><Object><Key>a</Key></Object></Delete>"
                .to_owned(),
            "<?php x?><Delete><Object><Key>a</Key></Object></Delete>".to_owned(),
            format!("<Delete>{}{}</Delete>", "<a>".repeat(40), "</a>".repeat(40)),
            "<Delete><Object><Key>a</Key></Object>".to_owned(),
            "<Delete><Object><Key>a</Object></Key></Delete>".to_owned(),
            "<Delete><Object><Key>a</Key></Object></Delete><Delete/>".to_owned(),
            "<Delete><Object><Key>a</Key></Object></Delete>x".to_owned(),
            "x<Delete><Object><Key>a</Key></Object></Delete>".to_owned(),
            "<Delete>text<Object><Key>a</Key></Object></Delete>".to_owned(),
            "<Delete><Object><Key>a</Key><Key>b</Key></Object></Delete>".to_owned(),
            "<Delete><Object><Key>a</Key><MFA>b</MFA></Object></Delete>".to_owned(),
            "<delete><Object><Key>a</Key></Object></delete>".to_owned(),
            "<Delete/>".to_owned(),
            String::new(),
        ];
        for body in cases {
            assert_eq!(delete_code(&body), Code::MalformedXml, "{body}");
        }
        assert!(delete(b"<Delete><Object><Key>\xff</Key></Object></Delete>").is_err());
        let big = format!("<Delete><!--{}--></Delete>", "x".repeat(super::super::DOCUMENT_BYTES_MAX));
        assert_eq!(delete_code(&big), Code::MaxMessageLengthExceeded);
    }

    #[test]
    fn unquoted_etags_are_taken_and_checksums_kept() {
        let body = format!(
            "<CompleteMultipartUpload {NS}><Part><ETag>\"a-1\"</ETag><PartNumber>1</PartNumber>\
             <ChecksumCRC32>AAAAAA==</ChecksumCRC32></Part><Part><PartNumber>3</PartNumber><ETag>b</ETag></Part>\
             <Part><PartNumber>10000</PartNumber><ETag>&quot;c&quot;</ETag></Part></CompleteMultipartUpload>"
        );
        let parts = complete_multipart_upload(body.as_bytes()).unwrap();
        let read: Vec<_> = parts.iter().map(|p| (p.number, p.etag.as_str(), p.checksum.is_some())).collect();
        assert_eq!(read, [(1, "a-1", true), (3, "b", false), (10_000, "c", false)]);
    }

    #[test]
    fn parts_out_of_order_are_refused() {
        let of = |numbers: &[&str]| {
            let part = |n: &&str| format!("<Part><PartNumber>{n}</PartNumber><ETag>a</ETag></Part>");
            let inner: String = numbers.iter().map(part).collect();
            let body = format!("<CompleteMultipartUpload>{inner}</CompleteMultipartUpload>");
            complete_multipart_upload(body.as_bytes()).map(|parts| parts.len()).map_err(|e| e.code())
        };
        assert_eq!(of(&["1", "2"]), Ok(2));
        assert_eq!(of(&["2", "1"]), Err(Code::InvalidPartOrder));
        assert_eq!(of(&["1", "1"]), Err(Code::InvalidPartOrder));
        for bad in ["0", "10001", "+1", "-1", "", "x", "99999999999"] {
            assert_eq!(of(&[bad]), Err(Code::InvalidArgument), "{bad}");
        }
        assert_eq!(of(&[]), Err(Code::MalformedXml));
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_document_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = delete(&bytes);
            let _ = complete_multipart_upload(&bytes);
            let _ = location_constraint(&bytes);
        }

        #[test]
        fn any_mutation_of_a_document_is_a_document_or_an_error(at in 0_usize..80, byte: u8) {
            let mut body = b"<Delete><Object><Key>a&amp;b</Key></Object><Quiet>true</Quiet></Delete> <!-- c -->    ".to_vec();
            body[at] = byte;
            let _ = delete(&body);
        }

        #[test]
        fn a_key_written_by_us_is_read_back(key in "[^\0]{1,100}") {
            let mut xml = super::super::Writer::document("Delete");
            xml.nest("Object", |o| { o.text("Key", &key); });
            let read = delete(&xml.finish()).unwrap();
            prop_assert_eq!(read.keys[0].key.as_str(), key.as_str());
        }
    }
}
