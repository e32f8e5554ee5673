//! Checks of what a region claims: laws, certificates, evidence, retention regimes.

use std::collections::BTreeSet;
use std::time::Duration;

use super::{Context, Problem};
use crate::catalogue::decode::Located;
use crate::catalogue::{CertificateKind, Evidence, Region, Standing};

/// A certificate is renewed in months, not days; this is when to start asking.
const EXPIRES_SOON: Duration = Duration::from_hours(90 * 24);
/// A statement nobody looked at for a year is not known any more.
const REVIEW_EVERY: Duration = Duration::from_hours(366 * 24);

/// Every statement of a region with the field it stands at.
pub(super) fn evidence(region: &Region) -> Vec<(String, &Evidence)> {
    let mut all = vec![
        ("place.evidence".to_owned(), &region.place.evidence),
        ("operator.evidence".into(), &region.operator.evidence),
    ];
    all.extend(
        region.facets.iter().map(|(name, facet)| (format!("facets.{name}.evidence"), &facet.evidence)),
    );
    let listed = |list: &'static str| move |(i, evidence)| (format!("{list}.{i}.evidence"), evidence);
    all.extend(region.certificates.iter().map(|c| &c.evidence).enumerate().map(listed("certificates")));
    all.extend(region.regimes.iter().map(|r| &r.evidence).enumerate().map(listed("regimes")));
    all
}

/// A provider seated, controlled or established elsewhere can be ordered from there; silence about it would be a green tick.
pub(super) fn third_country_law_is_named(file: &Located<Region>, _: &Context<'_>) -> Vec<Problem> {
    let Region { operator, place, .. } = &file.value;
    let seats = std::iter::once(operator.seat)
        .chain(operator.parent.as_ref().map(|parent| parent.seat))
        .chain(operator.establishments.iter().copied());
    let foreign: BTreeSet<_> = seats.filter(|seat| !place.countries.contains(seat)).collect();
    if foreign.is_empty() || !operator.third_country_laws.is_empty() {
        return vec![];
    }
    let named: Vec<_> = foreign.iter().map(ToString::to_string).collect();
    let message = format!(
        "the operator is seated, controlled or established in {}, and no law of it is named",
        named.join(", ")
    );
    vec![Problem::new(
        "operator",
        message,
        "list the laws in third-country-laws, and what is done about them in mitigations",
    )]
}

pub(super) fn certificate_dates(file: &Located<Region>, context: &Context<'_>) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (i, certificate) in file.value.certificates.iter().enumerate() {
        let at = format!("certificates.{i}");
        let kind = certificate.kind;
        match (certificate.issued, certificate.expires) {
            (Some(issued), Some(expires)) if issued > expires => {
                problems.push(Problem::new(
                    format!("{at}.expires"),
                    format!("{kind} expires before it is issued"),
                    "correct the days",
                ));
            }
            (Some(issued), _) if issued.starts() > context.now => {
                let message = format!("{kind} is issued on {issued}, which is yet to come");
                problems.push(Problem::new(format!("{at}.issued"), message, "add it when it is there"));
            }
            (None, _) | (_, None) if certificate.evidence.standing == Standing::Declared => {
                let message = format!("{kind} is declared without the days it is valid");
                problems.push(Problem::new(
                    at,
                    message,
                    "copy issued and expires from the certificate, or mark it to-confirm",
                ));
            }
            _ => {}
        }
    }
    problems
}

/// HDS v2 certifies activities 1 to 6 one by one (framework of 2024, section 3): the name alone says nothing.
pub(super) fn certificate_activities(file: &Located<Region>, _: &Context<'_>) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (i, certificate) in file.value.certificates.iter().enumerate() {
        let listed = &certificate.activities;
        let sound = match certificate.kind {
            CertificateKind::HdsV2 => {
                let known = listed.iter().all(|activity| (1..=6).contains(activity));
                known && (!listed.is_empty() || certificate.evidence.standing == Standing::ToConfirm)
            }
            _ => listed.is_empty(),
        };
        if !sound {
            let message = format!("{} with activities {listed:?}", certificate.kind);
            let fix = "hds-v2 lists which of the activities 1 to 6 it covers, other certificates list none";
            problems.push(Problem::new(format!("certificates.{i}"), message, fix));
        }
    }
    problems
}

