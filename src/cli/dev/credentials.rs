//! The demo tenants and `dev-credentials.json`, made on the first start and kept afterwards.

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::app::{Running, Site};
use crate::audit::Decision;
use crate::model::{CredentialStatus, TenantId, Unclassified};
use crate::tenants::{NewTenant, TenantsError};

use super::super::{Failure, site};

/// A demo tenant with a credential.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct DemoTenant {
    pub(super) id: String,
    pub(super) region: String,
    pub(super) access_key: String,
    pub(super) secret_key: String,
}

#[derive(Serialize, Deserialize)]
struct Urls {
    s3: String,
    control: String,
    observe: String,
}

#[derive(Serialize, Deserialize)]
struct File {
    regions: std::collections::BTreeMap<String, Urls>,
    tenants: Vec<DemoTenant>,
}

/// Where the file is.
pub(super) fn path(data_dir: &Path) -> PathBuf {
    data_dir.join("dev-credentials.json")
}

/// The demo tenants, made if they are not there; whether this is the first start.
pub(super) async fn ensure(running: &Running, data_dir: &Path) -> Result<(Vec<DemoTenant>, bool), Failure> {
    let known = read(data_dir)?;
    let mut tenants = Vec::new();
    for site in running.sites() {
        tenants.push(one(site, known.as_deref().unwrap_or_default()).await?);
        // A tenant just made is known to the proxy now, not at its next poll.
        site.directory().refresh().await?;
    }
    write(running, data_dir, &tenants)?;
    Ok((tenants, known.is_none()))
}

fn read(data_dir: &Path) -> Result<Option<Vec<DemoTenant>>, Failure> {
    let path = path(data_dir);
    match std::fs::read(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Failure::io("cannot read dev-credentials.json", &error)),
        Ok(bytes) => {
            let file: File = serde_json::from_slice(&bytes).map_err(|_| {
                Failure::config(format!(
                    "{} is not ours any more: delete it, and new keys are made",
                    path.display()
                ))
            })?;
            Ok(Some(file.tenants))
        }
    }
}

/// The region's demo tenant: the known one if its key still works, else a fresh key.
async fn one(region: &Site, known: &[DemoTenant]) -> Result<DemoTenant, Failure> {
    let id = region.region().id.clone();
    let registry = region.registry();
    if let Some(demo) = known.iter().find(|demo| demo.region == id.as_str())
        && let Ok(key_id) = demo.access_key.parse()
        && let Ok(credential) = registry.show_credential(&key_id).await
        && credential.status == CredentialStatus::Active
    {
        return Ok(demo.clone());
    }
    let tenant = name(id.as_str())?;
    match registry.show_tenant(&tenant).await {
        Ok(_) => {}
        Err(TenantsError::NoSuchTenant(_)) => {
            let default_class = "personal".parse().map_err(|_| Failure::new("no class personal"))?;
            let new = NewTenant {
                id: tenant.clone(),
                home: id.clone(),
                default_class,
                unclassified: Unclassified::TakesDefault,
            };
            let concerns = |decision: &mut Decision| decision.tenant = Some(tenant.clone());
            site::recorded(region, "tenant.create", concerns, registry.create_tenant(new)).await?;
        }
        Err(error) => return Err(error.into()),
    }
    let key_id = registry.draw_key_id()?;
    let concerns = |decision: &mut Decision| {
        decision.tenant = Some(tenant.clone());
        decision.credential = Some(key_id.clone());
    };
    let made = registry.create_credential_as(key_id.clone(), &tenant, "terroir dev");
    let credential = site::recorded(region, "credential.create", concerns, made).await?;
    Ok(DemoTenant {
        id: tenant.to_string(),
        region: id.to_string(),
        access_key: credential.key_id.to_string(),
        secret_key: credential.secret.expose().clone(),
    })
}

fn name(region: &str) -> Result<TenantId, Failure> {
    let name = match region {
        "fr" => "clinique-lyon".to_owned(),
        "us" => "boston-clinic".to_owned(),
        other => format!("clinic-{other}"),
    };
    name.parse().map_err(|_| Failure::new("a region's demo tenant has no valid name"))
}

/// Replaces the file in one step, readable by this user only.
fn write(running: &Running, data_dir: &Path, tenants: &[DemoTenant]) -> Result<(), Failure> {
    let regions = running.addresses().iter().map(|at| {
        let url = |address| format!("http://{address}");
        (at.region.to_string(), Urls { s3: url(at.data), control: url(at.control), observe: url(at.observe) })
    });
    let file = File { regions: regions.collect(), tenants: tenants.to_vec() };
    let text =
        serde_json::to_string_pretty(&file).map_err(|_| Failure::new("credentials cannot be written"))?;
    let failed = |error: std::io::Error| Failure::io("cannot write dev-credentials.json", &error);
    let temporary = data_dir.join(".dev-credentials.json.new");
    // The mode counts only for a file that is made now: a leftover, or somebody's link, is not written through.
    if let Err(error) = std::fs::remove_file(&temporary)
        && error.kind() != std::io::ErrorKind::NotFound
    {
        return Err(failed(error));
    }
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true).mode(0o600);
    let mut file = options.open(&temporary).map_err(failed)?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(failed)?;
    std::fs::rename(&temporary, path(data_dir)).map_err(failed)
}
