//! Mistakes in the command line: of which command, from where, and what was meant.

use std::error::Error as _;
use std::ffi::OsString;

use clap::builder::StyledStr;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgAction, Command as Clap};

/// Whether this command line is one of `run`, as far as it can be read. `words` begins with the program's name.
pub fn is_run(command: &Clap, words: &[OsString]) -> bool {
    first(command, words).is_some_and(|word| word == "run")
}

/// The first word that is neither an option nor an option's value.
fn first<'a>(command: &Clap, words: &'a [OsString]) -> Option<&'a str> {
    let mut words = words.iter().skip(1).map_while(|word| word.to_str());
    while let Some(word) = words.next() {
        let option = match (word.strip_prefix("--"), word.strip_prefix('-')) {
            (Some(long), _) if !long.contains('=') => command.get_arguments().find(|arg| arg.get_long() == Some(long)),
            // The last of several short ones, as in `-qo json`.
            (None, Some(short)) => command.get_arguments().find(|arg| arg.get_short() == short.chars().last()),
            (Some(_), _) => None,
            (None, None) => return Some(word),
        };
        if option.is_some_and(|option| option.get_action().takes_values()) {
            words.next();
        }
    }
    None
}

/// Says what is meant by a mistake where clap cannot know it.
pub fn explained(mut mistake: clap::Error, command: &Clap, words: &[OsString]) -> clap::Error {
    let is_unexpected = matches!(mistake.kind(), ErrorKind::UnknownArgument | ErrorKind::MissingRequiredArgument);
    if is_unexpected && is_run(command, words) && !words.iter().any(|word| word == "--") {
        let tip = StyledStr::from("put -- before the command, as in `portmaster run web -- npm start`");
        mistake.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![tip]));
    }
    mistake
}

/// The variable whose value is the mistake, and what is wrong with it; none if the mistake is on the command line.
pub fn of_variable(
    mistake: &clap::Error,
    words: &[OsString],
    variable: impl Fn(&str) -> Option<String>,
) -> Option<String> {
    if !matches!(mistake.kind(), ErrorKind::ValueValidation | ErrorKind::InvalidValue) {
        return None;
    }
    let Some(ContextValue::String(argument)) = mistake.get(ContextKind::InvalidArg) else { return None };
    let long = argument.strip_prefix("--")?.split([' ', '=']).next()?;
    let name = super::variable_of(long);
    let value = variable(&name)?;
    // clap looks at the variable only where the command line has no such option; --output has a short form.
    let is_given = |word: &OsString| {
        let word = word.to_string_lossy();
        word == format!("--{long}")
            || word.starts_with(&format!("--{long}="))
            || (long == "output" && is_short_o(&word))
    };
    let given = words.iter().take_while(|word| *word != "--").any(is_given);
    (!given).then(|| format!("{name} is {value:?}, and {}", why(mistake)))
}

fn is_short_o(word: &str) -> bool {
    word.starts_with('-') && !word.starts_with("--") && word.contains('o')
}

/// What a value has to be.
fn why(mistake: &clap::Error) -> String {
    match (mistake.source(), mistake.get(ContextKind::ValidValue)) {
        (Some(reason), _) => reason.to_string(),
        (None, Some(ContextValue::Strings(known))) => format!("must be one of {}", known.join(", ")),
        _ => "is not valid".to_owned(),
    }
}

/// What is wrong with a value of an option that comes from a file; none if nothing is.
pub fn of_value(option: &Arg, value: &str) -> Option<String> {
    let long = option.get_long()?;
    // A flag has no value on the command line, so it is read as one that has.
    let option = match option.get_action() {
        ArgAction::Count => option.clone().action(ArgAction::Set),
        action if action.takes_values() => option.clone(),
        _ => return None,
    };
    let alone = Clap::new("portmaster").no_binary_name(true).disable_help_flag(true).arg(option.required(false));
    alone.try_get_matches_from([format!("--{long}={value}")]).err().map(|mistake| why(&mistake))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_is_found_behind_options() {
        let command = super::super::command(|_| None);
        let is_run = |line: &str| {
            let words: Vec<OsString> = line.split(' ').map(OsString::from).collect();
            is_run(&command, &words)
        };
        for line in
            ["pm run", "pm --url http://x run web", "pm -q --url=x run", "pm -qo json run web", "pm --bogus run"]
        {
            assert!(is_run(line), "{line}");
        }
        for line in ["pm", "pm take run job", "pm --owner run take web", "pm -o run", "pm --version"] {
            assert!(!is_run(line), "{line}");
        }
    }
}
