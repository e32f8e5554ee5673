//! The decision against every kind of tenant, operation, catalogue and clock.

use std::sync::LazyLock;

use proptest::prelude::*;

use super::*;
use crate::catalogue::{Catalogue, Tree};
use crate::model::{Tenant, TenantStatus, Timestamp, Unclassified};

/// 2026-12-01T00:00:00Z.
const NOW: Timestamp = Timestamp::from_seconds(1_796_083_200);
/// Long after the certificate below has ended.
const LATER: Timestamp = Timestamp::from_seconds(1_796_083_200 + 100 * 86_400);

/// The shipped catalogue after these replacements in its files: (file, text, what stands in its place).
fn catalogue(edits: &[(&str, &str, &str)]) -> Catalogue {
    let mut files = Tree::embedded().files().to_vec();
    for (path, text, with) in edits {
        let file = files.iter_mut().find(|file| file.path == *path).unwrap();
        assert!(file.text.contains(text), "{path} holds no {text}");
        file.text = file.text.replacen(text, with, 1);
    }
    Catalogue::from_tree(&Tree::of("test", files), NOW).unwrap()
}

/// The French HDS certificate with its days: valid at `NOW`, over at `LATER`.
const DATED: (&str, &str, &str) = (
    "fr.toml",
    "kind = \"hds-v2\"\n",
    "kind = \"hds-v2\"\nactivities = [1, 2, 3, 4, 5]\nissued = 2025-01-01\nexpires = 2026-12-31\n",
);
/// The strictest class in one region only.
const NARROW: (&str, &str, &str) =
    ("register/health-sensitive.toml", "allowed-regions = [\"*\"]", "allowed-regions = [\"us\"]");

/// Shipped; with a certificate that ends; with a narrow class; with both.
static CATALOGUES: LazyLock<[Catalogue; 4]> = LazyLock::new(|| {
    [catalogue(&[]), catalogue(&[DATED]), catalogue(&[NARROW]), catalogue(&[DATED, NARROW])]
});

fn tenant(home: &str, default: &str) -> Tenant {
    Tenant {
        id: "clinic".parse().unwrap(),
        code: TenantCode::from_bytes([9; 16]),
        home: home.parse().unwrap(),
        default_class: default.parse().unwrap(),
        unclassified: Unclassified::TakesDefault,
        status: TenantStatus::Active,
        weight: Weight::default(),
        created: NOW,
    }
}

fn ask(
    tenant: &Tenant,
    operation: &Operation,
    serving: &str,
    catalogue: &Catalogue,
) -> Result<Placement, Refusal> {
    decide(&Question { tenant, operation, serving: &serving.parse().unwrap(), now: NOW }, catalogue)
}

fn write(header: Option<&str>, tag: Option<&str>, bucket: Option<&str>) -> Operation {
    Operation::Write(AskedClass {
        header: header.map(Into::into),
        tag: tag.map(Into::into),
        bucket: bucket.map(|name| name.parse().unwrap()),
        source: None,
    })
}

fn create(location: Option<&str>) -> Operation {
    Operation::CreateBucket { location_constraint: location.map(Into::into) }
}

#[test]
fn a_write_carries_everything_that_seals_it() {
    let placement = ask(&tenant("fr", "health"), &write(None, None, None), "fr", &CATALOGUES[0]).unwrap();
    assert_eq!((placement.tenant().as_str(), placement.tenant_code().as_bytes()), ("clinic", &[9; 16]));
    assert_eq!((placement.region().as_str(), placement.signing_scope()), ("fr", "fr"));
    assert_eq!(placement.class(), Some(&("health".parse().unwrap(), ClassCode(3))));
    assert_eq!(placement.profile().unwrap().kek_cache_ttl_s, 300);
    assert_eq!(placement.class_from(), Some(ClassFrom::TenantDefault));
    assert_eq!(placement.register_version(), CATALOGUES[0].register_version());
}

