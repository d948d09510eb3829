//! `completions` and `man`.

use std::process::ExitCode;

use crate::Failure;
use crate::args::{CompletionsArgs, ManArgs, command};
use crate::output::Voice;

pub(super) fn completions(args: &CompletionsArgs, voice: &Voice) -> Result<ExitCode, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command(|_| None), "portmaster", &mut script);
    print(script, voice)
}

pub(super) fn man(args: &ManArgs, voice: &Voice) -> Result<ExitCode, Failure> {
    let mut command = command(|_| None);
    if let Some(folder) = &args.dir {
        let written = std::fs::create_dir_all(folder).and_then(|()| clap_mangen::generate_to(command, folder));
        let failed = |reason| Failure::Other(format!("{}: {reason}", folder.display()));
        return written.map(|()| ExitCode::SUCCESS).map_err(failed);
    }
    command.build();
    let mut name = "portmaster".to_owned();
    for word in &args.command {
        let found = command.find_subcommand(word).cloned();
        command = found.ok_or_else(|| Failure::Usage(format!("{name} has no command {word}")))?;
        name = format!("{name}-{word}");
    }
    let mut page = Vec::new();
    let rendered =
        clap_mangen::Man::new(command.display_name(&name).bin_name(name.replace('-', " "))).render(&mut page);
    rendered.map_err(|reason| Failure::Other(reason.to_string()))?;
    print(page, voice)
}

fn print(text: Vec<u8>, voice: &Voice) -> Result<ExitCode, Failure> {
    voice.print(&String::from_utf8_lossy(&text))?;
    Ok(ExitCode::SUCCESS)
}
