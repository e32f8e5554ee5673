//! Who we are to a store that speaks S3.

use aws_sdk_s3::config::{Credentials, ProvideCredentials};

use crate::identity::Identity;
use crate::model::Secret;

/// Who we are to the store. Resolved by the caller: this driver looks for credentials nowhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct S3Credentials {
    /// The public half.
    pub access_key_id: String,
    /// The secret half.
    pub secret_access_key: Secret<String>,
}

/// Every request is signed with what they are at that moment.
impl ProvideCredentials for Identity<S3Credentials> {
    fn provide_credentials<'a>(&'a self) -> aws_credential_types::provider::future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        let S3Credentials { access_key_id, secret_access_key } = self.current();
        let secret = secret_access_key.expose().as_str();
        let signing = Credentials::new(access_key_id, secret, None, None, "region-file");
        aws_credential_types::provider::future::ProvideCredentials::ready(Ok(signing))
    }
}