#[test]
fn the_strictest_class_that_anybody_named_wins() {
    let cases = [
        ((None, None, None), "personal", ClassFrom::TenantDefault),
        ((Some("health"), None, None), "health", ClassFrom::Header),
        ((None, Some("health"), None), "health", ClassFrom::Tag),
        ((None, None, Some("health")), "health", ClassFrom::BucketRule),
        // Below the default: nothing lowers it.
        (
            (Some("operational"), Some("operational"), Some("operational")),
            "personal",
            ClassFrom::TenantDefault,
        ),
        ((Some("operational"), Some("health-sensitive"), Some("health")), "health-sensitive", ClassFrom::Tag),
        ((Some("health"), Some("health"), Some("health")), "health", ClassFrom::Header),
        ((Some("operational"), None, Some("health")), "health", ClassFrom::BucketRule),
    ];
    for ((header, tag, bucket), class, from) in cases {
        let placement =
            ask(&tenant("fr", "personal"), &write(header, tag, bucket), "fr", &CATALOGUES[0]).unwrap();
        assert_eq!(placement.class().unwrap().0.as_str(), class, "{header:?} {tag:?} {bucket:?}");
        assert_eq!(placement.class_from(), Some(from), "{header:?} {tag:?} {bucket:?}");
    }
}

#[test]
fn a_copy_is_no_way_down() {
    let asked = AskedClass {
        header: Some("operational".into()),
        source: Some("health".parse().unwrap()),
        ..AskedClass::default()
    };
    let placement =
        ask(&tenant("us", "operational"), &Operation::Write(asked), "us", &CATALOGUES[0]).unwrap();
    assert_eq!(placement.class().unwrap().1, ClassCode(3));
    assert_eq!(placement.class_from(), Some(ClassFrom::Source));
}

#[test]
fn an_unknown_class_is_refused_and_not_repeated_even_beside_a_known_one() {
    for name in ["Health", "health ", "", "secret-of-jeanne", "health\u{0}", "../health", "*"] {
        for operation in [write(Some(name), None, None), write(Some("health"), Some(name), Some("health"))] {
            let refusal = ask(&tenant("fr", "health"), &operation, "fr", &CATALOGUES[0]).unwrap_err();
            assert_eq!(refusal.code(), "TR-CLASS-UNKNOWN", "{name:?}");
            assert!(!refusal.to_string().contains("jeanne"), "{refusal}");
        }
    }
    // A bucket rule, a default or an upload may outlive its class.
    let gone = write(None, None, Some("gone"));
    assert_eq!(
        ask(&tenant("fr", "health"), &gone, "fr", &CATALOGUES[0]).unwrap_err().code(),
        "TR-CLASS-UNKNOWN"
    );
    let refusal = ask(&tenant("fr", "gone"), &write(Some("health"), None, None), "fr", &CATALOGUES[0]);
    assert!(matches!(refusal, Err(Refusal::ClassUnknown { named_by: ClassFrom::TenantDefault, .. })));
    let part = Operation::Part { class: "gone".parse().unwrap() };
    assert_eq!(
        ask(&tenant("fr", "health"), &part, "fr", &CATALOGUES[0]).unwrap_err().code(),
        "TR-CLASS-UNKNOWN"
    );
}

#[test]
fn a_tenant_that_demands_a_class_gets_one_or_refuses_the_record() {
    let mut strict = tenant("fr", "health");
    strict.unclassified = Unclassified::Refused;
    let refused = ask(&strict, &write(None, None, None), "fr", &CATALOGUES[0]);
    assert_eq!(refused, Err(Refusal::ClassMissing));
    for named in [
        write(Some("personal"), None, None),
        write(None, Some("personal"), None),
        write(None, None, Some("personal")),
    ] {
        // Named, so accepted; but the default still stands below it.
        assert_eq!(ask(&strict, &named, "fr", &CATALOGUES[0]).unwrap().class().unwrap().1, ClassCode(3));
    }
    assert!(ask(&strict, &Operation::Read, "fr", &CATALOGUES[0]).is_ok());
}

