//! `docs/model.md`: the results of the check, written by the check itself.

use std::fmt::{self, Write as _};

use crate::check::{Counterexample, check};
use crate::conditions::{Condition, Needed};
use crate::properties::Property;
use crate::world::World;
use crate::worlds::worlds;

/// The text before the tables.
const HEAD: &str = include_str!("report/head.md");
/// The text after the tables.
const FOOT: &str = include_str!("report/foot.md");

/// Checks every world and every mutant, and writes the document.
///
/// # Errors
/// The violation: a property that fails in a world, or a mutant that its world does not catch.
pub fn document() -> Result<String, String> {
    let worlds = worlds();
    let mut text = HEAD.to_owned();
    properties(&mut text).map_err(failed)?;
    world_table(&mut text, &worlds)?;
    condition_tables(&mut text, &worlds)?;
    text.push_str(FOOT);
    Ok(text)
}

fn failed(error: fmt::Error) -> String {
    error.to_string()
}

fn properties(text: &mut String) -> fmt::Result {
    writeln!(text, "\n## Properties\n\n| property | always |\n|---|---|")?;
    for property in Property::ALL {
        writeln!(text, "| {} | {} |", property.name(), property.words())?;
    }
    Ok(())
}

fn world_table(text: &mut String, worlds: &[World]) -> Result<(), String> {
    writeln!(text, "\n## Worlds\n\n| world | what happens | states | longest way |\n|---|---|---|---|")
        .map_err(failed)?;
    let mut all = 0;
    for world in worlds {
        let checked = check(world, None, 1);
        if let Some(counterexample) = checked.counterexample {
            return Err(format!("{}: {counterexample}", world.name));
        }
        all += checked.states;
        let (name, about, states, depth) = (world.name, world.about, checked.states, checked.depth);
        writeln!(text, "| {name} | {about} | {states} | {depth} |").map_err(failed)?;
    }
    writeln!(text, "| all | | {all} | |").map_err(failed)
}

fn condition_tables(text: &mut String, worlds: &[World]) -> Result<(), String> {
    let (mut needed, mut spare, mut stories) = (String::new(), String::new(), String::new());
    for condition in Condition::ALL {
        let (words, place) = (condition.words(), condition.place());
        match condition.needed() {
            Needed::In(name) => {
                let world =
                    worlds.iter().find(|world| world.name == name).ok_or(format!("there is no world {name}"))?;
                let Some(found) = check(world, Some(*condition), 1).counterexample else {
                    return Err(format!("{name} does not need {condition:?}"));
                };
                let violated = found.names();
                let steps = found.steps.len();
                writeln!(needed, "| {condition:?} | {words} | `{place}` | {name} | {violated} | {steps} |")
                    .map_err(failed)?;
                write!(stories, "\n**{condition:?}** ({name}; {violated}): {}.\n", found.steps.join(" → "))
                    .map_err(failed)?;
            }
            Needed::Spare(why) => {
                writeln!(spare, "| {condition:?} | {words} | `{place}` | {why} |").map_err(failed)?;
            }
        }
    }
    write!(
        text,
        "\n## Conditions that a world needs\n\nWithout the condition, the named property is \
         violated after the given number of steps. The steps are listed \
         below.\n\n| condition | what it says | where | world | violated | steps |\n|---|---|---|---|---|---|\n{needed}\n\
         ## Conditions that no world needs\n\nNo property fails without these conditions: \
         something else ensures the same, or they are there \
         for another reason.\n\n| condition | what it says | where | why it is spare |\n|---|---|---|---|\n\
         {spare}\n## Counterexamples\n\nFor each condition, the shortest way to a violation without it.\n{stories}"
    )
    .map_err(failed)
}

impl Counterexample {
    /// The properties that do not hold, by name.
    #[must_use]
    pub fn names(&self) -> String {
        self.properties.iter().map(|property| property.name()).collect::<Vec<_>>().join("; ")
    }
}

impl fmt::Display for Counterexample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "violates {}", self.names())?;
        self.steps.iter().try_for_each(|step| writeln!(f, "  {step}"))
    }
}
