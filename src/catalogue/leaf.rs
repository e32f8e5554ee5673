//! The smallest values of a region or register file: countries, hosts, endpoints, days. Each is parsed once, here.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::de::{Deserialize, Deserializer, Error as _};

use crate::model::Timestamp;

/// A text that is not the value its field holds, as a phrase for a person.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidLeaf(pub(super) &'static str);

/// Reads a field whose type parses from text.
pub(super) fn parse<'de, T, D>(from: D) -> Result<T, D::Error>
where
    T: FromStr<Err: fmt::Display>,
    D: Deserializer<'de>,
{
    String::deserialize(from)?.parse().map_err(D::Error::custom)
}

/// Reads a field that is a list of such texts.
pub(super) fn parse_list<'de, T, C, D>(from: D) -> Result<C, D::Error>
where
    T: FromStr<Err: fmt::Display>,
    C: FromIterator<T>,
    D: Deserializer<'de>,
{
    Vec::<String>::deserialize(from)?.iter().map(|text| text.parse().map_err(D::Error::custom)).collect()
}

/// Reads an optional field whose type parses from text.
pub(super) fn parse_some<'de, T, D>(from: D) -> Result<Option<T>, D::Error>
where
    T: FromStr<Err: fmt::Display>,
    D: Deserializer<'de>,
{
    parse(from).map(Some)
}

/// Reads a table whose values parse from text.
pub(super) fn parse_values<'de, T, D>(from: D) -> Result<BTreeMap<String, T>, D::Error>
where
    T: FromStr<Err: fmt::Display>,
    D: Deserializer<'de>,
{
    let texts = BTreeMap::<String, String>::deserialize(from)?;
    let parse = |(name, text): (String, String)| Ok((name, text.parse().map_err(D::Error::custom)?));
    texts.into_iter().map(parse).collect()
}

/// The officially assigned alpha-2 codes of ISO 3166-1. `EU`, `UK` and the like are reserved, not assigned: a label is no
/// country.
const COUNTRIES: &str = "AD AE AF AG AI AL AM AO AQ AR AS AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ BL BM BN BO BQ BR BS BT BV BW \
     BY BZ CA CC CD CF CG CH CI CK CL CM CN CO CR CU CV CW CX CY CZ DE DJ DK DM DO DZ EC EE EG EH ER ES ET FI FJ FK FM \
     FO FR GA GB GD GE GF GG GH GI GL GM GN GP GQ GR GS GT GU GW GY HK HM HN HR HT HU ID IE IL IM IN IO IQ IR IS IT JE \
     JM JO JP KE KG KH KI KM KN KP KR KW KY KZ LA LB LC LI LK LR LS LT LU LV LY MA MC MD ME MF MG MH MK ML MM MN MO MP \
     MQ MR MS MT MU MV MW MX MY MZ NA NC NE NF NG NI NL NO NP NR NU NZ OM PA PE PF PG PH PK PL PM PN PR PS PT PW PY QA \
     RE RO RS RU RW SA SB SC SD SE SG SH SI SJ SK SL SM SN SO SR SS ST SV SX SY SZ TC TD TF TG TH TJ TK TL TM TN TO TR \
     TT TV TW TZ UA UG UM US UY UZ VA VC VE VG VI VN VU WF WS YE YT ZA ZM ZW";

/// A country, by its ISO 3166-1 alpha-2 code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Country([u8; 2]);

impl Country {
    /// The code: two capital letters.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl FromStr for Country {
    type Err = InvalidLeaf;

    fn from_str(text: &str) -> Result<Self, InvalidLeaf> {
        let rule = InvalidLeaf(
            "must be an ISO 3166-1 alpha-2 code in capitals, such as FR; a label like EU is no country",
        );
        let code = text.as_bytes().try_into().map_err(|_| rule)?;
        if COUNTRIES.split_ascii_whitespace().any(|known| known == text) { Ok(Self(code)) } else { Err(rule) }
    }
}

impl fmt::Display for Country {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A host and a port: what a connection is opened to, and what the egress allow-list holds.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Authority {
    host: String,
    port: u16,
}

impl Authority {
    /// The port of an authority that names none.
    const PORT_DEFAULT: u16 = 443;
    /// RFC 1035 section 2.3.4, as text without the final dot.
    const HOST_BYTES_MAX: usize = 253;

