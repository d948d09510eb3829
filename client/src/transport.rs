//! How bytes reach the registry and AWS: TLS by rustls with ring, the system's certificate authorities, and proxies as
//! the environment has them.

use std::ffi::OsString;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;
use reqwest::Url;
use rustls::{ClientConfig, RootCertStore};

use crate::Error;

/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(5);

/// The metadata service of EC2, which has a link-local address only in the older version of IP.
const METADATA: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254);

/// Returns the builder of an HTTP client for this URL and others of its scheme.
///
/// A host on this machine, or one that is only reachable from it (link-local), is never reached through a proxy: a
/// proxy would look for it on its own machine. Redirections are not followed, since a signature is for one host.
///
/// # Errors
///
/// [`Error::Invalid`] where TLS cannot be set up.
pub fn builder(url: &Url) -> Result<reqwest::ClientBuilder, Error> {
    let builder = reqwest::Client::builder()
        .tls_backend_preconfigured(tls(url.scheme() == "https")?)
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(CONNECT)
        .user_agent(concat!("portmaster/", env!("CARGO_PKG_VERSION")));
    Ok(if is_near(url) { builder.no_proxy() } else { builder })
}

/// Whether a URL's host is this machine.
pub(crate) fn is_loopback(url: &Url) -> bool {
    match url.host_str().map(|host| host.trim_matches(['[', ']'])) {
        None => false,
        Some("localhost") => true,
        Some(host) => host.ends_with(".localhost") || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback()),
    }
}

fn is_near(url: &Url) -> bool {
    let address = url.host_str().and_then(|host| host.trim_matches(['[', ']']).parse::<IpAddr>().ok());
    let is_link_local = address.is_some_and(|address| match address {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => address.is_unicast_link_local() || address == METADATA,
    });
    is_loopback(url) || is_link_local
}

/// TLS with ring. The authorities are only read if they are needed: that takes 5 ms.
fn tls(is_needed: bool) -> Result<ClientConfig, Error> {
    let authorities = if is_needed { authorities(|name| std::env::var_os(name))? } else { RootCertStore::empty() };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|reason| Error::Invalid(format!("TLS cannot be set up: {reason}")))?;
    Ok(config.with_root_certificates(authorities).with_no_client_auth())
}

/// The system's authorities, or those that `SSL_CERT_FILE` and `SSL_CERT_DIR` name. Where there are none, as in a bare
/// container, Mozilla's; but not in place of those that somebody has named.
fn authorities(variable: impl Fn(&str) -> Option<OsString>) -> Result<RootCertStore, Error> {
    let mut store = RootCertStore::empty();
    let loaded = rustls_native_certs::load_native_certs();
    store.add_parsable_certificates(loaded.certs);
    if !store.is_empty() {
        return Ok(store);
    }
    let named = ["SSL_CERT_FILE", "SSL_CERT_DIR"].into_iter().filter_map(|name| {
        let path = variable(name).filter(|path| !path.is_empty())?;
        Some(format!("{name}={}", path.to_string_lossy()))
    });
    let named = named.collect::<Vec<_>>().join(", ");
    if named.is_empty() {
        store.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        return Ok(store);
    }
    let reason = loaded.errors.first().map_or_else(|| "there is no certificate in it".to_owned(), ToString::to_string);
    Err(Error::Invalid(format!("no certificate authority to trust, as {named} has it: {reason}")))
}

/// The SDK's HTTP client over ours, so that both have the same proxies and the same authorities.
#[derive(Clone, Debug, Default)]
pub(crate) struct ForSdk;

impl HttpClient for ForSdk {
    fn http_connector(&self, settings: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
        // The SDK gives both to the metadata service of EC2, so that another machine notices its absence soon.
        let timeout = settings.read_timeout().map(|read| read + settings.connect_timeout().unwrap_or_default());
        SharedHttpConnector::new(Connector { timeout: timeout.unwrap_or(Duration::from_secs(10)) })
    }
}

#[derive(Debug)]
struct Connector {
    timeout: Duration,
}

impl HttpConnector for Connector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        HttpConnectorFuture::new(send(request, self.timeout))
    }
}

/// Sends one request of the SDK. They are few (a token, a role), so each has a connection of its own.
async fn send(request: HttpRequest, timeout: Duration) -> Result<HttpResponse, ConnectorError> {
    let user = |reason: &str| ConnectorError::user(reason.to_owned().into());
    let url = Url::parse(request.uri()).map_err(|reason| ConnectorError::user(reason.into()))?;
    let method = request.method().parse().map_err(|_| user("not a method"))?;
    let client = builder(&url)
        .and_then(|builder| builder.timeout(timeout).build().map_err(|reason| Error::Invalid(reason.to_string())));
    let client = client.map_err(|reason| ConnectorError::user(reason.into()))?;
    let mut sent = client.request(method, url);
    for (name, value) in request.headers() {
        sent = sent.header(name, value);
    }
    let body = request.body().bytes().ok_or_else(|| user("a body that is not in memory"))?.to_vec();
    let failed = |error: reqwest::Error| {
        let error = error.without_url();
        if error.is_timeout() { ConnectorError::timeout(error.into()) } else { ConnectorError::io(error.into()) }
    };
    let answer = sent.body(body).send().await.map_err(failed)?;
    let (status, headers) = (answer.status(), answer.headers().clone());
    let body = SdkBody::from(answer.bytes().await.map_err(failed)?.to_vec());
    let status = status.as_u16().try_into().map_err(|_| user("not a status"))?;
    let mut response = HttpResponse::new(status, body);
    for (name, value) in &headers {
        if let Ok(value) = value.to_str() {
            response.headers_mut().append(name.as_str().to_owned(), value.to_owned());
        }
    }
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_on_this_machine_needs_no_proxy() {
        let near = |url: &str| is_near(&Url::parse(url).unwrap());
        for url in [
            "http://127.0.0.1:8080",
            "http://localhost",
            "http://[::1]:1",
            "http://169.254.169.254/",
            "http://[fd00:ec2::254]/",
        ] {
            assert!(near(url), "{url}");
        }
        for url in ["http://10.0.0.1", "https://localhost.example.com", "https://sts.eu-west-1.amazonaws.com"] {
            assert!(!near(url), "{url}");
        }
    }
}
