//! What the real S3 stores of the tests have in common: one identity, a client to do what our driver must not, free ports.

use std::net::{Ipv4Addr, TcpListener};

use aws_sdk_s3::Client;
use aws_sdk_s3::config::{
    BehaviorVersion, Credentials, Region, RequestChecksumCalculation, ResponseChecksumValidation,
};
use terroir::blobs::{S3Credentials, S3Quirks, S3Settings};
use terroir::model::{Entropy, RegionId, Secret, SystemEntropy};

pub(crate) const ACCESS_KEY: &str = "tests-access-key";
pub(crate) const SECRET_KEY: &str = "tests-secret-key";

/// The SDK almost as it comes, to do what our driver must not: make buckets, write names that are not ours.
pub(crate) fn client(endpoint: &str) -> Client {
    let config = aws_sdk_s3::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .endpoint_url(endpoint)
        .region(Region::new("us-east-1"))
        .credentials_provider(Credentials::new(ACCESS_KEY, SECRET_KEY, None, None, "tests"))
        .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
        .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
        .force_path_style(true)
        .build();
    Client::from_conf(config)
}

/// Makes an empty bucket with a name of its own.
pub(crate) async fn new_bucket(client: &Client) -> String {
    let mut random = [0; 8];
    SystemEntropy.fill(&mut random).unwrap();
    let bucket = format!("blobs-{}", hex::encode(random));
    client.create_bucket().bucket(&bucket).send().await.unwrap();
    bucket
}

/// How our driver reaches `bucket`.
pub(crate) fn settings(region: &RegionId, endpoint: String, bucket: String) -> S3Settings {
    S3Settings {
        region: region.clone(),
        endpoint,
        signing_region: "us-east-1".to_owned(),
        bucket,
        prefix: "terroir/blobs/".to_owned(),
        path_style: true,
        credentials: S3Credentials {
            access_key_id: ACCESS_KEY.to_owned(),
            secret_access_key: Secret::new(SECRET_KEY.to_owned()),
        }
        .into(),
        ca_file: None,
        quirks: S3Quirks::default(),
        declared_location: None,
        connect_ms: 5_000,
        attempt_ms: 30_000,
        idle_connections_max: 64,
    }
}

/// The first of `count` free ports in a row, below what the system hands out by itself.
pub(crate) fn free_ports(count: u16) -> u16 {
    let free = |port: u16| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok();
    let mut random = [0; 2];
    SystemEntropy.fill(&mut random).unwrap();
    let start = 20_000 + u16::from_be_bytes(random) % 10_000;
    let mut firsts = (start..32_000).step_by(usize::from(count));
    firsts.find(|first| (*first..*first + count).all(free)).expect("free ports")
}

/// Whether a program can be started by its name.
pub(crate) fn is_on_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}
