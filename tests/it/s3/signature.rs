//! Signatures: what is refused, with which code, and that nothing signed can be altered.

use http::request::Parts;
use http::{HeaderName, HeaderValue, Method, Request, Uri};
use proptest::prelude::*;
use terroir::model::Timestamp;
use terroir::s3::{Code, Presented, SKEW_S_MAX, key_id};

use super::{
    EMPTY_SHA256, HOST, KEY_ID, NOW, SECRET, authenticate, authenticate_at, code_of, decoded, presigned,
    region, signed,
};

fn plain() -> Parts {
    let target = "/bucket/a%2Bb%20c//./../%C3%A9?list=a%20b&prefix=x%2Fy";
    signed("GET", target, EMPTY_SHA256, &[("range", "bytes=0-9"), ("x-amz-meta-a", "b")]).0
}

fn authorization(parts: &Parts) -> String {
    parts.headers["authorization"].to_str().unwrap().to_owned()
}

fn with_authorization(from: impl Fn(&str) -> String) -> Code {
    let mut parts = plain();
    let changed = from(&authorization(&parts));
    parts.headers.insert("authorization", HeaderValue::from_str(&changed).unwrap());
    code_of(authenticate(&parts))
}

#[test]
fn a_client_that_knows_only_the_specification_is_understood() {
    authenticate(&plain()).unwrap();
    for target in ["/", "/bucket?location=", "/bucket/a%252Fb", "/bucket//", "/bucket/~-._"] {
        authenticate(&signed("GET", target, EMPTY_SHA256, &[]).0).unwrap_or_else(|e| panic!("{target} {e}"));
    }
    let spaces = signed("GET", "/bucket/k", EMPTY_SHA256, &[("x-amz-meta-a", "a b")]).0;
    let mut folded = spaces;
    folded.headers.insert("x-amz-meta-a", HeaderValue::from_static("  a    b "));
    authenticate(&folded).expect("space is folded before signing");
    authenticate(&signed("PUT", "/bucket/k", EMPTY_SHA256, &[("x-amz-meta-n", "ÄÖ")]).0).expect("raw UTF-8");
}

#[test]
fn the_secret_decides() {
    let parts = plain();
    let presented = Presented::from_parts(&parts).unwrap();
    let verdict = |secret: &str, date: &str, scope: &str| {
        let key =
            terroir::s3::SigningKey::derive(&terroir::model::Secret::new(secret.to_owned()), date, scope);
        terroir::s3::verify(&presented, &key, &parts, NOW, &region()).is_ok()
    };
    assert!(verdict(SECRET, "20261123", "fr"));
    assert!(!verdict("another", "20261123", "fr"));
    assert!(!verdict(SECRET, "20261124", "fr"), "a key of another day");
    assert!(!verdict(SECRET, "20261123", "us"), "a key of another region");
}

#[test]
fn anonymous_and_foreign_ways_of_signing_are_refused() {
    let anonymous = Request::get("/bucket/key").header("host", HOST).body(()).unwrap().into_parts().0;
    assert_eq!(code_of(authenticate(&anonymous)), Code::AccessDenied);
    assert_eq!(with_authorization(|_| format!("AWS {KEY_ID}:c2lnbmF0dXJl")), Code::InvalidRequest);
    assert_eq!(with_authorization(|_| "Bearer abc".to_owned()), Code::InvalidArgument);
    assert_eq!(with_authorization(|_| String::new()), Code::AuthorizationHeaderMalformed);
    let v4a = with_authorization(|a| a.replacen("AWS4-HMAC-SHA256", "AWS4-ECDSA-P256-SHA256", 1));
    assert_eq!(v4a, Code::NotImplemented);
    let v2 = Request::get(format!("/bucket/key?AWSAccessKeyId={KEY_ID}&Expires=1&Signature=a"))
        .header("host", HOST);
    assert_eq!(code_of(authenticate(&v2.body(()).unwrap().into_parts().0)), Code::InvalidRequest);
    let mut both = presigned("GET", "/bucket/key", "60", "", &[]);
    both.headers.insert("authorization", plain().headers["authorization"].clone());
    assert_eq!(code_of(authenticate(&both)), Code::InvalidArgument);
    let token = signed("GET", "/bucket/key", EMPTY_SHA256, &[("x-amz-security-token", "t")]).0;
    assert_eq!(code_of(authenticate(&token)), Code::InvalidToken);
}

