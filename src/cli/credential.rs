//! `terroir credential …`.

use serde_json::{Value, json};

use crate::app::Site;
use crate::audit::Decision;
use crate::model::{AccessKeyId, Credential, CredentialStatus, TenantId};
use crate::tenants::{CredentialSummary, Rotated};

use super::args::CredentialCommand;
use super::{Failure, output, site};

/// What a verb gives back to show.
enum Shown {
    /// With its secret, this once.
    Fresh(Credential),
    /// The same, and what failed after it was stored.
    FreshBut(Credential, Failure),
    Known(Vec<CredentialSummary>),
}

pub(super) async fn run(command: CredentialCommand) -> Result<(), Failure> {
    let args = match &command {
        CredentialCommand::Create { site, .. }
        | CredentialCommand::List { site, .. }
        | CredentialCommand::Show { site, .. }
        | CredentialCommand::Disable { site, .. }
        | CredentialCommand::Rotate { site, .. } => site,
    };
    let as_json = args.json;
    let region = site::open(args).await?;
    let done = carry_out(&region, command).await;
    site::close(region).await;
    match done? {
        Shown::Fresh(credential) => fresh(&credential, as_json),
        Shown::FreshBut(credential, failure) => {
            fresh(&credential, as_json);
            return Err(failure);
        }
        Shown::Known(list) => known(&list, as_json),
    }
    Ok(())
}

async fn carry_out(region: &Site, command: CredentialCommand) -> Result<Shown, Failure> {
    let registry = region.registry();
    Ok(match command {
        CredentialCommand::Create { tenant, label, .. } => {
            let label = if label.is_empty() { "command line".to_owned() } else { label };
            let new_id = registry.draw_key_id()?;
            let work = registry.create_credential_as(new_id.clone(), &tenant, &label);
            let concerns = names(&tenant, &new_id);
            Shown::Fresh(site::recorded(region, "credential.create", concerns, work).await?)
        }
        CredentialCommand::List { tenant, .. } => Shown::Known(registry.list_credentials(&tenant).await?),
        CredentialCommand::Show { key_id, .. } => {
            Shown::Known(vec![registry.show_credential(&key_id).await?])
        }
        CredentialCommand::Disable { key_id, .. } => {
            let concerns = |decision: &mut Decision| decision.credential = Some(key_id.clone());
            let work = registry.disable_credential(&key_id);
            Shown::Known(vec![site::recorded(region, "credential.disable", concerns, work).await?])
        }
        CredentialCommand::Rotate { key_id, disable_old, .. } => rotate(region, &key_id, disable_old).await?,
    })
}

/// Two records, one for each key: `credential.rotate` names the old one, `credential.create` the new one.
async fn rotate(region: &Site, key_id: &AccessKeyId, disable_old: bool) -> Result<Shown, Failure> {
    let registry = region.registry();
    let mut made = None;
    // On the heap: a future of this size is copied each time it is handed on.
    let both = Box::pin(async {
        let tenant = registry.show_credential(key_id).await?.tenant;
        let new_id = registry.draw_key_id()?;
        let work = registry.rotate_credential_as(new_id.clone(), key_id, disable_old);
        let concerns = names(&tenant, &new_id);
        let Rotated { new, old } = site::recorded(region, "credential.create", concerns, work).await?;
        made = Some(new);
        old.transpose().map_err(|error| {
            Failure::from(error).told_after(&format!(
                "the new key works, but {key_id} is still active; disable it with `terroir credential disable {key_id} \
                 --region {}`",
                region.region().id
            ))
        })
    });
    let concerns = |decision: &mut Decision| decision.credential = Some(key_id.clone());
    let done = site::recorded(region, "credential.rotate", concerns, both).await;
    match (made, done) {
        (Some(new), Ok(_)) => Ok(Shown::Fresh(new)),
        // Its secret is told whatever happened after it was stored: nobody can ask for it again.
        (Some(new), Err(failure)) => Ok(Shown::FreshBut(new, failure)),
        (None, done) => Err(done.err().unwrap_or_else(|| Failure::new("no new key was made"))),
    }
}

fn names(tenant: &TenantId, key_id: &AccessKeyId) -> impl FnOnce(&mut Decision) + use<> {
    let (tenant, key_id) = (tenant.clone(), key_id.clone());
    move |decision| {
        decision.tenant = Some(tenant);
        decision.credential = Some(key_id);
    }
}

fn fresh(credential: &Credential, as_json: bool) {
    if as_json {
        return output::json(&json!({
            "access_key": credential.key_id.as_str(),
            "secret_key": credential.secret.expose(),
            "tenant": credential.tenant.as_str(),
            "label": credential.label,
            "created": credential.created.to_string(),
        }));
    }
    output::line(&format!("access key   {}", credential.key_id));
    output::line(&format!("secret key   {}", credential.secret.expose()));
    output::line("The secret is not shown again.");
}

fn known(list: &[CredentialSummary], as_json: bool) {
    let status = |credential: &CredentialSummary| match credential.status {
        CredentialStatus::Active => "active",
        CredentialStatus::Disabled => "disabled",
    };
    if as_json {
        let list = list.iter().map(|credential| {
            json!({
                "access_key": credential.key_id.as_str(),
                "tenant": credential.tenant.as_str(),
                "label": credential.label,
                "status": status(credential),
                "created": credential.created.to_string(),
            })
        });
        return output::json(&Value::Array(list.collect()));
    }
    let rows: Vec<Vec<String>> = list
        .iter()
        .map(|credential| {
            vec![
                credential.key_id.to_string(),
                credential.tenant.to_string(),
                status(credential).to_owned(),
                credential.label.clone(),
                credential.created.to_string(),
            ]
        })
        .collect();
    output::table(&["ACCESS KEY", "TENANT", "STATUS", "LABEL", "CREATED"], &rows);
}