#[test]
fn only_the_tenants_own_region_is_a_location() {
    let tenant = tenant("fr", "health");
    for home in [None, Some("fr"), Some("")] {
        assert!(ask(&tenant, &create(home), "fr", &CATALOGUES[0]).is_ok(), "{home:?}");
    }
    let elsewhere = ask(&tenant, &create(Some("us")), "fr", &CATALOGUES[0]).unwrap_err();
    assert_eq!((elsewhere.code(), elsewhere.is_location_constraint()), ("TR-LOCATION-ELSEWHERE", true));
    for unknown in ["EU", "FR", "us-east-1", "eu-west-3", " fr", "fr ", "*", "global"] {
        let refusal = ask(&tenant, &create(Some(unknown)), "fr", &CATALOGUES[0]).unwrap_err();
        assert_eq!(
            (refusal.code(), refusal.is_location_constraint()),
            ("TR-LOCATION-UNKNOWN", true),
            "{unknown}"
        );
    }
}

#[test]
fn the_wrong_region_learns_nothing_but_where_to_go() {
    let mut elsewhere = tenant("us", "gone");
    elsewhere.status = TenantStatus::Suspended;
    // Suspended and with a class that is not there: still the redirect, which alone is the other region's to give.
    for operation in
        [write(Some("nonsense"), None, None), create(Some("zz")), Operation::Read, Operation::Maintain]
    {
        let refusal = ask(&elsewhere, &operation, "fr", &CATALOGUES[0]).unwrap_err();
        let Refusal::OtherRegion { region, endpoint } = refusal else { panic!("{refusal}") };
        assert_eq!((region.as_str(), endpoint.to_string().as_str()), ("us", "https://s3.us.terroir.example"));
    }
}

#[test]
fn an_unknown_region_is_an_error_never_a_default() {
    for (home, serving) in [("zz", "fr"), ("fr", "zz"), ("zz", "zz")] {
        let refusal = ask(&tenant(home, "health"), &Operation::Read, serving, &CATALOGUES[0]).unwrap_err();
        assert_eq!(refusal.code(), "TR-REGION-UNKNOWN", "{home} {serving}");
    }
}

#[test]
fn an_expired_certificate_stops_what_is_new_and_nothing_else() {
    let (french, american) = (tenant("fr", "health"), tenant("us", "health"));
    let new = [write(None, None, None), create(None), Operation::Part { class: "health".parse().unwrap() }];
    let old =
        [Operation::ListBuckets, Operation::Bucket, Operation::Read, Operation::Delete, Operation::Maintain];
    let at = |tenant, operation, now| {
        let serving = &Tenant::clone(tenant).home;
        decide(&Question { tenant, operation, serving, now }, &CATALOGUES[1])
    };
    for operation in &new {
        assert!(at(&french, operation, NOW).is_ok() && at(&american, operation, LATER).is_ok());
        assert_eq!(at(&french, operation, LATER).unwrap_err().code(), "TR-CERTIFICATE-EXPIRED");
    }
    for operation in &old {
        assert!(at(&french, operation, LATER).is_ok(), "{operation:?}");
    }
    // The last day counts to its end, and not a moment longer.
    let midnight = Timestamp::from_seconds(1_798_761_600);
    assert!(at(&french, &new[0], Timestamp::from_millis(midnight.millis() - 1)).is_ok());
    assert!(at(&french, &new[0], midnight).is_err());
}

#[test]
fn a_class_goes_only_where_the_register_allows_it() {
    let sensitive = write(Some("health-sensitive"), None, None);
    assert!(ask(&tenant("us", "health"), &sensitive, "us", &CATALOGUES[2]).is_ok());
    let refusal = ask(&tenant("fr", "health"), &sensitive, "fr", &CATALOGUES[2]).unwrap_err();
    assert_eq!(refusal.code(), "TR-CLASS-NOT-IN-REGION");
    // Raised by the default, not by the caller: refused as well.
    let by_default =
        ask(&tenant("fr", "health-sensitive"), &write(Some("personal"), None, None), "fr", &CATALOGUES[2]);
    assert_eq!(by_default.unwrap_err().code(), "TR-CLASS-NOT-IN-REGION");
}

