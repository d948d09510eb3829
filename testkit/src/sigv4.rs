//! Signs requests to an API behind IAM (*AWS Signature Version 4*), with the SDK's own signer.

use std::time::SystemTime;

use aws_sigv4::http_request::{PayloadChecksumKind, SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use aws_smithy_runtime_api::client::identity::Identity;

/// The identity of the caller, and the region that it calls.
#[derive(Clone)]
pub(crate) struct Signer {
    identity: Identity,
    region: String,
}

impl Signer {
    /// Reads the credentials from the usual variables.
    pub(crate) fn from_environment() -> Self {
        let variable = |name: &str| std::env::var(name).unwrap_or_else(|_| panic!("{name} is needed to sign requests"));
        let token = std::env::var("AWS_SESSION_TOKEN").ok();
        let credentials = aws_sdk_dynamodb::config::Credentials::new(
            variable("AWS_ACCESS_KEY_ID"),
            variable("AWS_SECRET_ACCESS_KEY"),
            token,
            None,
            "environment",
        );
        Self { identity: credentials.into(), region: variable("AWS_REGION") }
    }

    pub(crate) fn sign(&self, request: &mut reqwest::Request) {
        let mut settings = SigningSettings::default();
        settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
        let params = v4::SigningParams::builder()
            .identity(&self.identity)
            .region(&self.region)
            .name("execute-api")
            .time(SystemTime::now())
            .settings(settings)
            .build()
            .unwrap();
        let headers: Vec<_> = request
            .headers()
            .iter()
            .filter_map(|(name, value)| Some((name.as_str().to_owned(), value.to_str().ok()?.to_owned())))
            .collect();
        let body = request.body().and_then(|body| body.as_bytes()).unwrap_or_default().to_vec();
        let signable = SignableRequest::new(
            request.method().as_str(),
            request.url().as_str(),
            headers.iter().map(|(name, value)| (name.as_str(), value.as_str())),
            SignableBody::Bytes(&body),
        );
        let (instructions, _) = sign(signable.unwrap(), &params.into()).unwrap().into_parts();
        let (signed, _) = instructions.into_parts();
        for header in signed {
            let name = reqwest::header::HeaderName::from_bytes(header.name().as_bytes()).unwrap();
            request.headers_mut().insert(name, header.value().parse().unwrap());
        }
    }
}
