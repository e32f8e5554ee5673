//! What a failure of the Google client means: HTTP statuses, gRPC codes and broken connections as kinds of our own.
//!
//! The client's own errors quote the service's text, URLs and whole answers; none of that is kept.

use std::error::Error as StdError;

use google_cloud_gax::error::CredentialsError;
use google_cloud_gax::error::rpc::Code;
use google_cloud_storage::error::ReadError;

use crate::blobs::{BackendAnswer, Error, ErrorKind, Verb};

/// What may be told of a failure that was no answer of the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Trouble {
    /// No connection was made.
    #[error("the store cannot be reached")]
    Unreachable,
    /// The store's certificate is not one we trust, or TLS failed otherwise.
    #[error("the store's TLS handshake failed")]
    Tls,
    /// The connection broke before the answer was whole.
    #[error("the answer broke off")]
    BrokenOff,
    /// No access token: the credentials are not accepted or cannot be used.
    #[error("no access token: the credentials are refused or unusable")]
    NoToken,
    /// No access token just now.
    #[error("no access token: whoever issues them cannot be reached")]
    NoTokenYet,
    /// An answer that does not follow the protocol.
    #[error("the answer does not follow the protocol")]
    Protocol,
    /// The bytes do not have the checksum that came with them.
    #[error("the bytes do not have their checksum")]
    Checksum,
    /// The bucket keeps old generations: a delete there deletes nothing.
    #[error("the bucket has object versioning enabled: what is deleted would stay readable")]
    Versioned,
}

/// Of the service's `Provided CRC32C "…" doesn't match calculated CRC32C "…".`: a 400 for which it has no code but `invalid`.
const OTHER_CHECKSUM: &str = "calculated CRC32C";

/// The error that a failed call stands for.
pub(super) fn error_of(verb: Verb, error: &google_cloud_storage::Error) -> Error {
    if let Some(status) = error.http_status_code() {
        let answer = BackendAnswer { status, code: String::new() };
        // The body was changed on its way there; sent again, it may arrive. Only a body of ours has a checksum of ours.
        let changed = status == 400 && verb == Verb::Put && says(error, OTHER_CHECKSUM);
        let kind = if changed { ErrorKind::Unavailable } else { kind_of_status(status) };
        return Error::with(verb, kind, answer);
    }
    if let Some(status) = error.status() {
        let answer = BackendAnswer { status: 0, code: format!("{:?}", status.code) };
        return Error::with(verb, kind_of_code(status.code), answer);
    }
    if error.is_timeout() {
        return Error::new(verb, ErrorKind::Timeout);
    }
    let trouble = trouble_of(error);
    Error::with(verb, kind_of_trouble(trouble), trouble)
}

/// Whether the service's text holds these words. It is looked at and not kept.
fn says(error: &google_cloud_storage::Error, words: &str) -> bool {
    let bytes = error.http_payload().is_some_and(|it| String::from_utf8_lossy(it).contains(words));
    bytes || error.status().is_some_and(|status| status.message.contains(words))
}

/// Cloud Storage documentation, "HTTP status and error codes for JSON".
fn kind_of_status(status: u16) -> ErrorKind {
    match status {
        // Never followed: it could leave the region. (308 belongs to uploads in pieces, which we do not make.)
        300..=399 | 405 | 501 => ErrorKind::Misconfigured,
        401 | 403 => ErrorKind::Denied,
        404 => ErrorKind::NotFound,
        408 | 409 | 425 | 429 | 500 | 502..=504 => ErrorKind::Unavailable,
        412 => ErrorKind::Exists,
        416 => ErrorKind::Truncated,
        _ => ErrorKind::Internal,
    }
}

/// The same statuses as `google.rpc.Code` maps them to gRPC; `UNKNOWN` and `INTERNAL` are Google's spellings of 500.
fn kind_of_code(code: Code) -> ErrorKind {
    match code {
        Code::Unauthenticated | Code::PermissionDenied => ErrorKind::Denied,
        Code::NotFound => ErrorKind::NotFound,
        Code::DeadlineExceeded => ErrorKind::Timeout,
        Code::Unavailable
        | Code::ResourceExhausted
        | Code::Aborted
        | Code::Cancelled
        | Code::Unknown
        | Code::Internal => ErrorKind::Unavailable,
        // A retention rule or a hold of the bucket, or an endpoint that does not speak this service.
        Code::FailedPrecondition | Code::Unimplemented => ErrorKind::Misconfigured,
        _ => ErrorKind::Internal,
    }
}

fn kind_of_trouble(trouble: Trouble) -> ErrorKind {
    match trouble {
        Trouble::Unreachable | Trouble::BrokenOff | Trouble::NoTokenYet => ErrorKind::Unavailable,
        Trouble::NoToken => ErrorKind::Denied,
        Trouble::Tls | Trouble::Versioned => ErrorKind::Misconfigured,
        Trouble::Protocol | Trouble::Checksum => ErrorKind::Internal,
    }
}

fn trouble_of(error: &google_cloud_storage::Error) -> Trouble {
    if let Some(credentials) = find::<CredentialsError>(error) {
        return if credentials.is_transient() { Trouble::NoTokenYet } else { Trouble::NoToken };
    }
    if error.is_authentication() {
        return Trouble::NoToken;
    }
    // rustls' own refusals (a certificate, a version) come wrapped in an I/O error.
    if find::<rustls::Error>(error).is_some() {
        return Trouble::Tls;
    }
    match find::<ReadError>(error) {
        Some(ReadError::ChecksumMismatch(_)) => return Trouble::Checksum,
        Some(ReadError::ShortRead(_)) => return Trouble::BrokenOff,
        Some(_) => return Trouble::Protocol,
        None => {}
    }
    if error.is_connect() {
        return Trouble::Unreachable;
    }
    // The head of an answer came and the rest made no sense: cut off, or a page of somebody in between.
    if error.is_io() || error.is_transport() || error.is_deserialization() {
        return Trouble::BrokenOff;
    }
    Trouble::Protocol
}