#[test]
fn a_malformed_authorization_is_refused() {
    let signature = |a: &str| a.rsplit_once('=').unwrap().1.to_owned();
    for change in [
        |a: &str| a.replacen("/s3/", "/ec2/", 1),
        |a: &str| a.replacen("aws4_request", "aws4", 1),
        |a: &str| a.replacen("20261123/", "20261122/", 1),
        |a: &str| a.replacen("Credential=", "Credentials=", 1),
        |a: &str| a.replacen(", SignedHeaders", ", Signature=00, SignedHeaders", 1),
        |a: &str| a.replacen("host;range", "range;host", 1),
        |a: &str| a.replacen("host;", "host;host;", 1),
        |a: &str| a.replacen("host;", "Host;", 1),
        |a: &str| a.replacen("/fr/", "/us/", 1),
        |a: &str| a.replacen(&format!("{KEY_ID}/"), "", 1),
    ] {
        assert_eq!(with_authorization(change), Code::AuthorizationHeaderMalformed);
    }
    let upper = with_authorization(|a| a.replace(&signature(a), &signature(a).to_uppercase()));
    assert_eq!(upper, Code::SignatureDoesNotMatch, "one spelling");
    let short = with_authorization(|a| a[..a.len() - 2].to_owned());
    assert_eq!(short, Code::SignatureDoesNotMatch);
}

#[test]
fn a_wrong_region_is_answered_with_the_right_one() {
    let mut parts = plain();
    let other = authorization(&parts).replacen("/fr/", "/us-east-1/", 1);
    parts.headers.insert("authorization", HeaderValue::from_str(&other).unwrap());
    let error = authenticate(&parts).unwrap_err();
    let ids = terroir::s3::RequestIds { request: "R".into(), host: "H".into() };
    let response = error.into_response(&ids, false);
    assert_eq!(response.headers()["x-amz-bucket-region"], "fr");
    let body = String::from_utf8(response.body().to_vec()).unwrap();
    assert!(
        body.contains("<Code>AuthorizationHeaderMalformed</Code>") && body.contains("<Region>fr</Region>")
    );
    assert!(!body.contains("us-east-1"), "what was sent is not echoed");
}

#[test]
fn clocks_may_differ_by_fifteen_minutes_and_no_more() {
    let at = |offset: i64| {
        let seconds = NOW.seconds().checked_add_signed(offset).unwrap();
        authenticate_at(&plain(), Timestamp::from_seconds(seconds)).map(|_| ()).map_err(|e| e.code())
    };
    let skew = i64::try_from(SKEW_S_MAX).unwrap();
    assert_eq!((at(skew), at(-skew)), (Ok(()), Ok(())));
    assert_eq!(at(skew + 1), Err(Code::RequestTimeTooSkewed));
    assert_eq!(at(-skew - 1), Err(Code::RequestTimeTooSkewed));
}

#[test]
fn a_presigned_url_lives_as_long_as_it_says_and_at_most_seven_days() {
    let at = |expires: &str, offset: u64| {
        let parts = presigned("GET", "/bucket/key", expires, "", &[]);
        authenticate_at(&parts, Timestamp::from_seconds(NOW.seconds() + offset))
            .map(|_| ())
            .map_err(|e| e.code())
    };
    assert_eq!(at("60", 59), Ok(()));
    assert_eq!(at("60", 60), Err(Code::AccessDenied));
    assert_eq!(at("604800", 604_799), Ok(()));
    for bad in ["0", "604801", "-1", "+60", "x", "", "99999999999999999999999"] {
        assert_eq!(at(bad, 0), Err(Code::AuthorizationQueryParametersError), "{bad}");
    }
}

#[test]
fn host_and_every_amz_header_must_be_signed() {
    let mut parts = plain();
    parts.headers.insert("x-amz-acl", HeaderValue::from_static("public-read"));
    assert_eq!(code_of(authenticate(&parts)), Code::AccessDenied);
    let mut parts = plain();
    parts.headers.insert("content-md5", HeaderValue::from_static("AAAA"));
    assert_eq!(code_of(authenticate(&parts)), Code::AccessDenied);
    let mut parts = presigned("PUT", "/bucket/key", "60", "", &[]);
    parts.headers.insert("x-amz-meta-terroir-class", HeaderValue::from_static("public"));
    assert_eq!(code_of(authenticate(&parts)), Code::AccessDenied);
    // DuckDB does not sign its content type, SDKs not their user agent.
    let mut parts = plain();
    parts.headers.insert("content-type", HeaderValue::from_static("text/plain"));
    parts.headers.insert("user-agent", HeaderValue::from_static("duckdb"));
    authenticate(&parts).unwrap();
    let without_host = with_authorization(|a| a.replacen("SignedHeaders=host;", "SignedHeaders=", 1));
    assert_eq!(without_host, Code::AccessDenied);
    let mut parts = plain();
    parts.headers.remove("range");
    assert_eq!(code_of(authenticate(&parts)), Code::SignatureDoesNotMatch, "a signed header taken away");
    let mut parts = plain();
    parts.headers.remove("x-amz-content-sha256");
    assert_eq!(code_of(authenticate(&parts)), Code::InvalidRequest);
    let mut parts = plain();
    parts.headers.remove("x-amz-date");
    assert_eq!(code_of(authenticate(&parts)), Code::AccessDenied);
}

