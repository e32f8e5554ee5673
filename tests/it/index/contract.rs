//! What every implementation of `Index` must do. Each check gets an empty index; [`CHECKS`] names them all, and
//! `tests/it/contracts.toml` says how many they are.

use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use terroir::index::{
    AbortOutcome, BlobStanding, CompleteOutcome, CreateBucket, CreateUpload, DeleteBucket, DeleteMany,
    DeleteOutcome, DuePosition, Holder, IndexError, ListOutcome, ListParts, ListUploads, LiveBlob, Lookup,
    NewBlob, NewUpload, NewVersion, Position, Precondition, PutOutcome, PutPart, PutRow, ReclaimReason,
    ReclaimRow, SetBucketClass, UploadLookup,
};
use terroir::model::{Timestamp, UploadId};

use super::fixture::*;

type Check = fn(Shared) -> Pin<Box<dyn Future<Output = ()> + Send>>;

macro_rules! checks {
    ($($name:ident),* $(,)?) => {
        /// Every check by name.
        pub(super) const CHECKS: &[(&str, Check)] = &[$((stringify!($name), |index| Box::pin($name(index)))),*];
    };
}

checks![
    a_bucket_name_is_unique_in_the_region,
    a_tenant_has_a_bounded_number_of_buckets,
    buckets_are_listed_to_their_owner_alone,
    a_bucket_that_is_not_empty_is_not_deleted,
    a_bucket_made_again_starts_empty,
    a_bucket_class_rule_is_set_and_cleared_by_its_owner,
    lookup_tells_absence_from_somebody_elses,
    a_version_reads_back_as_written,
    somebody_elses_bucket_is_neither_written_nor_emptied,
    an_overwrite_reclaims_what_it_replaces_after_the_delay,
    if_none_match_creates_once,
    if_match_on_an_absent_key_is_no_such_key,
    if_match_replaces_only_the_version_it_names,
    a_repeated_commit_answers_the_first_sequence,
    a_repeated_conditional_commit_is_not_its_own_obstacle,
    a_repeated_commit_of_a_replaced_version_does_not_bring_it_back,
    a_version_id_of_another_key_is_refused,
    a_blob_of_another_version_is_refused,
    a_blob_given_up_never_becomes_live,
    a_live_blob_is_never_queued_for_reclaim,
    forgotten_blobs_are_unknown,
    what_is_due_is_paged_through_without_a_gap,
    sequences_only_grow,
    one_of_many_creators_wins,
    one_of_many_if_match_writers_wins,
    a_failed_change_spoils_nobody_elses,
    a_delete_reclaims_and_is_repeatable,
    a_conditional_delete_checks_its_condition,
    deleting_many_answers_key_by_key,
    a_list_without_names_is_empty_not_an_error,
    a_list_rolls_up_and_counts_prefixes,
    a_list_resumes_where_it_stopped,
    a_start_inside_a_prefix_still_shows_it_and_a_marker_does_not,
    a_list_of_nothing_ends_at_once,
    keys_are_ordered_by_bytes,
    an_upload_becomes_a_version_of_its_chosen_parts,
    a_part_uploaded_again_replaces_the_older_attempt,
    a_repeated_part_changes_nothing,
    a_part_that_was_not_uploaded_completes_nothing,
    an_old_attempt_cannot_be_chosen,
    a_complete_with_another_size_completes_nothing,
    a_complete_obeys_its_precondition,
    a_repeated_complete_answers_the_first_one,
    a_complete_with_another_list_got_the_first_one_s_answer,
    a_completed_upload_is_closed,
    a_completed_upload_is_forgotten_after_its_time,
    an_aborted_upload_reclaims_its_parts,
    an_upload_is_found_only_under_its_own_key,
    uploads_of_others_are_out_of_reach,
    parts_are_listed_in_pages,
    uploads_are_listed_in_pages,
    a_tenant_has_a_bounded_number_of_open_uploads,
    counters_follow_every_change,
    a_kek_epoch_in_use_is_counted,
    a_directory_row_changes_by_compare_and_set,
    a_directory_poller_sees_only_what_is_newer,
    limits_are_refused_not_truncated,
    a_size_no_engine_can_hold_is_refused,
    rows_do_not_print_names,
    a_closed_index_says_so,
    live_blobs_are_walked_in_pages_each_once,
    blobs_of_open_uploads_are_live_and_reclaimed_ones_are_not,
    an_open_upload_is_found_by_the_version_it_will_become,
    an_unknown_blob_keeps_the_time_it_was_first_seen,
    an_unknown_blob_that_is_not_seen_again_is_forgotten,
    a_job_is_held_by_one_until_it_expires,
    a_job_taken_over_goes_on_from_the_state_last_kept,
    a_job_that_was_lost_is_not_kept,
    one_of_many_takers_gets_a_job,
];

async fn a_bucket_name_is_unique_in_the_region(index: Shared) {
    let name = bucket("records");
    assert_eq!(index.bucket(&name).await.unwrap(), None);
    assert_eq!(
        index.create_bucket(&name, OURS, Some(&class("health")), NOW).await.unwrap(),
        CreateBucket::Created
    );
    assert_eq!(index.create_bucket(&name, OURS, None, NOW).await.unwrap(), CreateBucket::AlreadyYours);
    assert_eq!(index.create_bucket(&name, THEIRS, None, NOW).await.unwrap(), CreateBucket::TakenByOther);
    let found = index.bucket(&name).await.unwrap().unwrap();
    assert_eq!((found.owner, found.class, found.created), (OURS, Some(class("health")), NOW));
}

async fn a_tenant_has_a_bounded_number_of_buckets(index: Shared) {
    for n in 0..super::BUCKETS_MAX {
        make_bucket(&*index, &format!("bucket-{n}")).await;
    }
    let one_more = bucket("one-more");
    assert_eq!(index.create_bucket(&one_more, OURS, None, NOW).await.unwrap(), CreateBucket::TooMany);
    assert_eq!(index.create_bucket(&one_more, THEIRS, None, NOW).await.unwrap(), CreateBucket::Created);
}

