//! TLS: what is spoken, and certificates that are replaced under load.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use rustls::pki_types::{CertificateDer, ServerName};
use terroir::model::{Clock, ManualClock, SystemClock, Timestamp};
use terroir::server::{TlsError, TlsFiles};
use tokio_rustls::client::TlsStream;

use super::*;

/// A folder with a certificate, its key, and who trusts them.
pub(super) struct Certificate {
    pub(super) files: TlsFiles,
    pub(super) roots: rustls::RootCertStore,
    der: CertificateDer<'static>,
    dir: tempfile::TempDir,
}

pub(super) fn certificate() -> Certificate {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let dir = tempfile::TempDir::new().unwrap();
    let files = TlsFiles { certificates: dir.path().join("cert.pem"), key: dir.path().join("key.pem") };
    std::fs::write(&files.certificates, made.cert.pem()).unwrap();
    std::fs::write(&files.key, made.signing_key.serialize_pem()).unwrap();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    Certificate { files, roots, der: made.cert.der().clone(), dir }
}

impl Certificate {
    pub(super) fn load(&self) -> Arc<Certificates> {
        Certificates::load(self.files.clone(), Arc::new(SystemClock), Arc::default()).unwrap()
    }
}

pub(super) fn connector(
    roots: &rustls::RootCertStore,
    versions: &[&'static rustls::SupportedProtocolVersion],
    alpn: &[&[u8]],
) -> tokio_rustls::TlsConnector {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots.clone())
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    tokio_rustls::TlsConnector::from(Arc::new(config))
}

pub(super) fn localhost() -> ServerName<'static> {
    "localhost".try_into().unwrap()
}

/// A TLS connection that speaks the one protocol.
pub(super) async fn tls(running: &Running, certificate: &Certificate, alpn: &[u8]) -> TlsStream<TcpStream> {
    let connector = connector(&certificate.roots, rustls::ALL_VERSIONS, &[alpn]);
    connector.connect(localhost(), running.connect().await).await.unwrap()
}

