//! Building the SDK's client.

use std::time::Duration;

use aws_config::BehaviorVersion;
use aws_config::environment::EnvironmentVariableCredentialsProvider;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::retry::RetryConfig;
use aws_sdk_dynamodb::config::timeout::{TimeoutConfig, TimeoutConfigBuilder};
use aws_sdk_dynamodb::config::{Builder, Credentials, Region, SharedHttpClient, StalledStreamProtectionConfig};
use aws_smithy_http_client::Connector;
use aws_smithy_http_client::tls::{self, TlsContext, TrustStore, rustls_provider::CryptoMode};
use aws_smithy_runtime_api::client::http::SharedHttpConnector;

/// How long one request may take before it is retried. DynamoDB answers within milliseconds, and returns a page of a
/// megabyte within some hundred.
const ATTEMPT: Duration = Duration::from_secs(3);
const CONNECT: Duration = Duration::from_secs(1);

/// The DynamoDB to connect to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// AWS. Region, credentials and, if need be, another URL come from the environment, as for every AWS tool.
    Aws,
    /// The DynamoDB at this URL; region and credentials come from the environment.
    Url(String),
    /// An embedded DynamoDB that listens at this URL and accepts any credentials.
    Embedded(String),
}

/// Whether a text can be the URL of a DynamoDB.
#[must_use]
pub fn is_url(text: &str) -> bool {
    let uri = text.parse::<http::Uri>();
    uri.is_ok_and(|uri| matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some())
}

/// Builds a client for an endpoint. Nothing is sent yet.
pub async fn connect(endpoint: &Endpoint) -> Client {
    Client::from_conf(sdk_config(endpoint).await.build())
}

