//! The images of items, for history and events: read without the secrets.

use super::item::{Item, Key, SERVICE_PREFIX, damaged, decode_at, text, without_key};
use super::{StoreError, port_item, services};
use crate::history::Image;
use portmaster_domain::{ClaimState, End, Namespace, Secret, ServiceId, ServiceName, TenureId};

/// The attribute that stands in the image of a Port item in place of its secret.
pub(crate) const TENURE: &str = "tenure";

/// The attribute in which whoever ends a tenure may say how, where the images would not.
pub(super) const ENDING: &str = "ending";

/// The kind of an item, by its key.
enum Kind {
    Port(Namespace),
    Service,
    Usage(Namespace),
}

fn kind(pk: &str, sk: &str) -> Option<Kind> {
    let rest = pk.strip_prefix("N#")?;
    let (namespace, part) = rest.split_once('#').map_or((rest, None), |(namespace, part)| (namespace, Some(part)));
    let namespace = Namespace::try_from(namespace).ok()?;
    match part {
        Some("PORT") => Some(Kind::Port(namespace)),
        Some("HINT#*") => Some(Kind::Usage(namespace)),
        None if sk.starts_with(SERVICE_PREFIX) => Some(Kind::Service),
        _ => None,
    }
}

/// Whether history or events are about the item with this key.
pub(crate) fn is_watched(pk: &str, sk: &str) -> bool {
    kind(pk, sk).is_some()
}

/// What an image says; none if history and events are not about its item.
pub(crate) fn image(item: Item) -> Result<Option<Image>, StoreError> {
    let key = Key::of(&item).ok_or_else(without_key)?;
    match kind(&key.pk, &key.sk) {
        None => Ok(None),
        Some(Kind::Port(namespace)) => port(&key, namespace, item).map(Some),
        Some(Kind::Service) => services::service(item).map(|service| Some(Image::Service(Box::new(service)))),
        Some(Kind::Usage(namespace)) => {
            let service = ServiceName::try_from(key.sk.as_str()).map_err(|error| damaged(&key, &error))?;
            let usage = decode_at(&key, item)?;
            Ok(Some(Image::Usage(ServiceId::new(namespace, service), Box::new(usage))))
        }
    }
}

fn port(key: &Key, namespace: Namespace, item: Item) -> Result<Image, StoreError> {
    let attribute = |name: &str| item.get(name).and_then(|value| value.as_s().ok());
    let tenure = match (attribute("secret"), attribute(TENURE)) {
        (Some(secret), _) => {
            let secret = Secret::parse(secret).map_err(|error| damaged(key, &error))?;
            let port = port_item::port_of(&item)?;
            Some(TenureId::of(&namespace, port, secret))
        }
        (None, Some(tenure)) => Some(TenureId::try_from(tenure.clone()).map_err(|error| damaged(key, &error))?),
        (None, None) => None,
    };
    let ending = attribute(ENDING).and_then(|word| ending(word));
    let claim = port_item::claim(item)?;
    let is_held = matches!(claim.state, ClaimState::Offered { .. } | ClaimState::Allocated { .. });
    if is_held != tenure.is_some() {
        return Err(damaged(key, &"a claim has a secret, and what is left of one has none"));
    }
    Ok(Image::of_port(namespace, claim, tenure, ending))
}

/// The end that a word stands for; none if it is a word of a later version.
fn ending(word: &str) -> Option<End> {
    serde_dynamo::from_attribute_value(text(word)).ok()
}

/// The name of the tenure of a Port item with this key and this secret.
pub(crate) fn tenure_of(pk: &str, sk: &str, secret: &str) -> Result<TenureId, StoreError> {
    let key = Key { pk: pk.to_owned(), sk: sk.to_owned() };
    let secret = Secret::parse(secret).map_err(|error| damaged(&key, &error))?;
    let port = port_item::port_of(&key.attributes())?;
    Ok(TenureId::of(&key.namespace_of()?, port, secret))
}
