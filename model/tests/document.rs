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

/// A function that a condition is said to stand in is there.
#[test]
fn conditions_stand_where_they_are_said_to() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/registry/src");
    let mut words = BTreeSet::new();
    for condition in Condition::ALL {
        assert!(words.insert(condition.words()), "{condition:?} says what another says");
        let (file, functions) = condition.place().split_once(": ").unwrap();
        let code = std::fs::read_to_string(root.join(file)).unwrap();
        for function in functions.split(", ") {
            assert!(code.contains(&format!("fn {function}")), "{condition:?}: no {function} in {file}");
        }
    }
}
