//! What the command finds in its environment: its ports, and none of the secrets by which this program gets them.

use std::process::Command;

use portmaster_client::domain::Port;

/// The variables that are kept from the command: each is a token, or leads to one, by which its bearer becomes the job
/// (`PORTMASTER_ID_TOKEN` is there for this program only; GitHub's pair gives out a new token to whoever asks). A command
/// that listens on a port has no use for them. Variables of AWS stay, because they are the caller's own and many commands
/// do use them; the credentials that this program fetches for itself are never put into any environment.
pub(super) const KEPT_BACK: [&str; 3] =
    ["PORTMASTER_ID_TOKEN", "ACTIONS_ID_TOKEN_REQUEST_TOKEN", "ACTIONS_ID_TOKEN_REQUEST_URL"];

/// The names of the variables for these parts of a set (`--ports http,grpc`), in their order, or why there are none.
/// The first port is also in `first` (`--env`, by default `PORT`), so without parts that is all there is.
pub fn names(first: &str, parts: &[String]) -> Result<Vec<Vec<String>>, String> {
    check(first)?;
    if parts.is_empty() {
        return Ok(vec![vec![first.to_owned()]]);
    }
    let mut all = vec![first.to_owned()];
    let mut names = Vec::new();
    for part in parts {
        let upper: String =
            part.chars().map(|one| if one.is_ascii_alphanumeric() { one.to_ascii_uppercase() } else { '_' }).collect();
        let name = format!("{first}_{upper}");
        if all.contains(&name) {
            return Err(format!("the ports {parts:?} would share the variable {name}; rename one of them"));
        }
        all.push(name.clone());
        names.push(vec![name]);
    }
    names[0].push(first.to_owned());
    Ok(names)
}

/// Whether a process can have a variable of this name.
fn check(name: &str) -> Result<(), String> {
    let first = name.starts_with(|one: char| one.is_ascii_alphabetic() || one == '_');
    let rest = name.chars().all(|one| one.is_ascii_alphanumeric() || one == '_');
    match first && rest {
        true => Ok(()),
        false => {
            Err(format!("{name:?} is no name of a variable: letters, digits and _, and no digit at its beginning"))
        }
    }
}

/// Gives the command its ports, and keeps the tokens back. Returns the variables of those that there are.
pub(super) fn set(command: &mut Command, names: &[Vec<String>], ports: &[Port]) -> Vec<&'static str> {
    for name in KEPT_BACK {
        command.env_remove(name);
    }
    for (names, port) in names.iter().zip(ports) {
        for name in names {
            command.env(name, port.to_string());
        }
    }
    KEPT_BACK.into_iter().filter(|name| std::env::var_os(name).is_some()).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn the_first_port_of_a_set_is_the_port() {
        let parts = |parts: &[&str]| parts.iter().map(|part| (*part).to_owned()).collect::<Vec<_>>();
        assert_eq!(names("PORT", &[]).unwrap(), [["PORT"]]);
        assert_eq!(names("WEB_PORT", &[]).unwrap(), [["WEB_PORT"]]);
        assert_eq!(
            names("PORT", &parts(&["http", "grpc-web", "v2.1"])).unwrap(),
            [vec!["PORT_HTTP", "PORT"], vec!["PORT_GRPC_WEB"], vec!["PORT_V2_1"]]
        );
        let shared = names("PORT", &parts(&["a.b", "a-b"])).unwrap_err();
        assert!(shared.contains("PORT_A_B"), "{shared}");
        for bad in ["", "1PORT", "A=B", "A B", "A\0", "Ä"] {
            assert!(names(bad, &[]).is_err(), "{bad:?}");
        }
    }
}
