//! The check itself: every world holds, and every condition that is said to be needed is.

#![allow(clippy::unwrap_used, missing_docs)]

use std::collections::BTreeSet;

use portmaster_model::{Condition, Needed, check, check_some, document, worlds};

/// `docs/model.md` is made by the check, and says what it would say today. Making it goes through all states of all
/// worlds, and fails where a property does not hold, or where a mutant is not caught in the world that is named for it.
#[test]
fn everything_holds_and_the_document_says_so() {
    let made = document().unwrap();
    let committed = include_str!("../../docs/model.md");
    let line = made.lines().zip(committed.lines()).find(|(made, committed)| made != committed);
    assert!(
        made == committed,
        "docs/model.md is old (cargo run -p portmaster-model --release -- document > docs/model.md): {line:?}"
    );
}

/// What is said to be spare is, in every world that is quickly gone through (all: the command).
#[test]
fn spare_conditions_are_spare() {
    let small: Vec<_> =
        worlds().into_iter().filter(|world| check_some(world, None, 1, 60_000).states < 20_000).collect();
    for condition in Condition::ALL {
        if matches!(condition.needed(), Needed::Spare(_)) {
            for world in &small {
                let found = check(world, Some(*condition), 1).counterexample;
                assert!(found.is_none(), "{} needs {condition:?}: {}", world.name, found.unwrap());
            }
        }
    }
}

/// The rules that DynamoDB evaluates and the conditions of the model are the same, under the same names; and a function that
/// another condition is said to stand in is there.
#[test]
fn conditions_stand_where_they_are_said_to() {
    const RULES: &str = "store/rules.rs";
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/registry/src");
    let code = |file: &str| std::fs::read_to_string(root.join(file)).unwrap();
    let rule = |line: &str| line.trim_start().split_once(": \"").map(|(name, _)| name.to_owned());
    let rules: BTreeSet<_> = code(RULES).lines().filter_map(rule).filter(|name| is_constant(name)).collect();
    let (mut words, mut named) = (BTreeSet::new(), BTreeSet::new());
    for condition in Condition::ALL {
        assert!(words.insert(condition.words()), "{condition:?} says what another says");
        let (file, places) = condition.place().split_once(": ").unwrap();
        if file == RULES {
            assert_eq!(places.split(", ").next(), Some(constant(&format!("{condition:?}")).as_str()));
            named.extend(places.split(", ").map(str::to_owned));
            continue;
        }
        for function in places.split(", ") {
            assert!(code(file).contains(&format!("fn {function}")), "{condition:?}: no {function} in {file}");
        }
    }
    assert_eq!(named, rules, "the model and {RULES} do not have the same rules");
    assert!(rules.len() > 30);
}

fn is_constant(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_')
}

/// `PortIfDead` is `PORT_IF_DEAD`.
fn constant(name: &str) -> String {
    let mut constant = String::new();
    for c in name.chars() {
        if c.is_ascii_uppercase() && !constant.is_empty() {
            constant.push('_');
        }
        constant.push(c.to_ascii_uppercase());
    }
    constant
}
