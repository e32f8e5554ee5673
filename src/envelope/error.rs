//! Why something could not be sealed or opened: one variant per class of defect, named as in `docs/format.md`.

/// A defect. Whatever the variant, the bytes concerned must not be used; none carries names, keys or plaintext.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EnvelopeError {
    /// The bytes do not start as a blob does. A blob without a header is never served.
    #[error("not a sealed blob: the magic is missing")]
    BadMagic,
    /// Written by another version of the format.
    #[error("unknown format version {found}")]
    UnknownVersion {
        /// The version named.
        found: u16,
    },
    /// Written with another suite.
    #[error("unknown suite {found}")]
    UnknownSuite {
        /// The suite named.
        found: u8,
    },
    /// Neither of the four kinds.
    #[error("unknown kind {found}")]
    UnknownKind {
        /// The kind named.
        found: u8,
    },
    /// A flag this version does not define.
    #[error("unknown flags {found:#06x}")]
    UnknownFlags {
        /// The flags set.
        found: u16,
    },
    /// A field of the clear header breaks its rule.
    #[error("invalid header: {field}")]
    InvalidHeader {
        /// The field, as named in the format.
        field: &'static str,
    },
    /// Lengths that must agree do not.
    #[error("lengths disagree: {what}")]
    LengthMismatch {
        /// Which lengths.
        what: &'static str,
    },
    /// Fewer bytes than the header, or the structure, says.
    #[error("truncated")]
    Truncated,
    /// More bytes than the header, or the structure, says.
    #[error("trailing bytes")]
    TrailingBytes,
    /// A good blob, but of another kind than the one asked for.
    #[error("a blob of another kind")]
    WrongKind,
    /// Sealed for another environment.
    #[error("sealed for another environment")]
    WrongEnvironment,
    /// Sealed for another region.
    #[error("sealed for another region")]
    WrongRegion,
    /// Sealed for another tenant.
    #[error("sealed for another tenant")]
    WrongTenant,
    /// Sealed under another class.
    #[error("sealed under another class")]
    WrongClass,
    /// Another version than the one asked for.
    #[error("another version than the one expected")]
    WrongVersion,
    /// Another blob than the one asked for.
    #[error("another blob than the one expected")]
    WrongBlob,
    /// The header names another KEK or epoch than the one given.
    #[error("sealed under another key-encryption key")]
    WrongKek,
    /// The header names another subject key than the one given, or needs one and none was given.
    #[error("sealed under another subject key")]
    WrongSubjectKey,
    /// The locator does not authenticate.
    #[error("the locator does not authenticate")]
    LocatorAuth,
    /// An authentic locator breaks a rule of the format.
    #[error("invalid locator: {field}")]
    InvalidLocator {
        /// The field.
        field: &'static str,
    },
    /// An authentic locator names something else than what was asked for.
    #[error("the locator names something else than what was asked for")]
    WrongLocator,
    /// The wrapped data key does not authenticate.
    #[error("the wrapped data key does not authenticate")]
    WrapAuth,
    /// The data key is not the one the record commits to.
    #[error("the data key is not the one the record commits to")]
    Commitment,
    /// The root of the manifest does not authenticate.
    #[error("the manifest does not authenticate")]
    ManifestAuth,
    /// An authentic manifest breaks a rule of the format.
    #[error("invalid manifest: {field}")]
    InvalidManifest {
        /// The field.
        field: &'static str,
    },
    /// A page is not the one the root lists.
    #[error("page {page} is not the one the root lists")]
    PageAuth {
        /// Position of the page.
        page: u32,
    },
    /// The FLOE parameters are not those of this format.
    #[error("unknown FLOE parameters")]
    FloeParameters,
    /// The FLOE header tag does not fit key, parameters, IV and binding.
    #[error("the FLOE header tag does not fit")]
    HeaderTag,
    /// A segment does not authenticate at its position.
    #[error("segment {position} does not authenticate")]
    SegmentAuth {
        /// Position of the segment in its body.
        position: u64,
    },
    /// A segment says final where it is not, or the reverse, or a position is outside the body.
    #[error("segment {position} is out of order")]
    SegmentOrder {
        /// Position of the segment in its body.
        position: u64,
    },
    /// A sealed field is malformed.
    #[error("not a sealed field")]
    InvalidField,
    /// A sealed field was sealed under another key, or its salt or commitment was changed.
    #[error("the field was sealed under another key")]
    FieldCommitment,
    /// A sealed field does not authenticate with this associated data.
    #[error("the field does not authenticate")]
    FieldAuth,
    /// The range is not inside the version.
    #[error("the range is outside the version")]
    RangeOutside,
    /// Something is larger than the format allows.
    #[error("too large: {what}")]
    LimitExceeded {
        /// What.
        what: &'static str,
    },
    /// No random bytes could be had; nothing was sealed.
    #[error("no random bytes could be had")]
    Random,
    /// A cipher refused to seal.
    #[error("the cipher failed")]
    Cipher,
    /// The two AES-GCM implementations disagree. The process must not start.
    #[error("the AES-GCM implementations disagree: {what}")]
    SelfTest {
        /// Which step.
        what: &'static str,
    },
}