/// The first cause of type `E`, also inside I/O errors, whose chain skips what they wrap.
fn find<'a, E: StdError + 'static>(error: &'a (dyn StdError + 'static)) -> Option<&'a E> {
    let mut cause = Some(error);
    while let Some(link) = cause {
        if let Some(found) = link.downcast_ref::<E>() {
            return Some(found);
        }
        let wrapped = link.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        cause = match wrapped {
            Some(wrapped) => Some(wrapped),
            None => link.source(),
        };
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use google_cloud_gax::error::rpc::Status;
    use google_cloud_storage::Error as SdkError;

    #[test]
    fn a_refusal_of_us_is_never_a_missing_blob_and_only_trouble_is_retried() {
        for (status, kind) in [
            (301, ErrorKind::Misconfigured),
            (308, ErrorKind::Misconfigured),
            (400, ErrorKind::Internal),
            (401, ErrorKind::Denied),
            (403, ErrorKind::Denied),
            (404, ErrorKind::NotFound),
            (408, ErrorKind::Unavailable),
            (412, ErrorKind::Exists),
            (416, ErrorKind::Truncated),
            (429, ErrorKind::Unavailable),
            (500, ErrorKind::Unavailable),
            (503, ErrorKind::Unavailable),
            (507, ErrorKind::Internal),
        ] {
            let error = SdkError::http(status, http::HeaderMap::new(), bytes::Bytes::new());
            assert_eq!(error_of(Verb::Read, &error).kind(), kind, "{status}");
        }
        for (code, kind) in [
            (Code::Unauthenticated, ErrorKind::Denied),
            (Code::PermissionDenied, ErrorKind::Denied),
            (Code::NotFound, ErrorKind::NotFound),
            (Code::ResourceExhausted, ErrorKind::Unavailable),
            (Code::Unavailable, ErrorKind::Unavailable),
            (Code::Internal, ErrorKind::Unavailable),
            (Code::DeadlineExceeded, ErrorKind::Timeout),
            (Code::FailedPrecondition, ErrorKind::Misconfigured),
            (Code::InvalidArgument, ErrorKind::Internal),
            (Code::DataLoss, ErrorKind::Internal),
        ] {
            let error = SdkError::service(Status::default().set_code(code));
            assert_eq!(error_of(Verb::Head, &error).kind(), kind, "{code:?}");
        }
    }

    #[test]
    fn a_token_that_is_refused_is_ours_to_mend_and_one_that_does_not_come_is_retried() {
        for (transient, kind) in [(true, ErrorKind::Unavailable), (false, ErrorKind::Denied)] {
            let error = SdkError::authentication(CredentialsError::from_msg(transient, "x"));
            assert_eq!(error_of(Verb::Put, &error).kind(), kind);
        }
    }

    #[test]
    fn a_body_that_did_not_arrive_as_it_was_sent_is_sent_again_and_nothing_else_that_is_invalid() {
        let told = r#"Provided CRC32C \"AAAAAA==\" doesn't match calculated CRC32C \"2HvlZg==\"."#;
        for (verb, status, message, kind) in [
            (Verb::Put, 400, told, ErrorKind::Unavailable),
            (Verb::Put, 400, "Invalid argument.", ErrorKind::Internal),
            (Verb::Put, 403, told, ErrorKind::Denied),
            (Verb::Read, 400, told, ErrorKind::Internal),
        ] {
            let text = format!(r#"{{"error":{{"code":{status},"message":"{message}","errors":[]}}}}"#);
            let raw = SdkError::http(status, http::HeaderMap::new(), text.into());
            assert_eq!(error_of(verb, &raw).kind(), kind, "{verb:?} {status} {message}");
            // The client reads such a text where it can.
            let read = Status::default().set_message(message.replace('\\', ""));
            let read = SdkError::service_with_http_metadata(read, Some(status), None);
            assert_eq!(error_of(verb, &read).kind(), kind, "{verb:?} {status} {message}");
        }
    }

    #[test]
    fn the_services_text_does_not_get_into_an_error() {
        let text = bytes::Bytes::from_static(br#"{"error":{"code":400,"message":"patient-7"}}"#);
        let error = error_of(Verb::Put, &SdkError::http(400, http::HeaderMap::new(), text));
        assert!(!crate::telemetry::event::chain(&error).contains("patient"));
        let status = Status::default().set_code(Code::NotFound).set_message("patient-7");
        let error = error_of(Verb::Head, &SdkError::service(status));
        assert!(!format!("{error:?}{}", crate::telemetry::event::chain(&error)).contains("patient"));
    }

    #[test]
    fn a_refused_certificate_is_found_inside_the_connections_error() {
        let tls = rustls::Error::General("x".into());
        let io = std::io::Error::new(std::io::ErrorKind::InvalidData, tls);
        assert_eq!(error_of(Verb::Put, &SdkError::connect(io)).kind(), ErrorKind::Misconfigured);
        let io = std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
        assert_eq!(error_of(Verb::Put, &SdkError::connect(io)).kind(), ErrorKind::Unavailable);
    }
}