async fn buckets_are_listed_to_their_owner_alone(index: Shared) {
    for name in ["ccc", "aaa", "bbb"] {
        make_bucket(&*index, name).await;
    }
    index.create_bucket(&bucket("abc"), THEIRS, None, NOW).await.unwrap();
    let names = |found: Vec<terroir::index::Bucket>| {
        found.into_iter().map(|bucket| bucket.name.as_str().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(names(index.list_buckets(OURS, None, 1000).await.unwrap()), ["aaa", "bbb", "ccc"]);
    assert_eq!(names(index.list_buckets(OURS, Some(&bucket("aaa")), 1).await.unwrap()), ["bbb"]);
    assert_eq!(names(index.list_buckets(THEIRS, None, 1000).await.unwrap()), ["abc"]);
}

async fn a_bucket_that_is_not_empty_is_not_deleted(index: Shared) {
    let name = bucket("records");
    assert_eq!(index.delete_bucket(&name, OURS).await.unwrap(), DeleteBucket::NoBucket);
    make_bucket(&*index, "records").await;
    assert_eq!(index.delete_bucket(&name, THEIRS).await.unwrap(), DeleteBucket::NotYours);
    put(&*index, "records", "a").await;
    assert_eq!(index.delete_bucket(&name, OURS).await.unwrap(), DeleteBucket::NotEmpty);
    index.delete(OURS, &name, &key("a"), Precondition::None, NOW).await.unwrap();
    let open = upload("records", "a");
    index.create_upload(open.clone()).await.unwrap();
    assert_eq!(index.delete_bucket(&name, OURS).await.unwrap(), DeleteBucket::NotEmpty);
    index.abort_upload(OURS, &name, &open.key, open.upload, NOW).await.unwrap();
    assert_eq!(index.delete_bucket(&name, OURS).await.unwrap(), DeleteBucket::Deleted);
    assert_eq!(index.bucket(&name).await.unwrap(), None);
}

async fn a_bucket_made_again_starts_empty(index: Shared) {
    make_bucket(&*index, "records").await;
    let (open, part_size) = (upload("records", "a"), 10);
    index.create_upload(open.clone()).await.unwrap();
    let one = part(&open, 1);
    index.put_part(OURS, &open.bucket, &open.key, one.clone(), NOW).await.unwrap();
    let done = index.complete_upload(
        open.upload,
        vec![(1, one.etag)],
        completion(&open, part_size),
        Precondition::None,
        NOW,
    );
    assert!(matches!(done.await.unwrap(), CompleteOutcome::Completed { .. }));
    index.delete(OURS, &open.bucket, &open.key, Precondition::None, NOW).await.unwrap();
    assert_eq!(index.delete_bucket(&open.bucket, OURS).await.unwrap(), DeleteBucket::Deleted);
    index.create_bucket(&open.bucket, THEIRS, None, NOW).await.unwrap();
    assert_eq!(index.lookup(THEIRS, &open.bucket, &open.key).await.unwrap(), Lookup::NoKey);
    assert_eq!(
        index.upload(THEIRS, &open.bucket, &open.key, open.upload).await.unwrap(),
        UploadLookup::NoUpload,
        "what is left of a deleted bucket must not reappear in a new one"
    );
    assert_eq!(index.counters(OURS).await.unwrap(), []);
}

async fn a_bucket_class_rule_is_set_and_cleared_by_its_owner(index: Shared) {
    let (name, rule) = (bucket("records"), class("health-sensitive"));
    assert_eq!(index.set_bucket_class(&name, OURS, Some(&rule)).await.unwrap(), SetBucketClass::NoBucket);
    make_bucket(&*index, "records").await;
    assert_eq!(index.set_bucket_class(&name, THEIRS, Some(&rule)).await.unwrap(), SetBucketClass::NotYours);
    assert_eq!(index.set_bucket_class(&name, OURS, Some(&rule)).await.unwrap(), SetBucketClass::Set);
    assert_eq!(index.bucket(&name).await.unwrap().unwrap().class, Some(rule));
    assert_eq!(index.set_bucket_class(&name, OURS, None).await.unwrap(), SetBucketClass::Set);
    assert_eq!(index.bucket(&name).await.unwrap().unwrap().class, None);
}

async fn lookup_tells_absence_from_somebody_elses(index: Shared) {
    let name = bucket("records");
    assert_eq!(index.lookup(OURS, &name, &key("a")).await.unwrap(), Lookup::NoBucket);
    make_bucket(&*index, "records").await;
    assert_eq!(index.lookup(OURS, &name, &key("a")).await.unwrap(), Lookup::NoKey);
    put(&*index, "records", "a").await;
    assert_eq!(index.lookup(THEIRS, &name, &key("a")).await.unwrap(), Lookup::NotYours);
    assert_eq!(index.lookup(THEIRS, &name, &key("b")).await.unwrap(), Lookup::NotYours);
    assert!(found(&*index, "records", "a").await.is_some());
    assert!(found(&*index, "records", "A").await.is_none());
}

async fn a_version_reads_back_as_written(index: Shared) {
    make_bucket(&*index, "records").await;
    let mut new = version("records", "jeanne/ecg\0é//");
    new.size = u64::try_from(i64::MAX).unwrap() / 2;
    new.kek_epoch = u32::MAX;
    new.class_code.0 = u16::MAX;
    new.record = Bytes::from((0..=255).collect::<Vec<u8>>());
    let seq = committed(index.commit_put(new.clone(), Precondition::None, NOW).await.unwrap());
    let row = found(&*index, "records", "jeanne/ecg\0é//").await.unwrap();
    assert_eq!((row.version, row.seq, row.null), (new.version, seq, true));
    assert_eq!((&row.etag, row.size, row.sealed_bytes), (&new.etag, new.size, new.sealed_bytes));
    assert_eq!((&row.class, row.class_code, row.modified), (&new.class, new.class_code, new.modified));
    assert_eq!((row.kek, row.kek_epoch, &row.record), (new.kek, new.kek_epoch, &new.record));
    let named = index.version(new.version).await.unwrap().unwrap();
    assert_eq!((named.tenant, &named.bucket, &named.key, &named.row), (OURS, &new.bucket, &new.key, &row));
    assert_eq!(index.version(version("records", "a").version).await.unwrap(), None);
}

async fn somebody_elses_bucket_is_neither_written_nor_emptied(index: Shared) {
    make_bucket(&*index, "records").await;
    let kept = put(&*index, "records", "a").await;
    let theirs = NewVersion { tenant: THEIRS, ..version("records", "a") };
    assert_eq!(index.commit_put(theirs, Precondition::None, NOW).await.unwrap(), PutOutcome::NotYours);
    let nowhere = version("nowhere", "a");
    assert_eq!(index.commit_put(nowhere, Precondition::None, NOW).await.unwrap(), PutOutcome::NoBucket);
    let (name, a) = (bucket("records"), key("a"));
    assert_eq!(
        index.delete(THEIRS, &name, &a, Precondition::None, NOW).await.unwrap(),
        DeleteOutcome::NotYours
    );
    let outcome = index.delete(OURS, &bucket("nowhere"), &a, Precondition::None, NOW).await.unwrap();
    assert_eq!(outcome, DeleteOutcome::NoBucket);
    assert_eq!(index.delete_many(THEIRS, &name, vec![a.clone()], NOW).await.unwrap(), DeleteMany::NotYours);
    assert_eq!(
        index.delete_many(OURS, &bucket("nowhere"), vec![a], NOW).await.unwrap(),
        DeleteMany::NoBucket
    );
    let asked = request("", "", None, 10);
    assert_eq!(index.list(THEIRS, &name, &asked).await.unwrap(), ListOutcome::NotYours);
    assert_eq!(index.list(THEIRS, &name, &request("", "/", None, 10)).await.unwrap(), ListOutcome::NotYours);
    assert_eq!(index.counters(THEIRS).await.unwrap(), []);
    assert_eq!(found(&*index, "records", "a").await.unwrap().version, kept.version);
}

async fn an_overwrite_reclaims_what_it_replaces_after_the_delay(index: Shared) {
    make_bucket(&*index, "records").await;
    let first = NewVersion { blobs: blobs(3), ..version("records", "a") };
    let outcome = index.commit_put(first.clone(), Precondition::None, NOW).await.unwrap();
    assert!(matches!(outcome, PutOutcome::Committed { replaced: false, .. }));
    assert_eq!(index.reclaim_depth().await.unwrap(), 0);
    let second = version("records", "a");
    let outcome = index.commit_put(second.clone(), Precondition::None, NOW).await.unwrap();
    assert!(matches!(outcome, PutOutcome::Committed { replaced: true, .. }));

    assert_eq!(index.reclaim_depth().await.unwrap(), 3);
    let due = NOW.after(RECLAIM_DELAY);
    assert_eq!(index.due(Timestamp::from_millis(due.millis() - 1), 100).await.unwrap(), []);
    let rows = index.due(due, 100).await.unwrap();
    assert!(
        rows.iter().all(|row| row.tenant == OURS && row.due == due && row.reason == ReclaimReason::Replaced)
    );
    let mut expected = ids(&first.blobs);
    expected.sort();
    assert_eq!(rows.iter().map(|row| row.blob).collect::<Vec<_>>(), expected);
    assert_eq!(index.due(due, 2).await.unwrap().len(), 2);
    assert_eq!(index.blob_standing(&expected).await.unwrap(), [BlobStanding::Reclaiming; 3]);
    assert_eq!(index.blob_standing(&ids(&second.blobs)).await.unwrap(), [BlobStanding::Live]);
    assert_eq!(index.version(first.version).await.unwrap(), None);
}

async fn if_none_match_creates_once(index: Shared) {
    make_bucket(&*index, "records").await;
    let first = version("records", "a");
    committed(index.commit_put(first.clone(), Precondition::IfNoneMatchStar, NOW).await.unwrap());
    let second = version("records", "a");
    let outcome = index.commit_put(second.clone(), Precondition::IfNoneMatchStar, NOW).await.unwrap();
    assert_eq!(outcome, PutOutcome::PreconditionFailed);
    assert_eq!(found(&*index, "records", "a").await.unwrap().version, first.version);
    assert_eq!(index.blob_standing(&ids(&second.blobs)).await.unwrap(), [BlobStanding::Unknown]);
    index.delete(OURS, &first.bucket, &first.key, Precondition::None, NOW).await.unwrap();
    committed(index.commit_put(second, Precondition::IfNoneMatchStar, NOW).await.unwrap());
}

async fn if_match_on_an_absent_key_is_no_such_key(index: Shared) {
    make_bucket(&*index, "records").await;
    for precondition in [Precondition::IfMatch(etag()), Precondition::IfMatchStar] {
        let outcome = index.commit_put(version("records", "a"), precondition, NOW).await.unwrap();
        assert_eq!(outcome, PutOutcome::NoSuchKey);
    }
    assert!(found(&*index, "records", "a").await.is_none());
}

async fn if_match_replaces_only_the_version_it_names(index: Shared) {
    make_bucket(&*index, "records").await;
    let first = put(&*index, "records", "a").await;
    let wrong = index.commit_put(version("records", "a"), Precondition::IfMatch(etag()), NOW).await.unwrap();
    assert_eq!(wrong, PutOutcome::PreconditionFailed);
    let second = version("records", "a");
    let right =
        index.commit_put(second.clone(), Precondition::IfMatch(first.etag.clone()), NOW).await.unwrap();
    assert!(matches!(right, PutOutcome::Committed { replaced: true, .. }));
    let stale =
        index.commit_put(version("records", "a"), Precondition::IfMatch(first.etag), NOW).await.unwrap();
    assert_eq!(stale, PutOutcome::PreconditionFailed);
    assert_eq!(found(&*index, "records", "a").await.unwrap().version, second.version);
    committed(index.commit_put(version("records", "a"), Precondition::IfMatchStar, NOW).await.unwrap());
}

async fn a_repeated_commit_answers_the_first_sequence(index: Shared) {
    make_bucket(&*index, "records").await;
    let new = version("records", "a");
    let first = committed(index.commit_put(new.clone(), Precondition::None, NOW).await.unwrap());
    put(&*index, "records", "b").await;
    let again = index.commit_put(new, Precondition::None, NOW).await.unwrap();
    assert_eq!(again, PutOutcome::Committed { seq: first, replaced: false });
    assert_eq!(index.reclaim_depth().await.unwrap(), 0);
    assert_eq!(index.counters(OURS).await.unwrap()[0].objects, 2);
}

async fn a_repeated_conditional_commit_is_not_its_own_obstacle(index: Shared) {
    make_bucket(&*index, "records").await;
    let created = version("records", "a");
    let seq = committed(index.commit_put(created.clone(), Precondition::IfNoneMatchStar, NOW).await.unwrap());
    let again = index.commit_put(created.clone(), Precondition::IfNoneMatchStar, NOW).await.unwrap();
    assert_eq!(committed(again), seq);
    let changed = version("records", "a");
    let condition = Precondition::IfMatch(created.etag);
    let seq = committed(index.commit_put(changed.clone(), condition.clone(), NOW).await.unwrap());
    assert_eq!(committed(index.commit_put(changed, condition, NOW).await.unwrap()), seq);
}

async fn a_repeated_commit_of_a_replaced_version_does_not_bring_it_back(index: Shared) {
    make_bucket(&*index, "records").await;
    let old = put(&*index, "records", "a").await;
    let current = put(&*index, "records", "a").await;
    let again = index.commit_put(old, Precondition::None, NOW).await;
    assert!(matches!(again, Err(IndexError::Reclaimed)), "{again:?}");
    assert_eq!(found(&*index, "records", "a").await.unwrap().version, current.version);
}

async fn a_version_id_of_another_key_is_refused(index: Shared) {
    make_bucket(&*index, "records").await;
    let first = put(&*index, "records", "a").await;
    let stolen = NewVersion { version: first.version, ..version("records", "b") };
    let outcome = index.commit_put(stolen, Precondition::None, NOW).await;
    assert!(matches!(outcome, Err(IndexError::Invalid { .. })), "{outcome:?}");
    assert!(found(&*index, "records", "b").await.is_none());
}

async fn a_blob_of_another_version_is_refused(index: Shared) {
    make_bucket(&*index, "records").await;
    let first = put(&*index, "records", "a").await;
    let stolen = NewVersion { blobs: first.blobs.clone(), ..version("records", "b") };
    let outcome = index.commit_put(stolen, Precondition::None, NOW).await;
    assert!(matches!(outcome, Err(IndexError::Invalid { .. })), "{outcome:?}");
    assert!(found(&*index, "records", "b").await.is_none(), "a refused change must leave no half of itself");
    assert_eq!(index.counters(OURS).await.unwrap()[0].objects, 1);
}

async fn a_blob_given_up_never_becomes_live(index: Shared) {
    make_bucket(&*index, "records").await;
    let kept = put(&*index, "records", "a").await;
    let late = NewVersion { blobs: blobs(2), ..version("records", "a") };
    let given_up = vec![late.blobs[1].id];
    assert_eq!(index.enqueue_reclaim(given_up, OURS, NOW, ReclaimReason::FailedWrite).await.unwrap(), 1);
    let outcome = index.commit_put(late.clone(), Precondition::None, NOW).await;
    assert!(matches!(outcome, Err(IndexError::Reclaimed)), "{outcome:?}");
    assert_eq!(found(&*index, "records", "a").await.unwrap().version, kept.version);
    let standing = index.blob_standing(&ids(&late.blobs)).await.unwrap();
    assert_eq!(standing, [BlobStanding::Unknown, BlobStanding::Reclaiming]);
    assert_eq!(index.blob_standing(&ids(&kept.blobs)).await.unwrap(), [BlobStanding::Live]);
}

async fn a_live_blob_is_never_queued_for_reclaim(index: Shared) {
    make_bucket(&*index, "records").await;
    let live = put(&*index, "records", "a").await;
    let open = upload("records", "b");
    index.create_upload(open.clone()).await.unwrap();
    let of_upload = part(&open, 1);
    index.put_part(OURS, &open.bucket, &open.key, of_upload.clone(), NOW).await.unwrap();
    let stranger = blobs(1)[0].id;
    let all = [ids(&live.blobs), ids(&of_upload.blobs), vec![stranger, stranger]].concat();
    assert_eq!(index.enqueue_reclaim(all.clone(), OURS, NOW, ReclaimReason::FailedWrite).await.unwrap(), 1);
    assert_eq!(index.enqueue_reclaim(all, OURS, NOW, ReclaimReason::FailedWrite).await.unwrap(), 0);
    assert_eq!(queued(&*index).await, [stranger]);
}

async fn what_is_due_is_paged_through_without_a_gap(index: Shared) {
    let (early, late) = (NOW, NOW.after(Duration::from_secs(1)));
    // Blobs of one moment are told apart by their ids; another tenant's stand between.
    for due in [late, early] {
        index.enqueue_reclaim(ids(&blobs(7)), OURS, due, ReclaimReason::FailedWrite).await.unwrap();
        index.enqueue_reclaim(ids(&blobs(3)), THEIRS, due, ReclaimReason::FailedWrite).await.unwrap();
    }
    for (except, all) in [(vec![], 20), (vec![THEIRS], 14)] {
        let whole = index.due_except(late, &except, None, 100).await.unwrap();
        assert_eq!(whole.len(), all);
        let mut paged: Vec<ReclaimRow> = Vec::new();
        loop {
            let after = paged.last().map(DuePosition::from);
            let page = index.due_except(late, &except, after, 4).await.unwrap();
            assert!(page.len() <= 4);
            if page.is_empty() {
                break;
            }
            paged.extend(page);
            assert!(paged.len() <= all, "the same blobs again");
        }
        assert_eq!(paged, whole);
    }
    let last = index.due_except(late, &[], None, 100).await.unwrap().last().map(DuePosition::from);
    assert_eq!(index.due_except(late, &[], last, 100).await.unwrap(), []);
    assert_eq!(index.due_except(early, &[], None, 100).await.unwrap().len(), 10, "not before its time");
}

async fn forgotten_blobs_are_unknown(index: Shared) {
    let gone = ids(&blobs(3));
    index.enqueue_reclaim(gone.clone(), THEIRS, NOW, ReclaimReason::FailedWrite).await.unwrap();
    assert_eq!(index.forget(gone[..2].to_vec()).await.unwrap(), 2);
    assert_eq!(index.forget(gone[..2].to_vec()).await.unwrap(), 0);
    let standing = index.blob_standing(&gone).await.unwrap();
    assert_eq!(standing, [BlobStanding::Unknown, BlobStanding::Unknown, BlobStanding::Reclaiming]);
    assert_eq!(index.blob_standing(&[]).await.unwrap(), []);
}

async fn sequences_only_grow(index: Shared) {
    make_bucket(&*index, "records").await;
    let mut last = terroir::index::Sequence::default();
    for n in 0..10 {
        let seq =
            committed(index.commit_put(version("records", "a"), Precondition::None, NOW).await.unwrap());
        assert!(seq > last, "write {n}");
        last = seq;
        if n % 3 == 0 {
            let deleted =
                index.delete(OURS, &bucket("records"), &key("a"), Precondition::None, NOW).await.unwrap();
            let DeleteOutcome::Deleted { seq, .. } = deleted else { panic!("{deleted:?}") };
            assert!(seq > last, "deletion {n}");
            last = seq;
        }
    }
}

async fn winners(index: &Shared, precondition: Precondition) -> Vec<NewVersion> {
    let tasks: Vec<_> = (0..32)
        .map(|_| {
            let (index, precondition, new) = (index.clone(), precondition.clone(), version("records", "a"));
            tokio::spawn(
                async move { (index.commit_put(new.clone(), precondition, NOW).await.unwrap(), new) },
            )
        })
        .collect();
    let mut winners = Vec::new();
    for task in tasks {
        match task.await.unwrap() {
            (PutOutcome::Committed { .. }, new) => winners.push(new),
            (PutOutcome::PreconditionFailed, _) => {}
            (other, _) => panic!("{other:?}"),
        }
    }
    winners
}

async fn one_of_many_creators_wins(index: Shared) {
    make_bucket(&*index, "records").await;
    let winners = winners(&index, Precondition::IfNoneMatchStar).await;
    assert_eq!(winners.len(), 1);
    assert_eq!(found(&*index, "records", "a").await.unwrap().version, winners[0].version);
}

async fn one_of_many_if_match_writers_wins(index: Shared) {
    make_bucket(&*index, "records").await;
    let first = put(&*index, "records", "a").await;
    let winners = winners(&index, Precondition::IfMatch(first.etag)).await;
    assert_eq!(winners.len(), 1);
    assert_eq!(found(&*index, "records", "a").await.unwrap().version, winners[0].version);
    assert_eq!(index.reclaim_depth().await.unwrap(), 1);
}

async fn a_failed_change_spoils_nobody_elses(index: Shared) {
    make_bucket(&*index, "records").await;
    let victim = put(&*index, "records", "taken").await;
    let given_up = blobs(1);
    index.enqueue_reclaim(ids(&given_up), OURS, NOW, ReclaimReason::FailedWrite).await.unwrap();
    let tasks: Vec<_> = (0..60)
        .map(|n| {
            let mut new = version("records", &format!("key-{n:02}"));
            let mut precondition = Precondition::None;
            match n % 6 {
                1 => precondition = Precondition::IfMatch(etag()),
                2 => new.blobs = vec![blobs(1)[0], given_up[0]],
                3 => new.blobs = vec![blobs(1)[0], victim.blobs[0]],
                4 => new.version = victim.version,
                5 => new.tenant = THEIRS,
                _ => {}
            }
            let index = index.clone();
            tokio::spawn(async move { (n, index.commit_put(new, precondition, NOW).await) })
        })
        .collect();
    for task in tasks {
        let (n, outcome) = task.await.unwrap();
        match n % 6 {
            0 => assert!(matches!(outcome, Ok(PutOutcome::Committed { .. })), "{n}: {outcome:?}"),
            1 => assert!(matches!(outcome, Ok(PutOutcome::NoSuchKey)), "{n}: {outcome:?}"),
            2 => assert!(matches!(outcome, Err(IndexError::Reclaimed)), "{n}: {outcome:?}"),
            3 | 4 => assert!(matches!(outcome, Err(IndexError::Invalid { .. })), "{n}: {outcome:?}"),
            _ => assert!(matches!(outcome, Ok(PutOutcome::NotYours)), "{n}: {outcome:?}"),
        }
    }
    let page = page(&*index, "records", &request("", "", None, 1000)).await;
    let expected: Vec<_> =
        (0..60).step_by(6).map(|n| format!("key-{n:02}")).chain(["taken".to_owned()]).collect();
    assert_eq!(keys(&page), expected);
    assert_eq!(index.counters(OURS).await.unwrap()[0].objects, 11);
}

async fn a_delete_reclaims_and_is_repeatable(index: Shared) {
    make_bucket(&*index, "records").await;
    let new = put(&*index, "records", "a").await;
    let outcome = index.delete(OURS, &new.bucket, &new.key, Precondition::None, NOW).await.unwrap();
    assert!(matches!(outcome, DeleteOutcome::Deleted { version, .. } if version == new.version));
    let again = index.delete(OURS, &new.bucket, &new.key, Precondition::None, NOW).await.unwrap();
    assert_eq!(again, DeleteOutcome::NoKey);
    let rows = index.due(NOW.after(RECLAIM_DELAY), 10).await.unwrap();
    assert_eq!(
        rows.iter().map(|row| (row.blob, row.reason)).collect::<Vec<_>>(),
        [(new.blobs[0].id, ReclaimReason::Deleted)]
    );
    assert!(found(&*index, "records", "a").await.is_none());
}

async fn a_conditional_delete_checks_its_condition(index: Shared) {
    make_bucket(&*index, "records").await;
    let new = put(&*index, "records", "a").await;
    let delete = |precondition| index.delete(OURS, &new.bucket, &new.key, precondition, NOW);
    assert_eq!(delete(Precondition::IfMatch(etag())).await.unwrap(), DeleteOutcome::PreconditionFailed);
    assert_eq!(delete(Precondition::IfNoneMatchStar).await.unwrap(), DeleteOutcome::PreconditionFailed);
    assert!(found(&*index, "records", "a").await.is_some());
    let deleted = delete(Precondition::IfMatch(new.etag.clone())).await.unwrap();
    assert!(matches!(deleted, DeleteOutcome::Deleted { .. }));
    assert_eq!(delete(Precondition::IfMatch(new.etag.clone())).await.unwrap(), DeleteOutcome::NoKey);
}

async fn deleting_many_answers_key_by_key(index: Shared) {
    make_bucket(&*index, "records").await;
    let (a, b) = (put(&*index, "records", "a").await, put(&*index, "records", "b").await);
    let asked = vec![key("b"), key("nothing"), key("a"), key("b")];
    let DeleteMany::Keys(outcomes) = index.delete_many(OURS, &a.bucket, asked, NOW).await.unwrap() else {
        panic!()
    };
    let versions: Vec<_> = outcomes
        .iter()
        .map(|outcome| match outcome {
            DeleteOutcome::Deleted { version, .. } => Some(*version),
            _ => None,
        })
        .collect();
    assert_eq!(versions, [Some(b.version), None, Some(a.version), None]);
    assert_eq!(index.reclaim_depth().await.unwrap(), 2);
}

async fn a_list_without_names_is_empty_not_an_error(index: Shared) {
    let asked = request("", "/", None, 1000);
    assert_eq!(index.list(OURS, &bucket("records"), &asked).await.unwrap(), ListOutcome::NoBucket);
    let flat = request("", "", None, 1000);
    assert_eq!(index.list(OURS, &bucket("records"), &flat).await.unwrap(), ListOutcome::NoBucket);
    make_bucket(&*index, "records").await;
    for asked in [asked, flat, request("p", "/", None, 1), request("p", "", None, 1)] {
        assert_eq!(page(&*index, "records", &asked).await, terroir::index::ListPage::default());
    }
}

async fn with_keys(index: &Shared, keys: &[&str]) {
    make_bucket(&**index, "records").await;
    make_bucket(&**index, "records-2").await;
    for text in keys {
        put(&**index, "records", text).await;
        put(&**index, "records-2", &format!("other/{text}")).await;
    }
}

async fn a_list_rolls_up_and_counts_prefixes(index: Shared) {
    with_keys(&index, &["a", "b/1", "b/2", "b/c/3", "d", "e/", "e/4", "f"]).await;
    let all = page(&*index, "records", &request("", "/", None, 1000)).await;
    assert_eq!(
        (keys(&all), &all.prefixes[..]),
        (vec!["a", "d", "f"], &["b/".to_owned(), "e/".to_owned()][..])
    );
    assert_eq!(all.next, None);
    let inside = page(&*index, "records", &request("b/", "/", None, 1000)).await;
    assert_eq!((keys(&inside), &inside.prefixes[..]), (vec!["b/1", "b/2"], &["b/c/".to_owned()][..]));
    let exact = page(&*index, "records", &request("e/", "/", None, 1000)).await;
    assert_eq!((keys(&exact), exact.prefixes.len()), (vec!["e/", "e/4"], 0));
    let two = page(&*index, "records", &request("", "/", None, 2)).await;
    assert_eq!((keys(&two), &two.prefixes[..]), (vec!["a"], &["b/".to_owned()][..]));
    assert_eq!(two.next, Some(Position::AfterPrefix("b/".to_owned())));
    let exactly_all = page(&*index, "records", &request("", "/", None, 5)).await;
    assert_eq!(exactly_all.next, None, "a full last page is the last page");
}

async fn a_list_resumes_where_it_stopped(index: Shared) {
    with_keys(&index, &["a", "b/1", "b/2", "c", "d//1", "d//2", "d/e", "é/1", "é", "z"]).await;
    for delimiter in ["", "/", "//", "é"] {
        for prefix in ["", "b", "d/", "d//", "é"] {
            let whole = page(&*index, "records", &request(prefix, delimiter, None, 1000)).await;
            let (mut names, mut prefixes, mut after) = (Vec::new(), Vec::new(), None);
            loop {
                let one = page(&*index, "records", &request(prefix, delimiter, after, 1)).await;
                assert!(one.entries.len() + one.prefixes.len() <= 1);
                names.extend(keys(&one).into_iter().map(str::to_owned));
                prefixes.extend(one.prefixes.clone());
                if one.next.is_none() {
                    break;
                }
                after = one.next;
            }
            assert_eq!(
                (names, prefixes),
                (keys(&whole).into_iter().map(str::to_owned).collect(), whole.prefixes.clone())
            );
        }
    }
}

async fn a_start_inside_a_prefix_still_shows_it_and_a_marker_does_not(index: Shared) {
    with_keys(&index, &["a/1", "a/3", "b"]).await;
    let start = |text: &str| request("", "/", Some(Position::AfterKey(text.to_owned())), 10);
    let shown = page(&*index, "records", &start("a/2")).await;
    assert_eq!((keys(&shown), shown.prefixes.len()), (vec!["b"], 1));
    let past = page(&*index, "records", &start("a/3")).await;
    assert_eq!((keys(&past), past.prefixes.len()), (vec!["b"], 0));
    let marker = request("", "/", Some(Position::AfterPrefix("a/".to_owned())), 10);
    let after = page(&*index, "records", &marker).await;
    assert_eq!((keys(&after), after.prefixes.len()), (vec!["b"], 0));
    let before_prefix = request("b", "", Some(Position::AfterKey("a".to_owned())), 10);
    assert_eq!(keys(&page(&*index, "records", &before_prefix).await), ["b"]);
    let behind_prefix = request("a", "", Some(Position::AfterKey("b".to_owned())), 10);
    assert_eq!(keys(&page(&*index, "records", &behind_prefix).await), [""; 0]);
}

async fn a_list_of_nothing_ends_at_once(index: Shared) {
    with_keys(&index, &["a", "b/1"]).await;
    for delimiter in ["", "/"] {
        let none = page(&*index, "records", &request("", delimiter, None, 0)).await;
        assert_eq!((none.entries.len(), none.prefixes.len(), none.next), (0, 0, None));
    }
}

async fn keys_are_ordered_by_bytes(index: Shared) {
    let mut names = vec![
        "\u{1}",
        "a",
        "a\0",
        "a\0b",
        "a/",
        "a//",
        "aa",
        "B",
        "é",
        "e\u{301}",
        "\u{ffff}",
        "\u{10ffff}",
        "~",
    ];
    with_keys(&index, &names).await;
    names.sort_unstable();
    assert_eq!(keys(&page(&*index, "records", &request("", "", None, 1000)).await), names);
    let after = request("", "", Some(Position::AfterKey("a".to_owned())), 2);
    assert_eq!(keys(&page(&*index, "records", &after).await), ["a\0", "a\0b"]);
}

/// An open upload with `numbers` uploaded.
async fn with_parts(index: &Shared, numbers: &[u16]) -> (NewUpload, Vec<terroir::index::NewPart>) {
    if index.bucket(&bucket("records")).await.unwrap().is_none() {
        make_bucket(&**index, "records").await;
    }
    let open = upload("records", "big");
    assert_eq!(index.create_upload(open.clone()).await.unwrap(), CreateUpload::Created);
    assert_eq!(index.create_upload(open.clone()).await.unwrap(), CreateUpload::Created, "a repetition");
    let mut parts = Vec::new();
    for number in numbers {
        let one = part(&open, *number);
        let outcome = index.put_part(OURS, &open.bucket, &open.key, one.clone(), NOW).await.unwrap();
        assert_eq!(outcome, PutPart::Stored { replaced: false });
        parts.push(one);
    }
    (open, parts)
}

async fn an_upload_becomes_a_version_of_its_chosen_parts(index: Shared) {
    let (open, parts) = with_parts(&index, &[1, 2, 10_000]).await;
    assert!(found(&*index, "records", "big").await.is_none(), "an open upload is no version");
    let UploadLookup::Open(stored) = index.upload(OURS, &open.bucket, &open.key, open.upload).await.unwrap()
    else {
        panic!()
    };
    assert_eq!(*stored, open);
    let rows = index.parts(open.upload, &[10_000, 1, 7]).await.unwrap();
    assert_eq!(rows.iter().map(|row| row.number).collect::<Vec<_>>(), [1, 10_000]);
    assert_eq!((&rows[0].etag, &rows[0].descriptor), (&parts[0].etag, &parts[0].descriptor));

    let new = completion(&open, 20);
    let chosen = vec![(1, parts[0].etag.clone()), (10_000, parts[2].etag.clone())];
    let outcome =
        index.complete_upload(open.upload, chosen, new.clone(), Precondition::None, NOW).await.unwrap();
    assert!(matches!(outcome, CompleteOutcome::Completed { replaced: false, .. }), "{outcome:?}");
    let row = found(&*index, "records", "big").await.unwrap();
    assert_eq!((row.version, row.size, &row.etag), (open.version, 20, &new.etag));
    assert_eq!(queued(&*index).await.len(), 2);
    assert_eq!(index.due(NOW.after(RECLAIM_DELAY), 10).await.unwrap()[0].reason, ReclaimReason::UnchosenPart);
    assert_eq!(index.blob_standing(&ids(&parts[1].blobs)).await.unwrap(), [BlobStanding::Reclaiming; 2]);
    let live = [ids(&parts[0].blobs), ids(&parts[2].blobs), ids(&new.blobs)].concat();
    assert_eq!(index.blob_standing(&live).await.unwrap(), [BlobStanding::Live; 5]);

    index.delete(OURS, &open.bucket, &open.key, Precondition::None, NOW).await.unwrap();
    assert_eq!(index.blob_standing(&live).await.unwrap(), [BlobStanding::Reclaiming; 5]);
}

async fn a_part_uploaded_again_replaces_the_older_attempt(index: Shared) {
    let (open, parts) = with_parts(&index, &[1, 2]).await;
    let again = part(&open, 1);
    let outcome = index.put_part(OURS, &open.bucket, &open.key, again.clone(), NOW).await.unwrap();
    assert_eq!(outcome, PutPart::Stored { replaced: true });
    let mut expected = ids(&parts[0].blobs);
    expected.sort();
    let rows = index.due(NOW.after(RECLAIM_DELAY), 10).await.unwrap();
    assert_eq!(rows.iter().map(|row| row.blob).collect::<Vec<_>>(), expected);
    assert!(rows.iter().all(|row| row.reason == ReclaimReason::ReplacedPart && row.tenant == OURS));
    let row = &index.parts(open.upload, &[1]).await.unwrap()[0];
    assert_eq!((&row.etag, &row.descriptor), (&again.etag, &again.descriptor));
}

async fn a_repeated_part_changes_nothing(index: Shared) {
    let (open, parts) = with_parts(&index, &[1]).await;
    let outcome = index.put_part(OURS, &open.bucket, &open.key, parts[0].clone(), NOW).await.unwrap();
    assert_eq!(outcome, PutPart::Stored { replaced: false });
    assert_eq!(index.reclaim_depth().await.unwrap(), 0);
    assert_eq!(index.blob_standing(&ids(&parts[0].blobs)).await.unwrap(), [BlobStanding::Live; 2]);
}

async fn a_part_that_was_not_uploaded_completes_nothing(index: Shared) {
    let (open, parts) = with_parts(&index, &[1, 3]).await;
    let chosen = vec![(1, parts[0].etag.clone()), (2, etag()), (3, parts[1].etag.clone())];
    let outcome = index
        .complete_upload(open.upload, chosen, completion(&open, 20), Precondition::None, NOW)
        .await
        .unwrap();
    assert_eq!(outcome, CompleteOutcome::InvalidPart { number: 2 });
    assert!(matches!(
        index.upload(OURS, &open.bucket, &open.key, open.upload).await.unwrap(),
        UploadLookup::Open(_)
    ));
    assert_eq!(index.reclaim_depth().await.unwrap(), 0);
    assert!(found(&*index, "records", "big").await.is_none());
}

async fn an_old_attempt_cannot_be_chosen(index: Shared) {
    let (open, parts) = with_parts(&index, &[1]).await;
    index.put_part(OURS, &open.bucket, &open.key, part(&open, 1), NOW).await.unwrap();
    let chosen = vec![(1, parts[0].etag.clone())];
    let outcome = index
        .complete_upload(open.upload, chosen, completion(&open, 10), Precondition::None, NOW)
        .await
        .unwrap();
    assert_eq!(outcome, CompleteOutcome::InvalidPart { number: 1 });
}

async fn a_complete_with_another_size_completes_nothing(index: Shared) {
    let (open, parts) = with_parts(&index, &[1]).await;
    let chosen = vec![(1, parts[0].etag.clone())];
    let torn = index
        .complete_upload(open.upload, chosen.clone(), completion(&open, 11), Precondition::None, NOW)
        .await;
    assert!(matches!(torn, Err(IndexError::Invalid { .. })), "{torn:?}");
    let other = NewVersion { version: version("records", "x").version, ..completion(&open, 10) };
    let other = index.complete_upload(open.upload, chosen, other, Precondition::None, NOW).await;
    assert!(matches!(other, Err(IndexError::Invalid { .. })), "{other:?}");
    assert!(found(&*index, "records", "big").await.is_none());
}

async fn a_complete_obeys_its_precondition(index: Shared) {
    let (open, parts) = with_parts(&index, &[1, 2]).await;
    let chosen = vec![(2, parts[1].etag.clone())];
    let complete = |precondition| {
        index.complete_upload(open.upload, chosen.clone(), completion(&open, 10), precondition, NOW)
    };
    assert_eq!(complete(Precondition::IfMatch(etag())).await.unwrap(), CompleteOutcome::NoSuchKey);
    let standing = put(&*index, "records", "big").await;
    assert_eq!(complete(Precondition::IfNoneMatchStar).await.unwrap(), CompleteOutcome::PreconditionFailed);
    assert_eq!(complete(Precondition::IfMatch(etag())).await.unwrap(), CompleteOutcome::PreconditionFailed);
    assert_eq!(index.reclaim_depth().await.unwrap(), 0, "a refused Complete reclaims nothing");
    let done = complete(Precondition::IfMatch(standing.etag.clone())).await.unwrap();
    assert!(matches!(done, CompleteOutcome::Completed { replaced: true, .. }), "{done:?}");
    assert_eq!(index.reclaim_depth().await.unwrap(), 3);
}

async fn a_repeated_complete_answers_the_first_one(index: Shared) {
    let (open, parts) = with_parts(&index, &[1]).await;
    let (chosen, new) = (vec![(1, parts[0].etag.clone())], completion(&open, 10));
    let complete =
        |new| index.complete_upload(open.upload, chosen.clone(), new, Precondition::IfNoneMatchStar, NOW);
    let first = complete(new.clone()).await.unwrap();
    let CompleteOutcome::Completed { seq, .. } = first else { panic!("{first:?}") };
    // A second try seals anew: another tag, other blobs.
    for is_replaced in [false, true] {
        if is_replaced {
            put(&*index, "records", "big").await;
        }
        let again = complete(completion(&open, 10)).await.unwrap();
        let CompleteOutcome::AlreadyCompleted(done) = again else { panic!("{again:?}") };
        assert_eq!((done.version, &done.etag, done.seq, done.completed), (open.version, &new.etag, seq, NOW));
        assert_eq!((&done.class, done.kek, done.kek_epoch), (&open.class, open.kek, open.kek_epoch));
    }
}

async fn a_complete_with_another_list_got_the_first_one_s_answer(index: Shared) {
    let (open, parts) = with_parts(&index, &[1, 2]).await;
    let [one, two] = [0, 1].map(|n: usize| (parts[n].number, parts[n].etag.clone()));
    let complete = |chosen: Vec<_>| {
        let new = completion(&open, 10 * chosen.len() as u64);
        index.complete_upload(open.upload, chosen, new, Precondition::None, NOW)
    };
    let both = vec![one.clone(), two.clone()];
    let first = complete(both.clone()).await.unwrap();
    assert!(matches!(first, CompleteOutcome::Completed { .. }), "{first:?}");
    let others =
        [vec![one.clone()], vec![two.clone()], vec![one.clone(), (2, etag())], vec![one, (3, two.1)]];
    for other in others {
        assert_eq!(complete(other.clone()).await.unwrap(), CompleteOutcome::NoUpload, "{other:?}");
    }
    let again = complete(both).await.unwrap();
    assert!(matches!(again, CompleteOutcome::AlreadyCompleted(_)), "{again:?}");
}

async fn a_completed_upload_is_closed(index: Shared) {
    let (open, parts) = with_parts(&index, &[1]).await;
    let chosen = vec![(1, parts[0].etag.clone())];
    index.complete_upload(open.upload, chosen, completion(&open, 10), Precondition::None, NOW).await.unwrap();
    let (name, big) = (&open.bucket, &open.key);
    assert_eq!(index.put_part(OURS, name, big, part(&open, 2), NOW).await.unwrap(), PutPart::NoUpload);
    assert_eq!(index.list_parts(OURS, name, big, open.upload, 0, 10).await.unwrap(), ListParts::NoUpload);
    assert_eq!(index.parts(open.upload, &[1]).await.unwrap(), []);
    let aborted = index.abort_upload(OURS, name, big, open.upload, NOW).await.unwrap();
    assert_eq!(aborted, AbortOutcome::AlreadyCompleted);
    assert!(found(&*index, "records", "big").await.is_some());
    let ListUploads::Page(listed) = index.list_uploads(OURS, name, "", None, 10).await.unwrap() else {
        panic!()
    };
    assert_eq!(listed.uploads, []);
}

async fn a_completed_upload_is_forgotten_after_its_time(index: Shared) {
    let (open, parts) = with_parts(&index, &[1]).await;
    let (still_open, _) = with_parts(&index, &[1]).await;
    let chosen = vec![(1, parts[0].etag.clone())];
    index
        .complete_upload(open.upload, chosen.clone(), completion(&open, 10), Precondition::None, NOW)
        .await
        .unwrap();
    assert_eq!(index.forget_completed(NOW, 100).await.unwrap(), 0);
    let later = NOW.after(RECLAIM_DELAY);
    assert_eq!(index.forget_completed(later, 0).await.unwrap(), 0);
    assert_eq!(index.forget_completed(later, 100).await.unwrap(), 1);
    let again = index
        .complete_upload(open.upload, chosen, completion(&open, 10), Precondition::None, NOW)
        .await
        .unwrap();
    assert_eq!(again, CompleteOutcome::NoUpload);
    assert!(found(&*index, "records", "big").await.is_some(), "the version stays");
    let other = index.upload(OURS, &still_open.bucket, &still_open.key, still_open.upload).await.unwrap();
    assert!(matches!(other, UploadLookup::Open(_)));
}

async fn an_aborted_upload_reclaims_its_parts(index: Shared) {
    let (open, parts) = with_parts(&index, &[1, 2]).await;
    let abort = || index.abort_upload(OURS, &open.bucket, &open.key, open.upload, NOW);
    assert_eq!(abort().await.unwrap(), AbortOutcome::Aborted);
    assert_eq!(abort().await.unwrap(), AbortOutcome::NoUpload);
    let mut expected = [ids(&parts[0].blobs), ids(&parts[1].blobs)].concat();
    expected.sort();
    assert_eq!(queued(&*index).await, expected);
    let late = index.put_part(OURS, &open.bucket, &open.key, part(&open, 3), NOW).await.unwrap();
    assert_eq!(late, PutPart::NoUpload);
    let chosen = vec![(1, parts[0].etag.clone())];
    let late = index
        .complete_upload(open.upload, chosen, completion(&open, 10), Precondition::None, NOW)
        .await
        .unwrap();
    assert_eq!(late, CompleteOutcome::NoUpload);
}

async fn an_upload_is_found_only_under_its_own_key(index: Shared) {
    let (open, parts) = with_parts(&index, &[1]).await;
    make_bucket(&*index, "records-2").await;
    for (name, text) in [("records", "bi"), ("records", "bigger"), ("records-2", "big")] {
        let (name, other) = (bucket(name), key(text));
        assert_eq!(index.upload(OURS, &name, &other, open.upload).await.unwrap(), UploadLookup::NoUpload);
        assert_eq!(
            index.put_part(OURS, &name, &other, part(&open, 2), NOW).await.unwrap(),
            PutPart::NoUpload
        );
        assert_eq!(
            index.list_parts(OURS, &name, &other, open.upload, 0, 10).await.unwrap(),
            ListParts::NoUpload
        );
        assert_eq!(
            index.abort_upload(OURS, &name, &other, open.upload, NOW).await.unwrap(),
            AbortOutcome::NoUpload
        );
        let new = NewVersion { bucket: name, key: other, ..completion(&open, 10) };
        let chosen = vec![(1, parts[0].etag.clone())];
        let outcome = index.complete_upload(open.upload, chosen, new, Precondition::None, NOW).await.unwrap();
        assert_eq!(outcome, CompleteOutcome::NoUpload);
    }
}

async fn uploads_of_others_are_out_of_reach(index: Shared) {
    let (open, parts) = with_parts(&index, &[1]).await;
    let (name, big, id) = (&open.bucket, &open.key, open.upload);
    assert_eq!(index.upload(THEIRS, name, big, id).await.unwrap(), UploadLookup::NotYours);
    assert_eq!(index.put_part(THEIRS, name, big, part(&open, 2), NOW).await.unwrap(), PutPart::NotYours);
    assert_eq!(index.list_parts(THEIRS, name, big, id, 0, 10).await.unwrap(), ListParts::NotYours);
    assert_eq!(index.list_uploads(THEIRS, name, "", None, 10).await.unwrap(), ListUploads::NotYours);
    assert_eq!(index.abort_upload(THEIRS, name, big, id, NOW).await.unwrap(), AbortOutcome::NotYours);
    let theirs = NewUpload { tenant: THEIRS, ..upload("records", "x") };
    assert_eq!(index.create_upload(theirs).await.unwrap(), CreateUpload::NotYours);
    assert_eq!(index.create_upload(upload("nowhere", "x")).await.unwrap(), CreateUpload::NoBucket);
    let new = NewVersion { tenant: THEIRS, ..completion(&open, 10) };
    let chosen = vec![(1, parts[0].etag.clone())];
    let outcome = index.complete_upload(id, chosen, new, Precondition::None, NOW).await.unwrap();
    assert_eq!(outcome, CompleteOutcome::NotYours);
}

async fn parts_are_listed_in_pages(index: Shared) {
    let (open, _) = with_parts(&index, &[5, 1, 9_999, 3]).await;
    let mut numbers = Vec::new();
    let mut after = 0;
    loop {
        let listed = index.list_parts(OURS, &open.bucket, &open.key, open.upload, after, 3).await.unwrap();
        let ListParts::Page(listed) = listed else { panic!("{listed:?}") };
        numbers.extend(listed.parts.iter().map(|part| part.number));
        after = *numbers.last().unwrap();
        if !listed.more {
            break;
        }
    }
    assert_eq!(numbers, [1, 3, 5, 9_999]);
    let none = index.list_parts(OURS, &open.bucket, &open.key, open.upload, 9_999, 3).await.unwrap();
    assert_eq!(none, ListParts::Page(terroir::index::PartsPage::default()));
}

async fn a_tenant_has_a_bounded_number_of_open_uploads(index: Shared) {
    make_bucket(&*index, "records").await;
    make_bucket(&*index, "scans").await;
    let theirs = bucket("theirs");
    assert_eq!(index.create_bucket(&theirs, THEIRS, None, NOW).await.unwrap(), CreateBucket::Created);
    // More of them at once than there may be, over all of the tenant's buckets.
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..super::UPLOADS_MAX + 10 {
        let (index, new) = (index.clone(), upload(["records", "scans"][n as usize % 2], "big"));
        tasks.spawn(async move { (index.create_upload(new.clone()).await.unwrap(), new) });
    }
    let (mut created, mut refused) = (Vec::new(), 0);
    for (outcome, new) in tasks.join_all().await {
        match outcome {
            CreateUpload::Created => created.push(new),
            CreateUpload::TooMany => refused += 1,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((created.len(), refused), (super::UPLOADS_MAX as usize, 10));
    let again = index.create_upload(created[0].clone()).await.unwrap();
    assert_eq!(again, CreateUpload::Created, "a repetition opens nothing");
    let others = NewUpload { tenant: THEIRS, bucket: theirs, ..upload("theirs", "big") };
    assert_eq!(index.create_upload(others).await.unwrap(), CreateUpload::Created, "each has its own");
    let not_ours = upload("theirs", "big");
    assert_eq!(index.create_upload(not_ours).await.unwrap(), CreateUpload::NotYours);
    let one_more = upload("records", "one more");
    assert_eq!(index.create_upload(one_more.clone()).await.unwrap(), CreateUpload::TooMany);
    let gone = &created[1];
    let aborted = index.abort_upload(OURS, &gone.bucket, &gone.key, gone.upload, NOW).await.unwrap();
    assert_eq!(aborted, AbortOutcome::Aborted);
    assert_eq!(index.create_upload(one_more).await.unwrap(), CreateUpload::Created);
    let done = &created[2];
    let put = part(done, 1);
    index.put_part(OURS, &done.bucket, &done.key, put.clone(), NOW).await.unwrap();
    index
        .complete_upload(done.upload, vec![(1, put.etag)], completion(done, 10), Precondition::None, NOW)
        .await
        .unwrap();
    let in_its_place = index.create_upload(upload("records", "in its place")).await.unwrap();
    assert_eq!(in_its_place, CreateUpload::Created, "a completed one is not open");
}

async fn uploads_are_listed_in_pages(index: Shared) {
    make_bucket(&*index, "records").await;
    let mut expected = Vec::new();
    for text in ["a", "b/1", "b/1", "b/2", "c"] {
        let open = upload("records", text);
        index.create_upload(open.clone()).await.unwrap();
        expected.push((text.to_owned(), open.upload));
    }
    expected.sort();
    let mut listed = Vec::new();
    let mut after: Option<(String, UploadId)> = None;
    loop {
        let marker = after.as_ref().map(|(text, id)| (text.as_str(), Some(*id)));
        let page = index.list_uploads(OURS, &bucket("records"), "", marker, 1).await.unwrap();
        let ListUploads::Page(page) = page else { panic!("{page:?}") };
        listed.extend(page.uploads.iter().map(|entry| (entry.key.as_str().to_owned(), entry.upload)));
        after.clone_from(&listed.last().cloned());
        if !page.more {
            break;
        }
    }
    assert_eq!(listed, expected);
    let past_key = index.list_uploads(OURS, &bucket("records"), "b/", Some(("b/1", None)), 10).await.unwrap();
    let ListUploads::Page(past_key) = past_key else { panic!() };
    assert_eq!(past_key.uploads.iter().map(|entry| entry.key.as_str()).collect::<Vec<_>>(), ["b/2"]);
}

async fn counters_follow_every_change(index: Shared) {
    make_bucket(&*index, "records").await;
    put(&*index, "records", "a").await;
    put(&*index, "records", "b").await;
    let raised = NewVersion { class: class("personal"), size: 7, sealed_bytes: 9, ..version("records", "a") };
    index.commit_put(raised, Precondition::None, NOW).await.unwrap();
    let summary = |counters: Vec<terroir::index::Counter>| {
        counters
            .into_iter()
            .map(|c| {
                (
                    c.bucket.as_str().to_owned(),
                    c.class.as_str().to_owned(),
                    c.objects,
                    c.bytes,
                    c.sealed_bytes,
                )
            })
            .collect::<Vec<_>>()
    };
    let one = |class: &str, bytes, sealed| ("records".to_owned(), class.to_owned(), 1, bytes, sealed);
    assert_eq!(summary(index.counters(OURS).await.unwrap()), [one("health", 64, 100), one("personal", 7, 9)]);
    index.delete_many(OURS, &bucket("records"), vec![key("a"), key("b")], NOW).await.unwrap();
    assert_eq!(index.counters(OURS).await.unwrap(), []);
}

async fn a_kek_epoch_in_use_is_counted(index: Shared) {
    make_bucket(&*index, "records").await;
    assert_eq!(index.kek_use(KEK, 1).await.unwrap(), 0);
    let new = put(&*index, "records", "a").await;
    index
        .commit_put(NewVersion { kek_epoch: 2, ..version("records", "b") }, Precondition::None, NOW)
        .await
        .unwrap();
    let (open, parts) = with_parts(&index, &[1]).await;
    assert_eq!((index.kek_use(KEK, 1).await.unwrap(), index.kek_use(KEK, 2).await.unwrap()), (2, 1));
    let chosen = vec![(1, parts[0].etag.clone())];
    index.complete_upload(open.upload, chosen, completion(&open, 10), Precondition::None, NOW).await.unwrap();
    assert_eq!(index.kek_use(KEK, 1).await.unwrap(), 2, "the upload's use became the version's");
    index.delete_many(OURS, &new.bucket, vec![new.key, open.key], NOW).await.unwrap();
    assert_eq!(index.kek_use(KEK, 1).await.unwrap(), 0);
}

async fn a_directory_row_changes_by_compare_and_set(index: Shared) {
    let (first, second) = (Bytes::from_static(b"1"), Bytes::from_static(b"2"));
    assert_eq!(index.row("tenant", "clinic").await.unwrap(), None);
    let absent = index.put_row("tenant", "clinic", 3, first.clone()).await.unwrap();
    assert_eq!(absent, PutRow::Conflict { generation: 0, sealed: Bytes::new() });
    let made = index.put_row("tenant", "clinic", 0, first.clone()).await.unwrap();
    assert_eq!(made, PutRow::Stored { generation: 1, change: 1 });
    let again = index.put_row("tenant", "clinic", 0, second.clone()).await.unwrap();
    assert_eq!(again, PutRow::Conflict { generation: 1, sealed: first });
    let changed = index.put_row("tenant", "clinic", 1, second.clone()).await.unwrap();
    assert_eq!(changed, PutRow::Stored { generation: 2, change: 2 });
    let row = index.row("tenant", "clinic").await.unwrap().unwrap();
    assert_eq!((row.generation, row.change, row.sealed), (2, 2, second));
    assert_eq!(index.row("credential", "clinic").await.unwrap(), None);

    let racers: Vec<_> = (0..16_u8)
        .map(|n| {
            let index = index.clone();
            tokio::spawn(
                async move { index.put_row("tenant", "clinic", 2, Bytes::from(vec![n])).await.unwrap() },
            )
        })
        .collect();
    let mut stored = 0;
    for racer in racers {
        stored += u32::from(matches!(racer.await.unwrap(), PutRow::Stored { generation: 3, .. }));
    }
    assert_eq!(stored, 1);
}

async fn a_directory_poller_sees_only_what_is_newer(index: Shared) {
    assert_eq!(index.directory_change().await.unwrap(), 0);
    for (kind, id) in [("tenant", "a"), ("credential", "k"), ("tenant", "b")] {
        index.put_row(kind, id, 0, Bytes::from_static(b"x")).await.unwrap();
    }
    index.put_row("tenant", "a", 1, Bytes::from_static(b"y")).await.unwrap();
    index.put_row("tenant", "a", 1, Bytes::from_static(b"z")).await.unwrap();
    assert_eq!(index.directory_change().await.unwrap(), 4, "a conflict is no change");
    let ids =
        |rows: Vec<terroir::index::DirectoryRow>| rows.into_iter().map(|row| row.id).collect::<Vec<_>>();
    assert_eq!(ids(index.rows("tenant").await.unwrap()), ["a", "b"]);
    assert_eq!(ids(index.rows_changed(0, 10).await.unwrap()), ["k", "b", "a"]);
    assert_eq!(ids(index.rows_changed(0, 1).await.unwrap()), ["k"]);
    assert_eq!(ids(index.rows_changed(3, 10).await.unwrap()), ["a"]);
    assert_eq!(ids(index.rows_changed(4, 10).await.unwrap()), [""; 0]);
}

async fn limits_are_refused_not_truncated(index: Shared) {
    make_bucket(&*index, "records").await;
    let name = bucket("records");
    let refused = |outcome: Result<(), IndexError>, what: &str| {
        assert!(matches!(outcome, Err(IndexError::Invalid { .. })), "{what}: {outcome:?}");
    };
    refused(index.list(OURS, &name, &request("", "/", None, 1001)).await.map(drop), "page");
    let empty = terroir::index::ListRequest { delimiter: Some(String::new()), ..request("", "", None, 1) };
    refused(index.list(OURS, &name, &empty).await.map(drop), "delimiter");
    refused(index.list_buckets(OURS, None, 1001).await.map(drop), "buckets");
    refused(index.delete_many(OURS, &name, vec![key("a"); 1001], NOW).await.map(drop), "keys");
    let bare = NewVersion { blobs: Vec::new(), ..version("records", "a") };
    refused(index.commit_put(bare, Precondition::None, NOW).await.map(drop), "no bytes");
    let many = NewVersion { blobs: blobs(10_241), ..version("records", "a") };
    refused(index.commit_put(many, Precondition::None, NOW).await.map(drop), "blobs");
    let fat = NewVersion { record: Bytes::from(vec![0; (4 << 20) + 1]), ..version("records", "a") };
    refused(index.commit_put(fat, Precondition::None, NOW).await.map(drop), "record");
    refused(index.due(NOW, 10_241).await.map(drop), "due");
    refused(index.blob_standing(&vec![blobs(1)[0].id; 10_241]).await.map(drop), "standing");
    let open = upload("records", "a");
    index.create_upload(open.clone()).await.unwrap();
    for number in [0, 10_001] {
        refused(
            index.put_part(OURS, &name, &open.key, part(&open, number), NOW).await.map(drop),
            "part number",
        );
    }
    for chosen in [vec![], vec![(2, etag()), (1, etag())], vec![(1, etag()), (1, etag())]] {
        let outcome =
            index.complete_upload(open.upload, chosen, completion(&open, 10), Precondition::None, NOW).await;
        refused(outcome.map(drop), "chosen parts");
    }
    refused(index.put_row("", "a", 0, Bytes::new()).await.map(drop), "kind");
    refused(index.put_row("tenant", &"a".repeat(129), 0, Bytes::new()).await.map(drop), "id");
    assert!(found(&*index, "records", "a").await.is_none());
}

async fn a_size_no_engine_can_hold_is_refused(index: Shared) {
    make_bucket(&*index, "records").await;
    for new in [
        NewVersion { size: u64::MAX, ..version("records", "a") },
        NewVersion { sealed_bytes: 1 << 63, ..version("records", "a") },
        NewVersion { modified: Timestamp::from_millis(u64::MAX), ..version("records", "a") },
    ] {
        let outcome = index.commit_put(new, Precondition::None, NOW).await;
        assert!(matches!(outcome, Err(IndexError::Invalid { .. })), "{outcome:?}");
    }
    assert!(found(&*index, "records", "a").await.is_none());
    assert_eq!(index.counters(OURS).await.unwrap(), []);
}

async fn rows_do_not_print_names(index: Shared) {
    const MARKER: &str = "jeanne-martin";
    with_keys(&index, &["jeanne-martin/ecg", "jeanne-martin"]).await;
    let open = upload("records", MARKER);
    index.create_upload(open.clone()).await.unwrap();
    let asked = request(MARKER, MARKER, Some(Position::AfterKey(MARKER.to_owned())), 5);
    let listed = page(&*index, "records", &request(MARKER, "/", None, 1)).await;
    assert!(listed.next.is_some() && keys(&listed) == [MARKER], "the marker is there to be printed");
    let printed = [
        format!("{asked:?}"),
        format!("{listed:?}"),
        format!("{:?}", listed.entries),
        format!("{open:?}"),
        format!("{:?}", version("records", MARKER)),
        format!("{:?}", found(&*index, "records", MARKER).await.map(|row| row.etag)),
        format!("{:?}", index.list_uploads(OURS, &open.bucket, MARKER, None, 5).await.unwrap()),
        format!("{index:?}"),
    ];
    for text in printed {
        assert!(!text.contains("martin"), "{text}");
    }
}

async fn a_closed_index_says_so(index: Shared) {
    make_bucket(&*index, "records").await;
    index.health().await.unwrap();
    index.close().await;
    index.close().await;
    assert!(matches!(index.lookup(OURS, &bucket("records"), &key("a")).await, Err(IndexError::Closed)));
    let late = index.commit_put(version("records", "a"), Precondition::None, NOW).await;
    assert!(matches!(late, Err(IndexError::Closed)), "{late:?}");
    assert!(index.health().await.is_err());
}

/// Every live blob, walked in pages of `limit`.
async fn walked(index: &Shared, limit: u16) -> Vec<LiveBlob> {
    let mut walked: Vec<LiveBlob> = Vec::new();
    loop {
        let page = index.live_blobs(walked.last().map(|live| live.at), limit).await.unwrap();
        assert!(page.len() <= usize::from(limit));
        if page.is_empty() {
            return walked;
        }
        walked.extend(page);
    }
}

async fn live_blobs_are_walked_in_pages_each_once(index: Shared) {
    make_bucket(&*index, "records").await;
    assert_eq!(walked(&index, 3).await, []);
    let mut expected = Vec::new();
    for n in 0..5 {
        let new = NewVersion { blobs: blobs(3), ..version("records", &format!("key {n}")) };
        committed(index.commit_put(new.clone(), Precondition::None, NOW).await.unwrap());
        expected.extend(new.blobs.iter().map(|blob| (new.version, blob.id, blob.stored_bytes)));
    }
    expected.sort_unstable_by_key(|(version, ..)| *version);
    for limit in [1, 2, 3, 4, 1000] {
        let found = walked(&index, limit).await;
        assert!(found.is_sorted_by(|a, b| a.at < b.at), "by version, part and place");
        let found: Vec<_> =
            found.iter().map(|live| (live.at.version, live.blob, live.stored_bytes)).collect();
        assert_eq!(found, expected, "in pages of {limit}");
    }
    let refused = index.live_blobs(None, 1001).await;
    assert!(matches!(refused, Err(IndexError::Invalid { .. })), "{refused:?}");
}

async fn blobs_of_open_uploads_are_live_and_reclaimed_ones_are_not(index: Shared) {
    make_bucket(&*index, "records").await;
    let open = upload("records", "a");
    index.create_upload(open.clone()).await.unwrap();
    let (second, first) = (part(&open, 2), part(&open, 1));
    for part in [&second, &first] {
        index.put_part(OURS, &open.bucket, &open.key, part.clone(), NOW).await.unwrap();
    }
    let found: Vec<_> =
        walked(&index, 3).await.iter().map(|live| (live.at.version, live.at.part, live.blob)).collect();
    let of = |number, blobs: &[NewBlob]| -> Vec<_> {
        blobs.iter().map(|blob| (open.version, number, blob.id)).collect()
    };
    assert_eq!(found, [of(1, &first.blobs), of(2, &second.blobs)].concat());
    index.abort_upload(OURS, &open.bucket, &open.key, open.upload, NOW).await.unwrap();
    assert_eq!(walked(&index, 3).await, []);
}

async fn an_open_upload_is_found_by_the_version_it_will_become(index: Shared) {
    make_bucket(&*index, "records").await;
    let open = upload("records", "a");
    assert_eq!(index.upload_of(open.version).await.unwrap(), None);
    index.create_upload(open.clone()).await.unwrap();
    assert_eq!(index.upload_of(open.version).await.unwrap(), Some(open.clone()));
    let one = part(&open, 1);
    index.put_part(OURS, &open.bucket, &open.key, one.clone(), NOW).await.unwrap();
    let chosen = vec![(1, one.etag.clone())];
    let done = index
        .complete_upload(open.upload, chosen, completion(&open, 10), Precondition::None, NOW)
        .await
        .unwrap();
    assert!(matches!(done, CompleteOutcome::Completed { .. }), "{done:?}");
    assert_eq!(index.upload_of(open.version).await.unwrap(), None, "it is a version now");
}

async fn an_unknown_blob_keeps_the_time_it_was_first_seen(index: Shared) {
    let (found, later) = (ids(&blobs(3)), Timestamp::from_millis(NOW.millis() + 1));
    assert_eq!(index.see_unknown(found[..2].to_vec(), NOW).await.unwrap(), [Some(NOW), Some(NOW)]);
    let mixed = vec![found[2], found[0], found[1]];
    assert_eq!(index.see_unknown(mixed, later).await.unwrap(), [Some(later), Some(NOW), Some(NOW)]);
    assert_eq!(index.see_unknown(Vec::new(), later).await.unwrap(), []);
    let standing = index.blob_standing(&found).await.unwrap();
    assert_eq!(standing, [BlobStanding::Unknown; 3], "being remembered makes nothing known");
}

async fn an_unknown_blob_that_is_not_seen_again_is_forgotten(index: Shared) {
    let (found, later) = (ids(&blobs(2)), Timestamp::from_millis(NOW.millis() + 1));
    index.see_unknown(found.clone(), NOW).await.unwrap();
    index.see_unknown(vec![found[0]], later).await.unwrap();
    assert_eq!(index.forget_unknown(NOW).await.unwrap(), 0, "seen at that moment is not before it");
    assert_eq!(index.forget_unknown(later).await.unwrap(), 1);
    assert_eq!(index.see_unknown(found, later).await.unwrap(), [Some(NOW), Some(later)]);
}

const JOB_MS: u64 = 1000;

fn at(ms: u64) -> Timestamp {
    Timestamp::from_millis(NOW.millis() + ms)
}

async fn a_job_is_held_by_one_until_it_expires(index: Shared) {
    let (first, second) = (Holder([1; 16]), Holder([2; 16]));
    assert!(index.take_job("scrub", first, NOW, at(JOB_MS)).await.unwrap().is_some());
    assert_eq!(index.take_job("scrub", second, at(JOB_MS - 1), at(9 * JOB_MS)).await.unwrap(), None);
    assert!(index.take_job("scrub", first, at(1), at(JOB_MS)).await.unwrap().is_some(), "taking prolongs");
    assert!(index.take_job("other", second, NOW, at(JOB_MS)).await.unwrap().is_some(), "another job");
    assert!(index.take_job("scrub", second, at(JOB_MS), at(2 * JOB_MS)).await.unwrap().is_some());
    assert_eq!(index.take_job("scrub", first, at(JOB_MS), at(2 * JOB_MS)).await.unwrap(), None);
    let refused = index.take_job("", first, NOW, NOW).await;
    assert!(matches!(refused, Err(IndexError::Invalid { .. })), "{refused:?}");
}

async fn a_job_taken_over_goes_on_from_the_state_last_kept(index: Shared) {
    let (first, second) = (Holder([1; 16]), Holder([2; 16]));
    let empty = index.take_job("scrub", first, NOW, at(JOB_MS)).await.unwrap();
    assert_eq!(empty, Some(Bytes::new()));
    let state = Bytes::from_static(b"half way");
    assert!(index.keep_job("scrub", first, at(JOB_MS), state.clone()).await.unwrap());
    assert_eq!(index.take_job("scrub", second, at(JOB_MS), at(2 * JOB_MS)).await.unwrap(), Some(state));
    let long = Bytes::from(vec![0; terroir::index::JOB_STATE_BYTES_MAX + 1]);
    let refused = index.keep_job("scrub", second, at(JOB_MS), long).await;
    assert!(matches!(refused, Err(IndexError::Invalid { .. })), "{refused:?}");
}

async fn a_job_that_was_lost_is_not_kept(index: Shared) {
    let (first, second) = (Holder([1; 16]), Holder([2; 16]));
    assert!(!index.keep_job("scrub", first, at(JOB_MS), Bytes::new()).await.unwrap(), "never taken");
    index.take_job("scrub", first, NOW, at(JOB_MS)).await.unwrap();
    index.keep_job("scrub", first, NOW, Bytes::from_static(b"let go")).await.unwrap();
    let taken = index.take_job("scrub", second, NOW, at(JOB_MS)).await.unwrap();
    assert_eq!(taken, Some(Bytes::from_static(b"let go")), "let go by expiring now");
    assert!(!index.keep_job("scrub", first, at(JOB_MS), Bytes::from_static(b"too late")).await.unwrap());
    let mine = index.take_job("scrub", second, at(1), at(JOB_MS)).await.unwrap();
    assert_eq!(mine, Some(Bytes::from_static(b"let go")), "what the loser kept changed nothing");
}

async fn one_of_many_takers_gets_a_job(index: Shared) {
    let takers = (0..16_u8).map(|n| {
        let index = index.clone();
        tokio::spawn(async move { index.take_job("scrub", Holder([n; 16]), NOW, at(JOB_MS)).await })
    });
    let mut winners = 0;
    for taker in takers.collect::<Vec<_>>() {
        winners += usize::from(taker.await.unwrap().unwrap().is_some());
    }
    assert_eq!(winners, 1);
}