impl EnvelopeError {
    /// The defect's name in `docs/format.md` and in the vectors.
    pub const fn name(self) -> &'static str {
        match self {
            Self::BadMagic => "BadMagic",
            Self::UnknownVersion { .. } => "UnknownVersion",
            Self::UnknownSuite { .. } => "UnknownSuite",
            Self::UnknownKind { .. } => "UnknownKind",
            Self::UnknownFlags { .. } => "UnknownFlags",
            Self::InvalidHeader { .. } => "InvalidHeader",
            Self::LengthMismatch { .. } => "LengthMismatch",
            Self::Truncated => "Truncated",
            Self::TrailingBytes => "TrailingBytes",
            Self::WrongKind => "WrongKind",
            Self::WrongEnvironment => "WrongEnvironment",
            Self::WrongRegion => "WrongRegion",
            Self::WrongTenant => "WrongTenant",
            Self::WrongClass => "WrongClass",
            Self::WrongVersion => "WrongVersion",
            Self::WrongBlob => "WrongBlob",
            Self::WrongKek => "WrongKek",
            Self::WrongSubjectKey => "WrongSubjectKey",
            Self::LocatorAuth => "LocatorAuth",
            Self::InvalidLocator { .. } => "InvalidLocator",
            Self::WrongLocator => "WrongLocator",
            Self::WrapAuth => "WrapAuth",
            Self::Commitment => "Commitment",
            Self::ManifestAuth => "ManifestAuth",
            Self::InvalidManifest { .. } => "InvalidManifest",
            Self::PageAuth { .. } => "PageAuth",
            Self::FloeParameters => "FloeParameters",
            Self::HeaderTag => "HeaderTag",
            Self::SegmentAuth { .. } => "SegmentAuth",
            Self::SegmentOrder { .. } => "SegmentOrder",
            Self::InvalidField => "InvalidField",
            Self::FieldCommitment => "FieldCommitment",
            Self::FieldAuth => "FieldAuth",
            Self::RangeOutside => "RangeOutside",
            Self::LimitExceeded { .. } => "LimitExceeded",
            Self::Random => "Random",
            Self::Cipher => "Cipher",
            Self::SelfTest { .. } => "SelfTest",
        }
    }
}

/// The caller's source of random bytes failed. Nothing may be sealed without them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no random bytes could be had")]
pub struct RandomFailed;

impl From<RandomFailed> for EnvelopeError {
    fn from(_: RandomFailed) -> Self {
        Self::Random
    }
}

/// The caller's source of unpredictable bytes: fills the whole slice or fails.
pub type Random<'a> = dyn FnMut(&mut [u8]) -> Result<(), RandomFailed> + 'a;

/// `N` fresh random bytes.
pub(super) fn random_bytes<const N: usize>(random: &mut Random<'_>) -> Result<[u8; N], EnvelopeError> {
    let mut bytes = [0; N];
    random(&mut bytes)?;
    Ok(bytes)
}
