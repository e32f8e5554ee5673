//! `terroir dev`: every region embedded on this machine, two demo tenants, a tour, and then a proxy to play with.

mod credentials;
mod records;
mod tour;

use crate::app::{self, Addresses, Parts, Running};

use super::args::DevArgs;
use super::serve::{StopSignals, drain};
use super::site::Installation;
use super::{Failure, output};

use credentials::DemoTenant;

pub(super) async fn run(args: DevArgs) -> Result<(), Failure> {
    let Installation { settings, catalogue } =
        Installation::dev(&args.data_dir, args.port_base, args.regions.as_ref())?;
    let mut stop = StopSignals::listen()?;
    let running =
        Box::pin(app::build(&settings, std::sync::Arc::clone(&catalogue), Parts::default())).await?;
    let (tenants, is_first) = credentials::ensure(&running, &args.data_dir).await?;
    greet(&running, &tenants, &args);
    if let Some(notice) = catalogue.overlay_notice() {
        output::line(&notice);
    }
    if is_first || args.exit_after_tour {
        let toured = tokio::select! {
            toured = tour::walk(&running, &tenants) => toured,
            () = stop.received() => {
                drain(running).await;
                return Ok(());
            }
        };
        if args.exit_after_tour || toured.is_err() {
            drain(running).await;
            return toured;
        }
    }
    output::line("Ready. Ctrl-C stops it; the data stays.");
    stop.received().await;
    drain(running).await;
    Ok(())
}

/// Where everything is, and lines to paste.
fn greet(running: &Running, tenants: &[DemoTenant], args: &DevArgs) {
    output::line("");
    let rows: Vec<Vec<String>> = running
        .addresses()
        .iter()
        .map(|at| {
            let folder = args.data_dir.join(at.region.as_str());
            vec![
                at.region.to_string(),
                format!("http://{}", at.data),
                format!("http://{}", at.control),
                format!("http://{}", at.observe),
                folder.display().to_string(),
            ]
        })
        .collect();
    output::table(&["REGION", "S3", "CONTROL", "OBSERVE", "DATA"], &rows);
    output::line("");
    output::line("Paste to use the AWS CLI:");
    for tenant in tenants {
        if let Some(at) = address(running, tenant) {
            output::line(&format!(
                "  AWS_ACCESS_KEY_ID={} AWS_SECRET_ACCESS_KEY={} AWS_REGION={} aws --endpoint-url http://{} s3 ls",
                tenant.access_key, tenant.secret_key, tenant.region, at.data
            ));
        }
    }
    output::line(&format!("These keys are also in {}.", credentials::path(&args.data_dir).display()));
    output::line("");
}

/// Where the tenant's region listens.
fn address<'a>(running: &'a Running, tenant: &DemoTenant) -> Option<&'a Addresses> {
    running.addresses().iter().find(|at| at.region.as_str() == tenant.region)
}
