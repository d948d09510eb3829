//! Items of the embedded database in the SDK's form, and back.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue as Sdk;
use dynoxide::AttributeValue as Native;
use portmaster_registry::history::Attributes;

/// An item of the embedded database.
pub(super) type Item = HashMap<String, Native>;

/// A text attribute.
pub(super) fn text<'a>(item: &'a Item, name: &str) -> Option<&'a str> {
    match item.get(name)? {
        Native::S(text) => Some(text),
        _ => None,
    }
}

pub(super) fn to_sdk(item: &Item) -> Attributes {
    item.iter().map(|(name, value)| (name.clone(), value_to_sdk(value))).collect()
}

fn value_to_sdk(value: &Native) -> Sdk {
    match value {
        Native::S(text) => Sdk::S(text.clone()),
        Native::N(number) => Sdk::N(number.clone()),
        Native::B(bytes) => Sdk::B(bytes.clone().into()),
        Native::BOOL(flag) => Sdk::Bool(*flag),
        Native::NULL(flag) => Sdk::Null(*flag),
        Native::SS(texts) => Sdk::Ss(texts.clone()),
        Native::NS(numbers) => Sdk::Ns(numbers.clone()),
        Native::BS(list) => Sdk::Bs(list.iter().cloned().map(Into::into).collect()),
        Native::L(values) => Sdk::L(values.iter().map(value_to_sdk).collect()),
        Native::M(values) => Sdk::M(values.iter().map(|(name, value)| (name.clone(), value_to_sdk(value))).collect()),
    }
}

/// None if it has an attribute of a type that this version does not know.
pub(super) fn to_native(item: Attributes) -> Option<Item> {
    item.into_iter().map(|(name, value)| Some((name, value_to_native(value)?))).collect()
}

fn value_to_native(value: Sdk) -> Option<Native> {
    Some(match value {
        Sdk::S(text) => Native::S(text),
        Sdk::N(number) => Native::N(number),
        Sdk::B(bytes) => Native::B(bytes.into_inner()),
        Sdk::Bool(flag) => Native::BOOL(flag),
        Sdk::Null(flag) => Native::NULL(flag),
        Sdk::Ss(texts) => Native::SS(texts),
        Sdk::Ns(numbers) => Native::NS(numbers),
        Sdk::Bs(list) => Native::BS(list.into_iter().map(|bytes| bytes.into_inner()).collect()),
        Sdk::L(values) => Native::L(values.into_iter().map(value_to_native).collect::<Option<_>>()?),
        Sdk::M(values) => Native::M(to_native(values)?),
        _ => return None,
    })
}
