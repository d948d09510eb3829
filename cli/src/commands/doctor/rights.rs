//! Which calls an identity may make.

use portmaster_client::domain::{InstanceName, Port, Secret, ServiceName};
use portmaster_client::wire::{Kind, NewOffer, NewPort, NewSet, Rejection, Renewal};
use portmaster_client::{Client, Error, Filter, Holder, PortOrName, Precondition};

use super::{Check, Checks, Outcome};
use crate::Context;
use crate::output::help;

/// The calls without which no job has a port.
const JOB: [&str; 3] = ["take", "renew", "release"];

/// What becomes of a call.
type Tried = (&'static str, Result<(), Error>);

/// Tries calls that change nothing, for a service that there is not: whoever may make one is told so.
pub(super) async fn examine(context: &Context<'_>, checks: &mut Checks) {
    let tried = attempt(&context.client).await;
    let refused: Vec<_> = tried.iter().filter(|(_, outcome)| outcome.as_ref().is_err_and(is_refusal)).collect();
    let failed = tried.iter().find_map(|(_, outcome)| {
        outcome.as_ref().err().filter(|error| !is_refusal(error) && !is_about_what_is_missing(error))
    });
    match (refused.first(), failed) {
        (Some((_, Err(error))), _) => {
            let allowed = if refused.len() == tried.len() { "none is allowed" } else { "the others are allowed" };
            let calls = refused.iter().map(|(call, _)| *call).collect::<Vec<_>>().join(", ");
            checks.0.push(Check {
                check: "rights",
                // Without these there are no ports. `run` asks for offers only where a port is in use on its host, and
                // for sets only with --ports; the others are an operator's, or a matter of policy.
                outcome: if refused.iter().any(|(call, _)| JOB.contains(call)) {
                    Outcome::Failed
                } else {
                    Outcome::Warning
                },
                detail: format!("refused: {calls}; {allowed}. {error}"),
                help: help(error).filter(|help| !help.starts_with("`portmaster doctor`")).or_else(|| {
                    Some("a policy must allow this identity, which is shown above, to invoke these paths".to_owned())
                }),
            });
        }
        (_, Some(error)) => checks.fail("rights", error),
        _ => {
            let calls: Vec<_> = tried.iter().map(|(call, _)| *call).collect();
            checks.add("rights", Outcome::Ok, calls.join(", "));
        }
    }
}

/// The calls that `run` needs, then those of people who look.
async fn attempt(client: &Client) -> Vec<Tried> {
    // An offer and a set have no precondition, so there must be no such service for certain.
    let name = InstanceName::try_from("portmaster-doctor").map(|name| crate::run::unique(&name));
    let Ok(name) = name else { return Vec::new() };
    let Ok(service) = ServiceName::try_from(name.as_str()) else { return Vec::new() };
    let target: PortOrName = name.clone().into();
    let set = NewSet {
        names: ["a", "b"].into_iter().filter_map(|name| InstanceName::try_from(name).ok()).collect(),
        owner: None,
        lease_seconds: None,
        contiguous: None,
        labels: None,
    };
    let offer = NewOffer { name: name.clone(), port: None, owner: None, labels: None };
    let take = client.put_port(&service, &name, &NewPort::default(), Precondition::Present).await.map(drop);
    let renew = client.renew(&service, &target, &Renewal::default()).await.map(drop);
    let release = client.release(&service, &target, &Holder::Nobody).await;
    let set = client.put_set(&service, &set).await.map(drop);
    let offer = client.create_offer(&service, &offer).await.map(drop);
    let reject = client.reject(&service, Secret::generate(Port::MIN), &Rejection::default()).await;
    let read = client.get_port(&service, &Port::MIN.into()).await.map(drop);
    let list = client.list_ports(&service, &Filter::default()).next().await.map(drop);
    let services = client.list_services().next().await.map(drop);
    let namespaces = client.get_namespace(client.namespace()).await.map(drop);
    vec![
        ("take", take),
        ("renew", renew),
        ("release", release),
        ("take a set", set),
        ("ask for an offer", offer),
        ("reject an offer", reject),
        ("show", read),
        ("list", list),
        ("service list", services),
        ("namespace show", namespaces),
    ]
}

/// Whether the gateway refused a call because of who calls.
fn is_refusal(error: &Error) -> bool {
    matches!(error, Error::Denied(denied) if denied.status.is_client_error() && !error.is_temporary())
}

/// Whether the registry looked for what the call is about, and did not find it. So the call may be made.
fn is_about_what_is_missing(error: &Error) -> bool {
    matches!(
        error.kind(),
        Some(
            Kind::NamespaceNotFound
                | Kind::ServiceNotFound
                | Kind::PortNotFound
                | Kind::OfferNotFound
                | Kind::PreconditionFailed
        )
    )
}
