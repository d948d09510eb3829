//! Making the SDK's client.

use std::time::Duration;

use aws_config::BehaviorVersion;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::retry::RetryConfig;
use aws_sdk_dynamodb::config::timeout::TimeoutConfig;
use aws_sdk_dynamodb::config::{Builder, Credentials, Region, SharedHttpClient, StalledStreamProtectionConfig};
use aws_smithy_http_client::tls::{self, TlsContext, TrustStore, rustls_provider::CryptoMode};

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

/// The certificate authorities that every AWS endpoint's certificate comes from, outside China (*Amazon Trust Services*,
/// "Certification authorities"; AWS asks that all five be trusted).
const AMAZON_ROOTS: &str = include_str!("connect/amazon-roots.pem");

fn https() -> SharedHttpClient {
    let builder = aws_smithy_http_client::Builder::new().tls_provider(tls::Provider::Rustls(CryptoMode::Ring));
    if !only_amazon(|name| std::env::var(name).ok().filter(|value| !value.is_empty())) {
        return builder.build_https();
    }
    let roots = TrustStore::empty().with_pem_certificate(AMAZON_ROOTS);
    match TlsContext::builder().with_trust_store(roots).build() {
        Ok(context) => builder.tls_context(context).build_https(),
        Err(_) => builder.build_https(),
    }
}

/// Whether nobody but AWS is talked to: in Lambda, outside China, with no other endpoint and no other certificates in the
/// environment. Then the system's certificates, some 144 of them, are not worth the 5 ms that a cold start needs to parse
/// them. `SSL_CERT_FILE`, the way to name other authorities to every program, switches this off.
fn only_amazon(variable: impl Fn(&str) -> Option<String>) -> bool {
    let elsewhere =
        ["SSL_CERT_FILE", "SSL_CERT_DIR", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_DYNAMODB", "DYNAMODB_ENDPOINT"];
    variable("AWS_LAMBDA_RUNTIME_API").is_some()
        && elsewhere.iter().all(|name| variable(name).is_none())
        && variable("AWS_REGION").is_some_and(|region| !region.starts_with("cn-"))
}

fn plain_http() -> SharedHttpClient {
    aws_smithy_http_client::Builder::new().build_http()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn only_amazon_in(environment: &[(&str, &str)]) -> bool {
        only_amazon(|name| environment.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned()))
    }

    #[test]
    fn amazons_certificates_are_enough_in_lambda_alone() {
        let lambda = ("AWS_LAMBDA_RUNTIME_API", "127.0.0.1:9001");
        assert!(only_amazon_in(&[lambda, ("AWS_REGION", "eu-west-1")]));
        assert!(!only_amazon_in(&[("AWS_REGION", "eu-west-1")]), "on a laptop there may be a proxy");
        assert!(!only_amazon_in(&[lambda]), "without a region there may be a profile");
        assert!(!only_amazon_in(&[lambda, ("AWS_REGION", "cn-north-1")]));
        for elsewhere in ["SSL_CERT_FILE", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_DYNAMODB", "DYNAMODB_ENDPOINT"] {
            assert!(!only_amazon_in(&[lambda, ("AWS_REGION", "eu-west-1"), (elsewhere, "x")]), "{elsewhere}");
        }
    }

    #[test]
    fn there_are_five_of_them() {
        assert_eq!(AMAZON_ROOTS.matches("BEGIN CERTIFICATE").count(), 5);
    }
}
