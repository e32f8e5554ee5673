//! The HTTP client under the S3 driver: `egress`'s pool, which knows the region's own store and no other host.
//!
//! The SDK's own client would honour proxy variables and connect wherever an endpoint rule or a redirect says.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use aws_sdk_s3::config::http::HttpRequest;
use aws_sdk_s3::config::{HttpClient, RuntimeComponents};
use aws_sdk_s3::error::ConnectorError;
use aws_sdk_s3::primitives::SdkBody;
use aws_smithy_runtime_api::client::http::{
    HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use http_body_util::Limited;
use hyper_util::client::legacy::Client;

use crate::egress::{Door, EgressError, Endpoint, EndpointError, pool};

/// The longest body of an answer, in bytes: a blob, and room for a listing of long foreign names. The SDK reads errors and
/// listings whole, however long a broken or hostile store makes them.
const ANSWER_BYTES_MAX: usize = 16 * 1024 * 1024 + 64 * 1024;

/// The client given to the SDK.
#[derive(Clone)]
pub(super) struct Egress {
    pool: Client<Door, SdkBody>,
    endpoint: Endpoint,
}

impl Egress {
    /// A client for `endpoint`, trusting `ca_file` instead of the system's roots if one is given.
    pub(super) fn new(
        endpoint: Endpoint,
        ca_file: Option<&Path>,
        connect_max: Duration,
        idle_connections_max: usize,
    ) -> Result<Self, EndpointError> {
        let pool = pool(&endpoint, ca_file, connect_max, idle_connections_max)?;
        Ok(Self { pool, endpoint })
    }
}

impl HttpClient for Egress {
    fn http_connector(&self, _: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }
}

impl HttpConnector for Egress {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let request = match request.try_into_http1x() {
            Ok(request) => request,
            Err(error) => return HttpConnectorFuture::ready(Err(ConnectorError::user(error.into()))),
        };
        // The pool asks the door only for new connections; asking here too makes the refusal independent of the pool.
        if !self.endpoint.admits(request.uri()) {
            return HttpConnectorFuture::ready(Err(ConnectorError::user(EgressError::OtherHost.into())));
        }
        let answer = self.pool.request(request);
        HttpConnectorFuture::new(async move {
            let answer = answer.await.map_err(|error| ConnectorError::io(error.into()))?;
            answer
                .map(|body| SdkBody::from_body_1_x(Limited::new(body, ANSWER_BYTES_MAX)))
                .try_into()
                .map_err(|error: aws_smithy_runtime_api::http::HttpError| {
                    ConnectorError::other(error.into(), None)
                })
        })
    }
}

impl fmt::Debug for Egress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Egress").field("endpoint", &self.endpoint).finish_non_exhaustive()
    }
}
