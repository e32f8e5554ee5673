//! The end of the poller that keeps the snapshot true.

use super::*;

#[tokio::test]
async fn a_poller_that_was_let_go_of_met_the_closed_index() {
    let bench = Bench::new().await;
    let before = Arc::strong_count(&bench.index);
    let directory = bench.directory().await;
    let watch = directory.watch();
    // It begins to ask.
    tokio::task::yield_now().await;
    drop(directory);
    assert!(Arc::strong_count(&bench.index) > before, "the poller has the index");
    watch.stop().await;
    assert_eq!(Arc::strong_count(&bench.index), before, "nobody asks it any more, so that it can be closed");
}
