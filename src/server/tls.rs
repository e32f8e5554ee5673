//! Certificates, keys, and which TLS is spoken.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use x509_parser::prelude::{ASN1Time, FromDer, X509Certificate};

use crate::model::Timestamp;

/// Where a listener's certificate chain and private key are, in PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The chain, the server's own certificate first.
    pub certificates: PathBuf,
    /// The private key: PKCS #8, PKCS #1 or SEC 1.
    pub key: PathBuf,
}

/// What the files hold, ready to be used.
#[derive(Debug)]
pub(super) struct Loaded {
    pub(super) config: Arc<ServerConfig>,
    /// When the server's certificate ends.
    pub(super) not_after: Timestamp,
}

/// TLS 1.3 and 1.2, X25519MLKEM768 preferred for the key exchange (a recording of today must not be readable by a quantum
/// computer of tomorrow: health records stay secret for a lifetime), HTTP/2 and HTTP/1.1 by ALPN.
///
/// Refused, beside what cannot be used at all: a certificate that is not valid at `now`. No session tickets
/// beyond rustls' own defaults, no early data: a replayed PUT would be a PUT.
pub(super) fn load(files: &TlsFiles, now: Timestamp) -> Result<Loaded, TlsError> {
    let certificates = read_certificates(&files.certificates)?;
    let not_after = valid_until(&certificates, now, &files.certificates)?;
    let key = PrivateKeyDer::from_pem_file(&files.key)
        .map_err(|error| TlsError::of_pem("private key", &files.key, error))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .map_err(TlsError::Setup)?
        .with_no_client_auth()
        .with_single_cert(certificates, key)
        .map_err(|source| TlsError::Unusable {
            certificates: files.certificates.clone(),
            key: files.key.clone(),
            source,
        })?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    config.max_early_data_size = 0;
    Ok(Loaded { config: Arc::new(config), not_after })
}

/// The end of the server certificate's validity, if it has begun and not ended. The rest of the chain is the clients' to judge:
/// chains with an expired cross-signed root are in use, and work.
fn valid_until(chain: &[CertificateDer<'_>], now: Timestamp, path: &Path) -> Result<Timestamp, TlsError> {
    let unparsable = || TlsError::NoX509 { path: path.to_path_buf() };
    let (_, parsed) =
        chain.first().and_then(|first| X509Certificate::from_der(first).ok()).ok_or_else(unparsable)?;
    let moment = |time: ASN1Time| Timestamp::from_seconds(u64::try_from(time.timestamp()).unwrap_or(0));
    let validity = parsed.validity();
    let (from, to) = (moment(validity.not_before), moment(validity.not_after));
    if now < from || to < now {
        return Err(TlsError::NotValidNow { path: path.to_path_buf(), from, to });
    }
    Ok(to)
}

fn read_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let failed = |error| TlsError::of_pem("certificates", path, error);
    let certificates: Vec<_> =
        CertificateDer::pem_file_iter(path).map_err(failed)?.collect::<Result<_, _>>().map_err(failed)?;
    if certificates.is_empty() {
        Err(TlsError::NoCertificate { path: path.to_path_buf() })
    } else {
        Ok(certificates)
    }
}

/// Why certificate and key cannot be used. Never quotes the files' contents.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file could not be read.
    #[error("cannot read {what} from {}", path.display())]
    Unreadable {
        /// `certificates` or `private key`.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// A file is not PEM, or holds none of what it should.
    #[error("cannot read {what} from {}: {why}", path.display())]
    Pem {
        /// `certificates` or `private key`.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// In our words: the reader's own error quotes the line it stumbled on.
        why: &'static str,
    },
    /// The certificate file is PEM and holds no certificate.
    #[error("no certificate in {}", path.display())]
    NoCertificate {
        /// The file.
        path: PathBuf,
    },
    /// The certificate is no X.509 certificate.
    #[error("the certificate in {} cannot be parsed", path.display())]
    NoX509 {
        /// The file.
        path: PathBuf,
    },
    /// The certificate is not valid today.
    #[error("the certificate in {} is valid from {from} to {to}, not now", path.display())]
    NotValidNow {
        /// The file.
        path: PathBuf,
        /// Its first moment.
        from: Timestamp,
        /// Its last moment.
        to: Timestamp,
    },
    /// Certificate and key do not fit together, or are of a kind we do not serve.
    #[error("certificate {} and key {} cannot be used", certificates.display(), key.display())]
    Unusable {
        /// The certificate file.
        certificates: PathBuf,
        /// The key file.
        key: PathBuf,
        /// What rustls said.
        #[source]
        source: rustls::Error,
    },
    /// The protocol versions cannot be set with this provider.
    #[error("TLS cannot be set up")]
    Setup(#[source] rustls::Error),
}

impl TlsError {
    fn of_pem(what: &'static str, path: &Path, error: pem::Error) -> Self {
        let path = path.to_path_buf();
        let why = match error {
            pem::Error::Io(source) => return Self::Unreadable { what, path, source },
            pem::Error::MissingSectionEnd { .. } => "a section of the PEM file does not end",
            pem::Error::IllegalSectionStart { .. } => {
                "a line begins a section of PEM and does not end as one"
            }
            pem::Error::Base64Decode(_) => "a section of the PEM file is not base64",
            pem::Error::NoItemsFound => "there is none in it",
            _ => "it is not PEM",
        };
        Self::Pem { what, path, why }
    }
}
