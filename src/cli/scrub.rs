//! `terroir scrub`: one pass over a region, while it serves or while it does not.

use std::io::IsTerminal as _;
use std::time::Duration;

use serde_json::{Value, json};

use crate::app::{Begin, ScrubRequest, Scrubbed, Site};
use crate::envelope;
use crate::vault::{Counts, Pass, Phase, Progress};

use super::args::ScrubArgs;
use super::{Failure, output, site};

/// How often to ask again for the pass that another process has: one that was killed lets go within 15 seconds.
const ASK_AGAIN: Duration = Duration::from_secs(1);
const ASKED_MAX: u32 = 20;

pub(super) async fn run(args: ScrubArgs) -> Result<(), Failure> {
    // What verifies must itself be right: both implementations, against each other.
    envelope::self_test().map_err(|error| Failure::of(&error))?;
    let region = site::open(&args.site).await?;
    let begin = match (args.once, args.resume) {
        (true, _) => Begin::Fresh,
        (_, true) => Begin::Resume,
        _ => Begin::Either,
    };
    let mut request = region.scrub_request(begin);
    request.bytes_per_s_max = args.rate.unwrap_or(request.bytes_per_s_max);
    request.blobs_per_s_max = args.blobs_per_s.unwrap_or(request.blobs_per_s_max);
    request.remove_unknown |= args.remove_unknown;
    let scrubbed = scrub(&region, request, args.site.json).await;
    site::close(region).await;
    conclude(scrubbed?, args.site.json)
}

async fn scrub(region: &Site, request: ScrubRequest, as_json: bool) -> Result<Scrubbed, Failure> {
    let is_shown = as_json || std::io::stderr().is_terminal();
    let progress = move |at: Progress| match (as_json, is_shown) {
        (true, _) => output::line(&progress_json(&at).to_string()),
        (false, true) => output::note(&progress_text(&at)),
        (false, false) => {}
    };
    for _ in 0..ASKED_MAX {
        match region.scrub(request, &progress).await? {
            Scrubbed::Busy => tokio::time::sleep(ASK_AGAIN).await,
            scrubbed => return Ok(scrubbed),
        }
    }
    Ok(Scrubbed::Busy)
}

fn conclude(scrubbed: Scrubbed, as_json: bool) -> Result<(), Failure> {
    let (pass, why) = match scrubbed {
        Scrubbed::Ended(pass) => (pass, None),
        Scrubbed::Interrupted { pass, why } => (pass, Some(why)),
        Scrubbed::Busy => {
            return Err(Failure::try_again("another process scrubs this region; its pass goes on"));
        }
        Scrubbed::NothingToResume | Scrubbed::NotDue(_) => {
            output::line(if as_json {
                r#"{"event":"nothing-to-resume"}"#
            } else {
                "no pass was interrupted: nothing to go on with"
            });
            return Ok(());
        }
    };
    if as_json {
        output::line(&report_json(&pass, why).to_string());
    } else {
        print(&pass);
    }
    let counts = &pass.counts;
    if counts.has_damage() {
        let (missing, corrupt) = (counts.missing, counts.corrupt);
        return Err(Failure::new(format!(
            "blobs of records are damaged: {missing} missing, {corrupt} corrupt"
        )));
    }
    if let Some(why) = why {
        return Err(Failure::unavailable(format!(
            "the pass stopped: {why}; `terroir scrub --resume` goes on"
        )));
    }
    if counts.unreadable > 0 {
        let count = counts.unreadable;
        return Err(Failure::unavailable(format!("{count} blobs could not be read for now; scrub again")));
    }
    Ok(())
}

/// The counts under the names that people and programs read.
fn named(counts: &Counts) -> [(&'static str, u64); 12] {
    [
        ("verified", counts.verified),
        ("verified_bytes", counts.verified_bytes),
        ("missing", counts.missing),
        ("corrupt", counts.corrupt),
        ("unreadable", counts.unreadable),
        ("skipped", counts.skipped),
        ("listed", counts.listed),
        ("unknown", counts.unknown),
        ("elsewhere", counts.elsewhere + counts.foreign_names),
        ("given_up", counts.given_up),
        ("reclaimed", counts.reclaimed),
        ("reclaim_failed", counts.reclaim_failed),
    ]
}

const fn phase(phase: Phase) -> &'static str {
    match phase {
        Phase::Live => "verifying",
        Phase::Stored => "listing",
        Phase::Reclaim => "reclaiming",
        Phase::Done => "done",
    }
}

fn progress_text(at: &Progress) -> String {
    format!(
        "{} {}.{} % · {} verified ({}) · {} damaged · {} unknown",
        phase(at.phase),
        at.permille / 10,
        at.permille % 10,
        at.counts.verified,
        output::bytes(at.counts.verified_bytes),
        at.counts.missing + at.counts.corrupt,
        at.counts.unknown + at.counts.elsewhere,
    )
}

fn counts_json(counts: &Counts) -> Value {
    named(counts).into_iter().map(|(name, count)| (name.to_owned(), json!(count))).collect()
}

fn progress_json(at: &Progress) -> Value {
    json!({ "event": "progress", "phase": phase(at.phase), "permille": at.permille, "counts": counts_json(&at.counts) })
}

fn report_json(pass: &Pass, why: Option<&str>) -> Value {
    json!({
        "event": "report",
        "pass": pass.number,
        "ended": why.is_none(),
        "interrupted": why,
        "phase": phase(pass.phase),
        "duration_ms": pass.ended_ms.map(|ended| ended.saturating_sub(pass.begun_ms)),
        "counts": counts_json(&pass.counts),
        "findings": pass.findings,
    })
}

fn print(pass: &Pass) {
    for found in &pass.findings {
        let age = found.age_s.map(|age| format!(", known for {age} s")).unwrap_or_default();
        output::line(&format!("FOUND {:?} {}: {}{age}", found.outcome, found.blob, found.what));
    }
    let rows: Vec<Vec<String>> = named(&pass.counts)
        .into_iter()
        .map(|(name, count)| vec![name.replace('_', " "), count.to_string()])
        .collect();
    output::table(&["BLOBS", "COUNT"], &rows);
    if let Some(ended) = pass.ended_ms {
        let took = ended.saturating_sub(pass.begun_ms);
        output::line(&format!("pass {} took {}.{:03} s", pass.number, took / 1000, took % 1000));
    }
}
