//! How a tenant or a credential stands in a directory row: encoded, sealed, bound to its kind, name and generation.
//!
//! Who can write the index but has no key cannot change a row, put it in another's place, or give an old content a newer
//! generation. What remains is putting back an old row *with* its old generation: a running proxy notices that (it
//! remembers the generations it saw), a starting one cannot; the audit log's command records show it.

use zeroize::Zeroizing;

use crate::index::DirectoryRow;
use crate::keys::{KeysError, Ring};
use crate::model::{
    AccessKeyId, Credential, CredentialStatus, RegionId, Secret, Tenant, TenantCode, TenantStatus, Timestamp,
    Unclassified, Weight,
};

use super::TenantsError;

/// The `kind` of tenants' rows.
pub(super) const TENANT: &str = "tenant";
/// The `kind` of credentials' rows.
pub(super) const CREDENTIAL: &str = "credential";
/// Characters of a secret: 30 random bytes in base 64, as long as the ones SDKs are used to.
pub(super) const SECRET_CHARS: usize = 40;

/// What the ring's field key is derived for.
const PURPOSE: &str = "directory";
/// First byte of a row's content.
const VERSION: u8 = 1;
/// No field of a row is longer, bytes.
const FIELD_BYTES_MAX: usize = 1024;

/// Something that has a row.
pub(super) trait Rowed: Sized {
    const KIND: &'static str;
    fn row_id(&self) -> &str;
    fn encode(&self, out: &mut Writer);
    fn decode(input: &mut Reader<'_>) -> Option<Self>;
    /// Whether it may stand in a directory of `region`.
    fn belongs_to(&self, region: &RegionId) -> bool;
}

/// Seals `value` for generation `generation` of its row.
pub(super) async fn seal<T: Rowed>(ring: &Ring, value: &T, generation: u64) -> Result<Vec<u8>, TenantsError> {
    let mut clear = Writer::new();
    value.encode(&mut clear);
    let key = ring.field_key(PURPOSE).await?;
    Ok(key.seal(&place(T::KIND, value.row_id(), &generation.to_be_bytes()), &clear.0)?)
}

/// Opens a row, and checks that it says what its place says. `Corrupt` if not; any other error is not about this row.
pub(super) async fn open<T: Rowed>(ring: &Ring, row: &DirectoryRow) -> Result<T, TenantsError> {
    let corrupt = TenantsError::Corrupt { kind: T::KIND };
    let generation = row.generation.to_be_bytes();
    let opened = ring.open_field(PURPOSE, &place(T::KIND, &row.id, &generation), &row.sealed).await;
    let clear = match opened {
        Ok(clear) => clear,
        Err(KeysError::FieldCorrupt) => return Err(corrupt),
        Err(error) => return Err(error.into()),
    };
    let mut input = Reader(clear.expose());
    let value = (input.byte() == Some(VERSION)).then(|| T::decode(&mut input)).flatten();
    match value {
        Some(value) if input.0.is_empty() && value.row_id() == row.id && value.belongs_to(ring.region()) => {
            Ok(value)
        }
        _ => Err(corrupt),
    }
}

fn place<'a>(kind: &'a str, id: &'a str, generation: &'a [u8; 8]) -> [&'a [u8]; 3] {
    [kind.as_bytes(), id.as_bytes(), generation]
}

impl Rowed for Tenant {
    const KIND: &'static str = TENANT;

    fn row_id(&self) -> &str {
        self.id.as_str()
    }

    fn encode(&self, out: &mut Writer) {
        let Self { id, code, home, default_class, unclassified, status, weight, created } = self;
        out.field(id.as_str().as_bytes());
        out.field(code.as_bytes());
        out.field(home.as_str().as_bytes());
        out.field(default_class.as_str().as_bytes());
        out.field(match unclassified {
            Unclassified::TakesDefault => b"takes-default",
            Unclassified::Refused => b"refused",
        });
        out.field(match status {
            TenantStatus::Active => b"active",
            TenantStatus::Suspended => b"suspended",
        });
        out.field(&created.millis().to_be_bytes());
        // Expand, then contract: releases before weights take a row only without this field, so it is there only if it says
        // something.
        if *weight != Weight::default() {
            out.field(&[weight.value()]);
        }
    }