#[test]
fn every_refusal_has_its_own_code_for_ever_and_says_what_to_do() {
    let region: RegionId = "fr".parse().unwrap();
    let day = CATALOGUES[1].region(&region).unwrap().certificates[0].expires.unwrap();
    let table = [
        (
            Refusal::OtherRegion { region: region.clone(), endpoint: "https://x.example".parse().unwrap() },
            "TR-OTHER-REGION",
            "send the request to https://x.example",
        ),
        (Refusal::RegionUnknown { region: region.clone() }, "TR-REGION-UNKNOWN", "not in the catalogue"),
        (Refusal::TenantSuspended, "TR-TENANT-SUSPENDED", "ask the operator"),
        (Refusal::LocationUnknown { home: region.clone() }, "TR-LOCATION-UNKNOWN", "use fr"),
        (
            Refusal::LocationElsewhere { asked: "us".parse().unwrap(), home: region.clone() },
            "TR-LOCATION-ELSEWHERE",
            "use fr",
        ),
        (
            Refusal::ClassUnknown { named_by: ClassFrom::Tag, known: "a, b".into() },
            "TR-CLASS-UNKNOWN",
            "use one of a, b",
        ),
        (Refusal::ClassMissing, "TR-CLASS-MISSING", "x-amz-meta-terroir-class"),
        (
            Refusal::ClassNotInRegion {
                class: "health".parse().unwrap(),
                region: region.clone(),
                allowed: "us".into(),
            },
            "TR-CLASS-NOT-IN-REGION",
            "allows us",
        ),
        (
            Refusal::CertificateExpired {
                region: region.clone(),
                kind: crate::catalogue::CertificateKind::HdsV2,
                expired: day,
            },
            "TR-CERTIFICATE-EXPIRED",
            "hds-v2 ended on 2026-12-31",
        ),
        (
            Refusal::FacetOutside {
                region,
                facet: crate::catalogue::FacetName::Logs,
                country: "BE".parse().unwrap(),
            },
            "TR-FACET-OUTSIDE",
            "logs reaches into BE",
        ),
    ];
    let codes: std::collections::BTreeSet<_> = table.iter().map(|(refusal, _, _)| refusal.code()).collect();
    assert_eq!(codes.len(), 10, "every variant, each with a code of its own");
    for (refusal, code, text) in table {
        assert_eq!(refusal.code(), code);
        assert!(refusal.to_string().contains(text), "{refusal}");
    }
}

fn any_class_name() -> impl Strategy<Value = Option<String>> {
    prop_oneof![
        3 => Just(None),
        5 => prop::sample::select(vec!["operational", "personal", "health", "health-sensitive"]).prop_map(|c| Some(c.into())),
        1 => ".{0,12}".prop_map(Some),
    ]
}

fn any_class_id() -> impl Strategy<Value = ClassId> {
    prop::sample::select(vec!["operational", "personal", "health", "health-sensitive", "gone"])
        .prop_map(|c| c.parse().unwrap())
}

fn any_operation() -> impl Strategy<Value = Operation> {
    let location = prop::option::of(prop_oneof![Just("fr".to_owned()), Just("us".to_owned()), ".{0,8}"]);
    let asked = (
        any_class_name(),
        any_class_name(),
        prop::option::of(any_class_id()),
        prop::option::of(any_class_id()),
    );
    prop_oneof![
        1 => Just(Operation::ListBuckets),
        1 => location.prop_map(|location_constraint| Operation::CreateBucket { location_constraint }),
        1 => Just(Operation::Bucket),
        1 => Just(Operation::Read),
        4 => asked.prop_map(|(header, tag, bucket, source)| Operation::Write(AskedClass { header, tag, bucket, source })),
        1 => any_class_id().prop_map(|class| Operation::Part { class }),
        1 => Just(Operation::Delete),
        1 => Just(Operation::Maintain),
    ]
}

