//! A commit whose answer was lost on its way, and what became of the key before it was repeated.

use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart};

use super::{World, get, is, put, refusal, until};

#[tokio::test(flavor = "multi_thread")]
async fn a_swap_that_happened_and_was_overtaken_was_told_that_it_had_not() {
    let world = World::new().await;
    let clinic = world.tenant("fr", "clinic", "health").await;
    let tap = world.app.tap("fr");
    for is_deleted in [false, true] {
        let first = put(&clinic.s3, "clinic", "a", b"first").await;
        let swap = |tag: &str, body: &'static [u8]| {
            clinic.s3.put_object().bucket("clinic").key("a").if_match(tag).body(body.to_vec().into()).send()
        };
        tap.index().lose_answers(1);
        let swapped = tokio::spawn(swap(&first, b"second"));
        let second = until("the swap to be there", async || {
            let head = clinic.s3.head_object().bucket("clinic").key("a").send().await.unwrap();
            head.e_tag.filter(|tag| *tag != first)
        })
        .await;
        // Another client saw it, and went on from it.
        if is_deleted {
            clinic.s3.delete_object().bucket("clinic").key("a").send().await.unwrap();
        } else {
            swap(&second, b"third").await.unwrap();
        }
        tap.index().let_go();
        assert_eq!(refusal(swapped.await.unwrap()), is(503, "ServiceUnavailable"), "{is_deleted}");
        if !is_deleted {
            assert_eq!(get(&clinic.s3, "clinic", "a").await, b"third");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_swap_that_certainly_did_not_happen_is_still_told_so() {
    let world = World::new().await;
    let clinic = world.tenant("fr", "clinic", "health").await;
    let first = put(&clinic.s3, "clinic", "a", b"first").await;
    put(&clinic.s3, "clinic", "a", b"second").await;
    let swap =
        clinic.s3.put_object().bucket("clinic").key("a").if_match(first).body(b"third".to_vec().into());
    assert_eq!(refusal(swap.send().await), is(412, "PreconditionFailed"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_complete_that_happened_was_told_that_there_never_was_a_bucket() {
    let world = World::new().await;
    let clinic = world.tenant("fr", "clinic", "health").await;
    let tap = world.app.tap("fr");
    let begun = clinic.s3.create_multipart_upload().bucket("clinic").key("big").send().await.unwrap();
    let id = begun.upload_id.unwrap();
    let part = clinic.s3.upload_part().bucket("clinic").key("big").upload_id(&id).part_number(1);
    let part = part.body(b"all of it".to_vec().into()).send().await.unwrap();
    let part = CompletedPart::builder().part_number(1).set_e_tag(part.e_tag).build();
    let list = CompletedMultipartUpload::builder().parts(part).build();
    let complete = clinic.s3.complete_multipart_upload().bucket("clinic").key("big").upload_id(&id);
    tap.index().lose_answers(1);
    let completed = tokio::spawn(complete.multipart_upload(list).send());
    until("the record to be there", async || {
        clinic.s3.head_object().bucket("clinic").key("big").send().await.ok()
    })
    .await;
    clinic.s3.delete_object().bucket("clinic").key("big").send().await.unwrap();
    clinic.s3.delete_bucket().bucket("clinic").send().await.unwrap();
    tap.index().let_go();
    assert_eq!(refusal(completed.await.unwrap()), is(503, "ServiceUnavailable"));
}
