//! Host and path → bucket and key. Decoded once; nothing is normalised, trimmed or folded.

use http::header;
use http::request::Parts;

use crate::model::{BucketName, ObjectKey};

use super::super::call::ObjectId;
use super::super::error::{Code, S3Error};
use super::super::uri::decode_path;

/// The base domains under which `bucket.domain` is virtual-host style. Everything else is path style.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Domains(Vec<String>);

impl Domains {
    /// These base domains (`s3.fr.example.org`), without ports; compared without regard to case.
    pub fn new(domains: impl IntoIterator<Item = impl Into<String>>) -> Self {
        let mut domains: Vec<String> =
            domains.into_iter().map(|domain| domain.into().to_ascii_lowercase()).collect();
        // The most specific one decides, so that `s3.a.example` is no bucket `s3` of `a.example`.
        domains.sort_by_key(|domain| std::cmp::Reverse(domain.len()));
        Self(domains)
    }

    /// The bucket that a host (lowercase, without port) names, if it is virtual-host style.
    fn bucket_of<'a>(&self, host: &'a str) -> Option<&'a str> {
        for domain in &self.0 {
            if host == domain {
                return None;
            }
            if let Some(bucket) = host.strip_suffix(domain.as_str()).and_then(|rest| rest.strip_suffix('.')) {
                return Some(bucket);
            }
        }
        None
    }
}

/// What a request is addressed to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// The service: `/`.
    Service,
    /// A bucket.
    Bucket(BucketName),
    /// An object.
    Object(ObjectId),
}

impl Target {
    /// Reads host and path.
    pub(super) fn read(parts: &Parts, domains: &Domains) -> Result<Self, S3Error> {
        let host = host(parts)?;
        let path = parts.uri.path().strip_prefix('/').ok_or(Code::InvalidUri)?;
        let (bucket, key) = match domains.bucket_of(&host) {
            Some(bucket) => (bucket.to_owned(), path),
            // Split before decoding: a bucket's name has no escapes, so `%2F` can not stand in for the slash.
            None => {
                path.split_once('/').map_or((path.to_owned(), ""), |(bucket, key)| (bucket.to_owned(), key))
            }
        };
        if bucket.is_empty() && key.is_empty() {
            return Ok(Self::Service);
        }
        let bucket: BucketName = bucket.parse().map_err(|_| Code::InvalidBucketName)?;
        if key.is_empty() {
            return Ok(Self::Bucket(bucket));
        }
        let key: ObjectKey = decode_path(key)?.parse().map_err(|_| Code::KeyTooLong)?;
        Ok(Self::Object(ObjectId { bucket, key }))
    }

    /// The bucket, if there is one.
    pub(super) const fn bucket(&self) -> Option<&BucketName> {
        match self {
            Self::Service => None,
            Self::Bucket(bucket) => Some(bucket),
            Self::Object(object) => Some(&object.bucket),
        }
    }
}

/// The host in lowercase without port. Two different hosts in one request are refused: only one of them is signed.
fn host(parts: &Parts) -> Result<String, S3Error> {
    let invalid = || S3Error::because(Code::InvalidRequest, "The request needs exactly one Host.");
    let mut headers = parts.headers.get_all(header::HOST).iter();
    let header = headers.next().map(|value| value.to_str().map_err(|_| invalid())).transpose()?;
    if headers.next().is_some() {
        return Err(invalid());
    }
    let host = match (header, parts.uri.authority()) {
        (Some(host), None) => host,
        (None, Some(authority)) => authority.as_str(),
        (Some(host), Some(authority)) if authority.as_str().eq_ignore_ascii_case(host) => host,
        _ => return Err(invalid()),
    };
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    };
    Ok(name.to_ascii_lowercase())
}
