//! Request headers as S3 reads them: one value each, and those that a presigned URL carries in its query.

use std::borrow::Cow;

use http::HeaderMap;
use http::request::Parts;

use super::error::{Code, S3Error};
use super::uri::Query;

/// Query parameters of a signature: not headers in disguise.
const SIGNATURE_PARAMETERS: [&str; 8] = [
    "x-amz-algorithm",
    "x-amz-content-sha256",
    "x-amz-credential",
    "x-amz-date",
    "x-amz-expires",
    "x-amz-security-token",
    "x-amz-signature",
    "x-amz-signedheaders",
];

/// The headers of a request, together with the `x-amz-*` that presigning SDKs hoist into the query.
///
/// Hoisted ones count like headers: a class, a checksum or a storage class in a presigned URL is meant, and the
/// signature covers it.
pub(super) struct RequestHeaders<'a> {
    headers: &'a HeaderMap,
    hoisted: Vec<(String, String)>,
}

impl<'a> RequestHeaders<'a> {
    /// The headers of `parts`, whose query is `query`.
    pub(super) fn new(parts: &'a Parts, query: &Query) -> Self {
        let hoisted = query.pairs().map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()));
        let hoisted = hoisted.filter(|(name, _)| is_hoisted(name)).collect();
        Self { headers: &parts.headers, hoisted }
    }

    /// The value of a header that may be given once; given twice with different values is an error.
    pub(super) fn value(&self, name: &str) -> Result<Option<Cow<'a, str>>, S3Error> {
        let mut found: Option<Cow<'a, str>> = None;
        let headers = self.headers.get_all(name).iter().map(|value| text_of(value.as_bytes()));
        let hoisted = self.hoisted.iter().filter(|(n, _)| n == name).map(|(_, v)| Cow::Owned(v.clone()));
        for value in headers.chain(hoisted) {
            if found.as_ref().is_some_and(|other| *other != value) {
                return Err(S3Error::because(Code::InvalidArgument, "A header is given more than once."));
            }
            found = Some(value);
        }
        Ok(found)
    }

    /// Whether a header is given at all.
    pub(super) fn has(&self, name: &str) -> bool {
        self.headers.contains_key(name) || self.hoisted.iter().any(|(n, _)| n == name)
    }

    /// Every name that starts with `prefix`, lowercase, each once, in the order sent.
    pub(super) fn names_with(&self, prefix: &str) -> Vec<String> {
        let mut names: Vec<String> = Vec::new();
        let headers = self.headers.keys().map(http::HeaderName::as_str);
        for name in headers.chain(self.hoisted.iter().map(|(name, _)| name.as_str())) {
            if name.starts_with(prefix) && !names.iter().any(|known| known == name) {
                names.push(name.to_owned());
            }
        }
        names
    }

    /// All values of a header joined by commas, as RFC 9110 §5.2 lets recipients do.
    pub(super) fn joined(&self, name: &str) -> String {
        let headers = self.headers.get_all(name).iter().map(|value| text_of(value.as_bytes()));
        let hoisted = self.hoisted.iter().filter(|(n, _)| n == name).map(|(_, v)| Cow::Borrowed(v.as_str()));
        headers.chain(hoisted).collect::<Vec<_>>().join(",")
    }
}

/// Whether a query parameter (lowercase) is a header in disguise.
pub(super) fn is_hoisted(name: &str) -> bool {
    name.starts_with("x-amz-") && !SIGNATURE_PARAMETERS.contains(&name)
}

/// Whether a query parameter (lowercase) belongs to the signature.
pub(super) fn is_of_signature(name: &str) -> bool {
    SIGNATURE_PARAMETERS.contains(&name)
}

/// Text of a header value: UTF-8 as SDKs send it, Latin-1 as RFC 9110 §5.5 remembers it.
fn text_of(bytes: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => Cow::Owned(bytes.iter().map(|b| char::from(*b)).collect()),
    }
}
