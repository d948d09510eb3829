//! Making the SDK's client.

use std::time::Duration;

use aws_config::BehaviorVersion;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::retry::RetryConfig;
use aws_sdk_dynamodb::config::timeout::TimeoutConfig;
use aws_sdk_dynamodb::config::{Builder, Credentials, Region, SharedHttpClient, StalledStreamProtectionConfig};
use aws_smithy_http_client::tls::{self, rustls_provider::CryptoMode};

/// How long one request may take before it is sent again. DynamoDB answers within milliseconds; a page of a megabyte
/// within some hundred.
const ATTEMPT: Duration = Duration::from_secs(3);
const CONNECT: Duration = Duration::from_secs(1);

/// Which DynamoDB.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// AWS: region, credentials and, if need be, another URL come from the environment, as for every AWS tool.
    Aws,
    /// This URL; region and credentials from the environment.
    Url(String),
    /// An embedded one at this URL, which takes any credentials.
    Embedded(String),
}

/// A client for an endpoint. Nothing is sent yet.
pub async fn connect(endpoint: &Endpoint) -> Client {
    Client::from_conf(sdk_config(endpoint).await.build())
}

/// The configuration of that client, for who wants to add to it.
pub async fn sdk_config(endpoint: &Endpoint) -> Builder {
    let timeouts = TimeoutConfig::builder().connect_timeout(CONNECT);
    let timeouts = match endpoint {
        // It runs in this process, without tokens (see `without_tokens` of the local server): a request that is late is
        // waited for, so that no second one is on its way at the same time.
        Endpoint::Embedded(_) => timeouts,
        Endpoint::Aws | Endpoint::Url(_) => timeouts.operation_attempt_timeout(ATTEMPT),
    };
    let builder = match endpoint {
        Endpoint::Aws => Builder::from(&environment().await),
        Endpoint::Url(url) => {
            let builder = Builder::from(&environment().await).endpoint_url(url);
            if url.starts_with("http://") { builder.http_client(plain_http()) } else { builder }
        }
        Endpoint::Embedded(url) => Builder::new()
            .behavior_version(BehaviorVersion::latest())
            .endpoint_url(url)
            .http_client(plain_http())
            .region(Region::from_static("local"))
            .credentials_provider(Credentials::new("local", "local", None, None, "embedded")),
    };
    builder
        // Ours are better informed; see `send`.
        .retry_config(RetryConfig::disabled())
        .timeout_config(timeouts.build())
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
}

async fn environment() -> aws_config::SdkConfig {
    aws_config::defaults(BehaviorVersion::latest()).http_client(https()).load().await
}

fn https() -> SharedHttpClient {
    aws_smithy_http_client::Builder::new().tls_provider(tls::Provider::Rustls(CryptoMode::Ring)).build_https()
}

fn plain_http() -> SharedHttpClient {
    aws_smithy_http_client::Builder::new().build_http()
}
