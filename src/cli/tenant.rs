//! `terroir tenant …`.

use serde_json::{Value, json};

use crate::app::Site;
use crate::model::{Tenant, TenantStatus, Unclassified};
use crate::tenants::NewTenant;

use super::args::{SiteArgs, TenantCommand};
use super::{Failure, output, site};

pub(super) async fn run(command: TenantCommand) -> Result<(), Failure> {
    let args = match &command {
        TenantCommand::Create { site, .. }
        | TenantCommand::List { site }
        | TenantCommand::Show { site, .. }
        | TenantCommand::Suspend { site, .. }
        | TenantCommand::Weight { site, .. }
        | TenantCommand::Resume { site, .. } => site,
    };
    let as_json = args.json;
    let region = site::open(args).await?;
    let done = carry_out(&region, command).await;
    site::close(region).await;
    show(&done?, as_json);
    Ok(())
}

async fn carry_out(region: &Site, command: TenantCommand) -> Result<Vec<Tenant>, Failure> {
    let registry = region.registry();
    match command {
        TenantCommand::Create {
            id,
            default_class,
            refuse_unclassified,
            site: SiteArgs { region: home, .. },
        } => {
            let unclassified =
                if refuse_unclassified { Unclassified::Refused } else { Unclassified::TakesDefault };
            let new = NewTenant { id: id.clone(), home, default_class, unclassified };
            let concerns = |decision: &mut crate::audit::Decision| decision.tenant = Some(id);
            let made = site::recorded(region, "tenant.create", concerns, registry.create_tenant(new)).await?;
            Ok(vec![made])
        }
        TenantCommand::List { .. } => Ok(registry.list_tenants().await?),
        TenantCommand::Show { id, .. } => Ok(vec![registry.show_tenant(&id).await?]),
        TenantCommand::Suspend { id, .. } => {
            let concerns = |decision: &mut crate::audit::Decision| decision.tenant = Some(id.clone());
            Ok(vec![site::recorded(region, "tenant.suspend", concerns, registry.suspend_tenant(&id)).await?])
        }
        TenantCommand::Weight { id, weight, .. } => {
            let concerns = |decision: &mut crate::audit::Decision| decision.tenant = Some(id.clone());
            let changed = registry.set_weight(&id, weight);
            Ok(vec![site::recorded(region, "tenant.weight", concerns, changed).await?])
        }
        TenantCommand::Resume { id, .. } => {
            let concerns = |decision: &mut crate::audit::Decision| decision.tenant = Some(id.clone());
            Ok(vec![site::recorded(region, "tenant.resume", concerns, registry.resume_tenant(&id)).await?])
        }
    }
}

fn show(tenants: &[Tenant], as_json: bool) {
    if as_json {
        return output::json(&Value::Array(tenants.iter().map(to_json).collect()));
    }
    let rows: Vec<Vec<String>> = tenants
        .iter()
        .map(|tenant| {
            vec![
                tenant.id.to_string(),
                tenant.home.to_string(),
                status(tenant.status).to_owned(),
                tenant.default_class.to_string(),
                unclassified(tenant.unclassified).to_owned(),
                tenant.weight.to_string(),
                tenant.created.to_string(),
            ]
        })
        .collect();
    output::table(&["TENANT", "HOME", "STATUS", "DEFAULT CLASS", "UNCLASSIFIED", "WEIGHT", "CREATED"], &rows);
}

fn to_json(tenant: &Tenant) -> Value {
    json!({
        "id": tenant.id.as_str(),
        "home": tenant.home.as_str(),
        "status": status(tenant.status),
        "default_class": tenant.default_class.as_str(),
        "unclassified": unclassified(tenant.unclassified),
        "weight": tenant.weight.value(),
        "created": tenant.created.to_string(),
    })
}

fn status(status: TenantStatus) -> &'static str {
    match status {
        TenantStatus::Active => "active",
        TenantStatus::Suspended => "suspended",
    }
}

fn unclassified(rule: Unclassified) -> &'static str {
    match rule {
        Unclassified::TakesDefault => "takes the default",
        Unclassified::Refused => "refused",
    }
}