pub(super) fn certificate_expired(file: &Located<Region>, context: &Context<'_>) -> Vec<Problem> {
    expiring(
        file,
        |ends| ends <= context.now,
        "ended on",
        "renew it: until then the region takes no new records",
    )
}

pub(super) fn certificate_expires_soon(file: &Located<Region>, context: &Context<'_>) -> Vec<Problem> {
    let soon = context.now.after(EXPIRES_SOON);
    expiring(
        file,
        |ends| ends > context.now && ends <= soon,
        "ends on",
        "renew it: on the day after, the region takes no new records",
    )
}

fn expiring(
    file: &Located<Region>,
    matches: impl Fn(crate::model::Timestamp) -> bool,
    verb: &str,
    fix: &str,
) -> Vec<Problem> {
    let dated = file.value.certificates.iter().enumerate().filter_map(|(i, c)| Some((i, c.kind, c.expires?)));
    dated
        .filter(|(_, _, expires)| matches(expires.ends()))
        .map(|(i, kind, expires)| {
            Problem::new(format!("certificates.{i}.expires"), format!("{kind} {verb} {expires}"), fix)
        })
        .collect()
}

pub(super) fn evidence_from_the_future(file: &Located<Region>, context: &Context<'_>) -> Vec<Problem> {
    let early =
        evidence(&file.value).into_iter().filter(|(_, evidence)| evidence.reviewed_on.starts() > context.now);
    early
        .map(|(at, evidence)| {
            let message = format!("{at} was reviewed on {}, which is yet to come", evidence.reviewed_on);
            Problem::new(
                format!("{at}.reviewed-on"),
                message,
                "write the day of the last review, or set this machine's clock",
            )
        })
        .collect()
}

pub(super) fn evidence_is_confirmed(file: &Located<Region>, _: &Context<'_>) -> Vec<Problem> {
    let open =
        evidence(&file.value).into_iter().filter(|(_, evidence)| evidence.standing == Standing::ToConfirm);
    open.map(|(at, _)| {
        let what = at.trim_end_matches(".evidence");
        Problem::new(
            format!("{at}.standing"),
            format!("{what} is yet to be confirmed"),
            "confirm it with its source before relying on it",
        )
    })
    .collect()
}

pub(super) fn evidence_is_recent(file: &Located<Region>, context: &Context<'_>) -> Vec<Problem> {
    let old = evidence(&file.value)
        .into_iter()
        .filter(|(_, e)| context.now.since(e.reviewed_on.starts()) > REVIEW_EVERY);
    old.map(|(at, evidence)| {
        let message = format!("{at} was last reviewed on {}", evidence.reviewed_on);
        Problem::new(
            format!("{at}.reviewed-on"),
            message,
            "compare it with its source again: what is older than a year is unknown",
        )
    })
    .collect()
}

pub(super) fn regime_bounds(file: &Located<Region>, _: &Context<'_>) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut ids = BTreeSet::new();
    for (i, regime) in file.value.regimes.iter().enumerate() {
        if !ids.insert(&regime.id) {
            problems.push(Problem::new(
                format!("regimes.{i}.id"),
                format!("two regimes are called {}", regime.id),
                "rename one",
            ));
        }
        let empty = regime.floor_days.is_none() && regime.ceiling_days.is_none();
        if empty || regime.floor_days > regime.ceiling_days.or(Some(u32::MAX)) {
            let message = format!("regime {} bounds nothing, or its floor lies above its ceiling", regime.id);
            problems.push(Problem::new(
                format!("regimes.{i}"),
                message,
                "set floor-days, ceiling-days or both, in that order",
            ));
        }
    }
    problems
}