#[tokio::test]
async fn tls_prefers_the_post_quantum_exchange_and_speaks_what_the_client_speaks() {
    let certificate = certificate();
    let running = start_tls(limits(), Some(certificate.load())).await;
    for (versions, version, group) in [
        (rustls::ALL_VERSIONS, rustls::ProtocolVersion::TLSv1_3, Some(rustls::NamedGroup::X25519MLKEM768)),
        (&[&rustls::version::TLS12], rustls::ProtocolVersion::TLSv1_2, None),
    ] {
        let connector = connector(&certificate.roots, versions, &[b"http/1.1"]);
        let mut tls = connector.connect(localhost(), running.connect().await).await.unwrap();
        let session = tls.get_ref().1;
        assert_eq!(session.protocol_version(), Some(version));
        assert_eq!(session.alpn_protocol(), Some(b"http/1.1".as_slice()));
        if let Some(group) = group {
            assert_eq!(session.negotiated_key_exchange_group().unwrap().name(), group);
        }
        tls.write_all(b"GET /peer HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
        assert!(one_answer(&mut tls).await.ends_with(" true"));
    }
    // Who names no protocol speaks the old one.
    let connector = connector(&certificate.roots, rustls::ALL_VERSIONS, &[]);
    let mut tls = connector.connect(localhost(), running.connect().await).await.unwrap();
    tls.write_all(b"GET /ok HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    assert!(one_answer(&mut tls).await.ends_with("ok"));
}

#[tokio::test]
async fn an_early_error_reaches_a_client_that_is_still_writing_over_tls_too() {
    let certificate = certificate();
    let running = start_tls(limits(), Some(certificate.load())).await;
    let mut tls = tls(&running, &certificate, b"http/1.1").await;
    tls.write_all(b"PUT /deny HTTP/1.1\r\nHost: a\r\nContent-Length: 60000\r\n\r\n").await.unwrap();
    tls.write_all(&vec![b'x'; 60_000]).await.unwrap();
    let answer = until_end(&mut tls).await;
    assert!(answer.starts_with("HTTP/1.1 403") && answer.ends_with("denied"), "{answer:?}");
}

/// rustls has no TLS 1.1 at all, so the client is bytes: a `ClientHello` that offers 1.1 at most.
#[tokio::test]
async fn tls_1_1_is_refused_with_an_alert() {
    let certificate = certificate();
    let running = start_tls(limits(), Some(certificate.load())).await;
    let mut hello = vec![0x03, 0x02];
    hello.extend([0x11; 32]); // random
    hello.extend([0x00]); // no session
    hello.extend([0x00, 0x04, 0xc0, 0x13, 0x00, 0x2f]); // two suites of that time
    hello.extend([0x01, 0x00]); // no compression
    let handshake = [&[0x01, 0x00, 0x00, u8::try_from(hello.len()).unwrap()], hello.as_slice()].concat();
    let record =
        [&[0x16, 0x03, 0x01, 0x00, u8::try_from(handshake.len()).unwrap()], handshake.as_slice()].concat();
    let mut socket = running.connect().await;
    socket.write_all(&record).await.unwrap();
    let mut answer = Vec::new();
    let _ = socket.read_to_end(&mut answer).await;
    // Alert (21), fatal (2).
    assert!(answer.len() == 7 && answer[0] == 21 && answer[5] == 2, "{answer:?}");
    while running.metrics.handshakes_failed().value() == 0 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_handshake_that_does_not_come_is_cut() {
    let certificate = certificate();
    let running = start_tls(Limits { handshake_ms: 300, ..limits() }, Some(certificate.load())).await;
    assert_took(time_to_close(&running, b"\x16\x03\x01").await.0, 300);
    assert_eq!(running.metrics.handshakes_failed().value(), 1);
}

#[test]
fn unusable_certificates_and_keys_are_named_but_not_quoted() {
    let (ours, other) = (certificate(), certificate());
    let dir = tempfile::TempDir::new().unwrap();
    let write = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let key = std::fs::read_to_string(&ours.files.key).unwrap();
    let secret: String = key.lines().nth(1).unwrap().to_owned();
    // The same as bytes, which is how some print what they could not read.
    let bytes = format!("{:?}", secret.as_bytes());
    let bytes = bytes.trim_matches(['[', ']']);
    // Line breaks are lost where a key goes through a variable or a form.
    let joined = key.lines().collect::<Vec<_>>().join(" ");
    let endless = joined.split(" -----END").next().unwrap();
    let no_x509 = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    for (certificates, key) in [
        (dir.path().join("absent.pem"), ours.files.key.clone()),
        (write("empty.pem", ""), ours.files.key.clone()),
        (write("zeroes.pem", no_x509), ours.files.key.clone()),
        (ours.files.certificates.clone(), write("empty-key.pem", "")),
        (ours.files.certificates.clone(), write("cut.pem", &key[..key.len() / 2])),
        (ours.files.certificates.clone(), write("joined.pem", &joined)),
        (ours.files.certificates.clone(), write("endless.pem", endless)),
        (write("joined-here.pem", &joined), ours.files.key.clone()),
        (write("endless-here.pem", endless), ours.files.key.clone()),
        (ours.files.certificates.clone(), other.files.key.clone()),
        (ours.files.key.clone(), ours.files.key.clone()),
    ] {
        let files = TlsFiles { certificates, key };
        let error = Certificates::load(files, Arc::new(SystemClock), Arc::default()).unwrap_err();
        let text = format!("{} {error:?}", terroir::telemetry::event::chain(&error));
        assert!(text.contains(".pem") && !text.contains(&secret) && !text.contains(bytes), "{text}");
    }
}

#[test]
fn a_certificate_before_and_after_its_time_is_refused_and_its_end_is_a_metric() {
    let made = certificate();
    let (_, x509) = x509_parser::parse_x509_certificate(&made.der).unwrap();
    let moment =
        |at: x509_parser::time::ASN1Time| Timestamp::from_seconds(u64::try_from(at.timestamp()).unwrap());
    let (from, to) = (moment(x509.validity().not_before), moment(x509.validity().not_after));
    let metrics = Arc::new(Metrics::default());
    let load = |at: u64| {
        let clock: Arc<dyn Clock> = Arc::new(ManualClock::at(Timestamp::from_seconds(at)));
        Certificates::load(made.files.clone(), clock, Arc::clone(&metrics))
    };
    for at in [from.seconds() - 1, to.seconds() + 1] {
        assert!(matches!(load(at), Err(TlsError::NotValidNow { .. })), "{at}");
    }
    assert_eq!(metrics.certificate_not_after().value(), 0);
    for at in [from.seconds(), to.seconds()] {
        load(at).unwrap();
    }
    assert_eq!(metrics.certificate_not_after().value(), i64::try_from(to.seconds()).unwrap());
}

// ---- replaced while serving

/// A pair of files that is replaced as the world does it.
struct Rotated {
    folder: tempfile::TempDir,
    metrics: Arc<Metrics>,
    certificates: Arc<Certificates>,
}

impl Rotated {
    /// As Kubernetes mounts a secret: `tls.crt` → `..data/tls.crt`, `..data` → a folder with the pair.
    fn new(first: &Certificate) -> Self {
        let folder = tempfile::TempDir::new().unwrap();
        place(folder.path(), "one", first);
        symlink("one", folder.path().join("..data")).unwrap();
        for name in ["tls.crt", "tls.key"] {
            symlink(Path::new("..data").join(name), folder.path().join(name)).unwrap();
        }
        let metrics = Arc::new(Metrics::default());
        let files =
            TlsFiles { certificates: folder.path().join("tls.crt"), key: folder.path().join("tls.key") };
        let certificates = Certificates::load(files, Arc::new(SystemClock), Arc::clone(&metrics)).unwrap();
        Self { folder, metrics, certificates }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Points `..data` at another folder, at once.
    fn swap_link(&self, folder: &str, pair: &Certificate) {
        place(self.folder.path(), folder, pair);
        symlink(folder, self.path("..tmp")).unwrap();
        std::fs::rename(self.path("..tmp"), self.path("..data")).unwrap();
    }

    /// Renames new files over the old ones, one after the other.
    fn rename_over(&self, pair: &Certificate, meanwhile: impl FnOnce()) {
        std::fs::copy(&pair.files.certificates, self.path("new.crt")).unwrap();
        std::fs::copy(&pair.files.key, self.path("new.key")).unwrap();
        std::fs::rename(self.path("new.crt"), self.path("tls.crt")).unwrap();
        meanwhile();
        std::fs::rename(self.path("new.key"), self.path("tls.key")).unwrap();
    }
}

fn place(folder: &Path, name: &str, pair: &Certificate) {
    std::fs::create_dir(folder.join(name)).unwrap();
    std::fs::copy(&pair.files.certificates, folder.join(name).join("tls.crt")).unwrap();
    std::fs::copy(&pair.files.key, folder.join(name).join("tls.key")).unwrap();
}

#[test]
fn a_swapped_link_a_rename_and_an_overwrite_are_noticed_and_nothing_else_is() {
    let pairs: Vec<_> = (0..4).map(|_| certificate()).collect();
    let rotated = Rotated::new(&pairs[0]);
    assert!(!rotated.certificates.reload_if_changed().unwrap());
    rotated.swap_link("two", &pairs[1]);
    assert!(rotated.certificates.reload_if_changed().unwrap());
    assert!(!rotated.certificates.reload_if_changed().unwrap());
    // Between two renames the pair does not fit: the one before stays, and the next look finds the whole.
    let before = rotated.certificates.config();
    rotated.rename_over(&pairs[2], || {
        assert!(rotated.certificates.reload_if_changed().is_err());
        assert!(Arc::ptr_eq(&before, &rotated.certificates.config()));
    });
    assert!(rotated.certificates.reload_if_changed().unwrap());
    std::fs::copy(&pairs[3].files.certificates, rotated.path("tls.crt")).unwrap();
    std::fs::copy(&pairs[3].files.key, rotated.path("tls.key")).unwrap();
    assert!(rotated.certificates.reload_if_changed().unwrap());
    assert_eq!(rotated.metrics.certificate_reloads().value(), 3);
    assert_eq!(rotated.metrics.certificate_reloads_failed().value(), 1);
}

#[test]
fn a_pair_that_cannot_be_used_leaves_the_one_before_and_is_counted_once() {
    let (good, other) = (certificate(), certificate());
    let rotated = Rotated::new(&good);
    let before = rotated.certificates.config();
    let mut expired = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    expired.not_after = rcgen::date_time_ymd(2020, 1, 1);
    let key = rcgen::KeyPair::generate().unwrap();
    let expired = expired.self_signed(&key).unwrap().pem();
    let other_key = std::fs::read_to_string(&other.files.key).unwrap();
    let good_certificate = std::fs::read_to_string(&good.files.certificates).unwrap();
    for (count, (name, certificate, key)) in [
        ("expired", expired.as_str(), key.serialize_pem()),
        ("of another key", good_certificate.as_str(), other_key.clone()),
        ("cut", &good_certificate[..100], other_key.clone()),
        ("empty", "", other_key),
    ]
    .into_iter()
    .enumerate()
    {
        std::fs::write(rotated.path("tls.crt"), certificate).unwrap();
        std::fs::write(rotated.path("tls.key"), key).unwrap();
        assert!(rotated.certificates.reload_if_changed().is_err(), "{name}");
        assert!(!rotated.certificates.reload_if_changed().unwrap(), "{name}");
        assert!(Arc::ptr_eq(&before, &rotated.certificates.config()), "{name}");
        assert_eq!(rotated.metrics.certificate_reloads_failed().value(), count as u64 + 1, "{name}");
    }
    std::fs::remove_file(rotated.path("tls.crt")).unwrap();
    assert!(rotated.certificates.reload_if_changed().is_err());
    assert_eq!(rotated.metrics.certificate_reloads().value(), 0);
}

#[test]
fn a_certificate_that_was_not_valid_yet_is_taken_when_it_is() {
    let good = certificate();
    let folder = tempfile::TempDir::new().unwrap();
    let files = TlsFiles { certificates: folder.path().join("tls.crt"), key: folder.path().join("tls.key") };
    std::fs::copy(&good.files.certificates, &files.certificates).unwrap();
    std::fs::copy(&good.files.key, &files.key).unwrap();
    let clock = Arc::new(ManualClock::at(SystemClock.now()));
    let metrics = Arc::new(Metrics::default());
    let certificates =
        Certificates::load(files.clone(), Arc::clone(&clock) as Arc<dyn Clock>, Arc::clone(&metrics))
            .unwrap();
    let before = certificates.config();
    let key = rcgen::KeyPair::generate().unwrap();
    let mut early = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    early.not_before = rcgen::date_time_ymd(2900, 1, 1);
    early.not_after = rcgen::date_time_ymd(2999, 1, 1);
    std::fs::write(&files.certificates, early.self_signed(&key).unwrap().pem()).unwrap();
    std::fs::write(&files.key, key.serialize_pem()).unwrap();
    assert!(matches!(certificates.reload_if_changed(), Err(TlsError::NotValidNow { .. })));
    // Looked at again and again, told of once.
    assert!(!certificates.reload_if_changed().unwrap());
    assert!(Arc::ptr_eq(&before, &certificates.config()));
    assert_eq!(metrics.certificate_reloads_failed().value(), 1);
    clock.advance(Duration::from_hours(24 * 365 * 880));
    assert!(certificates.reload_if_changed().unwrap());
    assert!(!Arc::ptr_eq(&before, &certificates.config()));
    assert!(!certificates.reload_if_changed().unwrap());
    assert_eq!((metrics.certificate_reloads().value(), metrics.certificate_reloads_failed().value()), (1, 1));
}

/// Sixteen clients in both protocols, some with one connection for all requests and some with one each, while the pair is
/// replaced twenty times: by the watch's own look at the files, and by being asked (SIGHUP).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_is_replaced_under_load_and_no_request_fails() {
    let pairs: Vec<_> = (0..21).map(|_| certificate()).collect();
    let mut roots = rustls::RootCertStore::empty();
    for pair in &pairs {
        roots.add(pair.der.clone()).unwrap();
    }
    let rotated = Rotated::new(&pairs[0]);
    let running = start_tls(limits(), Some(Arc::clone(&rotated.certificates))).await;
    let (ask, asked) = tokio::sync::watch::channel(0);
    let watching = tokio::spawn(terroir::server::watch(
        Arc::clone(&rotated.certificates),
        Duration::from_millis(20),
        asked,
        running.stop.clone(),
    ));
    let (over, requests) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    // Across all of it: a request that began before the first swap and ends after the last.
    let mut across = tls(&running, &pairs[0], b"http/1.1").await;
    across.write_all(b"GET /wait HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    let clients: Vec<_> = (0..16)
        .map(|client| {
            let alpn: &[u8] = if client % 4 < 2 { b"http/1.1" } else { b"h2" };
            let per_connection = if client % 2 == 0 { usize::MAX } else { 1 };
            let connector = connector(&roots, rustls::ALL_VERSIONS, &[alpn]);
            let (address, over, requests) = (running.address, Arc::clone(&over), Arc::clone(&requests));
            tokio::spawn(async move {
                while !over.load(Ordering::Relaxed) {
                    let mut one = drain::Client::connect(address, &connector).await.unwrap();
                    for _ in 0..per_connection {
                        assert_eq!(one.request("/ok").await, drain::Got::Answer { last: false });
                        requests.fetch_add(1, Ordering::Relaxed);
                        if over.load(Ordering::Relaxed) {
                            break;
                        }
                    }
                }
            })
        })
        .collect();
    let resuming = connector(&roots, rustls::ALL_VERSIONS, &[b"http/1.1"]);
    for (number, pair) in pairs.iter().enumerate().skip(1) {
        let so_far = requests.load(Ordering::Relaxed);
        rotated.swap_link(&number.to_string(), pair);
        if number % 2 == 0 {
            ask.send_modify(|asked| *asked += 1);
        }
        // The same connector each time, so that it would resume a session of the pair before if it could.
        loop {
            let mut tls = resuming.connect(localhost(), running.connect().await).await.unwrap();
            let shown = tls.get_ref().1.peer_certificates().unwrap()[0].clone().into_owned();
            tls.write_all(b"GET /ok HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
            one_answer(&mut tls).await;
            if shown == pair.der {
                break;
            }
        }
        while requests.load(Ordering::Relaxed) < so_far + 50 {
            tokio::task::yield_now().await;
        }
    }
    over.store(true, Ordering::Relaxed);
    for client in clients {
        client.await.unwrap();
    }
    running.gate.add_permits(1);
    assert!(one_answer(&mut across).await.ends_with("waited"));
    println!("{} requests, 20 certificates, 0 failed", requests.load(Ordering::Relaxed));
    assert_eq!(rotated.metrics.certificate_reloads_failed().value(), 0);
    running.stop.cancel();
    watching.await.unwrap();
    drop(pairs.into_iter().map(|pair| pair.dir).collect::<Vec<_>>());
}
