//! http → [`Call`]: reads the request line and headers, touches no body, changes no header.

mod allowed;
mod list;
mod read;
mod route;
mod target;
#[cfg(test)]
mod tests;
mod write;

use http::request::Parts;

use super::call::Call;
use super::error::S3Error;
use super::headers::RequestHeaders;
use super::uri::Query;

pub use target::Domains;

/// One request while it is decoded.
struct Request<'a> {
    parts: &'a Parts,
    query: Query,
    headers: RequestHeaders<'a>,
}

/// Decodes a request. What S3 knows and terroir does not is [`Call::Unsupported`]; what is wrong is an error.
///
/// It neither authenticates nor looks anything up: do not answer anything about a bucket before both.
///
/// # Errors
/// `InvalidURI`, `InvalidBucketName`, `KeyTooLongError`, `MethodNotAllowed`, `InvalidArgument`, `InvalidRequest`,
/// `MetadataTooLarge`, `InvalidTag`, `NoSuchUpload` for an upload id that is none of ours; `AccessDenied` for a CORS
/// preflight, which is answered before anybody is authenticated because browsers do not sign it.
pub fn decode(parts: &Parts, domains: &Domains) -> Result<Call, S3Error> {
    let query = Query::parse(parts.uri.query())?;
    let headers = RequestHeaders::new(parts, &query);
    let target = target::Target::read(parts, domains)?;
    route::route(&Request { parts, query, headers }, target)
}
