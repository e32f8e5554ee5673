//! Certificates, keys, and which TLS is spoken.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// A listener's TLS, ready to be used.
pub type TlsConfig = ServerConfig;

/// Where a listener's certificate chain and private key are, in PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The chain, the server's own certificate first.
    pub certificates: PathBuf,
    /// The private key: PKCS #8, PKCS #1 or SEC 1.
    pub key: PathBuf,
}

/// TLS 1.3 and 1.2, X25519MLKEM768 preferred for the key exchange (a recording of today must not be readable by a quantum
/// computer of tomorrow: health records stay secret for a lifetime), HTTP/1.1.
///
/// No session tickets for TLS 1.2 and 1.3 beyond rustls' own defaults, no early data: a replayed PUT would be a PUT.
pub fn load_tls(files: &TlsFiles) -> Result<Arc<ServerConfig>, TlsError> {
    let certificates = read_certificates(&files.certificates)?;
    let key = PrivateKeyDer::from_pem_file(&files.key).map_err(|source| TlsError::Pem {
        what: "private key",
        path: files.key.clone(),
        source,
    })?;
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
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config.max_early_data_size = 0;
    Ok(Arc::new(config))
}

fn read_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let failed = |source| TlsError::Pem { what: "certificates", path: path.to_path_buf(), source };
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
    /// A file could not be read, or is not PEM.
    #[error("cannot read {what} from {}", path.display())]
    Pem {
        /// `certificates` or `private key`.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What the reader said.
        #[source]
        source: rustls::pki_types::pem::Error,
    },
    /// The certificate file is PEM and holds no certificate.
    #[error("no certificate in {}", path.display())]
    NoCertificate {
        /// The file.
        path: PathBuf,
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
