//! AWS's own chain of credentials, and roles.

use std::time::Duration;

use aws_config::sts::AssumeRoleProvider;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials as Keys;
use aws_credential_types::credential_feature::AwsCredentialFeature;
use aws_credential_types::provider::ProvideCredentials;

use super::reason::reason;
use super::{IdToken, Latest};
use crate::Error;
use crate::transport::ForSdk;

/// How a caller is known to AWS. Everything else (keys, profiles, single sign-on, endpoints) is read from where every
/// AWS tool reads it.
#[derive(Clone, Debug, Default)]
pub struct Aws {
    /// The region; if not given, the one in the registry's URL, or the environment's.
    pub region: Option<String>,
    /// The profile; if not given, `AWS_PROFILE` or `default`.
    pub profile: Option<String>,
    /// The role to assume: with [`Aws::id_token`] if there is one, else with the keys that the chain finds.
    pub role_arn: Option<String>,
    /// What the role's session is called, for AWS's own logs; see [`session_name`].
    pub session_name: Option<String>,
    /// The job's identity token.
    pub id_token: Option<IdToken>,
    /// Another STS, for tests; AWS's if not given, or `AWS_ENDPOINT_URL_STS`.
    pub sts_url: Option<String>,
}

/// Makes a session's name of a text: `[\w+=,.@-]{2,64}` (AWS, *AssumeRoleWithWebIdentity*). Where it is too long, its
/// end is kept, which tells one run from another.
#[must_use]
pub fn session_name(text: &str) -> String {
    let allowed = |c: char| if c.is_ascii_alphanumeric() || "_+=,.@-".contains(c) { c } else { '-' };
    let name: String = text.chars().map(allowed).collect();
    let name = name.get(name.len().saturating_sub(64)..).unwrap_or_default().trim_matches('-').to_owned();
    if name.len() < 2 { format!("portmaster-{name}").trim_end_matches('-').to_owned() } else { name }
}

impl Aws {
    /// Finds keys.
    pub(super) async fn find(&self, region: Option<&str>) -> Result<Latest, Error> {
        let region = region.map(str::to_owned);
        let (token, role) = (self.id_token.as_ref(), self.role_arn.as_deref());
        match (role, token) {
            (Some(role), Some(token)) => self.with_token(role, token, region).await,
            (Some(role), None) => self.with_chain(role, region).await,
            (None, _) => self.by_chain(region).await,
        }
    }

    async fn config(&self, region: Option<String>, without_keys: bool) -> Result<(SdkConfig, String), Error> {
        let mut loader = aws_config::defaults(BehaviorVersion::latest()).http_client(ForSdk);
        if let Some(profile) = &self.profile {
            loader = loader.profile_name(profile);
        }
        // A region that is known is not looked for: the search ends at the metadata service of EC2, and takes seconds.
        let known = region.or_else(|| variable("AWS_REGION")).or_else(|| variable("AWS_DEFAULT_REGION"));
        if let Some(region) = known {
            loader = loader.region(Region::new(region));
        }
        if without_keys {
            loader = loader.no_credentials();
        }
        let config = loader.load().await;
        let region = config.region().map(ToString::to_string).ok_or_else(|| {
            let reason = "which region is the registry in? The URL does not say; give --region, or AWS_REGION";
            Error::Credentials(reason.to_owned())
        })?;
        let config = match &self.sts_url {
            None => config,
            Some(url) => config.to_builder().endpoint_url(url).build(),
        };
        Ok((config, region))
    }

