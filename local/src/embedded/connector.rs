//! The HTTP client of an SDK whose requests do not leave this process. The SDK's path is the production one down to the
//! bytes of each request; only the wire is left out.

use std::fmt;

use aws_sdk_dynamodb::config::SharedHttpClient;
use aws_sdk_dynamodb::config::http::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::http::{HttpConnector, HttpConnectorFuture, SharedHttpConnector, http_client_fn};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::http::StatusCode;
use aws_smithy_types::body::SdkBody;

/// A request from the SDK to DynamoDB.
#[derive(Debug)]
pub struct Request {
    /// The request as the SDK would put it on the wire.
    pub http: HttpRequest,
}

impl Request {
    /// The operation that it requests, for example `GetItem`.
    #[must_use]
    pub fn operation(&self) -> &str {
        operation_of(self.http.headers().get("x-amz-target").unwrap_or_default())
    }

    /// Its body, which is JSON.
    #[must_use]
    pub fn body(&self) -> &[u8] {
        self.http.body().bytes().unwrap_or_default()
    }
}

/// The operation in a value of `x-amz-target`.
pub(crate) fn operation_of(target: &str) -> &str {
    target.strip_prefix("DynamoDB_20120810.").unwrap_or_default()
}

/// An HTTP client in which this function answers every request.
pub(super) fn answering(answer: impl Fn(Request) -> HttpConnectorFuture + Send + Sync + 'static) -> SharedHttpClient {
    let connector = SharedHttpConnector::new(Connector(answer));
    http_client_fn(move |_, _| connector.clone())
}

struct Connector<A>(A);

impl<A> fmt::Debug for Connector<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Connector")
    }
}

impl<A: Fn(Request) -> HttpConnectorFuture + Send + Sync + 'static> HttpConnector for Connector<A> {
    fn call(&self, http: HttpRequest) -> HttpConnectorFuture {
        self.0(Request { http })
    }
}

/// Converts what [`perform`](super::perform) returned into a response for the SDK.
///
/// # Errors
/// Returns [`ConnectorError`] if the status is not an HTTP status.
pub fn response(answer: Result<String, (u16, String)>) -> Result<HttpResponse, ConnectorError> {
    let (status, body) = match answer {
        Ok(body) => (200, body),
        Err(error) => error,
    };
    let status = StatusCode::try_from(status).map_err(|error| ConnectorError::other(error.into(), None))?;
    Ok(HttpResponse::new(status, SdkBody::from(body)))
}
