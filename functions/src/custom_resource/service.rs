//! `Custom::PortmasterService`: a range of ports that exists as long as the stack has the resource.
//!
//! A service has no owner, so its description says whose it is: it ends in the owner in brackets. By that a repeated event
//! recognizes what the one before it made, and nothing is changed or deleted that was made by anybody else; and whoever
//! looks at the services sees that this one is not to be changed by hand.

use portmaster_domain::{
    Claim, Description, MAX_HOLD_SECONDS, MAX_LEASE_SECONDS, Namespace, Owner, PortRange, Service, ServiceId,
    ServiceName, StateKind, Strategy, Terms,
};
use portmaster_registry::{Call, Content, Error, IfMatch, ListFilter, NewService, Registry};
use serde_json::Value;

use super::forsaken::{Forsaken, Looks};
use super::identity::{self, Identity, What};
use super::outcome::{About, Done, Failure, Outcome};
use super::properties::{self, Reader, parsed, seconds, text};
use super::request::{Action, Maker, Properties};
use super::scope::Scope;
use super::work::{Held, Work};

/// How many of the ports in the way of a deletion are named.
const NAMED: usize = 5;
/// How often an operation is begun anew because somebody else changed the same service.
const TRIES: usize = 3;

/// What is wanted.
#[derive(Clone, Debug)]
struct Wanted {
    identity: Identity,
    content: Content,
}

pub(super) fn identity_of(properties: &Properties, maker: &Maker) -> Option<Identity> {
    let mut reader = Reader::new(properties);
    let namespace = reader.default("Namespace", parsed::<Namespace>, || Ok(Namespace::default()))?;
    let name = reader.default("Name", parsed::<ServiceName>, || default_name(maker))?;
    let owner = reader.default("Owner", parsed, || identity::owner(maker))?;
    Some(Identity { what: What::Service, service: ServiceId::new(namespace, name), owner })
}

fn default_name(maker: &Maker) -> Result<ServiceName, String> {
    ServiceName::try_from(String::from(identity::name(maker)?)).map_err(|invalid| format!("Name {invalid}"))
}

/// The end of the description of a service that this owner made.
fn mark(owner: &Owner) -> String {
    format!("[{owner}]")
}

fn is_of(service: &Service, owner: &Owner) -> bool {
    service.description.as_str().ends_with(&mark(owner))
}

fn wanted(properties: &Properties, maker: &Maker) -> Result<Wanted, Failure> {
    let mut reader = Reader::new(properties);
    reader.default("Name", parsed::<ServiceName>, || default_name(maker));
    reader.read("Namespace", parsed::<Namespace>);
    reader.default("Owner", parsed::<Owner>, || identity::owner(maker));
    let description = reader.read("Description", text).unwrap_or_default();
    let start = reader.required("Start", properties::port);
    let end = reader.required("End", properties::port);
    let strategy = reader.read("Strategy", |value| {
        let word = text(value)?;
        Strategy::named(&word)
            .ok_or_else(|| format!("must be one of {}", Strategy::ALL.map(Strategy::as_str).join(", ")))
    });
    let usual = Terms::default();
    let terms = Terms {
        lease: reader.read("LeaseSeconds", seconds(1, MAX_LEASE_SECONDS)),
        max_lease: reader.read("MaxLeaseSeconds", seconds(1, MAX_LEASE_SECONDS)),
        cooldown: reader.read("CooldownSeconds", seconds(0, MAX_HOLD_SECONDS)).unwrap_or(usual.cooldown),
        quarantine: reader.read("QuarantineSeconds", seconds(0, MAX_HOLD_SECONDS)).unwrap_or(usual.quarantine),
    };
    let reserved = reader.read("Reserved", properties::reserved).unwrap_or_default();
    let range = start.zip(end).map(|(start, end)| PortRange::of_service(start, end));
    if let Some(Err(invalid)) = &range {
        reader.fault(format!("Start: {invalid}"));
    }
    let identity = identity_of(properties, maker);
    let marked = identity.as_ref().map(|Identity { owner, .. }| {
        let space = if description.is_empty() { "" } else { " " };
        Description::try_from(format!("{description}{space}{}", mark(owner)))
    });
    if let Some(Err(invalid)) = &marked {
        reader.fault(format!("Description {invalid}, the owner at its end included"));
    }
    reader.finish()?;
    match (identity, range, marked) {
        (Some(identity), Some(Ok(range)), Some(Ok(description))) => {
            let strategy = strategy.unwrap_or_default();
            Ok(Wanted { identity, content: Content { description, range, strategy, terms, reserved } })
        }
        // All of them have been read by now.
        _ => Err(Failure::invalid(&[])),
    }
}

