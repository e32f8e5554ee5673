//! The values of the labels of metrics: enums with one spelling each, so that a stranger cannot grow a set.

/// Declares a label: an enum whose variants have one spelling each.
macro_rules! label {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $text:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name { $($(#[$vdoc])* $variant,)+ }

        impl $name {
            /// Every value, in the order of exposition.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// The value as the exposition spells it.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)+ }
            }
        }

        impl Label for $name {
            const COUNT: usize = Self::ALL.len();
            fn index(self) -> usize { self as usize }
            fn texts() -> impl Iterator<Item = &'static str> { Self::ALL.iter().map(|value| value.as_str()) }
        }
    };
}

pub(super) use label;

/// A set of label values that is known when the program is built.
pub(super) trait Label: Copy {
    const COUNT: usize;
    fn index(self) -> usize;
    fn texts() -> impl Iterator<Item = &'static str>;
}

label! {
    /// What a request asked for: the S3 operations we serve, and what stands beside them.
    Operation {
        /// `ListBuckets`.
        ListBuckets = "ListBuckets",
        /// `CreateBucket`.
        CreateBucket = "CreateBucket",
        /// `HeadBucket`.
        HeadBucket = "HeadBucket",
        /// `DeleteBucket`.
        DeleteBucket = "DeleteBucket",
        /// `GetBucketLocation`.
        GetBucketLocation = "GetBucketLocation",
        /// `PutObject`.
        PutObject = "PutObject",
        /// `GetObject`.
        GetObject = "GetObject",
        /// `HeadObject`.
        HeadObject = "HeadObject",
        /// `DeleteObject`.
        DeleteObject = "DeleteObject",
        /// `DeleteObjects`.
        DeleteObjects = "DeleteObjects",
        /// `ListObjects` and `ListObjectsV2`.
        ListObjects = "ListObjects",
        /// `ListObjectVersions`.
        ListObjectVersions = "ListObjectVersions",
        /// `CopyObject`.
        CopyObject = "CopyObject",
        /// `CreateMultipartUpload`.
        CreateMultipartUpload = "CreateMultipartUpload",
        /// `UploadPart`.
        UploadPart = "UploadPart",
        /// `UploadPartCopy`.
        UploadPartCopy = "UploadPartCopy",
        /// `CompleteMultipartUpload`.
        CompleteMultipartUpload = "CompleteMultipartUpload",
        /// `AbortMultipartUpload`.
        AbortMultipartUpload = "AbortMultipartUpload",
        /// `ListParts`.
        ListParts = "ListParts",
        /// `ListMultipartUploads`.
        ListMultipartUploads = "ListMultipartUploads",
        /// Anything else, also what could not be decoded.
        Other = "other",
    }
}

impl Operation {
    /// The operation of this name; [`Operation::Other`] for a name that is not in the set.
    pub fn named(name: &str) -> Self {
        match name {
            "ListObjectsV2" => Self::ListObjects,
            _ => {
                Self::ALL.iter().copied().find(|operation| operation.as_str() == name).unwrap_or(Self::Other)
            }
        }
    }
}

label! {
    /// The hundreds of an HTTP status.
    StatusClass {
        /// 1xx.
        Informational = "1xx",
        /// 2xx.
        Success = "2xx",
        /// 3xx.
        Redirect = "3xx",
        /// 4xx.
        Client = "4xx",
        /// 5xx, and numbers that are no status.
        Server = "5xx",
    }
}

impl StatusClass {
    /// The class of a status.
    pub const fn of(status: u16) -> Self {
        match status / 100 {
            1 => Self::Informational,
            2 => Self::Success,
            3 => Self::Redirect,
            4 => Self::Client,
            _ => Self::Server,
        }
    }
}

label! {
    /// Which way bytes went, seen from us.
    Direction {
        /// From the client.
        In = "in",
        /// To the client.
        Out = "out",
    }
}

label! {
    /// What was asked of a blob store.
    StoreVerb {
        /// Put a blob.
        Put = "put",
        /// Read a range or the whole.
        Get = "get",
        /// Ask for size and presence.
        Head = "head",
        /// Delete.
        Delete = "delete",
        /// List.
        List = "list",
    }
}

label! {
    /// How a store answered.
    StoreOutcome {
        /// As asked.
        Ok = "ok",
        /// The blob is not there.
        Absent = "absent",
        /// It refused us: our credential or our permissions.
        Denied = "denied",
        /// It did not answer in time.
        Timeout = "timeout",
        /// It could not be reached, or said it is overloaded.
        Unavailable = "unavailable",
        /// Anything else.
        Error = "error",
    }
}

label! {
    /// Why a call did not reach a blob store, or not once more.
    StoreRefusal {
        /// Too many wait already, or it waited too long.
        Overloaded = "overloaded",
        /// The store is left alone for a while.
        CircuitOpen = "circuit_open",
        /// It failed, and the budget for retries is spent.
        NoBudget = "no_retry_budget",
    }
}

label! {
    /// Whether a blob store is called.
    CircuitState {
        /// It is.
        Closed = "closed",
        /// One call finds out whether it works again.
        HalfOpen = "half_open",
        /// It failed so often that it is left alone.
        Open = "open",
    }
}

label! {
    /// What was asked of the index.
    IndexVerb {
        /// A read, one round trip.
        Read = "read",
        /// A write, one round trip.
        Write = "write",
    }
}

label! {
    /// What was asked of a key service.
    KeyVerb {
        /// Wrap a key.
        Wrap = "wrap",
        /// Unwrap a key.
        Unwrap = "unwrap",
        /// Anything else (create, describe, destroy).
        Other = "other",
    }
}

label! {
    /// What happened in the audit log.
    AuditEvent {
        /// A decision became durable.
        Decision = "decision",
        /// A completion became durable.
        Completion = "completion",
        /// A summary of strangers became durable.
        Strangers = "strangers",
        /// A commit failed.
        Failed = "failed",
        /// A record was refused because the queue was full or the log closed.
        Refused = "refused",
    }
}

label! {
    /// Why a request was refused.
    RefusalCode {
        /// No credential, an unknown one, or a signature that does not match or is too old.
        Unauthenticated = "unauthenticated",
        /// The caller may not.
        Forbidden = "forbidden",
        /// The key named is of a suspended tenant, or disabled.
        Suspended = "suspended",
        /// The record or tenant belongs to another region.
        OtherRegion = "other_region",
        /// No place fits the class.
        NoPlace = "no_place",
        /// The request breaks a limit or a rule of the wire.
        Malformed = "malformed",
        /// Too much at once.
        Overloaded = "overloaded",
        /// The audit log could not record it.
        Unrecorded = "unrecorded",
        /// We do not do that.
        NotImplemented = "not_implemented",
        /// Anything else.
        Other = "other",
    }
}

label! {
    /// What tenants have shares of.
    Shared {
        /// Memory for bodies, in bytes.
        Memory = "memory_bytes",
        /// Memory for documents, in bytes.
        Documents = "document_bytes",
        /// Requests in flight.
        Requests = "requests",
        /// Open connections.
        Connections = "connections",
        /// Attempts under way to the store.
        Store = "store",
        /// Requests that are worked on at the same time.
        Turns = "turns",
    }
}

label! {
    /// What happened to a claim on a share that was not served at once.
    ShareEvent {
        /// It waited.
        Waited = "waited",
        /// Refused: more than one may ever hold.
        TooMuch = "too_much",
        /// Refused: its share was used up.
        Full = "full",
        /// Refused: too many waited already.
        Crowded = "crowded",
        /// Refused: nothing became free in time.
        Late = "late",
    }
}

label! {
    /// Who met a corrupt record.
    MetBy {
        /// A client's request that had to open it.
        Read = "read",
        /// A pass of the scrubber.
        Scrub = "scrub",
    }
}

label! {
    /// What a scrubber's pass made of a blob.
    ScrubOutcome {
        /// Every byte of it opens.
        Verified = "verified",
        /// The index has it, the store does not.
        Missing = "missing",
        /// It is not what was written.
        Corrupt = "corrupt",
        /// It could not be read for now.
        Unreadable = "unreadable",
        /// Of a tenant that is not served.
        Skipped = "skipped",
        /// The store has it, the index does not.
        Unknown = "unknown",
        /// Of another region or environment, or not ours.
        Elsewhere = "elsewhere",
        /// An unknown blob that was given to the reclaim queue.
        GivenUp = "given_up",
        /// Deleted, as the reclaim queue said.
        Reclaimed = "reclaimed",
    }
}
