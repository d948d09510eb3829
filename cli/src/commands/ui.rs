//! `ui`.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use crate::args::UiArgs;
use crate::output::Said;
use crate::ui::Ui;
use crate::{Context, Failure};

pub(super) async fn ui(context: &Context<'_>, args: UiArgs) -> Result<(), Failure> {
    let ui = Ui::bind(context.client.clone(), args.write).await;
    let ui = ui.map_err(|reason| Failure::Other(format!("cannot listen on the loopback interface: {reason}")))?;
    let url = ui.url();
    let may = if args.write { "release ports and end quarantines" } else { "look" };
    // Before it is printed: whoever reads it may send the signal at once.
    let end = end()?;
    context.voice.show(&Said {
        sentence: format!("Open {url}"),
        members: serde_json::json!({ "url": url, "write": args.write }),
    })?;
    context.voice.note(&format!("it can be opened once, to {may}; ^C ends it"));
    let opened = if args.open { open(&url, context) } else { None };
    tokio::select! {
        never = ui.run() => match never {},
        () = end => {}
    }
    drop(opened);
    Ok(())
}

/// Waits for ^C, or for what else ends a program.
fn end() -> Result<impl Future<Output = ()>, Failure> {
    use tokio::signal::unix::{SignalKind, signal};
    let failed = |reason: std::io::Error| Failure::Other(format!("signals: {reason}"));
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}

/// A file that leads a browser to the page. It is removed when this is dropped.
struct Redirect(PathBuf);

impl Drop for Redirect {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Opens the user's browser. The address is not an argument of its, which every user of this machine could read, but in
/// a file that only this user can.
fn open(url: &str, context: &Context<'_>) -> Option<Redirect> {
    let program = if cfg!(target_os = "macos") { "open" } else { "xdg-open" };
    let folder = std::env::var_os("XDG_RUNTIME_DIR").map_or_else(std::env::temp_dir, PathBuf::from);
    let file = redirect(&folder, url);
    let opened = file.and_then(|file| {
        let mut command = std::process::Command::new(program);
        command.arg(&file.0).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        Ok(file)
    });
    match opened {
        Ok(file) => Some(file),
        Err(reason) => {
            context.voice.warn(&format!("{program} does not open a browser ({reason}); open the address yourself"));
            None
        }
    }
}

fn redirect(folder: &Path, url: &str) -> std::io::Result<Redirect> {
    let path = folder.join(format!("portmaster-ui-{}.html", std::process::id()));
    // Nobody else's file is written to, and nobody else can read this one.
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
    let redirect = Redirect(path);
    writeln!(file, "<!doctype html><meta http-equiv=\"refresh\" content=\"0;url={url}\"><title>Portmaster</title>")?;
    Ok(redirect)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn only_this_user_can_read_where_the_browser_goes() {
        let folder = tempfile::tempdir().unwrap();
        let made = redirect(folder.path(), "http://127.0.0.1:1/#token=0").unwrap();
        let path = made.0.clone();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(std::fs::read_to_string(&path).unwrap().contains("url=http://127.0.0.1:1/#token=0\""));
        assert!(redirect(folder.path(), "x").is_err(), "a file that is there is somebody else's");
        drop(made);
        assert!(!path.exists());
    }
}
