//! Rotation: two halves, of which the second may fail.

use super::*;

#[tokio::test]
async fn rotation_makes_a_new_credential_and_disables_the_old_one_only_when_asked() {
    let bench = Bench::new().await;
    let (_, one) = bench.clinic().await;
    let two = bench.registry.rotate_credential(&one.key_id, false).await.unwrap().new;
    let directory = bench.directory().await;
    assert!(directory.lookup(&one.key_id).is_ok() && directory.lookup(&two.key_id).is_ok());
    let rotated = bench.registry.rotate_credential(&two.key_id, true).await.unwrap();
    assert_eq!(rotated.old.unwrap().unwrap().status, CredentialStatus::Disabled);
    let three = rotated.new;
    assert!(directory.refresh().await.unwrap());
    assert_eq!(reason(directory.lookup(&two.key_id)), Some(Reason::CredentialDisabled));
    let found = directory.lookup(&three.key_id).unwrap();
    assert_eq!(found.credential.secret, three.secret);
    assert_eq!((found.tenant.id.as_str(), found.credential.label.as_str()), ("clinic", "ingest"));
}

#[tokio::test]
async fn a_rotation_whose_second_half_fails_gives_the_new_secret_out() {
    let bench = Bench::new().await;
    let (_, one) = bench.clinic().await;
    bench
        .attack(
            "CREATE TRIGGER kept BEFORE UPDATE ON directory WHEN old.kind = 'credential' \
             BEGIN SELECT RAISE(ABORT, 'kept'); END",
        )
        .await;
    let rotated = bench.registry.rotate_credential(&one.key_id, true).await.unwrap();
    assert!(matches!(rotated.old, Some(Err(_))), "{:?}", rotated.old);
    let directory = bench.directory().await;
    assert_eq!(directory.lookup(&rotated.new.key_id).unwrap().credential.secret, rotated.new.secret);
    assert!(directory.lookup(&one.key_id).is_ok(), "the old one is active still");
    bench.attack("DROP TRIGGER kept").await;
    bench.registry.disable_credential(&one.key_id).await.unwrap();
}
