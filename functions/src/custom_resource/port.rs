//! `Custom::PortmasterPort`: a port, or several, for as long as the stack has the resource.
//!
//! All of it rests on the registry's own rule for a `PUT`: the same name and owner get the same port. So an event may come
//! as often as it likes. What is released is released by name and owner, so that nothing that is another's is ever freed.

use std::collections::BTreeSet;

use portmaster_domain::{
    Claim, InstanceName, Labels, MAX_LEASE_SECONDS, Namespace, Owner, Port, ServiceId, ServiceName,
};
use portmaster_registry::{Asked, By, Call, Error, Expected, NewSet, PortOrName, Put, Registry};
use serde_json::Value;

use super::forsaken::{Forsaken, Looks};
use super::identity::{self, Identity, What};
use super::outcome::{About, Done, Failure, Outcome};
use super::properties::{self, Reader, parsed, seconds, texts, truth};
use super::request::{Action, Maker, Properties, Request};
use super::scope::Scope;
use super::work::{Held, Work};

/// What is wanted.
#[derive(Clone, Debug)]
struct Wanted {
    identity: Identity,
    /// The names of the ports, in the order of `parts`; one name if there are no parts.
    names: Vec<InstanceName>,
    parts: Vec<String>,
    port: Option<Port>,
    contiguous: bool,
    lease: Option<u32>,
    labels: Labels,
}

/// Reads the identity alone: also where other properties are wrong, a failure has to say of what.
pub(super) fn identity_of(properties: &Properties, maker: &Maker) -> Option<Identity> {
    let mut reader = Reader::new(properties);
    let service = reader.read("Service", parsed::<ServiceName>)?;
    let namespace = reader.default("Namespace", parsed::<Namespace>, || Ok(Namespace::default()))?;
    let name = reader.default("Name", parsed::<InstanceName>, || identity::name(maker))?;
    let owner = reader.default("Owner", parsed, || identity::owner(maker))?;
    let what = if parts_of(properties).is_empty() { What::Port(name) } else { What::Ports(name) };
    Some(Identity { what, service: ServiceId::new(namespace, service), owner })
}

/// What the ports are for, as far as that can be read.
fn parts_of(properties: &Properties) -> Vec<String> {
    Reader::new(properties).read("Ports", texts).unwrap_or_default()
}

/// The names of the ports of an identity.
fn names(identity: &Identity, parts: &[String]) -> Vec<InstanceName> {
    match &identity.what {
        What::Port(name) => vec![name.clone()],
        What::Ports(name) => parts.iter().filter_map(|part| name.with_part(part).ok()).collect(),
        What::Service => Vec::new(),
    }
}

fn wanted(properties: &Properties, maker: &Maker) -> Result<Wanted, Failure> {
    let mut reader = Reader::new(properties);
    reader.required("Service", parsed::<ServiceName>);
    reader.read("Namespace", parsed::<Namespace>);
    let name = reader.default("Name", parsed::<InstanceName>, || identity::name(maker));
    reader.default("Owner", parsed::<Owner>, || identity::owner(maker));
    let port = reader.read("Port", properties::port);
    let parts = reader.read("Ports", texts).unwrap_or_default();
    let contiguous = reader.read("Contiguous", truth).unwrap_or_default();
    let lease = reader.read("LeaseSeconds", seconds(1, MAX_LEASE_SECONDS));
    let labels = reader.read("Labels", properties::labels).unwrap_or_default();
    if parts.len() > NewSet::MAX {
        reader.fault(format!("Ports must have at most {} entries", NewSet::MAX));
    }
    if parts.iter().collect::<BTreeSet<_>>().len() != parts.len() {
        reader.fault("Ports must all be different");
    }
    for invalid in name.iter().flat_map(|name| parts.iter().filter_map(|part| name.with_part(part).err())) {
        reader.fault(format!("each of Ports ends a name, and a name {invalid}"));
    }
    if port.is_some() && !parts.is_empty() {
        reader.fault("Port asks for one port, and Ports for several: leave one of them out");
    }
    if contiguous && parts.len() < 2 {
        reader.fault("Contiguous needs two or more Ports");
    }
    reader.finish()?;
    // Its parts have been read by now.
    let identity = identity_of(properties, maker).ok_or_else(|| Failure::invalid(&[]))?;
    let names = names(&identity, &parts);
    Ok(Wanted { identity, names, parts, port, contiguous, lease, labels })
}

/// Does what the request says.
pub(super) async fn perform(work: &Work<'_>) -> Outcome {
    let request = work.request;
    let identity = identity_of(&request.wanted, &request.maker);
    let mut about = About {
        service: identity.as_ref().map(|identity| identity.service.clone()),
        name: identity.as_ref().and_then(Identity::name).cloned(),
        ports: Vec::new(),
    };
    let result = match request.action {
        Action::Create | Action::Update => put(work, &mut about).await,
        Action::Delete => delete(work, &mut about).await,
    };
    Outcome { identity, result, about }
}

