//! What an answer of an S3-compatible store means: its statuses and codes as kinds of our own.

use std::time::Duration;

use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::{ConnectorError, ProvideErrorMetadata, SdkError};

use crate::blobs::{BackendAnswer, Error, ErrorKind, Verb};
use crate::egress::EgressError;

/// The error that a failed call stands for.
pub(super) fn error_of<E>(verb: Verb, error: SdkError<E, HttpResponse>) -> Error
where
    E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
{
    match error {
        SdkError::ServiceError(refusal) => {
            let answer = answer_of(refusal.raw().status().as_u16(), refusal.err().code());
            let pause = pause_of(|name| refusal.raw().headers().get(name));
            Error::with(verb, kind_of(&answer), answer).after(pause)
        }
        SdkError::DispatchFailure(ref failure) => {
            let kind = failure.as_connector_error().map_or(ErrorKind::Internal, kind_of_connector);
            match error.into_source() {
                Ok(cause) => Error::with(verb, kind, cause),
                Err(_) => Error::new(verb, kind),
            }
        }
        SdkError::TimeoutError(_) => Error::new(verb, ErrorKind::Timeout),
        // The head of an answer came, but no sense could be made of the rest: a body that broke off, or a proxy's page.
        SdkError::ResponseError(answer) => {
            let pause = pause_of(|name| answer.raw().headers().get(name));
            let answer = answer_of(answer.raw().status().as_u16(), None);
            let kind = match kind_of(&answer) {
                ErrorKind::Internal => ErrorKind::Unavailable,
                kind => kind,
            };
            Error::with(verb, kind, answer).after(pause)
        }
        _ => Error::new(verb, ErrorKind::Internal),
    }
}

fn answer_of(status: u16, code: Option<&str>) -> BackendAnswer {
    let plain = |code: &&str| code.len() <= 64 && code.bytes().all(|b| b.is_ascii_alphabetic());
    BackendAnswer { status, code: code.filter(plain).unwrap_or_default().to_owned() }
}

/// Codes where they say more than the status (S3 API reference, "Error responses"; RGW's `QuotaExceeded`), statuses else.
fn kind_of(answer: &BackendAnswer) -> ErrorKind {
    match answer.code.as_str() {
        "NoSuchBucket" | "AuthorizationHeaderMalformed" | "IllegalLocationConstraintException" => {
            return ErrorKind::Misconfigured;
        }
        "QuotaExceeded" | "InsufficientStorage" => return ErrorKind::Full,
        "ExpiredToken" | "InvalidToken" | "TokenRefreshRequired" => return ErrorKind::Denied,
        "SlowDown" | "SlowDownRead" | "SlowDownWrite" | "TooManyRequests" | "RequestLimitExceeded" => {
            return ErrorKind::SlowDown;
        }
        // BadDigest: the body was changed on the way; sent again, it may arrive.
        "BadDigest" | "RequestTimeout" | "OperationAborted" | "ConditionalRequestConflict" => {
            return ErrorKind::Unavailable;
        }
        _ => {}
    }
    match answer.status {
        // A redirect is how S3 says "not here"; following it could leave the region.
        300..=399 | 405 | 501 => ErrorKind::Misconfigured,
        401 | 403 => ErrorKind::Denied,
        404 => ErrorKind::NotFound,
        429 => ErrorKind::SlowDown,
        408 | 409 | 425 | 500 | 502..=504 => ErrorKind::Unavailable,
        412 => ErrorKind::Exists,
        416 => ErrorKind::Truncated,
        507 => ErrorKind::Full,
        _ => ErrorKind::Internal,
    }
}

/// How long the answer asks us to stay away: `Retry-After` in seconds, or as a date (RFC 9110 §10.2.3), which is held against
/// the answer's own `Date`, so that no clock of ours has to agree with the store's.
fn pause_of<'a>(header: impl Fn(&'static str) -> Option<&'a str>) -> Option<Duration> {
    let asked = header("retry-after")?;
    if let Ok(seconds) = asked.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let until = httpdate::parse_http_date(asked).ok()?;
    let said = httpdate::parse_http_date(header("date")?).ok()?;
    Some(until.duration_since(said).unwrap_or_default())
}

fn kind_of_connector(error: &ConnectorError) -> ErrorKind {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(link) = cause {
        match link.downcast_ref::<EgressError>() {
            Some(EgressError::OtherHost | EgressError::Tls(_)) => return ErrorKind::Misconfigured,
            Some(EgressError::Slow) => return ErrorKind::Timeout,
            Some(EgressError::Unreachable(_)) => return ErrorKind::Unavailable,
            None => cause = link.source(),
        }
    }
    if error.is_user() { ErrorKind::Internal } else { ErrorKind::Unavailable }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_of_us_is_never_a_missing_blob_and_a_missing_bucket_neither() {
        for (status, code, kind) in [
            (401, None, ErrorKind::Denied),
            (403, Some("AccessDenied"), ErrorKind::Denied),
            (403, Some("RequestTimeTooSkewed"), ErrorKind::Denied),
            (400, Some("ExpiredToken"), ErrorKind::Denied),
            (403, Some("QuotaExceeded"), ErrorKind::Full),
            (404, Some("NoSuchKey"), ErrorKind::NotFound),
            (404, None, ErrorKind::NotFound),
            (404, Some("NoSuchBucket"), ErrorKind::Misconfigured),
            (301, Some("PermanentRedirect"), ErrorKind::Misconfigured),
            (307, None, ErrorKind::Misconfigured),
            (503, Some("SlowDown"), ErrorKind::SlowDown),
            (429, None, ErrorKind::SlowDown),
            (503, None, ErrorKind::Unavailable),
            (400, Some("RequestTimeout"), ErrorKind::Unavailable),
            (400, Some("BadDigest"), ErrorKind::Unavailable),
            (400, Some("InvalidArgument"), ErrorKind::Internal),
            (200, Some("InternalError"), ErrorKind::Internal),
        ] {
            assert_eq!(kind_of(&answer_of(status, code)), kind, "{status} {code:?}");
        }
    }

    #[test]
    fn a_pause_is_read_in_both_its_forms_and_nothing_else_is_one() {
        let pause = |after: &'static str, date: &'static str| {
            let said = move |name: &str| match name {
                "retry-after" => Some(after),
                "date" => Some(date).filter(|date| !date.is_empty()),
                _ => None,
            };
            pause_of(said).map(|pause| pause.as_secs())
        };
        let noon = "Mon, 23 Nov 2026 12:00:00 GMT";
        assert_eq!(pause("7", ""), Some(7));
        assert_eq!(pause("Mon, 23 Nov 2026 12:00:30 GMT", noon), Some(30));
        // In the past: at once.
        assert_eq!(pause("Mon, 23 Nov 2026 11:00:00 GMT", noon), Some(0));
        for (after, date) in
            [("Mon, 23 Nov 2026 12:00:30 GMT", ""), ("soon", noon), ("-1", noon), ("1.5", noon)]
        {
            assert_eq!(pause(after, date), None, "{after}");
        }
        assert_eq!(pause_of(|_| None), None);
    }

    #[test]
    fn a_backends_text_does_not_get_into_an_error() {
        assert_eq!(answer_of(400, Some("Bad <patient-7>")).code, "");
        assert_eq!(answer_of(400, Some(&"A".repeat(65))).code, "");
    }
}
