//! A self-signed certificate for a loopback server, made anew for each test: no private key lies in the repository.

use std::sync::Arc;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};

/// A certificate that is its own authority, with its key.
pub(crate) struct Certificate {
    der: Vec<u8>,
    pkcs8: Vec<u8>,
}

/// For whom a certificate is.
pub(crate) enum Subject<'a> {
    Name(&'a str),
    Address([u8; 4]),
}

impl Certificate {
    /// A certificate of P-256 for `subject` (RFC 5280 §4.1), valid from 2020 to 2049.
    pub(crate) fn of(subject: &Subject<'_>) -> Self {
        let random = SystemRandom::new();
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &random).unwrap();
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, pkcs8.as_ref()).unwrap();

        // 1.2.840.10045.4.3.2, 1.2.840.10045.2.1, 1.2.840.10045.3.1.7, 2.5.4.3, 2.5.29.17
        let ecdsa_with_sha256 = sequence(&[oid(&[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02])]);
        let p256 = sequence(&[
            oid(&[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01]),
            oid(&[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07]),
        ]);
        let common_name = sequence(&[oid(&[0x55, 0x04, 0x03]), der(0x0c, b"terroir tests")]);
        let name = sequence(&[der(0x31, &common_name)]);
        let alternative = match subject {
            Subject::Name(name) => der(0x82, name.as_bytes()),
            Subject::Address(address) => der(0x87, address),
        };
        let extension = sequence(&[oid(&[0x55, 0x1d, 0x11]), der(0x04, &sequence(&[alternative]))]);
        let to_be_signed = sequence(&[
            der(0xa0, &der(0x02, &[2])),
            der(0x02, &[1]),
            ecdsa_with_sha256.clone(),
            name.clone(),
            sequence(&[der(0x17, b"200101000000Z"), der(0x17, b"491231235959Z")]),
            name,
            sequence(&[p256, bits(key.public_key().as_ref())]),
            der(0xa3, &sequence(&[extension])),
        ]);
        let signature = key.sign(&random, &to_be_signed).unwrap();
        let der = sequence(&[to_be_signed, ecdsa_with_sha256, bits(signature.as_ref())]);
        Self { der, pkcs8: pkcs8.as_ref().to_vec() }
    }

    /// As a CA file holds it.
    pub(crate) fn pem(&self) -> String {
        format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", STANDARD.encode(&self.der))
    }

    /// Its key, as a server's key file holds it.
    pub(crate) fn key_pem(&self) -> String {
        format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", STANDARD.encode(&self.pkcs8))
    }

    /// A server that shows it.
    pub(crate) fn server(&self) -> Arc<ServerConfig> {
        let chain = vec![CertificateDer::from(self.der.clone())];
        let key = PrivatePkcs8KeyDer::from(self.pkcs8.clone()).into();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config =
            ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        Arc::new(config.with_no_client_auth().with_single_cert(chain, key).unwrap())
    }
}

/// One DER value (X.690 §8.1): tag, length, content.
fn der(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = match content.len() {
        short @ 0..=0x7f => vec![u8::try_from(short).unwrap()],
        long => {
            let [high, low] = u16::try_from(long).unwrap().to_be_bytes();
            if high == 0 { vec![0x81, low] } else { vec![0x82, high, low] }
        }
    };
    [&[tag], &*length, content].concat()
}

fn sequence(values: &[Vec<u8>]) -> Vec<u8> {
    der(0x30, &values.concat())
}

fn oid(content: &[u8]) -> Vec<u8> {
    der(0x06, content)
}

fn bits(content: &[u8]) -> Vec<u8> {
    der(0x03, &[&[0], content].concat())
}
