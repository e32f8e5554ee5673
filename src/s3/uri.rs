//! Percent-encoding as S3 has it: decoded once, encoded once, nothing normalised. Signing and routing share this file,
//! so what was signed is what is done.

use std::borrow::Cow;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use super::error::{Code, S3Error};

/// All but the unreserved characters (RFC 3986 §2.3): `UriEncode` of the signature's specification.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
/// The same with `/` left as it is: paths, and names in listings.
const RESERVED_IN_PATH: &AsciiSet = &RESERVED.remove(b'/');

/// Parameters in one query string. Far more than any operation has; a cap because each one costs memory.
const PARAMETERS_MAX: usize = 100;

/// Encodes a name or value of a canonical query string.
pub(super) fn encode(text: &str) -> Cow<'_, str> {
    utf8_percent_encode(text, RESERVED).into()
}

/// Encodes a path, or a name in a listing with `encoding-type=url`.
pub(super) fn encode_path(text: &str) -> Cow<'_, str> {
    utf8_percent_encode(text, RESERVED_IN_PATH).into()
}

/// Decodes a path: `+` is a plus. A `%` without two hex digits, or what is not UTF-8 in the end, is no path.
pub(super) fn decode_path(raw: &str) -> Result<Cow<'_, str>, S3Error> {
    let bytes = raw.as_bytes();
    let escapes_are_whole = bytes.iter().enumerate().filter(|(_, b)| **b == b'%').all(|(at, _)| {
        bytes.get(at + 1..at + 3).is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    });
    if !escapes_are_whole {
        return Err(Code::InvalidUri.into());
    }
    percent_decode_str(raw).decode_utf8().map_err(|_| Code::InvalidUri.into())
}

/// A query string, decoded. Names and values are as the client meant them, in the order sent.
#[derive(Clone, Default)]
pub(super) struct Query(Vec<(String, String)>);

impl Query {
    /// Reads the query of a request target.
    pub(super) fn parse(raw: Option<&str>) -> Result<Self, S3Error> {
        let mut pairs = Vec::new();
        for pair in raw.unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
            if pairs.len() == PARAMETERS_MAX {
                return Err(S3Error::because(
                    Code::InvalidArgument,
                    "The request has too many query parameters.",
                ));
            }
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            // Here a plus is a space, as in forms; SDKs write %20 and are not concerned.
            let decode = |text: &str| decode_path(&text.replace('+', " ")).map(Cow::into_owned);
            pairs.push((decode(name)?, decode(value)?));
        }
        Ok(Self(pairs))
    }

    /// The value of `name`; an error if it is given twice, so that no two readers pick different ones.
    pub(super) fn value(&self, name: &str) -> Result<Option<&str>, S3Error> {
        let mut values = self.0.iter().filter(|(n, _)| n == name).map(|(_, v)| v.as_str());
        match (values.next(), values.next()) {
            (value, None) => Ok(value),
            _ => Err(S3Error::because(Code::InvalidArgument, "A query parameter is given more than once.")),
        }
    }

    /// Whether `name` is given at all.
    pub(super) fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(n, _)| n == name)
    }

    /// Names and values in the order sent.
    pub(super) fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// The canonical query string of the signature's specification, without the parameter `except`.
    pub(super) fn canonical(&self, except: &str) -> String {
        let mut pairs: Vec<_> =
            self.0.iter().filter(|(n, _)| n != except).map(|(n, v)| (encode(n), encode(v))).collect();
        pairs.sort();
        let mut out = String::new();
        for (name, value) in pairs {
            if !out.is_empty() {
                out.push('&');
            }
            out.push_str(&name);
            out.push('=');
            out.push_str(&value);
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn plus_is_a_plus_in_a_path_and_a_space_in_a_query() {
        assert_eq!(decode_path("/b/a+b%2Bc%20d").unwrap(), "/b/a+b+c d");
        assert_eq!(Query::parse(Some("prefix=a+b%2Bc")).unwrap().value("prefix").unwrap(), Some("a b+c"));
    }

    #[test]
    fn a_path_is_decoded_once_and_never_normalised() {
        assert_eq!(decode_path("/b//a/../%2e/./%252F").unwrap(), "/b//a/../././%2F");
        assert_eq!(encode_path("/b//a/../x"), "/b//a/../x");
        assert_eq!(encode_path("a+b c~é"), "a%2Bb%20c~%C3%A9");
        for bad in ["/%", "/%2", "/%zz", "/%ff", "/a%c3"] {
            assert_eq!(decode_path(bad).unwrap_err().code(), Code::InvalidUri, "{bad}");
        }
    }

    #[test]
    fn a_canonical_query_is_sorted_by_encoded_name_then_value() {
        let query = Query::parse(Some("prefix=J&max-keys=2&acl&a=b%2f&A=1&X-Amz-Signature=s")).unwrap();
        assert_eq!(query.canonical("X-Amz-Signature"), "A=1&a=b%2F&acl=&max-keys=2&prefix=J");
    }

    #[test]
    fn a_parameter_given_twice_is_refused_when_asked_for() {
        let query = Query::parse(Some("a=1&b=2&a=1")).unwrap();
        assert!(query.value("a").is_err());
        assert_eq!(query.value("b").unwrap(), Some("2"));
        assert!(Query::parse(Some(&"a&".repeat(101))).is_err());
    }

    proptest! {
        #[test]
        fn any_text_survives_encoding_and_decoding(text in "\\PC{0,60}") {
            let path = encode_path(&text);
            prop_assert_eq!(decode_path(&path).unwrap(), text.as_str());
            let raw = format!("k={}", encode(&text));
            let query = Query::parse(Some(&raw)).unwrap();
            prop_assert_eq!(query.value("k").unwrap(), Some(text.as_str()));
        }

        #[test]
        fn any_query_is_read_or_refused(raw in "[ -~]{0,80}") {
            let _ = Query::parse(Some(&raw));
            let _ = decode_path(&raw);
        }
    }
}
