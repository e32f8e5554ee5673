//! The hosts that issue tokens, and the check of what clients then present: a token issued here, or one that a trusted
//! service account has signed itself.

use aws_lc_rs::signature::{RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use http::Method;
use serde_json::{Value, json};

use super::bucket::Refusal;
use super::respond::{Answer, json as answer_json};
use super::server::Asked;

const METADATA: &str = "/computeMetadata/v1/instance/service-accounts/default/token";
const EXCHANGE: &str = "/v1/token";
const IMPERSONATE: &str = "/v1/projects/-/serviceAccounts/blobs@double.example:generateAccessToken";

/// What the hosts give out.
const ISSUED: [&str; 3] = ["token-of-the-machine", "token-of-the-exchange", "token-of-the-account"];

/// The subject token that the exchange takes.
pub(crate) const SUBJECT_TOKEN: &str = "subject-token-of-the-tests";

pub(crate) fn is_token_path(path: &str) -> bool {
    [METADATA, EXCHANGE, IMPERSONATE].contains(&path)
}

pub(crate) fn issue(asked: &Asked) -> Result<Answer, Refusal> {
    let refuse = |message| Err(Refusal::new(400, "invalid_request", message));
    match (&asked.method, asked.path.as_str()) {
        (&Method::GET, METADATA) => {
            if asked.header("metadata-flavor") != Some("Google") {
                return refuse("no Metadata-Flavor");
            }
            let [token, ..] = ISSUED;
            Ok(answer_json(&json!({ "access_token": token, "expires_in": 3599, "token_type": "Bearer" })))
        }
        (&Method::POST, EXCHANGE) => {
            let form = String::from_utf8_lossy(&asked.body).into_owned();
            let grant = "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Atoken-exchange";
            if !form.contains(grant) || !form.contains(&format!("subject_token={SUBJECT_TOKEN}")) {
                return refuse("not an exchange of the token that is trusted");
            }
            let [_, token, _] = ISSUED;
            Ok(answer_json(&json!({
                "access_token": token,
                "issued_token_type": "urn:ietf:params:oauth:token-type:access_token",
                "token_type": "Bearer",
                "expires_in": 3599,
            })))
        }
        (&Method::POST, IMPERSONATE) => {
            let [_, exchanged, token] = ISSUED;
            if asked.header("authorization") != Some(&format!("Bearer {exchanged}")) {
                return Err(Refusal::new(401, "authError", "not the exchanged token"));
            }
            Ok(answer_json(&json!({ "accessToken": token, "expireTime": "2099-01-01T00:00:00Z" })))
        }
        _ => Err(Refusal::not_found("no such token")),
    }
}

/// Whether the request presents a token that counts.
pub(crate) fn check(asked: &Asked, trusted: Option<&(Vec<u8>, String)>) -> Result<(), Refusal> {
    let refuse = |message| Err(Refusal::new(401, "authError", message));
    let Some(token) = asked.header("authorization").and_then(|value| value.strip_prefix("Bearer ")) else {
        return refuse("no token");
    };
    if ISSUED.contains(&token) {
        return Ok(());
    }
    match trusted {
        Some((key, account)) if is_signed_by(token, key, account) => Ok(()),
        _ => refuse("not a token that is trusted"),
    }
}

/// RFC 7515 section 3.1 and the claims of a self-signed token (Google AIP-4111).
fn is_signed_by(token: &str, key: &[u8], account: &str) -> bool {
    let Some((signed, signature)) = token.rsplit_once('.') else { return false };
    let Some((header, claims)) = signed.split_once('.') else { return false };
    let decode = |part: &str| BASE64_URL_SAFE_NO_PAD.decode(part).ok();
    let document = |part: &str| decode(part).and_then(|it| serde_json::from_slice::<Value>(&it).ok());
    let (Some(header), Some(claims), Some(signature)) =
        (document(header), document(claims), decode(signature))
    else {
        return false;
    };
    let expires = claims["exp"].as_i64().zip(claims["iat"].as_i64());
    header["alg"] == "RS256"
        && claims["iss"] == account
        && claims["scope"] == "https://www.googleapis.com/auth/devstorage.read_write"
        && expires.is_some_and(|(expires, issued)| expires > issued && expires - issued <= 3700)
        && UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, key)
            .verify(signed.as_bytes(), &signature)
            .is_ok()
}
