//! How `SQLite` would run our statements: the hot ones seek, none of them scans a table or sorts one.

use std::time::Duration;

use sqlx::{AssertSqlSafe, Row};

use super::connect::{connect, prepare_file, settle};
use super::{Opening, SqliteOptions, list, reclaim, sql, uploads};
use crate::model::{SystemEntropy, Timestamp};

/// Statements, with whether they may sort what a bounded walk found.
const STATEMENTS: [(&str, &str, bool); 29] = [
    ("lookup", sql::LOOKUP, false),
    ("version", sql::VERSION, false),
    ("bucket", sql::BUCKET, false),
    ("buckets of a tenant", sql::BUCKETS_OF, false),
    ("bucket in use", sql::BUCKET_IN_USE, false),
    ("write target", sql::WRITE_TARGET, false),
    ("delete target", sql::DELETE_TARGET, false),
    ("list", sql::LIST, false),
    ("list with delimiter", list::WALK, true),
    ("blobs of a version", "DELETE FROM blobs WHERE version_id = $1", false),
    ("blobs of a part", "SELECT blob_id FROM blobs WHERE version_id = $1 AND part = $2", false),
    ("due", sql::RECLAIM_DUE, false),
    ("due after", reclaim::DUE_AFTER, false),
    ("forget", sql::RECLAIM_FORGET, false),
    ("upload", sql::UPLOAD, false),
    ("uploads", sql::UPLOADS, false),
    ("open uploads of a tenant", sql::UPLOADS_COUNT, false),
    ("uploads forget", sql::UPLOADS_FORGET, false),
    ("part target", sql::PART_TARGET, false),
    ("list parts", sql::PARTS_LIST, false),
    ("parts brief", sql::PARTS_BRIEF, false),
    ("parts delete", sql::PARTS_DELETE, false),
    ("upload delete", sql::UPLOAD_DELETE, false),
    ("kek use", sql::KEK_USE, false),
    ("live blobs", sql::LIVE_BLOBS, false),
    ("upload of a version", sql::UPLOAD_OF, false),
    ("unknown blobs forget", sql::UNKNOWN_FORGET, false),
    ("directory row", sql::ROW, false),
    ("directory rows changed", sql::ROWS_CHANGED, false),
];

fn is_scan(step: &str) -> bool {
    // The walk's own queue, scalar rows, and what was found up to a limit are not tables of ours; a covering scan of `reclaim`
    // is only in the depth.
    let harmless = ["SCAN p", "SCAN CONSTANT ROW", "SCAN page", "SCAN open"];
    step.starts_with("SCAN") && !harmless.contains(&step)
}

async fn plan(conn: &mut sqlx::SqliteConnection, statement: &str) -> Vec<String> {
    let explain = format!("EXPLAIN QUERY PLAN {statement}");
    let rows = sqlx::query(AssertSqlSafe(explain)).fetch_all(conn).await.unwrap();
    rows.iter().map(|row| row.get::<String, _>("detail")).collect()
}

#[tokio::test]
async fn no_statement_scans_or_sorts_a_table() {
    let folder = tempfile::tempdir().unwrap();
    let options = SqliteOptions {
        busy_timeout: Duration::from_secs(1),
        ..SqliteOptions::new(
            folder.path().join("index.db"),
            "fr".parse().unwrap(),
            "test".parse().unwrap(),
            Opening::CreateIfMissing,
        )
    };
    prepare_file(&options).unwrap();
    let mut conn = connect(&options).await.unwrap();
    settle(&mut conn, &options, &SystemEntropy, Timestamp::from_millis(0)).await.unwrap();
    let parts = uploads::parts_statement(128);
    let mut statements: Vec<(&str, &str, bool)> = STATEMENTS.to_vec();
    statements.push(("parts", &parts, false));
    for (name, statement, may_sort) in statements {
        let steps = plan(&mut conn, statement).await;
        assert!(!steps.is_empty(), "{name}");
        assert!(!steps.iter().any(|step| is_scan(step)), "{name} scans: {steps:#?}");
        assert!(
            may_sort || !steps.iter().any(|step| step.contains("TEMP B-TREE")),
            "{name} sorts: {steps:#?}"
        );
    }
    for (name, statement) in
        [("list", sql::LIST), ("list with delimiter", list::WALK), ("uploads", sql::UPLOADS)]
    {
        let steps = plan(&mut conn, statement).await.join("\n");
        let ranges = steps.matches("key>? AND key<?").count();
        assert_eq!(
            ranges,
            if name == "list with delimiter" { 2 } else { 1 },
            "{name} must seek a range: {steps}"
        );
    }
    let scanning = plan(&mut conn, "SELECT 1 FROM versions WHERE etag = $1").await;
    assert!(scanning.iter().any(|step| is_scan(step)), "the test would notice: {scanning:#?}");
    let sorting = plan(&mut conn, "SELECT key FROM heads WHERE bucket_no = $1 ORDER BY size").await;
    assert!(sorting.iter().any(|step| step.contains("TEMP B-TREE")), "the test would notice: {sorting:#?}");
}
