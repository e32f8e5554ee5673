//! The double as a process, for harnesses that are not Rust:
//!
//! ```text
//! gcs-double [--listen 127.0.0.1:0] [--seed 1] [--folder DIR] [--seen-bytes-max N]
//!            [--certificate PEM --private-key PEM] [--trust-account NAME --trust-key DER] [--demand-token]
//! ```
//!
//! It prints one line, its address, and ends when its standard input closes, so that it never outlives who started it.
//! `command.rs` says how it is told what to do, `folder.rs` what it then has when it is started again.

use std::io::{Read, Write};
use std::sync::Arc;

use double::{Double, Place, Settings};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

#[allow(dead_code, unused_imports, reason = "the integration tests use the rest")]
#[path = "mod.rs"]
mod double;

#[tokio::main]
async fn main() {
    let mut settings = Settings::default();
    let mut place = Place::on_port(0);
    let (mut certificate, mut private_key) = (None, None);
    let (mut account, mut account_key) = (None, None);
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut value = || words.next().expect("a value");
        match word.as_str() {
            "--listen" => place.listen = value().parse().expect("an address and a port"),
            "--seed" => settings.seed = value().parse().expect("a number"),
            "--folder" => place.folder = Some(value().into()),
            "--seen-bytes-max" => place.seen_bytes_max = value().parse().expect("a number"),
            "--certificate" => certificate = Some(value()),
            "--private-key" => private_key = Some(value()),
            "--trust-account" => account = Some(value()),
            "--trust-key" => account_key = Some(std::fs::read(value()).expect("a key")),
            "--demand-token" => settings.demand_token = true,
            other => panic!("unknown argument {other}"),
        }
    }
    place.tls = certificate.zip(private_key).map(|(certificate, key)| tls(&certificate, &key));
    let double = Double::start_in(settings, place).await;
    if let Some((account, key)) = account.zip(account_key) {
        double.trust(&key, &account);
    }
    println!("{}", double.url());
    std::io::stdout().flush().expect("a reader");
    let waiting = tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new()));
    waiting.await.expect("a thread").expect("a standard input");
}

fn tls(certificate: &str, private_key: &str) -> tokio_rustls::TlsAcceptor {
    let chain = CertificateDer::pem_file_iter(certificate).expect("a certificate");
    let chain = chain.collect::<Result<Vec<_>, _>>().expect("a certificate");
    let key = PrivateKeyDer::from_pem_file(private_key).expect("a private key");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = config.expect("versions").with_no_client_auth().with_single_cert(chain, key);
    let mut config = config.expect("a certificate that fits its key");
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Arc::new(config).into()
}
