//! The client, and how it is built.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicI64;
use std::time::Duration;

use portmaster_domain::Namespace;
use reqwest::Url;

use crate::credentials::{Credentials, Source};
use crate::sign::Signer;
use crate::{Error, transport};

/// A client of one registry, for one namespace. Clones share connections and keys.
#[derive(Clone)]
pub struct Client {
    pub(crate) namespace: Namespace,
    pub(crate) deadline: Duration,
    pub(crate) attempt: Duration,
    pub(crate) shared: Arc<Shared>,
}

/// What clones share.
pub(crate) struct Shared {
    pub(crate) url: Url,
    pub(crate) origin: String,
    pub(crate) http: reqwest::Client,
    source: Option<Source>,
    /// How far the clock there is ahead, as the latest answer shows.
    pub(crate) clock_millis: AtomicI64,
    /// By how much signatures are moved.
    pub(crate) skew_millis: AtomicI64,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { namespace, deadline, shared, .. } = self;
        f.debug_struct("Client")
            .field("origin", &shared.origin)
            .field("namespace", namespace)
            .field("deadline", deadline)
            .field("signs", &shared.signs())
            .finish_non_exhaustive()
    }
}

/// How a [`Client`] is built.
#[derive(Clone, Debug)]
pub struct Builder {
    url: String,
    namespace: Namespace,
    credentials: Credentials,
    deadline: Duration,
    attempt: Duration,
}

impl Default for Builder {
    fn default() -> Self {
        Self {
            url: Client::LOCAL.to_owned(),
            namespace: Namespace::default(),
            credentials: Credentials::Anonymous,
            deadline: Duration::from_secs(30),
            attempt: Duration::from_secs(10),
        }
    }
}

impl Builder {
    /// The registry's URL; [`Client::LOCAL`] if not given. It may have a path, behind a custom domain, and has neither
    /// a user nor a query.
    #[must_use]
    pub fn url(self, url: impl Into<String>) -> Self {
        Self { url: url.into(), ..self }
    }

    /// The namespace; `default` if not given.
    #[must_use]
    pub fn namespace(self, namespace: Namespace) -> Self {
        Self { namespace, ..self }
    }

    /// Who calls; nobody in particular if not given.
    #[must_use]
    pub fn credentials(self, credentials: Credentials) -> Self {
        Self { credentials, ..self }
    }

    /// How long a call may take with all of its repetitions; 30 seconds if not given.
    #[must_use]
    pub fn deadline(self, deadline: Duration) -> Self {
        Self { deadline, ..self }
    }

    /// How long an attempt may take before it is given up and repeated; 10 seconds if not given.
    #[must_use]
    pub fn attempt(self, attempt: Duration) -> Self {
        Self { attempt, ..self }
    }

    /// Builds the client. Nothing is sent, and no credentials are looked for, before the first call.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] where the URL is not one of a registry, and [`Error::Credentials`] where signatures would
    /// be sent in the clear, or for an unknown region.
    pub fn build(self) -> Result<Client, Error> {
        let Self { url: text, namespace, credentials, deadline, attempt } = self;
        let url = registry(&text)?;
        let http = transport::builder(&url)?.build().map_err(|reason| Error::Invalid(reason.to_string()))?;
        let source = Source::new(credentials, &url)?;
        let shared = Shared {
            origin: url.origin().ascii_serialization(),
            url,
            http,
            source,
            clock_millis: AtomicI64::new(0),
            skew_millis: AtomicI64::new(0),
        };
        Ok(Client { namespace, deadline, attempt, shared: Arc::new(shared) })
    }
}

/// Reads the URL of a registry.
fn registry(text: &str) -> Result<Url, Error> {
    let wrong = |reason: &str| Error::Invalid(format!("{reason}; the registry's URL looks like {}", Client::LOCAL));
    // The text is not repeated where it may have a password.
    let url = Url::parse(text.trim_end_matches('/')).map_err(|reason| wrong(&format!("not a URL ({reason})")))?;
    if !["http", "https"].contains(&url.scheme()) || url.host_str().is_none() {
        return Err(wrong("not a URL of HTTP"));
    }
    if !url.username().is_empty() || url.password().is_some() || url.query().is_some() || url.fragment().is_some() {
        return Err(wrong("a URL with a user, a query or a fragment"));
    }
    Ok(url)
}

impl Client {
    /// The local server's URL, if it was started without options.
    pub const LOCAL: &str = "http://127.0.0.1:8080";

    /// A client is built with this.
    #[must_use]
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// The same client with another deadline for its calls.
    #[must_use]
    pub fn with_deadline(&self, deadline: Duration) -> Self {
        Self { deadline, ..self.clone() }
    }

    /// The same client for another namespace.
    #[must_use]
    pub fn in_namespace(&self, namespace: Namespace) -> Self {
        Self { namespace, ..self.clone() }
    }

    /// The registry's URL, without a slash at its end.
    #[must_use]
    pub fn url(&self) -> &str {
        self.shared.url.as_str().trim_end_matches('/')
    }

    /// The registry's scheme, host and port, for messages.
    pub(crate) fn origin(&self) -> &str {
        &self.shared.origin
    }

    /// The namespace of its calls.
    #[must_use]
    pub fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// How far the registry's clock is ahead of this machine's, as the latest answer shows: to the second, in
    /// milliseconds.
    #[must_use]
    pub fn clock_millis(&self) -> i64 {
        self.shared.clock_millis.load(std::sync::atomic::Ordering::Relaxed)
    }

    /// Where its calls get their keys from; none if they are not signed. Finds keys if there have not been any calls.
    ///
    /// # Errors
    ///
    /// [`Error::Credentials`] where none are found, or a role cannot be assumed.
    pub async fn identity(&self) -> Result<Option<crate::credentials::Identity>, Error> {
        match &self.shared.source {
            None => Ok(None),
            Some(source) => source.identity().await.map(Some),
        }
    }

    /// Whether its calls are signed.
    #[must_use]
    pub fn signs(&self) -> bool {
        self.shared.signs()
    }
}

impl Shared {
    pub(crate) fn signs(&self) -> bool {
        self.source.is_some()
    }

    /// The signer of the next request; none if it is not to be signed.
    pub(crate) async fn signer(&self) -> Result<Option<Signer>, Error> {
        match &self.source {
            None => Ok(None),
            Some(source) => source.signer().await.map(Some),
        }
    }

    /// Has the next request ask for new keys; false if there are no others to be had.
    pub(crate) async fn forget_credentials(&self) -> bool {
        match &self.source {
            None => false,
            Some(source) => source.forget().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_a_registrys() {
        for good in ["http://127.0.0.1:8080", "https://ports.example.com/api/", "http://[::1]:8080"] {
            assert!(registry(good).is_ok(), "{good}");
        }
        for bad in ["", "127.0.0.1:8080", "ftp://ports.example.com", "unix:/run/x", "https://a.example?x=1"] {
            assert!(registry(bad).is_err(), "{bad}");
        }
        let error = registry("https://user:hidden@ports.example.com").unwrap_err().to_string();
        assert!(error.contains("with a user") && !error.contains("hidden"), "{error}");
    }
}
