//! Asks CloudFormation what a resource of a stack is called by now.
//!
//! CloudFormation makes up a physical id for a resource of which it has heard nothing: where a creation was never answered,
//! and where another resource of the stack failed while the creation was running, even if it succeeded then. The deletion
//! that follows has that id. To take the properties for what is to be freed would be wrong after another attempt, which has
//! made the same resource again, under the same name. Only CloudFormation knows which of the two it is.

use std::time::{Duration, SystemTime};

use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use aws_smithy_runtime_api::client::http::{HttpConnector as _, SharedHttpConnector};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::byte_stream::ByteStream;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use portmaster_registry::{credentials_within_lambda, endpoint_within_lambda};
use tokio::time::timeout;

use super::identity::Identity;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(3);
/// A form, as the API of CloudFormation takes it.
const FORM: &str = "application/x-www-form-urlencoded";

/// CloudFormation, in the region and with the role of this function.
#[derive(Clone, Debug)]
pub(super) struct Stacks {
    connector: SharedHttpConnector,
    endpoint: String,
    region: String,
}

/// Why there is no answer. What CloudFormation said is not repeated: it names the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unanswered {
    /// The function has no credentials.
    #[error("there are no credentials")]
    NoCredentials,
    /// The request could not be built or signed.
    #[error("the request cannot be sent")]
    Malformed,
    /// There was no answer.
    #[error("there was no answer")]
    Silent,
    /// CloudFormation refused, for example because the role lacks `cloudformation:DescribeStackResource`.
    #[error("it answered with status {0}")]
    Refused(u16),
}

impl Stacks {
    /// By the usual variables; AWS if no other endpoint is named.
    pub(super) fn new(connector: SharedHttpConnector) -> Self {
        let region = std::env::var("AWS_REGION").unwrap_or_default();
        let endpoint = endpoint(&region, endpoint_within_lambda("CLOUDFORMATION"));
        Self { connector, endpoint, region }
    }

    /// Whether a stack has this resource by now, under the id that an answer gave it.
    pub(super) async fn have(&self, stack_id: &str, logical_id: &str, wanted: &Identity) -> Result<bool, Unanswered> {
        let request = self.request(stack_id, logical_id)?;
        let answer = timeout(PATIENCE, async {
            let mut answer = self.connector.call(request).await.map_err(|_| Unanswered::Silent)?;
            let body = ByteStream::new(answer.take_body()).collect().await.map_err(|_| Unanswered::Silent)?;
            Ok((answer.status().as_u16(), String::from_utf8_lossy(&body.to_vec()).into_owned()))
        });
        match answer.await.map_err(|_| Unanswered::Silent)?? {
            (200, text) => Ok(physical_id(&text).and_then(|id| Identity::parse(&id)).as_ref() == Some(wanted)),
            // Of the stack, or of the resource in it.
            (400, text) if text.contains("does not exist") => Ok(false),
            (status, _) => Err(Unanswered::Refused(status)),
        }
    }

    fn request(&self, stack_id: &str, logical_id: &str) -> Result<HttpRequest, Unanswered> {
        let malformed = |_| Unanswered::Malformed;
        let [stack, resource] = [stack_id, logical_id].map(|text| utf8_percent_encode(text, NON_ALPHANUMERIC));
        let form =
            format!("Action=DescribeStackResource&Version=2010-05-15&StackName={stack}&LogicalResourceId={resource}");
        let identity = credentials_within_lambda().ok_or(Unanswered::NoCredentials)?.into();
        let params = v4::SigningParams::builder()
            .identity(&identity)
            .region(&self.region)
            .name("cloudformation")
            .time(SystemTime::now())
            .settings(SigningSettings::default())
            .build()
            .map_err(|_| Unanswered::Malformed)?;
        let headers = std::iter::once(("content-type", FORM));
        let signable = SignableRequest::new("POST", &*self.endpoint, headers, SignableBody::Bytes(form.as_bytes()));
        let signed = sign(signable.map_err(|_| Unanswered::Malformed)?, &params.into());
        let (signed, _) = signed.map_err(|_| Unanswered::Malformed)?.into_parts().0.into_parts();
        let mut request = HttpRequest::new(SdkBody::from(form));
        request.set_method("POST").map_err(malformed)?;
        request.set_uri(self.endpoint.as_str()).map_err(malformed)?;
        request.headers_mut().insert("content-type", FORM);
        for header in signed {
            request.headers_mut().insert(header.name().to_owned(), header.value().to_owned());
        }
        Ok(request)
    }
}

/// The URL of CloudFormation in a region, or elsewhere.
fn endpoint(region: &str, elsewhere: Option<String>) -> String {
    let suffix = if region.starts_with("cn-") { ".cn" } else { "" };
    let url = elsewhere.unwrap_or_else(|| format!("https://cloudformation.{region}.amazonaws.com{suffix}"));
    format!("{}/", url.trim_end_matches('/'))
}

/// The physical id in an answer. There is one, and it is a text in XML.
fn physical_id(answer: &str) -> Option<String> {
    let (_, rest) = answer.split_once("<PhysicalResourceId>")?;
    let (id, _) = rest.split_once("</PhysicalResourceId>")?;
    let plain = [
        ("&lt;", "<"),
        ("&gt;", ">"),
        ("&quot;", "\""),
        ("&#34;", "\""),
        ("&apos;", "'"),
        ("&#39;", "'"),
        ("&amp;", "&"),
    ];
    Some(plain.iter().fold(id.to_owned(), |id, (escaped, plain)| id.replace(escaped, plain)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_id_is_read_out_of_xml() {
        let answer = |id: &str| format!("<R><PhysicalResourceId>{id}</PhysicalResourceId><X>y</X></R>");
        assert_eq!(physical_id(&answer("a:b/c")).as_deref(), Some("a:b/c"));
        assert_eq!(physical_id(&answer("a&amp;lt;&quot;")).as_deref(), Some("a&lt;\""));
        assert_eq!(physical_id("<R></R>"), None);
    }

    #[test]
    fn every_region_has_its_endpoint() {
        assert_eq!(endpoint("eu-west-1", None), "https://cloudformation.eu-west-1.amazonaws.com/");
        assert_eq!(endpoint("cn-north-1", None), "https://cloudformation.cn-north-1.amazonaws.com.cn/");
        assert_eq!(endpoint("", Some("http://127.0.0.1:4566".to_owned())), "http://127.0.0.1:4566/");
    }
}
