//! Signs requests to an API behind IAM (*AWS Signature Version 4*), with the SDK's own signer.

use std::time::SystemTime;

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{PayloadChecksumKind, SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use http::header::{HeaderName, HeaderValue};

use crate::Error;

/// The service whose requests are signed: API Gateway's.
const SERVICE: &str = "execute-api";

/// Signs requests with these keys, for this region.
#[derive(Clone, Debug)]
pub struct Signer {
    credentials: Credentials,
    region: String,
}

impl Signer {
    /// A signer with these keys. They do not show in its `Debug`.
    #[must_use]
    pub fn new(credentials: Credentials, region: impl Into<String>) -> Self {
        Self { credentials, region: region.into() }
    }

    /// Signs a request as of this time. It must have all of its headers, and its body in memory.
    ///
    /// # Errors
    ///
    /// [`Error::Credentials`] where the request or the keys cannot be signed with, such as a key with a line break.
    pub fn sign(&self, request: &mut reqwest::Request, time: SystemTime) -> Result<(), Error> {
        let mut settings = SigningSettings::default();
        settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
        let identity = self.credentials.clone().into();
        let params = v4::SigningParams::builder()
            .identity(&identity)
            .region(&self.region)
            .name(SERVICE)
            .time(time)
            .settings(settings)
            .build()
            .map_err(failed)?;
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
        let output = sign(signable.map_err(failed)?, &params.into()).map_err(failed)?;
        let (signed, _) = output.into_parts().0.into_parts();
        for header in signed {
            let name = HeaderName::from_bytes(header.name().as_bytes()).map_err(failed)?;
            let mut value = HeaderValue::from_str(header.value()).map_err(failed)?;
            value.set_sensitive(true);
            request.headers_mut().insert(name, value);
        }
        Ok(())
    }
}

fn failed(reason: impl std::error::Error) -> Error {
    Error::Credentials(format!("the request cannot be signed: {reason}"))
}
