//! Every name of a span, an attribute and a resource that leaves the process. The metrics' names stand in `expose.rs`.
//!
//! Names of the OpenTelemetry semantic conventions (HTTP and resource, 1.30) where they have one; `terroir.` in front of ours.
//! Values are of a known, small set, but for the request's id, which we made. There is no attribute for a bucket, a key, a
//! subject, a tenant, an address or a header, and so no place where one could be put by mistake.

/// A part of a request that has a span of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stage {
    /// Is the caller at home here?
    Redirect,
    /// From HTTP to a call.
    Decode,
    /// Who calls.
    Identify,
    /// Where it may run.
    Place,
    /// The decision, made durable.
    Record,
    /// A question to the index.
    IndexRead,
    /// A change of the index.
    IndexWrite,
    /// A key encryption key, from the cache or the key service.
    Keys,
    /// A call to the key service: wrap.
    KmsWrap,
    /// A call to the key service: unwrap.
    KmsUnwrap,
    /// Any other call to the key service.
    KmsOther,
    /// A blob to the store.
    StorePut,
    /// Bytes from the store.
    StoreGet,
    /// Presence and size in the store.
    StoreHead,
    /// A blob away.
    StoreDelete,
    /// A page of the store's names.
    StoreList,
    /// The body received and sealed.
    Seal,
    /// The first bytes fetched and opened.
    Open,
}

impl Stage {
    /// Every stage.
    pub const ALL: [Self; 18] = [
        Self::Redirect,
        Self::Decode,
        Self::Identify,
        Self::Place,
        Self::Record,
        Self::IndexRead,
        Self::IndexWrite,
        Self::Keys,
        Self::KmsWrap,
        Self::KmsUnwrap,
        Self::KmsOther,
        Self::StorePut,
        Self::StoreGet,
        Self::StoreHead,
        Self::StoreDelete,
        Self::StoreList,
        Self::Seal,
        Self::Open,
    ];

    /// The span's name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Redirect => "redirect",
            Self::Decode => "decode",
            Self::Identify => "identify",
            Self::Place => "place",
            Self::Record => "record",
            Self::IndexRead => "index.read",
            Self::IndexWrite => "index.write",
            Self::Keys => "keys",
            Self::KmsWrap => "kms.wrap",
            Self::KmsUnwrap => "kms.unwrap",
            Self::KmsOther => "kms.other",
            Self::StorePut => "store.put",
            Self::StoreGet => "store.get",
            Self::StoreHead => "store.head",
            Self::StoreDelete => "store.delete",
            Self::StoreList => "store.list",
            Self::Seal => "seal",
            Self::Open => "open",
        }
    }

    /// Whether it asks somebody else: its span is a client's.
    pub const fn leaves_the_process(self) -> bool {
        matches!(
            self,
            Self::IndexRead
                | Self::IndexWrite
                | Self::KmsWrap
                | Self::KmsUnwrap
                | Self::KmsOther
                | Self::StorePut
                | Self::StoreGet
                | Self::StoreHead
                | Self::StoreDelete
                | Self::StoreList
        )
    }
}

/// The scope under which our spans and metrics are sent.
pub const SCOPE: &str = "terroir";

/// Names of attributes.
pub mod attribute {
    /// `GET` and its like, `_OTHER` for what is none of them.
    pub const METHOD: &str = "http.request.method";
    /// The status, a number.
    pub const STATUS: &str = "http.response.status_code";
    /// `http` or `https`.
    pub const SCHEME: &str = "url.scheme";
    /// The S3 code of a refusal or failure.
    pub const ERROR: &str = "error.type";
    /// The S3 operation.
    pub const OPERATION: &str = "terroir.operation";
    /// `2xx` and its like.
    pub const STATUS_CLASS: &str = "terroir.status_class";
    /// The record's class, one of the register.
    pub const CLASS: &str = "terroir.class";
    /// How it ended; a stage without one was dropped before its end.
    pub const OUTCOME: &str = "terroir.outcome";
    /// The request's id, made here; the caller has it too.
    pub const REQUEST: &str = "terroir.request.id";
    /// The request's body, as a power of four.
    pub const RECEIVED: &str = "terroir.request.size";
    /// The answer's body, as a power of four.
    pub const SENT: &str = "terroir.response.size";

    /// All of a span's attributes.
    pub const ALL: [&str; 11] =
        [METHOD, STATUS, SCHEME, ERROR, OPERATION, STATUS_CLASS, CLASS, OUTCOME, REQUEST, RECEIVED, SENT];
}

/// Names of a resource: what one process says of itself, once in each export.
pub mod resource {
    /// Always `terroir`.
    pub const SERVICE: &str = "service.name";
    /// This release.
    pub const VERSION: &str = "service.version";
    /// Random, made at start: says nothing about the machine.
    pub const INSTANCE: &str = "service.instance.id";
    /// The region served.
    pub const REGION: &str = "terroir.region";
    /// Which deployment.
    pub const ENVIRONMENT: &str = "terroir.environment";

    /// All of them.
    pub const ALL: [&str; 5] = [SERVICE, VERSION, INSTANCE, REGION, ENVIRONMENT];
}

/// A size as a span tells it: the next power of four KiB above. The exact length of a body would tell records apart.
pub const fn size(bytes: u64) -> &'static str {
    match bytes {
        0 => "0",
        1..=4_096 => "4KiB",
        4_097..=16_384 => "16KiB",
        16_385..=65_536 => "64KiB",
        65_537..=262_144 => "256KiB",
        262_145..=1_048_576 => "1MiB",
        1_048_577..=4_194_304 => "4MiB",
        4_194_305..=16_777_216 => "16MiB",
        16_777_217..=67_108_864 => "64MiB",
        67_108_865..=268_435_456 => "256MiB",
        268_435_457..=1_073_741_824 => "1GiB",
        _ => "more",
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_two_things_share_a_name_and_none_is_written_in_another_alphabet() {
        let stages: BTreeSet<_> = Stage::ALL.iter().map(|stage| stage.as_str()).collect();
        assert_eq!(stages.len(), Stage::ALL.len());
        let names = attribute::ALL.iter().chain(&resource::ALL).chain(&stages);
        let plain = |b: u8| b.is_ascii_lowercase() || b == b'.' || b == b'_';
        let odd: Vec<_> = names.filter(|name| !name.bytes().all(plain)).collect();
        assert!(odd.is_empty(), "{odd:?}");
        assert_eq!(attribute::ALL.iter().collect::<BTreeSet<_>>().len(), attribute::ALL.len());
    }

    #[test]
    fn a_size_is_one_of_twelve() {
        assert_eq!([size(0), size(1), size(4096), size(4097)], ["0", "4KiB", "4KiB", "16KiB"]);
        assert_eq!([size(1 << 30), size((1 << 30) + 1), size(u64::MAX)], ["1GiB", "more", "more"]);
        let sizes: BTreeSet<_> = (0..64).flat_map(|bit| [1_u64 << bit, (1 << bit) + 1]).map(size).collect();
        assert_eq!(sizes.len(), 11, "all but zero's: {sizes:?}");
    }
}
