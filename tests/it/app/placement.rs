//! Which class a record gets, and who may see what.

use aws_sdk_s3::primitives::ByteStream;
use terroir::model::{ClassId, Unclassified};
use terroir::placement::Operation;
use terroir::testing::{Embedded, Setup, TestTenant};

use super::{World, fetch_object, get, is, put, refusal};

async fn world() -> World {
    World::of(&Setup { store: Embedded::Memory, ..Setup::default() }).await
}

async fn written_as(clinic: &TestTenant, class: Option<&str>) -> String {
    let bucket = clinic.tenant.id.as_str();
    let put = clinic.s3.put_object().bucket(bucket).key("a").body(ByteStream::from_static(b"x"));
    match class {
        Some(class) => put.metadata("terroir-class", class).send().await.unwrap(),
        None => put.send().await.unwrap(),
    };
    fetch_object(&clinic.s3, bucket, "a").await.unwrap().headers["x-terroir-class"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_gets_the_strictest_of_its_header_its_buckets_rule_and_the_default_of_its_tenant() {
    let world = world().await;
    for region in ["fr", "us"] {
        let clinic = world.tenant(region, &format!("clinic-{region}"), "personal").await;
        let site = world.app.site(region);
        assert_eq!(written_as(&clinic, None).await, "personal", "the tenant's default");
        assert_eq!(written_as(&clinic, Some("health")).await, "health", "the header's, above the default");
        let rule: ClassId = "health-sensitive".parse().unwrap();
        let decided = site.admit(&clinic.tenant, &Operation::Bucket, "bucket.rule").await.unwrap();
        let bucket = clinic.tenant.id.as_str().parse().unwrap();
        site.vault().set_bucket_rule(&decided, &bucket, Some(&rule)).await.unwrap();
        assert_eq!(written_as(&clinic, None).await, "health-sensitive", "the bucket's rule");
        assert_eq!(written_as(&clinic, Some("operational")).await, "health-sensitive", "never loosened");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_that_demands_a_class_is_refused_without_one_and_an_unknown_class_is_an_error() {
    let world = world().await;
    let clinic = world.app.tenant_that("fr", "clinic", "personal", Unclassified::Refused).await;
    clinic.s3.create_bucket().bucket("clinic").send().await.unwrap();
    let bare = || clinic.s3.put_object().bucket("clinic").key("a").body(ByteStream::from_static(b"x"));
    assert_eq!(refusal(bare().send().await), is(400, "InvalidArgument"));
    let upload = clinic.s3.create_multipart_upload().bucket("clinic").key("a").send().await;
    assert_eq!(refusal(upload), is(400, "InvalidArgument"));
    let unknown = bare().metadata("terroir-class", "ecg").send().await;
    assert_eq!(refusal(unknown), is(400, "InvalidArgument"));
    bare().metadata("terroir-class", "health").send().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn another_tenants_bucket_is_403_for_everything_and_looks_the_same_empty_or_full() {
    let world = world().await;
    let owner = world.tenant("fr", "owner", "health").await;
    let stranger = world.tenant("fr", "stranger", "health").await;
    put(&owner.s3, "owner", "there", b"theirs").await;
    let s3 = &stranger.s3;
    for key in ["there", "absent"] {
        let denied = is(403, "AccessDenied");
        let body = || ByteStream::from_static(b"mine");
        assert_eq!(refusal(s3.get_object().bucket("owner").key(key).send().await), denied);
        assert_eq!(refusal(s3.head_object().bucket("owner").key(key).send().await).0, 403);
        assert_eq!(refusal(s3.put_object().bucket("owner").key(key).body(body()).send().await), denied);
        assert_eq!(refusal(s3.delete_object().bucket("owner").key(key).send().await), denied);
        assert_eq!(refusal(s3.create_multipart_upload().bucket("owner").key(key).send().await), denied);
    }
    assert_eq!(refusal(s3.list_objects_v2().bucket("owner").send().await), is(403, "AccessDenied"));
    assert_eq!(refusal(s3.get_bucket_location().bucket("owner").send().await), is(403, "AccessDenied"));
    assert_eq!(refusal(s3.head_bucket().bucket("owner").send().await).0, 403);
    assert_eq!(refusal(s3.delete_bucket().bucket("owner").send().await), is(403, "AccessDenied"));
    assert_eq!(refusal(s3.create_bucket().bucket("owner").send().await), is(409, "BucketAlreadyExists"));
    let own = owner.s3.create_bucket().bucket("owner").send().await;
    assert_eq!(refusal(own), is(409, "BucketAlreadyOwnedByYou"));
    let buckets = s3.list_buckets().send().await.unwrap();
    let names: Vec<_> = buckets.buckets().iter().map(|bucket| bucket.name().unwrap()).collect();
    assert_eq!(names, ["stranger"]);
    assert_eq!(get(&owner.s3, "owner", "there").await, b"theirs");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_bucket_name_in_two_regions_is_two_buckets() {
    let world = world().await;
    let french = world.app.tenant("fr", "clinic-fr", "health").await;
    let american = world.app.tenant("us", "clinic-us", "health").await;
    for clinic in [&french, &american] {
        clinic.s3.create_bucket().bucket("records").send().await.unwrap();
        put(&clinic.s3, "records", "a", clinic.tenant.id.as_str().as_bytes()).await;
    }
    assert_eq!(get(&french.s3, "records", "a").await, b"clinic-fr");
    assert_eq!(get(&american.s3, "records", "a").await, b"clinic-us");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_built_is_501_and_changes_nothing() {
    let world = world().await;
    let clinic = world.tenant("fr", "clinic", "health").await;
    put(&clinic.s3, "clinic", "a", b"x").await;
    let s3 = &clinic.s3;
    let copy = s3.copy_object().bucket("clinic").key("b").copy_source("clinic/a").send().await;
    assert_eq!(refusal(copy), is(501, "NotImplemented"));
    let acl = s3.get_object_acl().bucket("clinic").key("a").send().await;
    assert_eq!(refusal(acl), is(501, "NotImplemented"));
    let versions = s3.list_object_versions().bucket("clinic").send().await;
    assert_eq!(refusal(versions), is(501, "NotImplemented"));
    let public =
        s3.put_object().bucket("clinic").key("c").acl(aws_sdk_s3::types::ObjectCannedAcl::PublicRead);
    assert!(public.body(ByteStream::from_static(b"x")).send().await.is_err(), "never public");
    assert_eq!(super::keys_of(s3, "clinic").await, ["a"]);
}
