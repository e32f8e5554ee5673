//! What every real S3-compatible service is asked beside the contract.

use terroir::blobs::{BlobStore, ErrorKind, S3Quirks, S3Settings, S3Store};

use super::{placed, sealed, somewhere};

/// The service has the quirks that `settings` declare, and asking leaves nothing.
pub(super) async fn are_as_declared(settings: S3Settings) {
    let declared = settings.quirks;
    let observed = observed(settings).await;
    assert_eq!(observed, declared, "the service is another than its settings say");
    assert_eq!(declared.held_against(&observed), Ok(vec![]));
}

/// What the service does.
pub(super) async fn observed(settings: S3Settings) -> S3Quirks {
    let store = S3Store::new(settings).unwrap();
    let at = somewhere();
    let throwaway = (sealed(&at, 1, 300), sealed(&at, 2, 300));
    let observed = store.observe_quirks(&placed(), at.id(), throwaway).await.unwrap();
    assert_eq!(store.head(&at).await.unwrap_err().kind(), ErrorKind::NotFound);
    assert!(store.list(&placed(), None, 10).await.unwrap().ids.is_empty(), "a throw-away blob was left");
    observed
}

/// Over https only whom the region's file names is believed.
pub(super) async fn a_certificate_of_nobody_we_trust_is_refused(settings: S3Settings) {
    assert!(settings.endpoint.starts_with("https://") && settings.ca_file.is_some());
    let stranger = S3Store::new(S3Settings { ca_file: None, ..settings }).unwrap();
    let error = stranger.head(&somewhere()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Misconfigured, "{error:?}");
}
