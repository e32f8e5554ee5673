//! The named checks: each a pure function, all of them run, all of what they find reported.

mod across;
mod claims;
mod class;
mod region;

use std::collections::BTreeMap;

use super::class::ClassProfile;
use super::decode::{Decoded, Located};
use super::region::Region;
use super::{Finding, Findings, Severity};
use crate::model::Timestamp;

/// What the checks said, and how often each of them spoke.
pub(super) struct Checked {
    pub(super) findings: Findings,
    pub(super) runs: BTreeMap<&'static str, usize>,
}

/// Something wrong in the file that a check was given.
struct Problem {
    /// The field, as `facets.storage.hosts`.
    at: String,
    message: String,
    fix: String,
}

impl Problem {
    fn new(at: impl Into<String>, message: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { at: at.into(), message: message.into(), fix: fix.into() }
    }
}

/// What a check may look at besides its file.
struct Context<'a> {
    regions: &'a [Located<Region>],
    classes: &'a [Located<ClassProfile>],
    now: Timestamp,
}

/// A check's name, what a finding of it keeps from happening, and the check.
type Check<T> = (&'static str, Severity, fn(&Located<T>, &Context<'_>) -> Vec<Problem>);

use Severity::{Advice, Broken, Lapsed};

/// In the order in which a reader of a region file meets them.
const REGION_CHECKS: &[Check<Region>] = &[
    ("stem-is-id", Broken, region::stem_is_id),
    ("signing-scope-is-id", Broken, region::signing_scope_is_id),
    ("texts-are-filled", Broken, region::texts_are_filled),
    ("countries-are-named", Broken, region::countries_are_named),
    ("facet-inside-region", Broken, region::facet_inside_region),
    ("host-inside-facet", Broken, region::host_inside_facet),
    ("host-is-used", Advice, region::host_is_used),
    ("host-is-real", Advice, region::host_is_real),
    ("endpoint-has-tls", Broken, region::endpoint_has_tls),
    ("telemetry-headers", Broken, region::telemetry_headers),
    ("store-name", Broken, region::store_name),
    ("gcs-endpoint-is-regional", Broken, region::gcs_endpoint_is_regional),
    ("gcs-credentials", Broken, region::gcs_credentials),
    ("location-is-observable", Advice, region::location_is_observable),
    ("key-store-is-shared", Advice, region::key_store_is_shared),
    ("paths-are-apart", Broken, region::paths_are_apart),
    ("third-country-law-is-named", Broken, claims::third_country_law_is_named),
    ("certificate-dates", Broken, claims::certificate_dates),
    ("certificate-activities", Broken, claims::certificate_activities),
    ("certificate-expired", Lapsed, claims::certificate_expired),
    ("certificate-expires-soon", Advice, claims::certificate_expires_soon),
    ("evidence-from-the-future", Broken, claims::evidence_from_the_future),
    ("evidence-is-confirmed", Advice, claims::evidence_is_confirmed),
    ("evidence-is-recent", Advice, claims::evidence_is_recent),
    ("regime-bounds", Broken, claims::regime_bounds),
    ("region-is-unique", Broken, across::region_is_unique),
    ("endpoint-is-unique", Broken, across::endpoint_is_unique),
    ("store-is-unique", Broken, across::store_is_unique),
    ("collector-is-unique", Broken, across::collector_is_unique),
    ("keys-apart-from-store", Broken, across::keys_apart_from_store),
    ("custody-is-met", Advice, across::custody_is_met),
    ("register-is-there", Broken, across::register_is_there),
];

const CLASS_CHECKS: &[Check<ClassProfile>] = &[
    ("stem-is-id", Broken, class::stem_is_id),
    ("texts-are-filled", Broken, class::texts_are_filled),
    ("class-code", Broken, class::code_is_unique),
    ("class-rank", Broken, class::rank_is_unique),
    ("class-is-no-weaker", Broken, class::no_weaker_than_below),
    ("class-regions-exist", Broken, class::regions_exist),
    ("class-cache-bounds", Broken, class::cache_bounds),
    ("class-human-read", Broken, class::human_read),
    ("class-retention-bounds", Broken, class::retention_bounds),
    ("class-hints", Broken, class::hints),
    ("region-is-there", Broken, across::region_is_there),
];

/// Runs every check on everything that decoded. Pure.
pub(super) fn run(decoded: &Decoded, now: Timestamp) -> Checked {
    let context = Context { regions: &decoded.regions, classes: &decoded.classes, now };
    let mut findings = decoded.findings.clone();
    let mut runs = BTreeMap::from([("decode", decoded.files)]);
    run_on(&decoded.regions, REGION_CHECKS, &context, &mut findings, &mut runs);
    run_on(&decoded.classes, CLASS_CHECKS, &context, &mut findings, &mut runs);
    if decoded.files == 0 {
        // With no file there is nothing for a check to run on, and nothing found would read as nothing wrong.
        findings.push(Finding {
            file: decoded.origin.clone(),
            line: 1,
            severity: Broken,
            check: "region-is-there",
            message: "there is no region file".into(),
            fix: "name the folder that holds fr.toml and its like".into(),
        });
    }
    Checked { findings: Findings::new(findings), runs }
}

fn run_on<T>(
    files: &[Located<T>],
    checks: &[Check<T>],
    context: &Context<'_>,
    findings: &mut Vec<Finding>,
    runs: &mut BTreeMap<&'static str, usize>,
) {
    for (check, severity, judge) in checks {
        for file in files {
            *runs.entry(check).or_default() += 1;
            findings.extend(judge(file, context).into_iter().map(|Problem { at, message, fix }| Finding {
                file: file.file.clone(),
                line: file.line(&at),
                severity: *severity,
                check,
                message,
                fix,
            }));
        }
    }
}
