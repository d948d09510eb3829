//! What a resource is called, so that the same inputs have the same name, and the name alone says what to delete.

use std::fmt;

use portmaster_domain::{InstanceName, Namespace, Owner, ServiceId, ServiceName};

use super::request::Maker;

/// What every identity begins with.
const PREFIX: &str = "portmaster";
/// The physical id of a resource that was never made, because its properties do not say what it was to be.
pub(super) const NOTHING: &str = "portmaster:nothing";

/// A resource's physical id: `portmaster:port:default/web/api:cfn/51af3dc0-…/Port`.
///
/// It has some 350 characters at most; CloudFormation takes 1 KB. No part but the owner, which comes last, can have a
/// colon or a slash in it, so it can be read in one way only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) what: What,
    pub(super) service: ServiceId,
    pub(super) owner: Owner,
}

/// The kind of an identity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum What {
    /// One port of this name.
    Port(InstanceName),
    /// Several ports whose names begin with this one. Which ones there are is not a part of the identity: if it were, a
    /// port more would be another resource, and the deletion of the former one would free the ports that stay.
    Ports(InstanceName),
    /// A service.
    Service,
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, service: ServiceId { namespace, name }, owner } = self;
        match what {
            What::Port(own) => write!(f, "{PREFIX}:port:{namespace}/{name}/{own}:{owner}"),
            What::Ports(own) => write!(f, "{PREFIX}:ports:{namespace}/{name}/{own}:{owner}"),
            What::Service => write!(f, "{PREFIX}:service:{namespace}/{name}:{owner}"),
        }
    }
}

impl Identity {
    /// Reads a physical id. Returns none if it is not one of these.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (kind, rest) = text.strip_prefix(PREFIX)?.strip_prefix(':')?.split_once(':')?;
        let (path, owner) = rest.split_once(':')?;
        let owner = Owner::try_from(owner).ok()?;
        let service = |namespace: &str, name: &str| {
            Some(ServiceId::new(Namespace::try_from(namespace).ok()?, ServiceName::try_from(name).ok()?))
        };
        let parts: Vec<_> = path.split('/').collect();
        let (what, service) = match (kind, parts.as_slice()) {
            ("port", [namespace, name, own]) => (What::Port((*own).try_into().ok()?), service(namespace, name)?),
            ("ports", [namespace, name, own]) => (What::Ports((*own).try_into().ok()?), service(namespace, name)?),
            ("service", [namespace, name]) => (What::Service, service(namespace, name)?),
            _ => return None,
        };
        Some(Self { what, service, owner })
    }

    /// The name of its port, or of all its ports.
    pub(super) fn name(&self) -> Option<&InstanceName> {
        match &self.what {
            What::Port(name) | What::Ports(name) => Some(name),
            What::Service => None,
        }
    }
}

/// Whether a physical id is CloudFormation's own, given to a resource of which it has heard no answer.
pub(super) fn is_foreign(physical_id: &str) -> bool {
    physical_id != NOTHING && Identity::parse(physical_id).is_none()
}

/// The owner of a resource whose template names none: no other stack and no other resource of this stack ever has it.
///
/// # Errors
/// What is wrong with the properties, if there is no such owner.
pub(super) fn owner(maker: &Maker) -> Result<Owner, String> {
    let Maker::Stack { guid, logical_id, .. } = maker else {
        return Err(
            "Owner is required; give each resource another one, as in tf/our-org/shop/production/api".to_owned()
        );
    };
    // A logical id has up to 255 characters, so that it may have to be shortened.
    let plain = format!("cfn/{guid}/{logical_id}");
    let text = if plain.len() <= Owner::MAX { plain } else { format!("cfn/{guid}/{}", short(logical_id)) };
    Owner::try_from(text).map_err(|invalid| format!("Owner, made of the stack's id, {invalid}"))
}

/// The name of a resource whose template names none.
///
/// # Errors
/// What is wrong with the properties, if there is no such name.
pub(super) fn name(maker: &Maker) -> Result<InstanceName, String> {
    let Maker::Stack { stack, logical_id, .. } = maker else { return Err("Name is required".to_owned()) };
    InstanceName::made_of(&format!("{stack}-{logical_id}")).map_err(|invalid| format!("Name {invalid}"))
}

/// A name of at most 64 characters for a text of any length.
fn short(text: &str) -> String {
    InstanceName::made_of(text).map_or_else(|_| "resource".to_owned(), String::from)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn stack(logical_id: &str) -> Maker {
        Maker::Stack {
            id: "arn:aws:cloudformation:eu-west-1:123456789012:stack/shop/51af3dc0".to_owned(),
            stack: "shop".to_owned(),
            guid: "51af3dc0-da77-11e4-872e-1234567db123".to_owned(),
            logical_id: logical_id.to_owned(),
            physical_id: None,
        }
    }

    #[test]
    fn owners_are_the_stacks_own() {
        let of = |logical_id: &str| owner(&stack(logical_id)).unwrap().to_string();
        assert_eq!(of("Port"), "cfn/51af3dc0-da77-11e4-872e-1234567db123/Port");
        let (one, other) = (of(&"a".repeat(255)), of(&format!("{}b", "a".repeat(254))));
        assert!(one != other && one.len() <= Owner::MAX, "{one}");
        assert!(owner(&Maker::Terraform).is_err() && name(&Maker::Terraform).is_err());
    }

    #[test]
    fn what_is_not_ours_is_foreign() {
        for text in
            ["", "shop-Port-1B2C3D4E5F6G", "2026/11/30/[$LATEST]0123", "portmaster:port:a/b:c", "portmaster:x:a/b:c"]
        {
            assert!(is_foreign(text), "{text}");
        }
        assert!(!is_foreign(NOTHING) && Identity::parse(NOTHING).is_none());
    }

    proptest! {
        /// Whatever the parts are, an identity is read as what was written.
        #[test]
        fn identities_come_back(
            namespace in "[a-z][a-z0-9.~_-]{0,62}[a-z]", service in "[0-9]{1,64}", own in "[a-z][A-Za-z0-9.~_-]{0,62}[a-z]",
            owner in "[!-~]([ -~]{0,126}[!-~])?", kind in 0..3,
        ) {
            prop_assume!(owner != "*");
            let own: InstanceName = own.as_str().try_into().unwrap();
            let what = [What::Port(own.clone()), What::Ports(own), What::Service][kind as usize].clone();
            let service = ServiceId::new(namespace.as_str().try_into().unwrap(), service.as_str().try_into().unwrap());
            let identity = Identity { what, service, owner: owner.as_str().try_into().unwrap() };
            let text = identity.to_string();
            prop_assert!(text.len() <= 1024);
            prop_assert_eq!(Identity::parse(&text), Some(identity));
        }

        #[test]
        fn any_text_is_answered(text: String, rest in "portmaster:(port|ports|service):[a-z/:]{0,20}") {
            let _ = Identity::parse(&text);
            if let Some(identity) = Identity::parse(&rest) {
                prop_assert_eq!(identity.to_string(), rest);
            }
        }
    }
}