    fn decode(input: &mut Reader<'_>) -> Option<Self> {
        Some(Self {
            id: input.text()?.parse().ok()?,
            code: TenantCode::try_from(input.field()?).ok()?,
            home: input.text()?.parse().ok()?,
            default_class: input.text()?.parse().ok()?,
            unclassified: match input.field()? {
                b"takes-default" => Unclassified::TakesDefault,
                b"refused" => Unclassified::Refused,
                _ => return None,
            },
            status: match input.field()? {
                b"active" => TenantStatus::Active,
                b"suspended" => TenantStatus::Suspended,
                _ => return None,
            },
            created: input.moment()?,
            weight: input.weight()?,
        })
    }

    fn belongs_to(&self, region: &RegionId) -> bool {
        self.home == *region
    }
}

impl Rowed for Credential {
    const KIND: &'static str = CREDENTIAL;

    fn row_id(&self) -> &str {
        self.key_id.as_str()
    }

    fn encode(&self, out: &mut Writer) {
        let Self { key_id, tenant, secret, label, status, created } = self;
        out.field(key_id.as_str().as_bytes());
        out.field(tenant.as_str().as_bytes());
        out.field(secret.expose().as_bytes());
        out.field(label.as_bytes());
        out.field(match status {
            CredentialStatus::Active => b"active",
            CredentialStatus::Disabled => b"disabled",
        });
        out.field(&created.millis().to_be_bytes());
    }

    fn decode(input: &mut Reader<'_>) -> Option<Self> {
        let credential = Self {
            key_id: input.text()?.parse::<AccessKeyId>().ok()?,
            tenant: input.text()?.parse().ok()?,
            secret: Secret::new(input.text()?.to_owned()),
            label: input.text()?.to_owned(),
            status: match input.field()? {
                b"active" => CredentialStatus::Active,
                b"disabled" => CredentialStatus::Disabled,
                _ => return None,
            },
            created: input.moment()?,
        };
        // A disabled credential's secret is erased; an active one without a secret would accept an empty one.
        let chars = if credential.status == CredentialStatus::Active { SECRET_CHARS } else { 0 };
        (credential.secret.expose().len() == chars).then_some(credential)
    }

    fn belongs_to(&self, region: &RegionId) -> bool {
        self.key_id.region() == region
    }
}

/// Fields one after the other, each behind its length (u16, big-endian). Room for all of them from the start, so that no
/// buffer that was grown out of keeps a secret.
pub(super) struct Writer(Zeroizing<Vec<u8>>);

impl Writer {
    fn new() -> Self {
        let mut bytes = Vec::with_capacity(8 * (FIELD_BYTES_MAX + 2));
        bytes.push(VERSION);
        Self(Zeroizing::new(bytes))
    }

    fn field(&mut self, bytes: &[u8]) {
        // Names, labels and secrets are bounded far below this by their types and by the verbs.
        let bytes = &bytes[..bytes.len().min(FIELD_BYTES_MAX)];
        self.0.extend_from_slice(&u16::try_from(bytes.len()).unwrap_or(u16::MAX).to_be_bytes());
        self.0.extend_from_slice(bytes);
    }
}

/// What [`Writer`] wrote.
pub(super) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn byte(&mut self) -> Option<u8> {
        let (byte, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*byte)
    }

    fn field(&mut self) -> Option<&'a [u8]> {
        let (length, rest) = self.0.split_first_chunk()?;
        let (field, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
        self.0 = rest;
        Some(field)
    }

    fn text(&mut self) -> Option<&'a str> {
        std::str::from_utf8(self.field()?).ok()
    }

    /// The default where the row ends before it; a weight written is never the default.
    fn weight(&mut self) -> Option<Weight> {
        if self.0.is_empty() {
            return Some(Weight::default());
        }
        let [value] = *self.field()? else { return None };
        Weight::try_from(value).ok().filter(|weight| *weight != Weight::default())
    }

    fn moment(&mut self) -> Option<Timestamp> {
        Some(Timestamp::from_millis(u64::from_be_bytes(self.field()?.try_into().ok()?)))
    }
}
