//! `import`: ports that are in use already, from a file.

mod rows;

use std::process::ExitCode;

use portmaster_client::wire::{Conflict, Import, Port, PortInUse};
use serde::Serialize;

use crate::args::ImportArgs;
use crate::output::{Shown, Table};
use crate::{Context, Failure};

/// How long the body of a request may be, with some room.
const BODY: usize = 15 << 10;

/// What was imported, in all calls.
#[derive(Clone, Debug, Default, Serialize)]
struct Outcome {
    imported: Vec<Port>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    importable: Vec<PortInUse>,
    conflicts: Vec<Conflict>,
}

impl Shown for Outcome {
    fn table(&self) -> Table {
        let row = |number: String, name: String, outcome: String| vec![number, name, outcome];
        let rows = self.conflicts.iter().map(|conflict| {
            row(conflict.port.port.to_string(), conflict.port.name.to_string(), conflict.detail.clone())
        });
        let (imported, importable, conflicts) = (self.imported.len(), self.importable.len(), self.conflicts.len());
        let counts = if importable > 0 {
            format!("{importable} can be imported, {imported} are there already, {conflicts} cannot")
        } else {
            format!("{imported} imported, {conflicts} not")
        };
        let rows: Vec<_> = rows.collect();
        let table = if rows.is_empty() { Table::default() } else { Table::of_many(&["port", "name", "reason"], rows) };
        table.with_note(counts)
    }
}

/// Imports a file. All of it is checked before anything is sent. Exit code 1 where some ports could not be had.
pub(super) async fn run(context: &Context<'_>, args: ImportArgs) -> Result<ExitCode, Failure> {
    let rows = rows::read(&args.file)?;
    let mut all = Outcome::default();
    for ports in chunks(rows) {
        let count = ports.len();
        match context.client.import(&args.service, &Import { ports, dry_run: args.dry_run.then_some(true) }).await {
            Ok(answer) => {
                all.imported.extend(answer.value.imported);
                all.importable.extend(answer.value.importable);
                all.conflicts.extend(answer.value.conflicts);
            }
            Err(error) => {
                context.voice.show(&all)?;
                context.voice.warn(&format!(
                    "this call failed, with {count} ports; those after it were not sent. An \
                                             import can be repeated"
                ));
                return Err(error.into());
            }
        }
    }
    context.voice.show(&all)?;
    Ok(if all.conflicts.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// As many at a time as a call takes.
fn chunks(rows: Vec<PortInUse>) -> Vec<Vec<PortInUse>> {
    let (mut chunks, mut size) = (Vec::<Vec<PortInUse>>::new(), 0);
    for row in rows {
        let more = serde_json::to_string(&row).map_or(BODY, |text| text.len() + 1);
        match chunks.last_mut() {
            Some(chunk) if chunk.len() < Import::MAX && size + more <= BODY => {
                chunk.push(row);
                size += more;
            }
            _ => {
                chunks.push(vec![row]);
                size = more;
            }
        }
    }
    chunks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_has_no_more_than_it_may() {
        let row = |number: u16, owner: &str| PortInUse {
            name: format!("old-{number}").try_into().unwrap(),
            port: number.try_into().unwrap(),
            owner: Some(owner.try_into().unwrap()),
            labels: None,
        };
        let sizes = |owner: &str| {
            chunks((5000..5450).map(|n| row(n, owner)).collect()).iter().map(Vec::len).collect::<Vec<_>>()
        };
        assert_eq!(sizes("a"), [200, 200, 50]);
        let long = sizes(&"a".repeat(128));
        assert!(long.iter().all(|size| *size < 90) && long.iter().sum::<usize>() == 450, "{long:?}");
    }
}
