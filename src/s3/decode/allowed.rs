//! What S3 has and terroir has not: subresources, and `x-amz-*` headers that would have to be honoured. Whatever stands
//! on neither list is refused as well.

use super::super::checksum;
use super::super::error::{Code, S3Error};
use super::super::headers::RequestHeaders;

/// A query parameter that selects another operation, with that operation's names by method.
pub(super) struct Subresource {
    /// The parameter.
    pub(super) parameter: &'static str,
    /// For GET and HEAD; empty where S3 has none. The same below.
    pub(super) get: &'static str,
    /// For PUT and POST.
    pub(super) put: &'static str,
    /// For DELETE.
    pub(super) delete: &'static str,
    /// What it is, for people.
    pub(super) feature: &'static str,
}

const fn row(parameter: &'static str, names: [&'static str; 3], feature: &'static str) -> Subresource {
    let [get, put, delete] = names;
    Subresource { parameter, get, put, delete, feature }
}

/// Of buckets (S3 API reference, "Actions", as of 2026).
#[rustfmt::skip]
pub(super) const BUCKET_SUBRESOURCES: &[Subresource] = &[
    row("abac", ["GetBucketAbac", "PutBucketAbac", ""], "attribute-based access control"),
    row("accelerate", ["GetBucketAccelerateConfiguration", "PutBucketAccelerateConfiguration", ""], "transfer acceleration"),
    row("acl", ["GetBucketAcl", "PutBucketAcl", ""], "access control lists"),
    row("analytics", ["GetBucketAnalyticsConfiguration", "PutBucketAnalyticsConfiguration", "DeleteBucketAnalyticsConfiguration"], "storage analytics"),
    row("cors", ["GetBucketCors", "PutBucketCors", "DeleteBucketCors"], "cross-origin requests"),
    row("encryption", ["GetBucketEncryption", "PutBucketEncryption", "DeleteBucketEncryption"], "encryption settings; every record is encrypted"),
    row("intelligent-tiering", ["GetBucketIntelligentTieringConfiguration", "PutBucketIntelligentTieringConfiguration", "DeleteBucketIntelligentTieringConfiguration"], "tiering"),
    row("inventory", ["GetBucketInventoryConfiguration", "PutBucketInventoryConfiguration", "DeleteBucketInventoryConfiguration"], "inventory files"),
    row("lifecycle", ["GetBucketLifecycleConfiguration", "PutBucketLifecycleConfiguration", "DeleteBucketLifecycle"], "lifecycle rules"),
    row("logging", ["GetBucketLogging", "PutBucketLogging", ""], "access logs"),
    row("metadataConfiguration", ["GetBucketMetadataConfiguration", "CreateBucketMetadataConfiguration", "DeleteBucketMetadataConfiguration"], "metadata tables"),
    row("metadataInventoryTable", ["", "UpdateBucketMetadataInventoryTableConfiguration", ""], "metadata tables"),
    row("metadataJournalTable", ["", "UpdateBucketMetadataJournalTableConfiguration", ""], "metadata tables"),
    row("metadataTable", ["GetBucketMetadataTableConfiguration", "CreateBucketMetadataTableConfiguration", "DeleteBucketMetadataTableConfiguration"], "metadata tables"),
    row("metrics", ["GetBucketMetricsConfiguration", "PutBucketMetricsConfiguration", "DeleteBucketMetricsConfiguration"], "request metrics"),
    row("notification", ["GetBucketNotificationConfiguration", "PutBucketNotificationConfiguration", ""], "event notifications"),
    row("object-lock", ["GetObjectLockConfiguration", "PutObjectLockConfiguration", ""], "object lock"),
    row("ownershipControls", ["GetBucketOwnershipControls", "PutBucketOwnershipControls", "DeleteBucketOwnershipControls"], "ownership controls"),
    row("policy", ["GetBucketPolicy", "PutBucketPolicy", "DeleteBucketPolicy"], "bucket policies"),
    row("policyStatus", ["GetBucketPolicyStatus", "", ""], "bucket policies"),
    row("publicAccessBlock", ["GetPublicAccessBlock", "PutPublicAccessBlock", "DeletePublicAccessBlock"], "public access; it is impossible"),
    row("replication", ["GetBucketReplication", "PutBucketReplication", "DeleteBucketReplication"], "replication"),
    row("requestPayment", ["GetBucketRequestPayment", "PutBucketRequestPayment", ""], "requester pays"),
    row("session", ["CreateSession", "", ""], "directory buckets"),
    row("tagging", ["GetBucketTagging", "PutBucketTagging", "DeleteBucketTagging"], "bucket tags"),
    row("versioning", ["GetBucketVersioning", "PutBucketVersioning", ""], "versioning"),
    row("versions", ["ListObjectVersions", "", ""], "versioning"),
    row("website", ["GetBucketWebsite", "PutBucketWebsite", "DeleteBucketWebsite"], "static web sites"),
];

