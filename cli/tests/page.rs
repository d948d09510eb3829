//! `docs/cli.md` is true: its examples, run in their order, print what it shows.
//!
//! `UPDATE_CLI_PAGE=1` writes what they print into the page.

#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::process::Stdio;

use portmaster_testkit::World;
use regex::Regex;

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/cli.md");

/// What stands for all that differs each time. Columns move with it, so white space counts once.
fn comparable(text: &str) -> String {
    let replaced = [
        (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", "TIME"),
        (r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "ID"),
        (r"http://127\.0\.0\.1:\d+", "URL"),
        (r"[ \t]+", " "),
    ];
    replaced.iter().fold(text.trim_end().to_owned(), |text, (pattern, by)| {
        Regex::new(pattern).unwrap().replace_all(&text, *by).into_owned()
    })
}

async fn shell(command: &str, folder: &Path, url: &str) -> String {
    let binary = Path::new(env!("CARGO_BIN_EXE_portmaster")).parent().unwrap();
    let output = tokio::process::Command::new("sh")
        .args(["-c", &format!("{{ {command}\n}} 2>&1")])
        .env_clear()
        .env("PATH", format!("{}:/usr/bin:/bin", binary.display()))
        .env("HOME", folder)
        .env("USER", "ada")
        .env("PORTMASTER_URL", url)
        .current_dir(folder)
        .stdin(Stdio::null())
        .output()
        .await
        .unwrap();
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_is_true() {
    let page = std::fs::read_to_string(PAGE).unwrap();
    let world = World::new().await;
    let folder = tempfile::tempdir().unwrap();
    let host = rustix::system::uname().nodename().to_str().unwrap().to_owned();
    let (mut written, mut commands, mut in_console, mut file) = (String::new(), 0, false, None::<String>);
    let (mut lines, mut content, mut in_file) = (page.lines().peekable(), String::new(), false);
    while let Some(line) = lines.next() {
        written.push_str(line);
        written.push('\n');
        match line {
            "```console" => in_console = true,
            "```" if in_file => {
                std::fs::write(folder.path().join(file.take().unwrap()), std::mem::take(&mut content)).unwrap();
                in_file = false;
            }
            "```" => in_console = false,
            line if in_file => content.push_str(&format!("{line}\n")),
            line if line.starts_with("```") && file.is_some() => in_file = true,
            line => {
                if let Some(name) = line.strip_prefix("<!-- file: ") {
                    file = Some(name.trim_end_matches(" -->").to_owned());
                }
                let Some(command) = line.strip_prefix("$ ").filter(|_| in_console) else { continue };
                commands += 1;
                let mut shown = String::new();
                while lines.peek().is_some_and(|next| !next.starts_with("$ ") && *next != "```") {
                    shown.push_str(&format!("{}\n", lines.next().unwrap()));
                }
                let printed = shell(command, folder.path(), &world.api.url).await.replace(&host, "laptop");
                if comparable(&printed) == comparable(&shown) {
                    written.push_str(&shown);
                } else if std::env::var_os("UPDATE_CLI_PAGE").is_some() {
                    let printed = printed.trim_end().replace(&world.api.url, "http://127.0.0.1:8080");
                    // Between this command and the next stands an empty line, for people.
                    written.push_str(&printed);
                    written.push_str(if printed.is_empty() { "" } else { "\n" });
                    if lines.peek().is_some_and(|next| next.starts_with("$ ")) {
                        written.push('\n');
                    }
                } else {
                    snapbox::assert_data_eq!(comparable(&printed), comparable(&shown));
                }
            }
        }
    }
    assert!(commands > 30, "{commands} commands");
    if std::env::var_os("UPDATE_CLI_PAGE").is_some() {
        std::fs::write(PAGE, written).unwrap();
    }
}
