//! What an operation costs: requests to the store, round trips to the index.

use terroir::testing::Asked;

use super::{World, get, noise, put};

/// What `work` asks of the French store and index.
async fn asked<T>(world: &World, work: impl Future<Output = T>) -> (T, Asked) {
    let tap = world.app.tap("fr");
    let before = tap.asked();
    let done = work.await;
    (done, tap.asked() - before)
}

#[tokio::test(flavor = "multi_thread")]
async fn each_operation_keeps_to_its_store_requests_and_index_round_trips() {
    let world = World::new().await;
    let clinic = world.tenant("fr", "clinic", "health").await;
    let s3 = &clinic.s3;
    // The first write makes the tenant's keys.
    put(s3, "clinic", "first", b"x").await;

    let (_, cost) = asked(&world, Box::pin(put(s3, "clinic", "a", &noise(1, 100_000)))).await;
    assert_eq!((cost.puts, cost.store()), (1, 1), "PUT: {cost:?}");
    assert!(cost.index <= 2, "PUT: {cost:?}");
    let (_, cost) = asked(&world, get(s3, "clinic", "a")).await;
    assert_eq!((cost.reads, cost.store()), (1, 1), "GET: {cost:?}");
    assert!(cost.index <= 1, "GET: {cost:?}");
    let (head, cost) = asked(&world, s3.head_object().bucket("clinic").key("a").send()).await;
    head.unwrap();
    assert_eq!((cost.store(), cost.index), (0, 1), "HEAD: {cost:?}");
    let (list, cost) = asked(&world, s3.list_objects_v2().bucket("clinic").send()).await;
    list.unwrap();
    assert_eq!((cost.store(), cost.index), (0, 1), "LIST: {cost:?}");
    let (deleted, cost) = asked(&world, s3.delete_object().bucket("clinic").key("a").send()).await;
    deleted.unwrap();
    assert_eq!((cost.store(), cost.index), (0, 1), "DELETE: {cost:?}");
    let (absent, cost) = asked(&world, s3.get_object().bucket("clinic").key("a").send()).await;
    assert!(absent.is_err());
    assert_eq!((cost.store(), cost.index), (0, 1), "GET of nothing: {cost:?}");
    let (located, cost) = asked(&world, s3.get_bucket_location().bucket("clinic").send()).await;
    located.unwrap();
    assert_eq!((cost.store(), cost.index), (0, 1), "GetBucketLocation: {cost:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn sixty_four_kib_of_sixty_four_mib_cost_one_store_request_and_two_segments_at_most() {
    let world = World::new().await;
    let clinic = world.tenant("fr", "clinic", "health").await;
    let body = noise(8, 64 << 20);
    let (_, cost) = asked(&world, Box::pin(put(&clinic.s3, "clinic", "scan", &body))).await;
    assert!((8..=9).contains(&cost.puts), "eight blobs of 8 MiB, and perhaps one for the record: {cost:?}");
    assert!(cost.index <= 2, "{cost:?}");
    for from in [0, 65_536, (8 << 20) - 70_000, (40 << 20) + 12_345, (64 << 20) - 65_536] {
        let range = format!("bytes={from}-{}", from + 65_535);
        let read = async {
            let got = clinic.s3.get_object().bucket("clinic").key("scan").range(&range).send().await.unwrap();
            got.body.collect().await.unwrap().to_vec()
        };
        let (got, cost) = asked(&world, read).await;
        assert!(got == body[from..from + 65_536], "{range}");
        assert_eq!((cost.reads, cost.store()), (1, 1), "{range}: {cost:?}");
        assert!(cost.index <= 1, "{range}: {cost:?}");
        // Two segments, and where they are a blob's first also the head that stands in front.
        assert!(cost.read_bytes <= 2 * 65_568 + 4096, "{range}: {cost:?}");
    }
    let (listed, cost) = asked(&world, clinic.s3.list_objects_v2().bucket("clinic").send()).await;
    assert_eq!(listed.unwrap().contents()[0].size(), Some(64 << 20));
    assert_eq!(cost.store(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_costs_one_question_and_one_commit() {
    let world = World::new().await;
    let clinic = world.tenant("fr", "clinic", "health").await;
    let begun = clinic.s3.create_multipart_upload().bucket("clinic").key("big").send().await.unwrap();
    let id = begun.upload_id.unwrap();
    for number in 1..=3 {
        let part = clinic.s3.upload_part().bucket("clinic").key("big").upload_id(&id).part_number(number);
        let (stored, cost) = asked(&world, part.body(noise(9, 70_000).into()).send()).await;
        stored.unwrap();
        assert_eq!((cost.puts, cost.index), (1, 2), "part {number}: {cost:?}");
    }
    // What was remembered of it does not outlive it.
    clinic.s3.abort_multipart_upload().bucket("clinic").key("big").upload_id(&id).send().await.unwrap();
    let late = clinic.s3.upload_part().bucket("clinic").key("big").upload_id(&id).part_number(4);
    assert_eq!(
        super::refusal(late.body(b"late".to_vec().into()).send().await),
        super::is(404, "NoSuchUpload")
    );
}
