//! What is refused by the thousand is counted, not logged line by line: a flood must not fill the log.

use aws_sdk_s3::error::ProvideErrorMetadata;
use tempfile::TempDir;
use terroir::blobs::testing::Faults;
use terroir::testing::{Setup, TestApp};

use super::markers::Lines;
use super::{put, tenant};

#[tokio::test(flavor = "multi_thread")]
async fn refusals_of_an_open_circuit_are_counted_not_logged() {
    let lines = Lines::keep("info");
    let dir = TempDir::new().unwrap();
    let app = TestApp::start(dir.path(), &Setup::default()).await;
    let clinic = tenant(&app, "fr", "clinic").await;
    put(&clinic, "clinic", "k", b"body").await;
    let refused = async |faults| {
        app.tap("fr").fail(faults);
        for _ in 0..20 {
            let got = clinic.s3.get_object().bucket("clinic").key("k").send().await.unwrap_err();
            assert_eq!(got.code(), Some("ServiceUnavailable"), "{got:?}");
        }
        lines.with("request_failed")
    };
    assert_eq!(refused(Faults { error_before: 1000, ..Faults::default() }).await, 20, "a failure is logged");
    assert_eq!(refused(Faults { circuit_open: 1000, ..Faults::default() }).await, 20, "and nothing more");
}
