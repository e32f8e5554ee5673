//! The first phase: every blob that the index has is there and opens.

use crate::index::{LiveBlob, LivePosition};
use crate::model::VersionId;
use crate::vault::{Checked, Outcome, Owner, OwnerRow, VaultError};

use super::lock;
use super::run::{Run, Stop, index_only};

/// The version or upload whose blobs are being verified.
struct Current {
    version: VersionId,
    row: Option<OwnerRow>,
    standing: Standing,
    /// Whether the walk came to it at its first blob.
    is_whole: bool,
}

/// What is known of it.
enum Standing {
    /// Its record is open.
    Open(Box<Owner>),
    /// Its tenant is not served now.
    NotServed,
    /// Its record does not open: none of its blobs can be verified, each is a finding.
    Broken(VaultError),
    /// Its record cannot be opened for now.
    Unreadable(VaultError),
    /// The index has blobs of it, and not it.
    Nobody,
}

impl Run<'_> {
    pub(super) async fn live(&mut self) -> Result<(), Stop> {
        let mut after = lock(self.pass).live_after();
        let resumed_in = after.map(|at| at.version);
        // Where to go on if from here on nothing can be read.
        let mut readable = after;
        let mut current: Option<Current> = None;
        loop {
            let page = self.site.vault().live_blobs(after).await?;
            if page.is_empty() {
                return self.leave(current).await;
            }
            for live in page {
                if current.as_ref().is_none_or(|current| current.version != live.at.version) {
                    self.leave(current.take()).await?;
                    let is_whole = resumed_in != Some(live.at.version);
                    current = Some(self.enter(&live, is_whole).await?);
                }
                let Some(current) = current.as_mut() else { continue };
                self.step_back().await;
                let checked = self.one(current, &live).await;
                if !self.is_in_trouble() {
                    readable = Some(live.at);
                }
                self.go_on_after(checked.is_ok(), live.at, readable);
                checked?;
                after = Some(live.at);
            }
        }
    }

    fn go_on_after(&self, is_checked: bool, at: LivePosition, readable: Option<LivePosition>) {
        lock(self.pass).is_past(if is_checked { Some(at) } else { readable });
    }

    /// Opens the record of the version that `live` is of.
    async fn enter(&mut self, live: &LiveBlob, is_whole: bool) -> Result<Current, Stop> {
        let version = live.at.version;
        let vault = self.site.vault();
        let row = vault.owner_row(version).await?;
        let standing = match &row {
            None => Standing::Nobody,
            Some(row) => {
                self.decide(row.tenant).await?;
                match self.decided(row.tenant) {
                    None => Standing::NotServed,
                    Some((_, decided)) => match vault.open_owner(decided, row.clone()).await {
                        Ok(owner) => Standing::Open(Box::new(owner)),
                        Err(error) => match index_only(error)? {
                            error if error.is_corruption() => Standing::Broken(error),
                            error => Standing::Unreadable(error),
                        },
                    },
                }
            }
        };
        Ok(Current { version, row, standing, is_whole })
    }

    /// Verifies one blob and says what came of it.
    async fn one(&mut self, current: &mut Current, live: &LiveBlob) -> Result<(), Stop> {
        let vault = self.site.vault();
        let row = current.row.as_ref();
        let checked = match &mut current.standing {
            Standing::Open(owner) => {
                let Some((_, decided)) = row.and_then(|row| self.decided(row.tenant)) else {
                    return Ok(());
                };
                vault.check(decided, owner, live).await?
            }
            Standing::NotServed => {
                self.count(Outcome::Skipped);
                return Ok(());
            }
            Standing::Unreadable(error) => return self.unreadable(live.blob, error),
            Standing::Broken(error) => {
                if vault.is_live(live).await? {
                    self.damaged(live.blob, row, Outcome::Corrupt, error).await?;
                }
                return Ok(());
            }
            Standing::Nobody => {
                if vault.is_live(live).await? {
                    let what = "the index has a blob of no version and no upload";
                    let error = VaultError::Corrupt { what, source: None };
                    self.damaged(live.blob, None, Outcome::Corrupt, &error).await?;
                }
                return Ok(());
            }
        };
        self.pace.spend(1, live.stored_bytes).await;
        match checked {
            Checked::Verified { bytes } => {
                self.is_readable();
                lock(self.pass).counts.verified_bytes += bytes;
                self.site.metrics().scrubbed_bytes().add(bytes);
                self.count(Outcome::Verified);
                Ok(())
            }
            Checked::Gone => Ok(()),
            Checked::Missing => {
                self.is_readable();
                let error = VaultError::Corrupt { what: "a blob is missing", source: None };
                self.damaged(live.blob, row, Outcome::Missing, &error).await
            }
            Checked::Corrupt(error) => {
                self.is_readable();
                self.damaged(live.blob, row, Outcome::Corrupt, &error).await
            }
            Checked::Unreadable(error) => self.unreadable(live.blob, &error),
        }
    }

    /// Every blob of a version was seen: the index must have all that its manifest lists.
    async fn leave(&mut self, current: Option<Current>) -> Result<(), Stop> {
        let Some(Current { row, standing: Standing::Open(owner), is_whole: true, .. }) = current else {
            return Ok(());
        };
        if self.site.vault().is_complete(&owner).await? {
            return Ok(());
        }
        let what = "the index does not have every blob that the sealed manifest lists";
        let error = VaultError::Corrupt { what, source: None };
        self.damaged(owner.record_blob(), row.as_ref(), Outcome::Corrupt, &error).await
    }
}
