//! Contract suites are counted: suite × implementation × checks, against `tests/it/contracts.toml`.
//!
//! A suite that is green may hold less than it did, or not run on everything any more. A check that was dropped changes a number
//! here, an implementation that nobody asks leaves a row that no test holds, and one that is asked more gently than the others needs
//! a reason.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde::Deserialize;

const COMMITTED: &str = include_str!("../contracts.toml");

/// This file, whose own tests name rows that no suite holds.
const OURS: &str = "contract.rs";

/// How many checks one implementation has to hold.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(untagged, deny_unknown_fields)]
enum Due {
    Whole(usize),
    Other { checks: usize, because: String },
}

impl Due {
    fn checks(&self) -> usize {
        match self {
            Self::Whole(checks) | Self::Other { checks, .. } => *checks,
        }
    }
}

/// Suite → implementation → how many.
type Suites = BTreeMap<String, BTreeMap<String, Due>>;

/// To be called by a suite that has come to its end on an implementation. `row` is `suite × implementation`, as a literal, so
/// that it can be found in the sources.
pub(crate) fn held(row: &str, checks: usize) {
    println!("contract {row}: {checks} checks");
    if let Err(complaint) = compare(&suites(COMMITTED), row, checks) {
        panic!("{complaint}");
    }
}

fn suites(text: &str) -> Suites {
    toml::from_str(text).unwrap()
}

fn compare(suites: &Suites, row: &str, checks: usize) -> Result<(), String> {
    let (suite, implementation) =
        row.split_once(" × ").ok_or_else(|| format!("{row:?} is not `suite × implementation`"))?;
    match suites.get(suite).and_then(|rows| rows.get(implementation)) {
        None => Err(format!("{row} holds {checks} checks, and has no row in contracts.toml")),
        Some(due) if due.checks() != checks => {
            Err(format!("{row} holds {checks} checks; {} are committed in contracts.toml", due.checks()))
        }
        Some(_) => Ok(()),
    }
}

/// Suites whose implementations differ without a reason, and reasons for what does not differ.
fn uneven(suites: &Suites) -> Vec<String> {
    let mut complaints = Vec::new();
    for (suite, rows) in suites {
        let whole: BTreeSet<usize> =
            rows.values().filter(|due| matches!(due, Due::Whole(_))).map(Due::checks).collect();
        if whole.len() != 1 {
            complaints.push(format!(
                "{suite}: {whole:?} checks; one number is due, and others say because of what"
            ));
        }
        for (implementation, due) in rows {
            if let Due::Other { checks, because } = due
                && (whole.contains(checks) || because.trim().is_empty())
            {
                complaints.push(format!("{suite} × {implementation}: no reason, or no difference"));
            }
        }
    }
    complaints
}

/// Rows that no call in these sources begins with: `held("suite × implementation", …)`, or of a suite that hands it on.
fn idle(suites: &Suites, sources: &[String]) -> Vec<String> {
    let code: Vec<String> = sources.iter().map(|source| bare(source)).collect();
    let mut complaints = Vec::new();
    for (suite, rows) in suites {
        for implementation in rows.keys() {
            let call = format!("(\"{suite}×{implementation}\",");
            if !code.iter().any(|code| code.contains(&call)) {
                complaints.push(format!("{suite} × {implementation}: no test holds it"));
            }
        }
    }
    complaints
}

/// Without lines that are comments, and without white space.
fn bare(source: &str) -> String {
    let lines = source.lines().filter(|line| !line.trim_start().starts_with("//"));
    lines.flat_map(str::chars).filter(|c| !c.is_whitespace()).collect()
}

/// Every file of the integration tests but this one.
fn sources(folder: &Path) -> Vec<String> {
    let mut texts = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            texts.extend(sources(&path));
        } else if path.extension().is_some_and(|it| it == "rs")
            && !path.ends_with(Path::new("support").join(OURS))
        {
            texts.push(std::fs::read_to_string(&path).unwrap());
        }
    }
    texts
}

#[test]
fn every_committed_contract_is_held_by_a_test() {
    let sources = sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it"));
    let complaints = idle(&suites(COMMITTED), &sources);
    assert!(complaints.is_empty(), "{complaints:#?}");
}

#[test]
fn a_suite_holds_as_many_checks_on_each_implementation() {
    let suites = suites(COMMITTED);
    assert!(!suites.is_empty());
    let complaints = uneven(&suites);
    assert!(complaints.is_empty(), "{complaints:#?}");
}

#[test]
fn a_run_of_more_or_fewer_checks_or_of_nobody_known_is_found() {
    let suites = suites("[index]\nsqlite = 9\nlame = { checks = 8, because = \"it has no locks\" }\n");
    assert_eq!(compare(&suites, "index × sqlite", 9), Ok(()));
    assert_eq!(compare(&suites, "index × lame", 8), Ok(()));
    for (row, checks) in [
        ("index × sqlite", 8),
        ("index × sqlite", 10),
        ("index × lame", 9),
        ("index × postgres", 9),
        ("kms × sqlite", 9),
        ("sqlite", 9),
    ] {
        assert!(compare(&suites, row, checks).is_err(), "{row} {checks}");
    }
}

#[test]
fn an_implementation_held_to_less_without_a_reason_is_found() {
    let good = "[a]\none = 9\ntwo = 9\nlame = { checks = 8, because = \"it has no locks\" }\n[b]\none = 3\n";
    assert_eq!(uneven(&suites(good)), Vec::<String>::new());
    for bad in [
        "[a]\none = 9\ntwo = 8\n",
        "[a]\none = 9\nlame = { checks = 8, because = \" \" }\n",
        "[a]\none = 9\nlame = { checks = 9, because = \"it has no locks\" }\n",
        "[a]\n",
    ] {
        assert_eq!(uneven(&suites(bad)).len(), 1, "{bad}");
    }
}

#[test]
fn a_contract_that_no_test_runs_any_more_is_found() {
    let suites = suites("[blobs]\nfs = 9\n");
    for held in ["held(\"blobs × fs\", n);", "contract::run(\n    \"blobs × fs\",\n    fresh).await"] {
        assert_eq!(idle(&suites, &[held.to_owned()]), Vec::<String>::new(), "{held}");
    }
    for bad in
        ["", "    // held(\"blobs × fs\", n);", "held(\"blobs × fs-2\", n);", "held(\"blobs × memory\", n);"]
    {
        assert_eq!(idle(&suites, &[bad.to_owned()]).len(), 1, "{bad}");
    }
}
