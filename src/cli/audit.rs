//! `terroir audit verify`.

use serde_json::json;

use crate::app;
use crate::audit;

use super::args::AuditCommand;
use super::{Failure, output, site};

pub(super) async fn run(command: AuditCommand) -> Result<(), Failure> {
    let AuditCommand::Verify { site: args } = command;
    // Not through an opened site: a log that was tampered with does not open, and this is the verb that says why.
    let (directory, keys) = app::audit_trail(&site::parts(&args)?).await?;
    let report = audit::verify(&directory, Some(&keys)).map_err(|error| Failure::of(&error))?;
    if args.json {
        output::json(&json!({
            "region": report.region,
            "environment": report.environment,
            "records": report.records,
            "decisions": report.decisions,
            "completions": report.completions,
            "segments": report.segments,
            "last_sequence": report.last_sequence,
            "last_hash": report.last_hash,
            "findings": report.findings.iter().map(ToString::to_string).collect::<Vec<_>>(),
        }));
    } else {
        output::line(&format!(
            "region {}, environment {}: {} records ({} decisions, {} completions) in {} segments, {} to {}",
            report.region.as_deref().unwrap_or("?"),
            report.environment.as_deref().unwrap_or("?"),
            report.records,
            report.decisions,
            report.completions,
            report.segments,
            report.first_time.as_deref().unwrap_or("-"),
            report.last_time.as_deref().unwrap_or("-"),
        ));
        if let Some(hash) = &report.last_hash {
            output::line(&format!(
                "last record {} has hash {hash}: note both elsewhere, a later log must still contain them",
                report.last_sequence
            ));
        }
        for finding in &report.findings {
            output::line(&format!("FOUND {finding}"));
        }
    }
    if report.findings.is_empty() {
        return Ok(());
    }
    Err(Failure::new(format!(
        "the audit log of region {} does not verify: {} findings",
        args.region,
        report.findings.len()
    )))
}
