//! The parts of an identity, as an owner and as a name.

use portmaster_client::domain::{InstanceName, Owner};
use sha2::{Digest as _, Sha256};

/// What an identity consists of, from the largest to the smallest. The first is the system, two letters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Parts(Vec<String>);

/// How many characters a name has at most.
const NAME: usize = 64;

/// How many characters a hash and the hyphen before it have.
const HASH: usize = 17;

impl Parts {
    pub(super) fn new(system: &str, parts: impl IntoIterator<Item = String>) -> Self {
        Self([system.to_owned()].into_iter().chain(parts).collect())
    }

    /// Joined by slashes. Where that cannot be an owner, characters are replaced and the end is a hash of all of it, so
    /// that two identities still differ.
    #[allow(clippy::expect_used, reason = "it begins with the system, and all else has been replaced or cut")]
    pub(super) fn owner(&self) -> Owner {
        let text = self.0.join("/");
        Owner::try_from(text.as_str()).unwrap_or_else(|_| {
            let printable = |c: char| if (' '..='~').contains(&c) { c } else { '-' };
            let cut: String = text.chars().map(printable).take(Owner::MAX - HASH).collect();
            Owner::try_from(format!("{}-{}", cut.trim(), hash(&text))).expect("an owner")
        })
    }

    /// Joined by hyphens, without the system. Where that is not exactly the parts, the end is a hash of them.
    #[allow(clippy::expect_used, reason = "it begins with a letter or a digit, ends with a hash, and has a hyphen")]
    pub(super) fn name(&self) -> InstanceName {
        let joined = self.0.iter().skip(1).map(|part| part.replace('/', "-")).collect::<Vec<_>>().join("-");
        let allowed = |c: char| if c.is_ascii_alphanumeric() || "._~-".contains(c) { c } else { '-' };
        let name: String = joined.chars().map(allowed).collect();
        if let (true, Ok(name)) = (name == joined, InstanceName::try_from(name.as_str())) {
            return name;
        }
        let edges = |c: char| !c.is_ascii_alphanumeric();
        let cut: String = name.trim_matches(edges).chars().take(NAME - HASH).collect();
        let cut = if cut.is_empty() { "job" } else { cut.trim_matches(edges) };
        InstanceName::try_from(format!("{cut}-{}", hash(&self.0.join("/")))).expect("a name")
    }
}

/// 64 bits of SHA-256, which is the same in every version of this program.
fn hash(text: &str) -> String {
    Sha256::digest(text.as_bytes()).iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(parts: &[&str]) -> (String, String) {
        let parts = Parts::new("gh", parts.iter().map(|part| (*part).to_owned()));
        (parts.owner().to_string(), parts.name().to_string())
    }

    #[test]
    fn what_is_short_and_plain_stays_as_it_is() {
        let (owner, name) = of(&["our-org/shop", "1234567", "deploy", "0"]);
        assert_eq!(
            (owner.as_str(), name.as_str()),
            ("gh/our-org/shop/1234567/deploy/0", "our-org-shop-1234567-deploy-0")
        );
    }

    #[test]
    fn what_is_changed_still_differs() {
        let (first, second) = (of(&["p", "17", "deploy: [a, b]"]), of(&["p", "17", "deploy: [a; b]"]));
        assert_eq!(first.0, "gh/p/17/deploy: [a, b]");
        assert!(first.1.starts_with("p-17-deploy---a--b-") && first.1 != second.1, "{first:?} {second:?}");
        let long = |end: &str| of(&[&"a".repeat(200), end]);
        assert!(long("1") != long("2") && long("1").0.len() <= 128 && long("1").1.len() <= 64);
    }

    proptest! {
        #[test]
        fn any_parts_are_an_identity(parts: Vec<String>) {
            let parts = Parts::new("gh", parts);
            let _ = (parts.owner(), parts.name());
        }
    }
}
