//! What every command has: a client, who calls, and a voice.

use portmaster_client::credentials::{Aws, Credentials, IdToken, session_name};
use portmaster_client::domain::{InstanceName, Labels, Owner, ServiceName};
use portmaster_client::{Client, PortOrName};

use crate::Failure;
use crate::args::Global;
use crate::args::values::{self, SomeLabels};
use crate::identity::Identity;
use crate::output::Voice;

/// What every command has.
#[derive(Debug)]
pub struct Context<'a> {
    /// Calls the registry.
    pub client: Client,
    /// The job that runs, as its environment says.
    pub identity: Identity,
    /// Who holds the ports: as the user says, or the job.
    pub owner: Owner,
    /// Prints.
    pub voice: &'a Voice,
}

impl<'a> Context<'a> {
    /// Makes the context of a command from its options and the environment.
    ///
    /// # Errors
    ///
    /// [`Failure::Call`] where the options do not make a client.
    pub fn new(global: &Global, variable: impl Fn(&str) -> Option<String>, voice: &'a Voice) -> Result<Self, Failure> {
        let identity = Identity::of(&variable, global.job_index.as_deref());
        let owner = global.owner.clone().unwrap_or_else(|| identity.owner().clone());
        let aws = Aws {
            region: global.region.clone(),
            profile: global.profile.clone(),
            role_arn: global.role_arn.clone(),
            session_name: Some(session_name(owner.as_str())),
            id_token: IdToken::from_environment(&variable),
            sts_url: None,
        };
        // An option of AWS's says that the registry is behind IAM, whatever its URL looks like.
        let explicit = global.role_arn.is_some() || global.region.is_some() || global.profile.is_some();
        let credentials = if explicit { Credentials::Signed(aws) } else { Credentials::Automatic(aws) };
        let client =
            Client::builder().url(&global.url).namespace(global.namespace.clone()).credentials(credentials).build()?;
        Ok(Self { client, identity, owner, voice })
    }

    /// The name that has the port: the one that was given, or the job's.
    ///
    /// # Errors
    ///
    /// [`Failure::Usage`] outside CI, where no name would be found again.
    pub fn name(&self, given: Option<&InstanceName>) -> Result<InstanceName, Failure> {
        given.or_else(|| self.identity.name()).cloned().ok_or_else(|| {
            let reason = "NAME is missing: outside CI there is no job whose name it could be";
            Failure::Usage(reason.to_owned())
        })
    }

    /// The port that is meant: the one that was given, or that of the job's name.
    ///
    /// # Errors
    ///
    /// As for [`Context::name`].
    pub fn target(&self, given: Option<&PortOrName>) -> Result<PortOrName, Failure> {
        match given {
            Some(given) => Ok(given.clone()),
            None => self.name(None).map(PortOrName::Name),
        }
    }

    /// The labels of a port: the job's, and those that were given, which come first. Where they are too many or too
    /// long, the job's are left out, the least useful first.
    ///
    /// # Errors
    ///
    /// [`Failure::Usage`] where those that were given are too many or too long by themselves.
    pub fn labels(&self, given: &[SomeLabels]) -> Result<Labels, Failure> {
        let own = values::map_of(given);
        let mut labels =
            Labels::try_from(own.clone()).map_err(|invalid| Failure::Usage(format!("--label {invalid}")))?;
        for count in 1..=self.identity.labels().len() {
            let mut more = own.clone();
            for (key, value) in self.identity.labels().iter().take(count) {
                more.entry(key.clone()).or_insert_with(|| value.clone());
            }
            match Labels::try_from(more) {
                Ok(more) => labels = more,
                Err(_) => break,
            }
        }
        Ok(labels)
    }

    /// Says who took a service's port, for messages.
    pub(crate) fn of(&self, service: &ServiceName) -> String {
        match self.client.namespace() {
            namespace if namespace.is_default() => service.to_string(),
            namespace => format!("{service} in {namespace}"),
        }
    }
}