    /// The host: a lowercase name, an IPv4 address, or an IPv6 address without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port; 443 if none was named.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Whether it is this machine, by the address itself or by the reserved name `localhost` (RFC 6761).
    pub fn is_loopback(&self) -> bool {
        self.host == "localhost" || self.host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
    }

    /// Whether it lies under a top-level name that is reserved for documentation and tests (RFC 2606): nobody is there.
    pub fn is_placeholder(&self) -> bool {
        ["example", "test", "invalid"].contains(&self.host.rsplit('.').next().unwrap_or_default())
    }

    fn parse_with_default(text: &str, default: u16) -> Result<Self, InvalidLeaf> {
        let rule = InvalidLeaf("must be a lowercase host name or an IP address, with an optional :port");
        let (host, port) = if let Some(rest) = text.strip_prefix('[') {
            let (host, rest) = rest.split_once(']').ok_or(rule)?;
            host.parse::<std::net::Ipv6Addr>().map_err(|_| rule)?;
            (host, (!rest.is_empty()).then(|| rest.strip_prefix(':').ok_or(rule)).transpose()?)
        } else {
            let (host, port) = text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port)));
            if !is_host_name(host) {
                return Err(rule);
            }
            (host, port)
        };
        let port = match port {
            None => default,
            // `parse` alone would take "+443".
            Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => digits.parse().map_err(|_| rule)?,
            Some(_) => return Err(rule),
        };
        if port == 0 { Err(rule) } else { Ok(Self { host: host.into(), port }) }
    }
}

fn is_host_name(host: &str) -> bool {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    host.len() <= Authority::HOST_BYTES_MAX && host.split('.').all(is_label)
}

impl FromStr for Authority {
    type Err = InvalidLeaf;

    fn from_str(text: &str) -> Result<Self, InvalidLeaf> {
        Self::parse_with_default(text, Self::PORT_DEFAULT)
    }
}

impl fmt::Display for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]", self.host)?;
        } else {
            f.write_str(&self.host)?;
        }
        if self.port == Self::PORT_DEFAULT { Ok(()) } else { write!(f, ":{}", self.port) }
    }
}

/// The base of a service's addresses: scheme and authority, no user, path or query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    tls: bool,
    authority: Authority,
}

impl Endpoint {
    /// An endpoint without TLS on this machine: what overlays use. `None` if `authority` is another machine.
    pub fn loopback(authority: Authority) -> Option<Self> {
        authority.is_loopback().then_some(Self { tls: false, authority })
    }

    /// Whether it is https.
    pub fn is_tls(&self) -> bool {
        self.tls
    }

    /// Where the connection goes.
    pub fn authority(&self) -> &Authority {
        &self.authority
    }
}

impl FromStr for Endpoint {
    type Err = InvalidLeaf;

    fn from_str(text: &str) -> Result<Self, InvalidLeaf> {
        let (tls, rest, port) = match text.split_once("://") {
            Some(("https", rest)) => (true, rest, 443),
            Some(("http", rest)) => (false, rest, 80),
            _ => return Err(InvalidLeaf("must start with https:// (or http:// for this machine)")),
        };
        if rest.contains('@') {
            return Err(InvalidLeaf(
                "must not carry a user or a password: credentials are references of their own",
            ));
        }
        if rest.contains(['/', '?', '#']) {
            return Err(InvalidLeaf("must be a scheme, a host and an optional port, nothing after them"));
        }
        Ok(Self { tls, authority: Authority::parse_with_default(rest, port)? })
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Authority { host, port } = &self.authority;
        f.write_str(if self.tls { "https://" } else { "http://" })?;
        if host.contains(':') {
            write!(f, "[{host}]")?;
        } else {
            f.write_str(host)?;
        }
        if *port == if self.tls { 443 } else { 80 } { Ok(()) } else { write!(f, ":{port}") }
    }
}

/// A calendar day. Whatever happens "on" it is over when the day is over in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Day(jiff::civil::Date);