/// Does what the request says.
pub(super) async fn perform(work: &Work<'_>) -> Outcome {
    let request = work.request;
    let identity = identity_of(&request.wanted, &request.maker);
    let mut about = About { service: identity.as_ref().map(|found| found.service.clone()), ..About::default() };
    let result = match request.action {
        Action::Create | Action::Update => put(work).await,
        Action::Delete => delete(work, &mut about).await,
    };
    Outcome { identity, result, about }
}

async fn put(work: &Work<'_>) -> Result<Done, Failure> {
    let Work { registry, stacks, scope, call, request } = work;
    let wanted = wanted(&request.wanted, &request.maker)?;
    scope.services(&wanted.identity.service)?;
    let (service, word) = ensure(registry, call, &wanted).await?;
    let before = request.before.as_ref().filter(|_| request.action == Action::Update);
    let before = before.and_then(|before| identity_of(before, &request.maker));
    let is_ours_to_delete = match &request.maker {
        Maker::Terraform => true,
        // As for a port: what CloudFormation knows of, it deletes by itself.
        Maker::Stack { physical_id, .. } => {
            physical_id.as_deref().and_then(Identity::parse).as_ref() == Some(&wanted.identity)
        }
    };
    let replaced = before.filter(|before| is_ours_to_delete && before.service != wanted.identity.service);
    // Where nothing may be made, nothing was made: the update that is undone here was refused.
    let mut warning = None;
    if let Some(before) = replaced.filter(|before| scope.services(&before.service).is_ok()) {
        // An old copy of an event must not delete what the stack has by now.
        match Forsaken::ask(stacks, &request.maker, before).await {
            Forsaken::It(before) => drop(remove(registry, call, &before).await?),
            Forsaken::Nothing => {}
            Forsaken::Unclear(unclear) => warning = Some(unclear),
        }
    }
    let attributes = vec![
        ("Name".to_owned(), service.id.name.to_string().into()),
        ("Namespace".to_owned(), service.id.namespace.to_string().into()),
        ("Start".to_owned(), Value::from(service.range.start().get())),
        ("End".to_owned(), Value::from(service.range.end().get())),
    ];
    Ok(Done { attributes, warning, ..Done::nothing(word) })
}