/// Makes sure of the ports, and releases what an update has given up, once the rest is held.
async fn put(work: &Work<'_>, about: &mut About) -> Result<Done, Failure> {
    let Work { registry, stacks, scope, call, request } = work;
    let wanted = wanted(&request.wanted, &request.maker)?;
    scope.ports(&wanted.identity.service)?;
    let before = match (request.action, &request.before) {
        (Action::Update, Some(before)) => identity_of(before, &request.maker).map(|identity| {
            let names = names(&identity, &parts_of(before));
            (identity, names)
        }),
        _ => None,
    };
    let given_up = match &before {
        Some((identity, names)) => given_up(request, &wanted, identity, names)?,
        None => None,
    };
    let (claims, made) = claim(registry, call, &wanted).await?;
    about.ports = claims.iter().map(|claim| claim.port).collect();
    let (mut released, mut warning) = (0, None);
    // Where nothing may be made, nothing was made: the update that is undone here was refused.
    if let Some((identity, names)) = given_up.filter(|(identity, _)| scope.ports(&identity.service).is_ok()) {
        let forsaken = match *identity == wanted.identity {
            true => Forsaken::It(identity.clone()),
            // An old copy of an event must not free what the stack has by now.
            false => Forsaken::ask(stacks, &request.maker, identity.clone()).await,
        };
        match forsaken {
            Forsaken::It(identity) => {
                for name in &names {
                    released += usize::from(release(registry, call, &identity, name).await?);
                }
            }
            Forsaken::Nothing => {}
            Forsaken::Unclear(unclear) => warning = Some(unclear),
        }
    }
    let word = if made > 0 { "put" } else { "kept" };
    Ok(Done { word, attributes: attributes(&wanted, &claims), made, released, warning })
}

/// What an update has to release by itself: names that are not wanted any more.
///
/// CloudFormation deletes a resource whose physical id has changed, and only once the whole update has succeeded, so that
/// is left to it. There are two cases left. One is a port less of several, whose physical id stays. The other is an
/// update that nobody has heard the end of: CloudFormation undoes it by another update to what there was before, and
/// never learns what the lost one may have made.
fn given_up<'a>(
    request: &Request,
    wanted: &Wanted,
    before: &'a Identity,
    names: &[InstanceName],
) -> Result<Option<(&'a Identity, Vec<InstanceName>)>, Failure> {
    let same_holder = before.service == wanted.identity.service && before.owner == wanted.identity.owner;
    let shared = |name: &&InstanceName| same_holder && wanted.names.contains(name);
    if let Maker::Stack { physical_id, .. } = &request.maker {
        let physical_id = physical_id.as_deref().unwrap_or_default();
        let known = Identity::parse(physical_id);
        if known.as_ref() != Some(&wanted.identity) {
            // It will be deleted under its old physical id, and with it a port that is to stay.
            return match names.iter().find(shared).filter(|_| known.as_ref() == Some(before)) {
                Some(name) => Err(Failure::new(
                    "name-stays",
                    format!(
                        "The port {name} would belong to the resource before the update and after it, and be released with \
                         the former. Give the resource another Name as well, or make the change in two steps.",
                    ),
                )),
                None => Ok(None),
            };
        }
    }
    let rest: Vec<_> = names.iter().filter(|name| !shared(name)).cloned().collect();
    Ok((!rest.is_empty()).then_some((before, rest)))
}

/// Claims the ports, or finds them. Returns how many of them are new.
async fn claim(registry: &Registry, call: &Call, wanted: &Wanted) -> Result<(Vec<Claim>, usize), Failure> {
    let Wanted { identity: Identity { service, owner, .. }, names, port, lease, labels, contiguous, .. } = wanted;
    let (owner, labels) = (Some(owner.clone()), Some(labels.clone()));
    let (claims, made) = match names.as_slice() {
        [name] => {
            let asked = Asked { name: name.clone(), port: *port, owner, labels };
            let put = registry.put_port(call, service, &asked, *lease, Expected::Anything).await;
            match put.map_err(|error| refusal(error, wanted))? {
                Put::Made(claim) => (vec![claim], 1),
                Put::Kept(claim) => (vec![claim], 0),
            }
        }
        names => {
            let set = NewSet { names: names.to_vec(), owner, lease: *lease, contiguous: *contiguous, labels };
            let set = registry.put_set(call, service, &set).await.map_err(|error| refusal(error, wanted))?;
            (set.claims, set.made)
        }
    };
    let lease = claims.iter().find_map(Claim::lease);
    match (wanted.lease, lease) {
        // Nobody would renew it, and somebody else would get the port while the stack still has it.
        (None, Some(lease)) => Err(Failure::new(
            "leased",
            format!(
                "The port has a lease until {}, from {service} or from an earlier LeaseSeconds, and a stack renews none: it \
                 would be somebody else's while the stack still had it. Use a service without lease_seconds and \
                 max_lease_seconds, or set LeaseSeconds to say that the port may end before the stack does.",
                lease.until.to_rfc3339()
            ),
        )),
        _ => Ok((claims, made)),
    }
}

