//! `terroir credential …`.

use serde_json::{Value, json};

use crate::app::Site;
use crate::audit::Decision;
use crate::model::{Credential, CredentialStatus};
use crate::tenants::CredentialSummary;

use super::args::CredentialCommand;
use super::{Failure, output, site};

/// What a verb gives back to show.
enum Shown {
    /// With its secret, this once.
    Fresh(Credential),
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
        Shown::Known(list) => known(&list, as_json),
    }
    Ok(())
}

async fn carry_out(region: &Site, command: CredentialCommand) -> Result<Shown, Failure> {
    let registry = region.registry();
    Ok(match command {
        CredentialCommand::Create { tenant, label, .. } => {
            let label = if label.is_empty() { "command line".to_owned() } else { label };
            let concerns = |decision: &mut Decision| decision.tenant = Some(tenant.clone());
            let work = registry.create_credential(&tenant, &label);
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
        CredentialCommand::Rotate { key_id, disable_old, .. } => {
            let concerns = |decision: &mut Decision| decision.credential = Some(key_id.clone());
            let work = registry.rotate_credential(&key_id, disable_old);
            Shown::Fresh(site::recorded(region, "credential.rotate", concerns, work).await?)
        }
    })
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