/// Creates the service, or changes it if this owner made it.
async fn ensure(registry: &Registry, call: &Call, wanted: &Wanted) -> Result<(Service, &'static str), Failure> {
    let Wanted { identity: Identity { service: id, owner, .. }, content } = wanted;
    for _ in 0..TRIES {
        let change = |found: &Service| match is_of(found, owner) {
            true => Ok(content.clone()),
            false => Err(Error::ServiceExists { service: id.clone() }),
        };
        match registry.change_service(call, id, &IfMatch::Always, change).await {
            Ok(service) => return Ok((service, "service-put")),
            Err(Error::ServiceExists { .. }) => return Err(anothers(id)),
            Err(Error::ServiceNotFound { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        match registry.create_service(call, NewService { id: id.clone(), content: content.clone() }).await {
            Ok(service) => return Ok((service, "service-created")),
            // Made meanwhile, perhaps by an earlier copy of this very event.
            Err(Error::ServiceExists { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(Error::ServiceClosing { service: id.clone() }.into())
}

fn anothers(id: &ServiceId) -> Failure {
    Failure::new(
        "service-exists",
        format!(
            "The service {id} exists, and this resource did not make it: its description does not end in this resource's \
             owner. Nothing was changed. Use another Name; or delete the service, if nobody needs it, and try again.",
        ),
    )
}

async fn delete(work: &Work<'_>, about: &mut About) -> Result<Done, Failure> {
    let Work { registry, scope, call, .. } = work;
    let held = match work.held(identity_of, Scope::services).await {
        Held::Known(held) => held,
        Held::Forsaken(identity) => return remove_forsaken(registry, call, &identity).await,
        Held::Nothing(done) => return Ok(done),
    };
    let mut word = "nothing-to-delete";
    for identity in held.iter().filter(|identity| identity.what == What::Service) {
        about.service = Some(identity.service.clone());
        if let Err(Failure { word, reason, .. }) = scope.services(&identity.service) {
            match find(registry, call, identity).await? {
                None => continue,
                Some(_) => return Err(Failure::new(word, format!("The service is still there. {reason}"))),
            }
        }
        if remove(registry, call, identity).await? {
            word = "service-deleted";
        }
    }
    Ok(Done::nothing(word))
}

/// Deletes the service of a creation that was not heard of, and waits a little for one that may still be running.
async fn remove_forsaken(registry: &Registry, call: &Call, identity: &Identity) -> Result<Done, Failure> {
    let looks = Looks::within(call);
    loop {
        let removed = remove(registry, call, identity).await?;
        if removed || !looks.next().await {
            return Ok(Done::nothing(if removed { "service-deleted" } else { "nothing-to-delete" }));
        }
    }
}

/// The service of this identity, if there is one and this owner made it.
async fn find(registry: &Registry, call: &Call, identity: &Identity) -> Result<Option<Service>, Failure> {
    match registry.get_service(call, &identity.service).await {
        Ok(found) => Ok(Some(found).filter(|found| is_of(found, &identity.owner))),
        Err(error) if error.is_of_no_service() => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Deletes the service if this owner made it; returns whether it did.
async fn remove(registry: &Registry, call: &Call, identity: &Identity) -> Result<bool, Failure> {
    let id = &identity.service;
    for _ in 0..TRIES {
        let Some(found) = find(registry, call, identity).await? else { return Ok(false) };
        // Whoever has changed it since may have made it theirs.
        let as_seen = IfMatch::OneOf(vec![found.version.to_string()]);
        match registry.delete_service(call, id, &as_seen).await {
            Ok(()) => return Ok(true),
            Err(Error::PreconditionFailed | Error::ServiceNotFound { .. }) => {}
            Err(error @ Error::ServiceInUse { .. }) => {
                let named = in_the_way(registry, call, id).await;
                let mut failure = Failure::from(error);
                failure.reason = format!("{} {named}", failure.reason);
                return Err(failure);
            }
            Err(error) => return Err(error.into()),
        }
    }
    Err(Error::ServiceClosing { service: id.clone() }.into())
}

/// Names the first few of the ports that keep a service from being deleted.
async fn in_the_way(registry: &Registry, call: &Call, service: &ServiceId) -> String {
    let mut claims: Vec<Claim> = Vec::new();
    let mut more = false;
    for state in [StateKind::Allocated, StateKind::Offered] {
        let all = ListFilter::default();
        // What cannot be read is not named: the refusal stands without it.
        if let Ok(listed) = registry.list_claims(call, service, state, &all, None, NAMED).await {
            more |= listed.next.is_some();
            claims.extend(listed.items);
        }
    }
    more |= claims.len() > NAMED;
    claims.truncate(NAMED);
    let shown = claims.iter().map(|Claim { port, name, owner, .. }| match owner {
        Some(owner) => format!("{port} of {name} ({owner})"),
        None => format!("{port} of {name}"),
    });
    let shown = shown.collect::<Vec<_>>().join(", ");
    format!("In the way: {shown}{}.", if more { ", and others" } else { "" })
}