/// The registry's refusal, in words for somebody who writes properties.
fn refusal(error: Error, wanted: &Wanted) -> Failure {
    let number = match &error {
        Error::NameTaken { claim, .. } if claim.owner.as_ref() == Some(&wanted.identity.owner) => {
            wanted.port.filter(|port| *port != claim.port).map(|port| (port, claim.port, claim.name.clone()))
        }
        _ => None,
    };
    let mut failure = Failure::from(error);
    if let Some((wanted, has, name)) = number {
        failure.reason = format!(
            "{name} has port {has}, and a name keeps its port. To have port {wanted}, give the resource another Name as \
             well: then the one is taken before the other is released.",
        );
    }
    failure
}

/// Releases what the resource has. That there is nothing to release is what was asked for.
async fn delete(work: &Work<'_>, about: &mut About) -> Result<Done, Failure> {
    let Work { registry, scope, call, request, .. } = work;
    let held = match work.held(identity_of, Scope::ports).await {
        Held::Known(held) => held,
        Held::Forsaken(identity) => return free_forsaken(work, &identity).await,
        Held::Nothing(done) => return Ok(done),
    };
    let mut parts = parts_of(&request.wanted);
    parts.extend(request.before.iter().flat_map(parts_of));
    let mut released = 0;
    for identity in &held {
        about.service = Some(identity.service.clone());
        about.name = identity.name().cloned();
        let refused = scope.ports(&identity.service).err();
        for name in names(identity, &parts) {
            match &refused {
                None => released += usize::from(release(registry, call, identity, &name).await?),
                Some(_) if holds(registry, call, identity, &name).await?.is_none() => {}
                // Something is left behind; nothing is written all the same.
                Some(Failure { word, reason, .. }) => {
                    return Err(Failure::new(word, format!("{name} has a port. {reason}")));
                }
            }
        }
    }
    let word = if released > 0 { "released" } else { "nothing-to-release" };
    Ok(Done { released, ..Done::nothing(word) })
}

/// Releases the ports of a creation that was not heard of, and waits a little for one that may still be running.
async fn free_forsaken(work: &Work<'_>, identity: &Identity) -> Result<Done, Failure> {
    let Work { registry, call, request, .. } = work;
    let looks = Looks::within(call);
    loop {
        let mut released = 0;
        for name in names(identity, &parts_of(&request.wanted)) {
            released += usize::from(release(registry, call, identity, &name).await?);
        }
        if released > 0 || !looks.next().await {
            let word = if released > 0 { "released" } else { "nothing-to-release" };
            return Ok(Done { released, ..Done::nothing(word) });
        }
    }
}

/// Releases a port if this identity holds it; returns whether it did.
async fn release(registry: &Registry, call: &Call, identity: &Identity, name: &InstanceName) -> Result<bool, Failure> {
    let by = By::Holder(Some(&identity.owner));
    match registry.release(call, &identity.service, &PortOrName::Name(name.clone()), by).await {
        Ok(()) => Ok(true),
        Err(error) if is_absence(&error) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// What this identity holds under a name.
async fn holds(
    registry: &Registry,
    call: &Call,
    identity: &Identity,
    name: &InstanceName,
) -> Result<Option<Claim>, Failure> {
    match registry.get_port(call, &identity.service, &PortOrName::Name(name.clone())).await {
        Ok(claim) => Ok(Some(claim).filter(|claim| claim.owner.as_ref() == Some(&identity.owner))),
        Err(error) if is_absence(&error) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Whether an error says that there is nothing of this holder's.
fn is_absence(error: &Error) -> bool {
    error.is_of_no_service() || matches!(error, Error::PortNotFound { .. } | Error::NotTheOwner { .. })
}

/// What others can read of the resource.
fn attributes(wanted: &Wanted, claims: &[Claim]) -> Vec<(String, Value)> {
    let numbers: Vec<_> = claims.iter().map(|claim| claim.port.get()).collect();
    let ends = claims.iter().filter_map(Claim::lease).map(|lease| lease.until).min_by_key(|until| until.seconds());
    let mut attributes = vec![
        ("Port".to_owned(), numbers.first().copied().into()),
        ("Ports".to_owned(), numbers.clone().into()),
        ("Name".to_owned(), wanted.identity.name().map(ToString::to_string).into()),
        ("ExpiresAt".to_owned(), ends.map(|until| until.to_rfc3339()).into()),
    ];
    for (part, number) in wanted.parts.iter().zip(&numbers) {
        attributes.push((format!("Port.{part}"), (*number).into()));
    }
    attributes
}
