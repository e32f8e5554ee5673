//! http → [`Call`]: reads the request line and headers, touches no body, changes no header.

use http::request::Parts;

use super::call::Call;
use super::error::S3Error;

/// The base domains under which `bucket.domain` is virtual-host style. Everything else is path style.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Domains(Vec<String>);

impl Domains {
    /// These base domains (`s3.fr.example.org`), without ports; compared without regard to case.
    pub fn new(domains: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self(domains.into_iter().map(|domain| domain.into().to_ascii_lowercase()).collect())
    }
}

/// Decodes a request. What S3 knows and terroir does not is [`Call::Unsupported`]; what is wrong is an error.
///
/// It neither authenticates nor looks anything up: do not answer anything about a bucket before both.
pub fn decode(parts: &Parts, domains: &Domains) -> Result<Call, S3Error> {
    let _ = &domains.0;
    todo!()
}
