//! A test names every promise of `docs/semantics.md`, and no test names a promise that does not exist.

#![allow(clippy::unwrap_used, missing_docs)]

use std::collections::BTreeSet;
use std::path::Path;

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// Returns the numbers after a `P` that stands alone, as in "P7" or "(promise P7)".
fn promises(text: &str) -> BTreeSet<u32> {
    let pattern = regex::Regex::new(r"\bP(\d{1,2})\b").unwrap();
    pattern.captures_iter(text).map(|found| found[1].parse().unwrap()).collect()
}

#[test]
fn every_promise_is_checked() {
    let document = std::fs::read_to_string(root().join("docs/semantics.md")).unwrap();
    let made: BTreeSet<u32> = document
        .lines()
        .filter_map(|line| promises(line.strip_prefix("**")?.split('.').next()?).into_iter().next())
        .collect();
    assert_eq!(made, (1..=u32::try_from(made.len()).unwrap()).collect::<BTreeSet<_>>());
    let mut named = BTreeSet::new();
    let folders =
        ["tests/api", "tests/system", "tests/server"].map(|folder| std::fs::read_dir(root().join(folder)).unwrap());
    for file in folders.into_iter().flatten() {
        for line in std::fs::read_to_string(file.unwrap().path()).unwrap().lines() {
            if line.trim_start().starts_with("//") {
                named.extend(promises(line));
            }
        }
    }
    assert_eq!(named, made, "named by tests, and made in docs/semantics.md");
}