    /// Assumes a role with an identity token. That call is not signed: the token says who calls.
    async fn with_token(&self, role: &str, token: &IdToken, region: Option<String>) -> Result<Latest, Error> {
        let (config, region) = self.config(region, true).await?;
        let text = token.get().await?;
        let assumed = aws_sdk_sts::Client::new(&config)
            .assume_role_with_web_identity()
            .role_arn(role)
            .role_session_name(self.session())
            .web_identity_token(&text)
            .send()
            .await;
        let assumed = assumed.map_err(|error| {
            let reason = reason(&error);
            // STS may say which token it refuses.
            let reason = if text.is_empty() { reason } else { reason.replace(&text, "(the token)") };
            Error::Credentials(format!("AWS does not let {} assume {role}: {reason}", token.source()))
        })?;
        let given = assumed.credentials.as_ref();
        let keys = given.ok_or_else(|| Error::Credentials(format!("AWS gave no keys for {role}")))?;
        let expiry = u64::try_from(keys.expiration.secs()).unwrap_or_default();
        let keys = Keys::builder()
            .access_key_id(&keys.access_key_id)
            .secret_access_key(&keys.secret_access_key)
            .session_token(&keys.session_token)
            .expiry(std::time::SystemTime::UNIX_EPOCH + Duration::from_secs(expiry))
            .provider_name("portmaster")
            .build();
        Ok(Latest { keys, region, source: format!("{role}, assumed with {}", token.source()) })
    }

    /// Assumes a role with the keys of the chain.
    async fn with_chain(&self, role: &str, region: Option<String>) -> Result<Latest, Error> {
        let (config, region) = self.config(region, false).await?;
        let assume = AssumeRoleProvider::builder(role).configure(&config).session_name(self.session()).build().await;
        let keys = assume.provide_credentials().await;
        let keys = keys.map_err(|error| Error::Credentials(format!("{role} cannot be assumed: {}", reason(&error))))?;
        Ok(Latest { keys, region, source: format!("{role}, assumed with AWS's usual chain") })
    }

    /// Takes the keys of the chain.
    async fn by_chain(&self, region: Option<String>) -> Result<Latest, Error> {
        let (config, region) = self.config(region, false).await?;
        let provider = config.credentials_provider();
        let provider = provider.ok_or_else(|| Error::Credentials("AWS's chain is empty".to_owned()))?;
        let keys = provider.provide_credentials().await.map_err(|error| {
            let hint = if self.id_token.is_some() {
                "the job has an identity token: give --role-arn, the role that it may assume"
            } else {
                "log in (aws sso login), name a --profile or a --role-arn, or set AWS_ACCESS_KEY_ID"
            };
            Error::Credentials(format!("no AWS credentials are found ({}); {hint}", reason(&error)))
        })?;
        Ok(Latest { source: described(&keys), keys, region })
    }

    fn session(&self) -> String {
        session_name(self.session_name.as_deref().unwrap_or("portmaster"))
    }
}

/// Where keys of the chain came from, in a few words.
fn described(keys: &Keys) -> String {
    let features = keys.get_property::<Vec<AwsCredentialFeature>>().map(Vec::as_slice).unwrap_or_default();
    let is = |feature: &AwsCredentialFeature| features.contains(feature);
    let source = if is(&AwsCredentialFeature::CredentialsEnvVars) {
        "the environment (AWS_ACCESS_KEY_ID)"
    } else if is(&AwsCredentialFeature::CredentialsSso) || is(&AwsCredentialFeature::CredentialsProfileSso) {
        "single sign-on"
    } else if is(&AwsCredentialFeature::CredentialsImds) || is(&AwsCredentialFeature::CredentialsHttp) {
        "this machine's role"
    } else if is(&AwsCredentialFeature::CredentialsStsAssumeRoleWebId) {
        "a web identity"
    } else if is(&AwsCredentialFeature::CredentialsProfile) {
        "a profile"
    } else {
        "AWS's usual chain"
    };
    source.to_owned()
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_has_a_name_that_aws_accepts() {
        assert_eq!(session_name("gh/our-org/shop/1234567/deploy/0"), "gh-our-org-shop-1234567-deploy-0");
        let long = session_name(&format!("gh/{}/1234567/deploy/0", "a".repeat(100)));
        assert!(long.len() <= 64 && long.ends_with("-1234567-deploy-0"), "{long}");
        assert_eq!(session_name(""), "portmaster");
        assert_eq!(session_name("ü"), "portmaster");
        assert_eq!(session_name("x"), "portmaster-x");
    }
}