impl Day {
    /// The first moment of the day, in UTC.
    pub fn starts(self) -> Timestamp {
        Self::utc_midnight(self.0)
    }

    /// The first moment after the day, in UTC.
    pub fn ends(self) -> Timestamp {
        self.0.tomorrow().map_or(Timestamp::from_millis(u64::MAX), Self::utc_midnight)
    }

    fn utc_midnight(date: jiff::civil::Date) -> Timestamp {
        let since_epoch = date.duration_since(jiff::civil::Date::constant(1970, 1, 1));
        Timestamp::from_seconds(u64::try_from(since_epoch.as_secs()).unwrap_or(0))
    }
}

impl<'de> Deserialize<'de> for Day {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let rule = "must be a day such as 2026-11-23, unquoted";
        let moment = toml::value::Datetime::deserialize(from).map_err(|_| D::Error::custom(rule))?;
        let (Some(date), None, None) = (moment.date, moment.time, moment.offset) else {
            return Err(D::Error::custom(rule));
        };
        let [year, month, day] =
            [i16::try_from(date.year).ok(), i16::from(date.month).into(), i16::from(date.day).into()];
        let made = year.zip(month).zip(day).and_then(|((year, month), day)| {
            jiff::civil::Date::new(year, i8::try_from(month).ok()?, i8::try_from(day).ok()?).ok()
        });
        made.map(Self).ok_or_else(|| D::Error::custom("is not a day of the calendar"))
    }
}

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_is_not_a_country() {
        assert_eq!(COUNTRIES.split_ascii_whitespace().count(), 249);
        assert_eq!("FR".parse::<Country>().unwrap().to_string(), "FR");
        for bad in ["", "F", "fr", "EU", "UK", "XX", "Europe", "F R", "FRA", " F", "FR US"] {
            assert!(bad.parse::<Country>().is_err(), "{bad}");
        }
    }

    #[test]
    fn an_endpoint_prints_as_it_was_written() {
        for text in [
            "https://s3.fr.example",
            "http://127.0.0.1:9000",
            "https://[::1]:8443",
            "https://a-b.c:444",
            "http://localhost",
        ] {
            assert_eq!(text.parse::<Endpoint>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn an_endpoint_is_a_scheme_a_host_and_a_port_and_nothing_else() {
        for bad in [
            "",
            "s3.fr.example",
            "ftp://x",
            "https://",
            "https://u:p@x",
            "https://x/",
            "https://x/path",
            "https://x?q",
            "https://x#f",
            "https://x:0",
            "https://x:65536",
            "https://x:+443",
            "https://x:",
            "https://X",
            "https://x..y",
            "https://-x",
            "https://x y",
            "https://[::1",
            "https://[zz]",
            "https://[::1]443",
        ] {
            assert!(bad.parse::<Endpoint>().is_err(), "{bad}");
        }
    }

    #[test]
    fn loopback_is_told_by_address_not_by_prefix() {
        for yes in ["127.0.0.1", "127.8.9.1:80", "localhost", "[::1]"] {
            assert!(yes.parse::<Authority>().unwrap().is_loopback(), "{yes}");
        }
        for no in ["127.0.0.1.evil.net", "localhost.evil.net", "10.0.0.1", "storage.googleapis.com"] {
            assert!(!no.parse::<Authority>().unwrap().is_loopback(), "{no}");
        }
    }

    #[test]
    fn a_day_lasts_until_midnight_utc() {
        #[derive(serde::Deserialize)]
        struct File {
            day: Day,
        }
        let day = |text: &str| toml::from_str::<File>(&format!("day = {text}")).map(|file| file.day);
        let eve = day("2026-12-31").unwrap();
        assert_eq!(eve.starts().to_string(), "2026-12-31T00:00:00.000Z");
        assert_eq!(eve.ends().to_string(), "2027-01-01T00:00:00.000Z");
        assert_eq!(eve.to_string(), "2026-12-31");
        for bad in ["\"2026-12-31\"", "2026-02-30", "2026-12-31T10:00:00Z", "10:00:00", "20261231"] {
            assert!(day(bad).is_err(), "{bad}");
        }
    }
}
