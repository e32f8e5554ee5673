//! A `Range` header against a model that counts: the same bytes of the same object, or no range at all.

use http::{HeaderValue, header};

use super::client::parse_head;
use super::input::Input;
use crate::model::Resolved;
use crate::s3::{Call, Domains, decode};
use crate::testing::signer::HOST;

/// What the model says of a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Meant {
    /// There is none that S3 honours.
    Ignored,
    /// These bytes, first and last.
    Bytes(u64, u64),
    /// Everything, with 200.
    Whole,
    /// Nothing of it is there.
    Outside,
}

/// Two bytes of size (shifted by a third), then the header's value.
pub fn range(data: &[u8]) {
    let mut input = Input::new(data);
    let size = (input.number(usize::from(u16::MAX)) as u64) << (input.byte() % 49);
    let value = input.rest();
    let Ok(header) = HeaderValue::from_bytes(value) else { return };
    let head = format!("GET /records/k\nhost:{HOST}\n");
    let mut parts = parse_head(head.as_bytes()).expect("a head");
    parts.headers.insert(header::RANGE, header);
    let call = decode(&parts, &Domains::default()).expect("a range is honoured or ignored, never an error");
    let Call::GetObject(read) = call else { panic!("{} for GetObject", call.name()) };
    let found = match read.range.map(|range| range.resolve(size)) {
        None => Meant::Ignored,
        Some(Resolved::Whole) => Meant::Whole,
        Some(Resolved::Unsatisfiable) => Meant::Outside,
        Some(Resolved::Partial(range)) => {
            assert!(range.start() < range.end() && range.end() <= size, "a range outside of its object");
            assert_eq!(range.len(), range.end() - range.start());
            Meant::Bytes(range.start(), range.end() - 1)
        }
    };
    assert_eq!(found, model(value, size), "a range of {size} bytes");
}

/// One range of bytes in decimal (RFC 9110 §14.1.2), white space allowed around its parts, else none.
fn model(value: &[u8], size: u64) -> Meant {
    if value.iter().any(|b| !matches!(b, b'\t' | b' '..=b'~')) {
        return Meant::Ignored;
    }
    let Some(equals) = value.iter().position(|b| *b == b'=') else { return Meant::Ignored };
    let (unit, range) = (value[..equals].trim_ascii(), value[equals + 1..].trim_ascii());
    let Some(dash) = range.iter().position(|b| *b == b'-').filter(|_| unit.eq_ignore_ascii_case(b"bytes"))
    else {
        return Meant::Ignored;
    };
    let (first, last) = (range[..dash].trim_ascii(), range[dash + 1..].trim_ascii());
    let size = u128::from(size);
    let (first, last) = match (first.is_empty(), last.is_empty(), count(first), count(last)) {
        (true, _, _, Some(0)) => return Meant::Outside,
        (true, _, _, Some(_)) if size == 0 => return Meant::Whole,
        (true, false, _, Some(length)) => (size - length.min(size), size - 1),
        (false, true, Some(first), _) => (first, size.saturating_sub(1)),
        // Both too long to count are one place, behind every end.
        (false, false, Some(first), Some(last)) if first <= last => (first, last.min(size.saturating_sub(1))),
        _ => return Meant::Ignored,
    };
    let number = |n: u128| u64::try_from(n).unwrap_or(u64::MAX);
    if first >= size { Meant::Outside } else { Meant::Bytes(number(first), number(last)) }
}

/// Decimal digits; what does not fit into 64 bits counts as their largest number.
fn count(digits: &[u8]) -> Option<u128> {
    let most = u128::from(u64::MAX);
    let value = |sum: u128, digit: &u8| (sum * 10 + u128::from(digit - b'0')).min(most);
    let is_decimal = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    is_decimal.then(|| digits.iter().fold(0, value))
}
