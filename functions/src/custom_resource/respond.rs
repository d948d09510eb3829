//! Sending an answer to where CloudFormation waits for it: an object in S3, by a pre-signed URL.
//!
//! The URL is a secret: whoever has it decides what CloudFormation believes of the stack. It is neither logged nor part of
//! any error. And whoever may invoke the function chooses it, so that it is only used if it is S3's: otherwise the function
//! could be made to send requests to where its network lets it, and nobody else's does.

use std::time::Duration;

use aws_smithy_runtime_api::client::http::{HttpConnector as _, SharedHttpConnector};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_types::body::SdkBody;
use tokio::time::{Instant, sleep, timeout};

/// How long one attempt may take: a few kilobytes to the region's own S3.
const ATTEMPT: Duration = Duration::from_secs(3);
/// The pause after the first failed attempt. Each further one is twice as long.
const PAUSE: Duration = Duration::from_millis(200);
/// How many attempts there are at most.
const ATTEMPTS: u32 = 5;

/// The URL to which an answer is sent. It cannot be printed.
#[derive(Clone)]
pub(super) struct Url(String);

impl Url {
    pub(super) fn new(url: String) -> Self {
        Self(url)
    }

    /// Whether it is one of S3's, or begins with what a setting says, for emulators. No event has any part in the setting.
    pub(super) fn is_allowed(&self, setting: Option<&str>) -> bool {
        setting.is_some_and(|allowed| self.0.starts_with(allowed)) || is_of_s3(&self.0)
    }
}

/// Whether a URL is an object's in S3: by TLS, on the usual port, at a host like `bucket.s3.eu-west-1.amazonaws.com`.
fn is_of_s3(url: &str) -> bool {
    let Ok(uri) = url.parse::<axum::http::Uri>() else { return false };
    let (Some("https"), Some(authority)) = (uri.scheme_str(), uri.authority()) else { return false };
    // `https://s3.amazonaws.com@example.com/` has another host than it looks like.
    if authority.as_str().contains('@') || authority.port().is_some_and(|port| port.as_u16() != 443) {
        return false;
    }
    let host = authority.host().to_ascii_lowercase();
    let host = host.strip_suffix(".amazonaws.com").or_else(|| host.strip_suffix(".amazonaws.com.cn"));
    host.is_some_and(|host| {
        let mut labels = host.split('.');
        labels.clone().all(|label| !label.is_empty()) && labels.any(|label| label == "s3" || label.starts_with("s3-"))
    })
}

/// Why an answer did not arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Undelivered {
    /// S3 said no, and would say so again.
    #[error("S3 refused the answer with status {0}")]
    Refused(u16),
    /// S3 said that it could not.
    #[error("S3 answered with status {0} until there was no time left")]
    Failing(u16),
    /// There was no answer.
    #[error("S3 did not answer in time")]
    Unanswered,
    /// The request could not be built.
    #[error("the ResponseURL is not a valid URL")]
    Malformed,
}

/// Sends an answer, and again if it may help, until then.
pub(super) async fn send(
    connector: &SharedHttpConnector,
    url: &Url,
    answer: &[u8],
    until: Instant,
) -> Result<(), Undelivered> {
    let mut pause = PAUSE;
    let mut last = Undelivered::Unanswered;
    for _ in 0..ATTEMPTS {
        let Some(left) = until.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) else { break };
        let request = request(url, answer).ok_or(Undelivered::Malformed)?;
        // The error says where it was sent, so it is not looked at.
        last = match timeout(left.min(ATTEMPT), connector.call(request)).await {
            Ok(Ok(response)) => match response.status().as_u16() {
                200..=299 => return Ok(()),
                status @ (408 | 429 | 500..) => Undelivered::Failing(status),
                status => return Err(Undelivered::Refused(status)),
            },
            Ok(Err(_)) | Err(_) => Undelivered::Unanswered,
        };
        sleep(pause.min(until.saturating_duration_since(Instant::now()))).await;
        pause *= 2;
    }
    Err(last)
}

fn request(url: &Url, answer: &[u8]) -> Option<HttpRequest> {
    let mut request = HttpRequest::new(SdkBody::from(answer));
    request.set_method("PUT").ok()?;
    request.set_uri(url.0.as_str()).ok()?;
    // The URL was signed for an empty type.
    request.headers_mut().insert("content-type", "");
    request.headers_mut().insert("content-length", answer.len().to_string());
    Some(request)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_s3_is_answered() {
        for good in [
            "https://cloudformation-custom-resource-response-euwest1.s3-eu-west-1.amazonaws.com/arn%3Aaws?X-Amz-Signature=x",
            "https://cloudformation-custom-resource-response-useast1.s3.us-east-1.amazonaws.com/x",
            "https://cloudformation-custom-resource-response-useast1.s3.amazonaws.com/x?AWSAccessKeyId=x",
            "https://b.s3.cn-north-1.amazonaws.com.cn/x",
            "https://B.S3.amazonaws.com:443/x",
            "https://b.s3.dualstack.eu-west-1.amazonaws.com/x",
        ] {
            assert!(Url::new(good.to_owned()).is_allowed(None), "{good}");
        }
        for bad in [
            "http://b.s3.amazonaws.com/x",
            "https://b.s3.amazonaws.com:8443/x",
            "https://b.s3.amazonaws.com@example.com/x",
            "https://b.s3.amazonaws.com.example.com/x",
            "https://example.com/b.s3.amazonaws.com",
            "https://example.com/?https://b.s3.amazonaws.com/x",
            "https://example.com#.s3.amazonaws.com",
            "https://example.com\\.s3.amazonaws.com/",
            "https://s3amazonaws.com/x",
            "https://sqs.eu-west-1.amazonaws.com/x",
            "https://evils3.execute-api.eu-west-1.amazonaws.com/x",
            "https://.s3.amazonaws.com/x",
            "https://169.254.169.254/latest/meta-data",
            "https://[::1]/x",
            "file:///etc/passwd",
            "//b.s3.amazonaws.com/x",
            "",
        ] {
            assert!(!Url::new(bad.to_owned()).is_allowed(None), "{bad}");
        }
        let url = Url::new("http://127.0.0.1:4566/x".to_owned());
        assert!(url.is_allowed(Some("http://127.0.0.1:4566/")) && !url.is_allowed(Some("http://127.0.0.1:4567/")));
    }

    proptest! {
        #[test]
        fn any_text_is_answered(text: String, host in "[a-z0-9.@:/#?-]{0,40}") {
            prop_assert!(!Url::new(text).is_allowed(None));
            let url = format!("https://{host}");
            let own = url.parse::<axum::http::Uri>().ok().and_then(|uri| uri.host().map(str::to_owned));
            if Url::new(url).is_allowed(None) {
                prop_assert!(own.is_some_and(|own| own.contains("s3") && own.contains(".amazonaws.com")));
            }
        }
    }
}