/// Of objects.
#[rustfmt::skip]
pub(super) const OBJECT_SUBRESOURCES: &[Subresource] = &[
    row("acl", ["GetObjectAcl", "PutObjectAcl", ""], "access control lists"),
    row("append", ["", "AppendObject", ""], "appending"),
    row("attributes", ["GetObjectAttributes", "", ""], "object attributes"),
    row("encryption", ["", "UpdateObjectEncryption", ""], "changing an object's encryption"),
    row("legal-hold", ["GetObjectLegalHold", "PutObjectLegalHold", ""], "object lock"),
    row("renameObject", ["", "RenameObject", ""], "renaming"),
    row("restore", ["", "RestoreObject", ""], "archive classes"),
    row("retention", ["GetObjectRetention", "PutObjectRetention", ""], "object lock"),
    row("select", ["", "SelectObjectContent", ""], "queries over objects"),
    row("tagging", ["GetObjectTagging", "PutObjectTagging", "DeleteObjectTagging"], "object tags"),
    row("torrent", ["GetObjectTorrent", "", ""], "torrents"),
];

/// Headers of transport and signature, or that change nothing about the answer.
const NO_WISH: &[&str] = &[
    // The C++ SDK (and pyarrow with it) sends `2006-03-01` with every request.
    "x-amz-api-version",
    "x-amz-checksum-algorithm",
    "x-amz-checksum-mode",
    "x-amz-checksum-type",
    "x-amz-content-sha256",
    "x-amz-date",
    "x-amz-decoded-content-length",
    "x-amz-mp-object-size",
    // A caller who would pay for the request: nobody does.
    "x-amz-request-payer",
    "x-amz-sdk-checksum-algorithm",
    // Refused where the signature is read.
    "x-amz-security-token",
    // Every record is encrypted under its own key already.
    "x-amz-server-side-encryption-bucket-key-enabled",
    "x-amz-tagging",
    "x-amz-trailer",
    "x-amz-user-agent",
];

/// Storage classes that S3 has beside `STANDARD`.
const STORAGE_CLASSES: &[&str] = &[
    "DEEP_ARCHIVE",
    "EXPRESS_ONEZONE",
    "GLACIER",
    "GLACIER_IR",
    "INTELLIGENT_TIERING",
    "ONEZONE_IA",
    "OUTPOSTS",
    "REDUCED_REDUNDANCY",
    "SNOW",
    "STANDARD_IA",
];

/// Refuses `x-amz-*` headers that we would have to honour and cannot.
pub(super) fn check_headers(headers: &RequestHeaders<'_>) -> Result<(), S3Error> {
    for name in headers.names_with("x-amz-") {
        let is_harmless = NO_WISH.contains(&name.as_str())
            || name.starts_with("x-amz-meta-")
            || checksum::algorithm_of_header(&name).is_some();
        if !is_harmless {
            let value = headers.value(&name)?.unwrap_or_default();
            check_header(&name, &value)?;
        }
    }
    Ok(())
}

fn check_header(name: &str, value: &str) -> Result<(), S3Error> {
    let reason = match (name, value) {
        // The bucket's owner owns every object in it and nobody else can be granted anything.
        ("x-amz-acl", "private" | "bucket-owner-full-control")
        | ("x-amz-object-ownership", "BucketOwnerEnforced")
        | ("x-amz-storage-class", "STANDARD" | "")
        | ("x-amz-bucket-object-lock-enabled", "false" | "False")
        // Every record is sealed whatever is asked for; the answer says `aws:kms`.
        | ("x-amz-server-side-encryption", "AES256" | "aws:kms") => return Ok(()),
        ("x-amz-server-side-encryption", "aws:kms:dsse") => "Dual-layer encryption is not implemented.",
        ("x-amz-server-side-encryption", _) => {
            return Err(S3Error::because(Code::InvalidArgument, "The encryption method specified is not supported"));
        }
        ("x-amz-storage-class", class) if STORAGE_CLASSES.contains(&class) => {
            "Storage classes other than STANDARD are not implemented."
        }
        ("x-amz-storage-class", _) => return Err(Code::InvalidStorageClass.into()),
        ("x-amz-server-side-encryption-aws-kms-key-id" | "x-amz-server-side-encryption-context", _) => {
            "Choosing the encryption key is not implemented: the class of the record decides."
        }
        ("x-amz-acl", _) => "Access control lists other than private are not implemented.",
        ("x-amz-object-ownership", _) => "Object ownership other than BucketOwnerEnforced is not implemented.",
        ("x-amz-website-redirect-location", _) => "Redirects of static web sites are not implemented.",
        ("x-amz-expected-bucket-owner" | "x-amz-source-expected-bucket-owner", _) => {
            "Account ids are not implemented: the bucket's owner cannot be compared with one."
        }
        ("x-amz-mfa", _) => "Multi-factor deletes are not implemented.",
        ("x-amz-write-offset-bytes", _) => "Appending is not implemented.",
        ("x-amz-bypass-governance-retention" | "x-amz-bucket-object-lock-enabled", _) => "Object lock is not implemented.",
        (name, _) if name.starts_with("x-amz-object-lock-") => "Object lock is not implemented.",
        (name, _) if name.starts_with("x-amz-grant-") => "Grants are not implemented.",
        (name, _) if name.starts_with("x-amz-copy-source") => "Copying is not implemented.",
        (name, _) if name.contains("server-side-encryption-customer") => {
            "Keys provided with the request (SSE-C) are not implemented."
        }
        (name, _) if name.starts_with("x-amz-if-match-") => "Conditions are not implemented for this operation.",
        _ => "An x-amz- header of this request is not implemented.",
    };
    Err(S3Error::not_implemented(reason))
}
