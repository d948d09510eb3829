//! A job's identity token (OIDC), as GitHub and GitLab issue it.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use reqwest::Url;
use reqwest::header::AUTHORIZATION;

use crate::Error;
use crate::transport::{self, is_loopback};

/// For whom a token is meant: AWS checks it.
const AUDIENCE: &str = "sts.amazonaws.com";

/// Where a job's identity token comes from.
#[derive(Clone, PartialEq, Eq)]
pub enum IdToken {
    /// GitHub issues one on request, for five minutes.
    GitHub {
        /// Where it is requested: `ACTIONS_ID_TOKEN_REQUEST_URL`.
        url: String,
        /// What allows the job to request it: `ACTIONS_ID_TOKEN_REQUEST_TOKEN`.
        request_token: String,
    },
    /// A token that the job was started with, as on GitLab: `PORTMASTER_ID_TOKEN`.
    Given(String),
    /// A file, which whoever started the job keeps fresh: `AWS_WEB_IDENTITY_TOKEN_FILE`.
    File(PathBuf),
}

impl fmt::Debug for IdToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.source())
    }
}

impl IdToken {
    /// The source that an environment has, if any. Empty variables count as absent.
    pub fn from_environment(variable: impl Fn(&str) -> Option<String>) -> Option<Self> {
        let variable = |name: &str| variable(name).filter(|value| !value.is_empty());
        let given = variable("PORTMASTER_ID_TOKEN").map(Self::Given);
        let github = || {
            let url = variable("ACTIONS_ID_TOKEN_REQUEST_URL")?;
            Some(Self::GitHub { url, request_token: variable("ACTIONS_ID_TOKEN_REQUEST_TOKEN")? })
        };
        let file = || variable("AWS_WEB_IDENTITY_TOKEN_FILE").map(|path| Self::File(path.into()));
        given.or_else(github).or_else(file)
    }

    /// Its name, in a few words.
    #[must_use]
    pub fn source(&self) -> &'static str {
        match self {
            Self::GitHub { .. } => "GitHub's identity token",
            Self::Given(_) => "the identity token in PORTMASTER_ID_TOKEN",
            Self::File(_) => "the identity token in AWS_WEB_IDENTITY_TOKEN_FILE",
        }
    }

    /// Gets a token: each time a new one, where one can be had.
    pub(crate) async fn get(&self) -> Result<String, Error> {
        let failed = |reason: String| Error::Credentials(format!("{} cannot be had: {reason}", self.source()));
        match self {
            Self::GitHub { url, request_token } => request(url, request_token).await.map_err(failed),
            Self::Given(token) => Ok(token.trim().to_owned()),
            Self::File(path) => {
                let text = tokio::fs::read_to_string(path).await;
                text.map(|text| text.trim().to_owned()).map_err(|reason| failed(reason.to_string()))
            }
        }
    }
}

/// Requests a token from GitHub; again, if it does not answer.
async fn request(url: &str, request_token: &str) -> Result<String, String> {
    let mut url = Url::parse(url).map_err(|reason| format!("ACTIONS_ID_TOKEN_REQUEST_URL is not a URL ({reason})"))?;
    if url.scheme() != "https" && !is_loopback(&url) {
        return Err("ACTIONS_ID_TOKEN_REQUEST_URL is not one of https".to_owned());
    }
    url.query_pairs_mut().append_pair("audience", AUDIENCE);
    let builder = transport::builder(&url).map_err(|reason| reason.to_string())?;
    let http = builder.timeout(Duration::from_secs(10)).build().map_err(|reason| reason.to_string())?;
    let mut waits =
        ExponentialBuilder::new().with_min_delay(Duration::from_millis(200)).with_max_times(3).with_jitter().build();
    loop {
        // GitHub's own clients write `bearer` in lower case.
        let sent = http.get(url.clone()).header(AUTHORIZATION, format!("bearer {request_token}")).send().await;
        let (reason, passes) = match sent {
            Ok(answer) if answer.status().is_success() => {
                #[derive(serde::Deserialize)]
                struct Body {
                    value: String,
                }
                return match answer.json::<Body>().await {
                    Ok(body) => Ok(body.value),
                    Err(_) => Err("GitHub's answer has no token in it".to_owned()),
                };
            }
            Ok(answer) => {
                let hint = "; does the job have `permissions: id-token: write`?";
                let hint = if answer.status().is_client_error() { hint } else { "" };
                (format!("GitHub answers {}{hint}", answer.status()), answer.status().is_server_error())
            }
            Err(error) => (error.without_url().to_string(), true),
        };
        match waits.next().filter(|_| passes) {
            None => return Err(reason),
            Some(wait) => tokio::time::sleep(wait).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(pairs: &[(&str, &str)]) -> Option<IdToken> {
        let value = |name: &str| pairs.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
        IdToken::from_environment(value)
    }

    #[test]
    fn an_environment_has_one_source() {
        let github = ("ACTIONS_ID_TOKEN_REQUEST_URL", "https://issuer.example/?x=1");
        assert_eq!(found(&[]), None);
        assert_eq!(found(&[github]), None, "without `id-token: write` there is no token");
        let both = [github, ("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "hidden")];
        let source = found(&both).unwrap();
        assert!(matches!(source, IdToken::GitHub { .. }) && !format!("{source:?}").contains("hidden"));
        let given = found(&[("PORTMASTER_ID_TOKEN", "hidden"), both[0], both[1]]).unwrap();
        assert!(matches!(given, IdToken::Given(_)) && !format!("{given:?}").contains("hidden"));
        assert_eq!(found(&[("PORTMASTER_ID_TOKEN", "")]), None);
    }

    #[tokio::test]
    async fn what_allows_to_request_a_token_is_not_sent_in_the_clear() {
        let source = IdToken::GitHub { url: "http://issuer.example/".to_owned(), request_token: "hidden".to_owned() };
        let error = source.get().await.unwrap_err().to_string();
        assert!(error.contains("not one of https") && !error.contains("hidden"), "{error}");
    }
}
