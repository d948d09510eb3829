//! The model checker's command.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use portmaster_model::{Condition, World, check_some, document, larger_worlds, worlds};

/// Explores every state of small worlds in which the protocol runs, and checks whether its invariants hold.
#[derive(Parser)]
#[command(version)]
struct Options {
    #[command(subcommand)]
    command: Command,
    /// The maximum number of states to explore in each world.
    #[arg(long, global = true, default_value_t = usize::MAX)]
    at_most: usize,
    /// The number of threads. With one, a counterexample is always the same, and a shortest one.
    #[arg(long, global = true, default_value_t = 1)]
    threads: usize,
    /// Only this world.
    #[arg(long, global = true)]
    world: Option<String>,
    /// More lost responses, late requests and stopped functions in each world: up to hundreds of times as many states.
    #[arg(long, global = true)]
    larger: bool,
}

#[derive(Subcommand)]
enum Command {
    /// Checks the protocol as it is.
    Worlds,
    /// Checks it without a condition, and prints the first counterexample of each world.
    Without {
        /// The condition, as `docs/model.md` calls it; all of them if none is given.
        condition: Option<String>,
    },
    /// Writes `docs/model.md` to the standard output.
    Document,
}

impl Options {
    fn worlds(&self) -> Vec<World> {
        let mut worlds = if self.larger { larger_worlds() } else { worlds() };
        worlds.retain(|world| self.world.as_ref().is_none_or(|wanted| wanted == world.name));
        worlds
    }

    fn check_worlds(&self) -> bool {
        let mut holds = true;
        for world in self.worlds() {
            let checked = check_some(&world, None, self.threads, self.at_most);
            println!("{}: {} states, longest way {}, {:?}", world.name, checked.states, checked.depth, checked.took);
            if let Some(counterexample) = checked.counterexample {
                println!("{counterexample}");
                holds = false;
            }
        }
        holds
    }

    fn check_without(&self, wanted: Option<&str>) -> bool {
        let conditions: Vec<_> =
            Condition::ALL.iter().filter(|is| wanted.is_none_or(|wanted| format!("{is:?}") == wanted)).collect();
        for condition in &conditions {
            for world in self.worlds() {
                let checked = check_some(&world, Some(**condition), self.threads, self.at_most);
                if let Some(counterexample) = checked.counterexample {
                    println!("{condition:?}, in {}, {} states: {counterexample}", world.name, checked.states);
                }
            }
        }
        !conditions.is_empty()
    }
}

fn main() -> ExitCode {
    let options = Options::parse();
    let well = match &options.command {
        Command::Worlds => options.check_worlds(),
        Command::Without { condition } => options.check_without(condition.as_deref()),
        Command::Document => match document() {
            Ok(text) => {
                print!("{text}");
                true
            }
            Err(error) => {
                eprintln!("{error}");
                false
            }
        },
    };
    if well { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
