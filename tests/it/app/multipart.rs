//! Multipart uploads: any order, retried parts, replays, aborts.

use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{ChecksumAlgorithm, ChecksumType, CompletedMultipartUpload, CompletedPart};
use terroir::testing::{Setup, TestTenant};

use super::{World, get, is, keys_of, noise, put, refusal, until};

const MIB: usize = 1 << 20;
/// The least a part may hold unless it is the last (S3 User Guide, "Multipart upload limits").
const PART: usize = 5 * MIB;

/// An upload of one tenant to key `big` of its bucket.
struct Upload<'a> {
    clinic: &'a TestTenant,
    id: String,
}

impl<'a> Upload<'a> {
    async fn begin(clinic: &'a TestTenant, class: &str) -> Self {
        let begun = clinic.s3.create_multipart_upload().bucket(clinic.tenant.id.as_str()).key("big");
        let begun = begun.metadata("terroir-class", class).metadata("lead", "II").content_type("audio/ecg");
        Self { clinic, id: begun.send().await.unwrap().upload_id.unwrap() }
    }

    async fn part(&self, number: i32, body: &[u8]) -> CompletedPart {
        let part = self.clinic.s3.upload_part().bucket(self.clinic.tenant.id.as_str()).key("big");
        let part = part.upload_id(&self.id).part_number(number).body(ByteStream::from(body.to_vec()));
        let done = part.send().await.unwrap();
        CompletedPart::builder()
            .part_number(number)
            .set_e_tag(done.e_tag)
            .set_checksum_crc32(done.checksum_crc32)
            .build()
    }