#[test]
fn the_key_id_is_read_without_authentication_and_only_if_it_is_ours() {
    assert_eq!(key_id(&plain()).unwrap().region(), &region());
    assert_eq!(key_id(&presigned("GET", "/b", "1", "", &[])).unwrap().as_str(), KEY_ID);
    let foreign = plain();
    let text = authorization(&foreign).replacen(KEY_ID, "AKIAIOSFODNN7EXAMPLE", 1);
    let mut foreign = foreign;
    foreign.headers.insert("authorization", HeaderValue::from_str(&text).unwrap());
    assert!(key_id(&foreign).is_none());
    assert!(key_id(&Request::get("/").body(()).unwrap().into_parts().0).is_none());
}

#[test]
fn nothing_secret_or_of_a_record_shows_in_debug() {
    let parts = presigned("GET", "/bucket/martin-dupont", "60", "", &[]);
    let presented = Presented::from_parts(&parts).unwrap();
    let verified = authenticate(&parts).unwrap();
    let call = decoded(&parts).unwrap();
    let text = format!("{presented:?} {verified:?} {call:?}");
    assert!(!text.contains(SECRET) && !text.contains("martin"), "{text}");
}

/// What a request means: if a mutation leaves this alone, it changed nothing.
fn meaning(parts: &Parts) -> String {
    let mut headers: Vec<_> =
        parts.headers.iter().map(|(n, v)| (n.as_str(), v.as_bytes().to_vec())).collect();
    headers.retain(|(name, _)| *name != "authorization");
    let path: Vec<u8> = percent_encoding::percent_decode_str(parts.uri.path()).collect();
    let query: Vec<Vec<u8>> = parts
        .uri
        .query()
        .unwrap_or_default()
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| percent_encoding::percent_decode_str(&pair.replace('+', " ")).collect())
        .collect();
    format!("{} {path:?} {query:?} {headers:?}", parts.method)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn any_flipped_bit_of_a_signed_request_is_refused(
        place in 0_usize..6,
        at in any::<prop::sample::Index>(),
        bit in 0_u8..8,
        in_query: bool,
    ) {
        let original = if in_query { presigned("GET", "/bucket/a%2Bb", "60", "&prefix=x%2Fy", &[]) } else { plain() };
        prop_assert!(authenticate(&original).is_ok(), "the control");
        let mut parts = original.clone();
        let flip = |bytes: &[u8]| {
            let mut bytes = bytes.to_vec();
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
            bytes
        };
        match place {
            0 => match Method::from_bytes(&flip(parts.method.as_str().as_bytes())) {
                Ok(method) => parts.method = method,
                Err(_) => return Ok(()),
            },
            1 | 2 => match String::from_utf8(flip(parts.uri.to_string().as_bytes())).map(|s| s.parse::<Uri>()) {
                Ok(Ok(uri)) => parts.uri = uri,
                _ => return Ok(()),
            },
            _ => {
                let names: Vec<HeaderName> = parts.headers.keys().cloned().collect();
                let name = &names[place % names.len()];
                match HeaderValue::from_bytes(&flip(parts.headers[name].as_bytes())) {
                    Ok(value) => parts.headers.insert(name.clone(), value),
                    Err(_) => return Ok(()),
                };
            }
        }
        if authenticate(&parts).is_ok() {
            prop_assert_eq!(meaning(&parts), meaning(&original));
        }
    }

    #[test]
    fn any_authorization_is_a_proof_or_an_error(text in "(AWS4-HMAC-SHA256 )?[ -~]{0,200}") {
        let mut parts = plain();
        parts.headers.insert("authorization", HeaderValue::from_str(&text).unwrap());
        let _ = key_id(&parts);
        prop_assert!(authenticate(&parts).is_err());
    }

    #[test]
    fn any_query_form_is_a_proof_or_an_error(query in "(X-Amz-(Algorithm|Date|Expires|Signature|Credential)=[A-Za-z0-9%/-]{0,20}&){0,6}") {
        if let Ok(request) = Request::get(format!("/bucket/key?{query}")).header("host", HOST).body(()) {
            prop_assert!(authenticate(&request.into_parts().0).is_err());
        }
    }
}