/// The configuration of that client, for callers that add to it.
pub async fn sdk_config(endpoint: &Endpoint) -> Builder {
    let timeouts = TimeoutConfig::builder().connect_timeout(CONNECT);
    let timeouts = match endpoint {
        // This one has no tokens (see `without_tokens` of the local server), so a late request is waited for, and no
        // second one is in flight at the same time.
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
    finish(builder, timeouts)
}

/// The configuration of a client whose requests never leave this process: this HTTP client answers them. Nobody checks
/// signatures there, so requests are not signed; that is a setting of the SDK, and the rest of its path is as in
/// production. As with [`Endpoint::Embedded`], a late request is waited for.
#[must_use]
pub fn in_process(http_client: SharedHttpClient) -> Builder {
    let builder = Builder::new()
        .behavior_version(BehaviorVersion::latest())
        // A name that never resolves (RFC 2606).
        .endpoint_url("http://dynamodb.invalid")
        .http_client(http_client)
        .region(Region::from_static("local"))
        .allow_no_auth();
    finish(builder, TimeoutConfig::builder())
}

/// Builds a client within Lambda, for AWS or another URL. Region and credentials are environment variables, and no
/// other source is tried. The sources that [`connect`] tries as well (profiles, single sign-on, other roles) would be a
/// tenth of a function's binary, so this must not share a path with it.
#[must_use]
pub fn connect_within_lambda(url: Option<&str>) -> Client {
    let timeouts = TimeoutConfig::builder().connect_timeout(CONNECT).operation_attempt_timeout(ATTEMPT);
    Client::from_conf(finish(within_lambda(url), timeouts).build())
}

fn finish(builder: Builder, timeouts: TimeoutConfigBuilder) -> Builder {
    builder
        // Our own retries know more; see `send`.
        .retry_config(RetryConfig::disabled())
        .timeout_config(timeouts.build())
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
}

fn within_lambda(url: Option<&str>) -> Builder {
    let builder = Builder::new()
        .behavior_version(BehaviorVersion::latest())
        .region(variable("AWS_REGION").map(Region::new))
        .credentials_provider(EnvironmentVariableCredentialsProvider::new());
    let url = url.map(str::to_owned).or_else(|| endpoint_within_lambda("DYNAMODB"));
    let builder = builder.http_client(http_within_lambda(url.as_deref()));
    match url {
        Some(url) => builder.endpoint_url(url),
        None => builder,
    }
}

/// The URL at which the environment has a service of AWS, if it is another one than AWS's own (*AWS SDKs and Tools
/// Reference Guide*, "Service-specific endpoints"). The service is named as there, in capitals.
#[must_use]
pub fn endpoint_within_lambda(service: &str) -> Option<String> {
    variable(&format!("AWS_ENDPOINT_URL_{service}")).or_else(|| variable("AWS_ENDPOINT_URL"))
}

/// The HTTP client of a function's SDK, for AWS or this other URL.
#[must_use]
pub fn http_within_lambda(url: Option<&str>) -> SharedHttpClient {
    match url {
        Some(url) if url.starts_with("http://") => plain_http(),
        Some(_) => https(),
        None => https_to(authorities_within_lambda()),
    }
}

/// The credentials that Lambda gives a function, if there are any.
#[must_use]
pub fn credentials_within_lambda() -> Option<Credentials> {
    let (id, secret) = variable("AWS_ACCESS_KEY_ID").zip(variable("AWS_SECRET_ACCESS_KEY"))?;
    Some(Credentials::new(id, secret, variable("AWS_SESSION_TOKEN"), None, "environment"))
}

/// An environment variable, if it is set and not empty.
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

async fn environment() -> aws_config::SdkConfig {
    aws_config::defaults(BehaviorVersion::latest()).http_client(https()).load().await
}

fn https() -> SharedHttpClient {
    https_to(TrustStore::default())
}

fn https_to(authorities: TrustStore) -> SharedHttpClient {
    let builder = aws_smithy_http_client::Builder::new().tls_provider(PROVIDER);
    match TlsContext::builder().with_trust_store(authorities).build() {
        Ok(context) => builder.tls_context(context).build_https(),
        Err(_) => builder.build_https(),
    }
}

const PROVIDER: tls::Provider = tls::Provider::Rustls(CryptoMode::Ring);

/// Builds what sends a request to another service of AWS within Lambda, where no client of the SDK is worth its size. It
/// trusts the same authorities as the client for DynamoDB, signs nothing, follows no redirect, and does not retry.
#[must_use]
pub fn connector_within_lambda() -> SharedHttpConnector {
    let builder = Connector::builder().tls_provider(PROVIDER);
    SharedHttpConnector::new(match TlsContext::builder().with_trust_store(authorities_within_lambda()).build() {
        Ok(context) => builder.tls_context(context).build(),
        Err(_) => builder.build(),
    })
}

/// The certificate authorities that issue the certificates of every AWS endpoint outside China (*Amazon Trust
/// Services*, "Certification authorities"; AWS asks that all five be trusted).
const AMAZON_ROOTS: &str = include_str!("connect/amazon-roots.pem");

/// The authorities by which AWS is trusted. Amazon's alone where they are enough: parsing the system's certificates, 144 of
/// them, takes 5 ms of every cold start.
fn authorities_within_lambda() -> TrustStore {
    match amazons_roots_are_enough(variable) {
        true => TrustStore::empty().with_pem_certificate(AMAZON_ROOTS),
        false => TrustStore::default(),
    }
}

/// Whether AWS is outside China, and no other authorities are named in the way that works for every program.
fn amazons_roots_are_enough(variable: impl Fn(&str) -> Option<String>) -> bool {
    let others = ["SSL_CERT_FILE", "SSL_CERT_DIR"];
    others.iter().all(|name| variable(name).is_none())
        && variable("AWS_REGION").is_some_and(|region| !region.starts_with("cn-"))
}

fn plain_http() -> SharedHttpClient {
    aws_smithy_http_client::Builder::new().build_http()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amazons_certificates_are_enough_for_amazon_alone() {
        let enough = |environment: &[(&str, &str)]| {
            let find = |name: &str| environment.iter().find(|(known, _)| *known == name);
            amazons_roots_are_enough(|name| find(name).map(|(_, value)| (*value).to_owned()))
        };
        assert!(enough(&[("AWS_REGION", "eu-west-1")]));
        assert!(!enough(&[("AWS_REGION", "cn-north-1")]));
        assert!(!enough(&[("AWS_REGION", "eu-west-1"), ("SSL_CERT_FILE", "/etc/pki/tls/certs/ca-bundle.crt")]));
    }

    #[test]
    fn there_are_five_of_them() {
        assert_eq!(AMAZON_ROOTS.matches("BEGIN CERTIFICATE").count(), 5);
    }
}