    fn complete(
        &self,
        parts: &[&CompletedPart],
    ) -> aws_sdk_s3::operation::complete_multipart_upload::builders::CompleteMultipartUploadFluentBuilder
    {
        let parts = parts.iter().map(|part| (*part).clone()).collect();
        let list = CompletedMultipartUpload::builder().set_parts(Some(parts)).build();
        let complete = self.clinic.s3.complete_multipart_upload().bucket(self.clinic.tenant.id.as_str());
        complete.key("big").upload_id(&self.id).multipart_upload(list)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn parts_in_any_order_are_one_record_and_a_replayed_complete_gets_the_same_answer() {
    let world = World::new().await;
    for (region, class) in [("fr", "health-sensitive"), ("us", "health")] {
        let clinic = world.tenant(region, &format!("clinic-{region}"), "operational").await;
        let bucket = clinic.tenant.id.as_str();
        let body = noise(11, 2 * PART + 12_345);
        let upload = Upload::begin(&clinic, class).await;
        let last = upload.part(30, &body[2 * PART..]).await;
        let first = upload.part(1, &body[..PART]).await;
        let middle = upload.part(7, &body[PART..2 * PART]).await;
        assert!(keys_of(&clinic.s3, bucket).await.is_empty(), "invisible until it is complete");
        let done = upload.complete(&[&first, &middle, &last]).send().await.unwrap();
        let tag = done.e_tag.clone().unwrap();
        assert!(tag.trim_matches('"').ends_with("-3"), "{tag}");
        let again = upload.complete(&[&first, &middle, &last]).send().await.unwrap();
        assert_eq!(again.e_tag, done.e_tag);
        assert!(get(&clinic.s3, bucket, "big").await == body);
        let head = clinic.s3.head_object().bucket(bucket).key("big").send().await.unwrap();
        assert_eq!(head.content_length(), Some(i64::try_from(body.len()).unwrap()));
        assert_eq!(head.content_type(), Some("audio/ecg"));
        assert_eq!(head.metadata().unwrap().get("lead").map(String::as_str), Some("II"));
        for (from, to) in [(PART - 1, PART + 1), (2 * PART - 70_000, 2 * PART + 70), (0, 10)] {
            let range = format!("bytes={from}-{}", to - 1);
            let got = clinic.s3.get_object().bucket(bucket).key("big").range(&range).send().await.unwrap();
            assert!(got.body.collect().await.unwrap().to_vec() == body[from..to], "{range}");
        }
        let late = upload.part_refused(2).await;
        assert_eq!(late, is(404, "NoSuchUpload"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_complete_with_another_list_got_the_first_one_s_answer() {
    let world = World::new().await;
    let clinic = world.tenant("fr", "clinic", "health").await;
    let upload = Upload::begin(&clinic, "health").await;
    let (first, last) = (upload.part(1, &noise(1, PART)).await, upload.part(2, b"the end").await);
    let done = upload.complete(&[&first, &last]).send().await.unwrap();
    for other in [[&first].as_slice(), &[&last]] {
        assert_eq!(refusal(upload.complete(other).send().await), is(404, "NoSuchUpload"));
    }
    assert_eq!(upload.complete(&[&first, &last]).send().await.unwrap().e_tag, done.e_tag);
    // A replica of an older release kept nothing of the list.
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(world.app.index_path("fr"));
    let mut index = sqlx::ConnectOptions::connect(&options).await.unwrap();
    sqlx::query("UPDATE uploads SET record = x''").execute(&mut index).await.unwrap();
    assert_eq!(upload.complete(&[&first]).send().await.unwrap().e_tag, done.e_tag);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_complete_repeated_after_an_overwrite_was_no_such_upload() {
    let world = World::new().await;
    let clinic = world.tenant("fr", "clinic", "health").await;
    let upload = Upload::begin(&clinic, "health").await;
    let part = upload.part(1, b"all of it").await;
    let done = upload.complete(&[&part]).send().await.unwrap();
    let said = |answer: &aws_sdk_s3::operation::complete_multipart_upload::CompleteMultipartUploadOutput| {
        (answer.e_tag.clone(), answer.ssekms_key_id.clone(), answer.server_side_encryption.clone())
    };
    put(&clinic.s3, "clinic", "big", b"something else").await;
    let again = upload.complete(&[&part]).send().await.unwrap();
    assert_eq!(said(&again), said(&done), "overwritten");
    clinic.s3.delete_object().bucket("clinic").key("big").send().await.unwrap();
    let again = upload.complete(&[&part]).send().await.unwrap();
    assert_eq!(said(&again), said(&done), "deleted");
    assert!(keys_of(&clinic.s3, "clinic").await.is_empty(), "it is remembered, not done again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_of_parts_had_all_their_descriptors_in_memory_at_once() {
    const PARTS: i32 = 130;
    let world = World::new().await;
    let clinic = world.tenant("fr", "clinic", "health").await;
    let upload = Upload::begin(&clinic, "health").await;
    let mut sums = Vec::new();
    for number in 1..=PARTS {
        sums.push(upload.part(number, format!("{number}").as_bytes()).await.checksum_crc32);
    }
    let list = |most: i32, after: i32| {
        let list = clinic.s3.list_parts().bucket("clinic").key("big").upload_id(&upload.id);
        list.max_parts(most).part_number_marker(after.to_string()).send()
    };
    for (most, after, listed) in [(1000, 0, 130), (129, 0, 129), (128, 1, 128), (129, 1, 129), (5, 128, 2)] {
        let page = list(most, after).await.unwrap();
        let numbers: Vec<i32> = page.parts().iter().map(|part| part.part_number.unwrap()).collect();
        assert_eq!(numbers, (after + 1..=after + listed).collect::<Vec<_>>());
        assert_eq!(page.is_truncated, Some(after + listed < PARTS), "{most} after {after}");
        for part in page.parts() {
            let place = usize::try_from(part.part_number.unwrap() - 1).unwrap();
            assert_eq!(part.checksum_crc32, sums[place]);
        }
    }
    let most = world.app.tap("fr").index().parts_listed_max();
    assert!(most <= 128, "{most} at once");
}

impl Upload<'_> {
    async fn part_refused(&self, number: i32) -> (u16, String) {
        let part = self.clinic.s3.upload_part().bucket(self.clinic.tenant.id.as_str()).key("big");
        refusal(
            part.upload_id(&self.id).part_number(number).body(ByteStream::from_static(b"late")).send().await,
        )
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retried_part_counts_with_its_newest_bytes_and_the_older_tag_is_refused() {
    let world = World::new().await;
    let clinic = world.tenant("fr", "clinic", "health").await;
    let upload = Upload::begin(&clinic, "health").await;
    let stale = upload.part(1, &noise(1, PART)).await;
    let fresh = upload.part(1, &noise(2, PART)).await;
    let last = upload.part(2, b"end").await;
    let refused = upload.complete(&[&stale, &last]).send().await;
    assert_eq!(refusal(refused), is(400, "InvalidPart"));
    upload.complete(&[&fresh, &last]).send().await.unwrap();
    let body = get(&clinic.s3, "clinic", "big").await;
    assert!(body[..PART] == noise(2, PART) && &body[PART..] == b"end");
    // The older attempt's blob waits to be reclaimed.
    assert!(queued(&world, "fr").await > 0);
}

async fn queued(world: &World, region: &str) -> i64 {
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(world.app.index_path(region));
    let mut index = sqlx::ConnectOptions::connect(&options).await.unwrap();
    sqlx::query_scalar("SELECT count(*) FROM reclaim").fetch_one(&mut index).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_s3_refuses_is_refused_and_the_upload_goes_on() {
    let world = World::new().await;
    let clinic = world.tenant("us", "clinic", "personal").await;
    let upload = Upload::begin(&clinic, "personal").await;
    let small = upload.part(1, &noise(1, PART - 1)).await;
    let second = upload.part(2, &noise(2, PART)).await;
    assert_eq!(refusal(upload.complete(&[&small, &second]).send().await), is(400, "EntityTooSmall"));
    assert_eq!(refusal(upload.complete(&[&second, &small]).send().await), is(400, "InvalidPartOrder"));
    let absent = CompletedPart::builder().part_number(9).e_tag(second.e_tag().unwrap()).build();
    assert_eq!(refusal(upload.complete(&[&second, &absent]).send().await), is(400, "InvalidPart"));
    assert_eq!(refusal(upload.complete(&[]).send().await), is(400, "MalformedXML"));
    put(&clinic.s3, "clinic", "big", b"there already").await;
    let taken = upload.complete(&[&second]).if_none_match("*").send().await;
    assert_eq!(refusal(taken), is(412, "PreconditionFailed"));
    assert_eq!(get(&clinic.s3, "clinic", "big").await, b"there already");
    upload.complete(&[&second]).send().await.unwrap();
    assert!(get(&clinic.s3, "clinic", "big").await == noise(2, PART));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_whole_that_is_not_what_its_client_said_is_refused_and_shows_nothing() {
    let world = World::new().await;
    let clinic = world.tenant("fr", "clinic", "personal").await;
    let begun = clinic.s3.create_multipart_upload().bucket("clinic").key("big");
    let begun = begun.checksum_algorithm(ChecksumAlgorithm::Crc32).checksum_type(ChecksumType::FullObject);
    let upload = Upload { clinic: &clinic, id: begun.send().await.unwrap().upload_id.unwrap() };
    let (first, last) = (upload.part(1, &noise(1, PART)).await, upload.part(2, b"the end").await);
    let complete = || upload.complete(&[&first, &last]).checksum_type(ChecksumType::FullObject);
    assert_eq!(refusal(complete().checksum_crc32("AAAAAA==").send().await), is(400, "BadDigest"));
    let size = i64::try_from(PART + "the end".len()).unwrap();
    assert_eq!(refusal(complete().mpu_object_size(size - 1).send().await), is(400, "InvalidRequest"));
    assert!(keys_of(&clinic.s3, "clinic").await.is_empty(), "what is not what was meant is not there");
    complete().mpu_object_size(size).send().await.unwrap();
    assert!(get(&clinic.s3, "clinic", "big").await == [noise(1, PART), b"the end".to_vec()].concat());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_aborted_upload_leaves_nothing_and_its_blobs_are_reclaimed() {
    let mut setup = Setup::default();
    setup.limits.reclaim_delay_s = 0;
    let world = World::of(&setup).await;
    let clinic = world.tenant("fr", "clinic", "health").await;
    let before = world.app.blobs("fr").len();
    let upload = Upload::begin(&clinic, "health").await;
    let part = upload.part(1, &noise(1, PART)).await;
    assert!(world.app.blobs("fr").len() > before);
    let abort = clinic.s3.abort_multipart_upload().bucket("clinic").key("big").upload_id(&upload.id);
    abort.clone().send().await.unwrap();
    assert_eq!(refusal(abort.send().await), is(404, "NoSuchUpload"));
    assert_eq!(refusal(upload.complete(&[&part]).send().await), is(404, "NoSuchUpload"));
    assert!(keys_of(&clinic.s3, "clinic").await.is_empty());
    let site = world.app.site("fr");
    until("the aborted part to be deleted", async || {
        let placed = site.admit(&clinic.tenant, &terroir::placement::Operation::Maintain, "reclaim").await;
        site.vault().reclaim(&placed.unwrap(), &site.vault().due(&[], None).await.unwrap()).await.unwrap();
        (world.app.blobs("fr").len() == before).then_some(())
    })
    .await;
}