fn any_tenant() -> impl Strategy<Value = Tenant> {
    let home = prop::sample::select(vec!["fr", "fr", "us", "us", "zz"]);
    (home, any_class_id(), any::<bool>(), prop::bool::weighted(0.2)).prop_map(
        |(home, class, refused, suspended)| Tenant {
            default_class: class,
            unclassified: if refused { Unclassified::Refused } else { Unclassified::TakesDefault },
            status: if suspended { TenantStatus::Suspended } else { TenantStatus::Active },
            ..tenant(home, "health")
        },
    )
}

fn rank(catalogue: &Catalogue, name: &str) -> Option<u16> {
    catalogue.class(&name.parse().ok()?).map(|class| class.rank)
}

/// Every class name a write carries, its tenant's default among them.
fn named(operation: &Operation, tenant: &Tenant) -> Vec<String> {
    match operation {
        Operation::Write(AskedClass { header, tag, bucket, source }) => {
            let sent = header.iter().chain(tag).cloned();
            let ids = bucket.iter().chain(source).chain([&tenant.default_class]).map(ToString::to_string);
            sent.chain(ids).collect()
        }
        Operation::Part { class } => vec![class.to_string()],
        _ => vec![],
    }
}

proptest! {
    // A failure's seed is printed; a file of seeds in the tree would be one more thing to keep.
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(4096) })]

    /// The invariant of the product: whatever is asked, a placement is in the tenant's home and in the region that is served.
    #[test]
    fn a_placement_is_at_home_and_here(
        tenant in any_tenant(),
        operation in any_operation(),
        serving in prop::sample::select(vec!["fr", "us", "zz"]),
        which in 0..4_usize,
        now in prop::sample::select(vec![NOW, LATER]),
    ) {
        let catalogue = &CATALOGUES[which];
        let serving: RegionId = serving.parse().unwrap();
        let question = Question { tenant: &tenant, operation: &operation, serving: &serving, now };
        let answer = decide(&question, catalogue);
        prop_assert_eq!(&answer, &decide(&question, catalogue), "pure");
        match answer {
            Ok(placement) => {
                prop_assert_eq!(placement.region(), &tenant.home);
                prop_assert_eq!(placement.region(), &serving);
                prop_assert_eq!(placement.tenant_code(), tenant.code);
                prop_assert_eq!(tenant.status, TenantStatus::Active);
                let names = named(&operation, &tenant);
                let ranks: Option<Vec<_>> = names.iter().map(|name| rank(catalogue, name)).collect();
                prop_assert!(ranks.is_some(), "an unknown class was placed");
                let placed = placement.profile().map(|profile| profile.rank);
                prop_assert_eq!(placed, ranks.unwrap().into_iter().max(), "the strictest");
                prop_assert_eq!(placement.class().is_some(), !names.is_empty());
                if let Some(profile) = placement.profile() {
                    prop_assert!(profile.allowed_regions.contains(&serving));
                }
                if which % 2 == 1 && now == LATER && tenant.home.as_str() == "fr" {
                    prop_assert!(!operation.adds(), "something new after the certificate ended");
                }
            }
            Err(Refusal::OtherRegion { region, .. }) => {
                prop_assert_eq!(&region, &tenant.home);
                prop_assert_ne!(&region, &serving);
            }
            Err(refusal) => prop_assert!(refusal.code().starts_with("TR-") && !refusal.to_string().is_empty()),
        }
    }

    /// A tenant of a region that is served, with known classes and nothing else in the way, is not refused: a decision that always
    /// refuses would pass the test above.
    #[test]
    fn what_nothing_forbids_is_placed(
        home in prop::sample::select(vec!["fr", "us"]),
        header in prop::option::of(prop::sample::select(vec!["operational", "personal", "health", "health-sensitive"])),
    ) {
        let placed = ask(&tenant(home, "personal"), &write(header, None, None), home, &CATALOGUES[0]);
        prop_assert!(placed.is_ok(), "{:?}", placed);
    }
}
