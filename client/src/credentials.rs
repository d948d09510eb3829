//! Who calls: the keys with which requests are signed, and where they come from.

mod aws;
mod reason;
mod token;

use std::time::{Duration, SystemTime};

pub use aws_credential_types::Credentials as Keys;
use portmaster_domain::Timestamp;
use reqwest::Url;
use tokio::sync::Mutex;

pub use self::aws::{Aws, session_name};
pub use self::token::IdToken;
use crate::transport::is_loopback;
use crate::{Error, Signer};

/// How long before they expire keys are replaced.
const AHEAD: Duration = Duration::from_secs(300);

/// Who calls.
#[derive(Clone, Debug, Default)]
pub enum Credentials {
    /// Nobody in particular: requests are not signed. For a registry on one machine.
    #[default]
    Anonymous,
    /// Requests are signed if the URL is that of an API on AWS, `https://….execute-api.….amazonaws.com`.
    Automatic(Aws),
    /// Requests are signed wherever they go. For a registry behind a custom domain, or with a role of one's own.
    Signed(Aws),
    /// Requests are signed with these keys, for this region.
    Keys {
        /// The keys. Their `Debug` does not show them.
        keys: Keys,
        /// The region.
        region: String,
    },
}

/// Whose keys a client has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Where they came from, in a few words: a role and its token, or a part of AWS's chain.
    pub source: String,
    /// The region for which requests are signed.
    pub region: String,
    /// When the keys expire; none if they do not.
    pub expires_at: Option<Timestamp>,
}

/// A source of keys, and those that it gave last.
pub(crate) struct Source {
    kind: Kind,
    region: Option<String>,
    latest: Mutex<Option<Latest>>,
}

enum Kind {
    Fixed(Keys),
    Aws(Aws),
}

#[derive(Clone)]
pub(crate) struct Latest {
    pub(crate) keys: Keys,
    pub(crate) region: String,
    pub(crate) source: String,
}

impl Source {
    /// The source for a registry; none if its requests are not signed.
    pub(crate) fn new(credentials: Credentials, url: &Url) -> Result<Option<Self>, Error> {
        let there = region_of(url);
        let (kind, region) = match credentials {
            Credentials::Anonymous => return Ok(None),
            Credentials::Automatic(_) if there.is_none() => return Ok(None),
            Credentials::Automatic(aws) | Credentials::Signed(aws) => {
                let region = there.or_else(|| aws.region.clone());
                (Kind::Aws(aws), region)
            }
            Credentials::Keys { keys, region } => (Kind::Fixed(keys), Some(region)),
        };
        if url.scheme() != "https" && !is_loopback(url) {
            let reason = "requests to plain http on another machine are not signed: everybody on the way could repeat \
                          them; use https";
            return Err(Error::Credentials(reason.to_owned()));
        }
        Ok(Some(Self { kind, region, latest: Mutex::new(None) }))
    }

    async fn latest(&self) -> Result<Latest, Error> {
        let mut latest = self.latest.lock().await;
        if let Some(known) = latest.as_ref().filter(|known| lasts(&known.keys, AHEAD)) {
            return Ok(known.clone());
        }
        let found = match &self.kind {
            Kind::Fixed(keys) => {
                let region = self.region.clone().unwrap_or_default();
                Ok(Latest { keys: keys.clone(), region, source: "given keys".to_owned() })
            }
            Kind::Aws(aws) => aws.find(self.region.as_deref()).await,
        };
        match (found, latest.as_ref()) {
            (Ok(found), _) => Ok(latest.insert(found).clone()),
            // They are about to expire, and no others are to be had: they still hold for this request.
            (Err(_), Some(known)) if lasts(&known.keys, Duration::ZERO) => Ok(known.clone()),
            (Err(error), _) => Err(error),
        }
    }

    pub(crate) async fn signer(&self) -> Result<Signer, Error> {
        let Latest { keys, region, .. } = self.latest().await?;
        Ok(Signer::new(keys, region))
    }

    pub(crate) async fn identity(&self) -> Result<Identity, Error> {
        let Latest { keys, region, source } = self.latest().await?;
        let seconds = keys.expiry().and_then(|expiry| expiry.duration_since(SystemTime::UNIX_EPOCH).ok());
        let expires_at = seconds.and_then(|left| i64::try_from(left.as_millis()).ok()).map(Timestamp::from_millis);
        Ok(Identity { source, region, expires_at })
    }

    /// Forgets the latest keys; false if there are no others.
    pub(crate) async fn forget(&self) -> bool {
        matches!(self.kind, Kind::Aws(_)) && self.latest.lock().await.take().is_some()
    }
}

fn lasts(keys: &Keys, time: Duration) -> bool {
    keys.expiry().is_none_or(|expiry| expiry > SystemTime::now() + time)
}

/// The region of an API's own URL, `https://ID.execute-api.REGION.amazonaws.com`; none for any other.
fn region_of(url: &Url) -> Option<String> {
    let host = url.host_str().filter(|_| url.scheme() == "https")?;
    let labels: Vec<_> = host.split('.').collect();
    match labels.as_slice() {
        [_, "execute-api", region, "amazonaws", "com"] | [_, "execute-api", region, "amazonaws", "com", "cn"] => {
            Some((*region).to_owned())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(credentials: Credentials, url: &str) -> Result<Option<Source>, Error> {
        Source::new(credentials, &Url::parse(url).unwrap())
    }

    #[test]
    fn only_an_api_on_aws_gets_signatures_by_itself() {
        let automatic = || Credentials::Automatic(Aws::default());
        let found = source(automatic(), "https://abc123.execute-api.eu-west-1.amazonaws.com").unwrap().unwrap();
        assert_eq!(found.region.as_deref(), Some("eu-west-1"));
        let china = source(automatic(), "https://abc123.execute-api.cn-north-1.amazonaws.com.cn").unwrap().unwrap();
        assert_eq!(china.region.as_deref(), Some("cn-north-1"));
        for url in [
            "http://abc123.execute-api.eu-west-1.amazonaws.com",
            "https://ports.example.com",
            "https://execute-api.eu-west-1.amazonaws.com.example.com",
            "https://a.execute-api.eu-west-1.amazonaws.com.example.com",
            "http://127.0.0.1:8080",
        ] {
            assert!(source(automatic(), url).unwrap().is_none(), "{url}");
        }
    }

    #[test]
    fn nothing_signed_goes_over_the_network_in_the_clear() {
        let signed = || Credentials::Signed(Aws::default());
        assert!(source(signed(), "https://ports.example.com").unwrap().is_some());
        assert!(source(signed(), "http://127.0.0.1:8080").unwrap().is_some());
        assert!(source(signed(), "http://[::1]:8080").unwrap().is_some());
        assert!(source(signed(), "http://ports.example.com").is_err());
        let keys = Keys::new("AKID", "hidden", None, None, "test");
        let keys = Credentials::Keys { keys, region: "eu-west-1".to_owned() };
        assert!(!format!("{keys:?}").contains("hidden"));
        assert!(source(keys, "http://10.0.0.1:8080").is_err());
    }
}
