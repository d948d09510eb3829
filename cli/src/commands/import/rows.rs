//! The rows of a file: CSV with a header, or JSON Lines.

use std::collections::HashMap;
use std::io::Read as _;
use std::path::Path;

use portmaster_client::wire::parse::{Unreadable, parse};
use portmaster_client::wire::{Import, PortInUse};
use serde_json::{Map, Value, json};

use crate::Failure;

/// How many mistakes are reported.
const SHOWN: usize = 20;

/// Reads a file, or standard input, and reports every mistake in it with its line.
pub(super) fn read(file: &Path) -> Result<Vec<PortInUse>, Failure> {
    let wrong = |reason: String| Failure::Usage(format!("{}: {reason}", file.display()));
    let mut text = String::new();
    let opened = if file == Path::new("-") {
        std::io::stdin().lock().read_to_string(&mut text)
    } else {
        std::fs::File::open(file).and_then(|mut file| file.read_to_string(&mut text))
    };
    opened.map_err(|reason| wrong(reason.to_string()))?;
    let text = text.trim_start_matches('\u{feff}');
    let rows = if text.trim_start().starts_with('{') { json_lines(text) } else { csv(text) };
    checked(rows.map_err(&wrong)?).map_err(|mistakes| {
        let more = mistakes.len().saturating_sub(SHOWN);
        let mut shown: Vec<_> = mistakes.into_iter().take(SHOWN).collect();
        if more > 0 {
            shown.push(format!("and {more} more mistakes"));
        }
        wrong(format!("nothing was sent\n  {}", shown.join("\n  ")))
    })
}

/// A row's line, and its members or what is wrong with all of it.
type Rows = Vec<(u64, Result<Value, String>)>;

fn json_lines(text: &str) -> Result<Rows, String> {
    let lines = text.lines().zip(1..).filter(|(line, _)| !line.trim().is_empty());
    Ok(lines
        .map(|(line, number)| (number, serde_json::from_str(line).map_err(|reason| format!("not JSON: {reason}"))))
        .collect())
}

fn csv(text: &str) -> Result<Rows, String> {
    let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).comment(Some(b'#')).from_reader(text.as_bytes());
    let head = reader.headers().map_err(|reason| reason.to_string())?.clone();
    let known = |column: &str| ["name", "port", "owner"].contains(&column) || column.starts_with("label.");
    if let Some(unknown) = head.iter().find(|column| !known(column)) {
        return Err(format!("the header has {unknown:?}; columns are name, port, owner, and label.KEY for each label"));
    }
    for needed in ["name", "port"] {
        if !head.iter().any(|column| column == needed) {
            return Err(format!("the header, its first line, has no column {needed}"));
        }
    }
    let row = |record: Result<csv::StringRecord, csv::Error>| match record {
        Err(reason) => (reason.position().map_or(0, csv::Position::line), Err(reason.to_string())),
        Ok(record) => {
            let (mut members, mut labels) = (Map::new(), Map::new());
            for (column, cell) in head.iter().zip(&record).filter(|(_, cell)| !cell.is_empty()) {
                match column.strip_prefix("label.") {
                    Some(key) => labels.insert(key.to_owned(), json!(cell)),
                    // What is no number stays a text, and is refused as one.
                    None if column == "port" => {
                        members.insert(column.to_owned(), cell.parse::<u64>().map_or(json!(cell), Into::into))
                    }
                    None => members.insert(column.to_owned(), json!(cell)),
                };
            }
            if !labels.is_empty() {
                members.insert("labels".to_owned(), Value::Object(labels));
            }
            (record.position().map_or(0, csv::Position::line), Ok(Value::Object(members)))
        }
    };
    Ok(reader.records().map(row).collect())
}

/// Checks rows as the registry would, and that no name and no port appears twice.
fn checked(rows: Rows) -> Result<Vec<PortInUse>, Vec<String>> {
    let (mut ports, mut mistakes) = (Vec::new(), Vec::new());
    let (mut names, mut numbers) = (HashMap::new(), HashMap::new());
    for (line, row) in rows {
        let body = match row {
            Ok(row) => json!({ "ports": [row] }).to_string(),
            Err(reason) => {
                mistakes.push(format!("line {line}: {reason}"));
                continue;
            }
        };
        match parse::<Import>(body.as_bytes()) {
            Ok(one) => {
                for port in one.ports {
                    if let Some(other) = names.insert(port.name.to_string(), line) {
                        mistakes.push(format!("line {line}: {} has a port in line {other} already", port.name));
                    }
                    if let Some(other) = numbers.insert(port.port, line) {
                        mistakes.push(format!("line {line}: port {} is in line {other} already", port.port));
                    }
                    ports.push(port);
                }
            }
            Err(Unreadable::NotJson(reason)) => mistakes.push(format!("line {line}: {reason}")),
            Err(Unreadable::Faulty(faults)) => mistakes.extend(faults.iter().map(|fault| {
                crate::output::fault(&format!("line {line}"), fault).replace("ports.0.", "").replace("ports.0 ", "")
            })),
        }
    }
    if mistakes.is_empty() { Ok(ports) } else { Err(mistakes) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Result<Vec<PortInUse>, String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        read(file.path()).map_err(|failure| failure.to_string().replace(&file.path().display().to_string(), "FILE"))
    }

    #[test]
    fn both_forms_say_the_same() {
        let csv = of("name,port,owner,label.team\nold-1,5003,team-a,shop\nold-2,5004,,\n").unwrap();
        let lines = "{\"name\": \"old-1\", \"port\": 5003, \"owner\": \"team-a\", \"labels\": {\"team\": \"shop\"}}\n\n\
                     {\"name\": \"old-2\", \"port\": 5004}\n";
        assert_eq!(of(lines).unwrap(), csv);
        assert_eq!((csv.len(), csv[1].owner.as_ref(), csv[1].labels.as_ref()), (2, None, None));
    }

    #[test]
    fn every_mistake_has_its_line() {
        let mistakes = of("name,port\n-a,80\nb,5000\nb,5001\nc,5000\nd,x\n").unwrap_err();
        for expected in [
            "line 2: name must begin with",
            "line 2: port a port is",
            "line 4: b has a port in line 3",
            "line 5: port 5000 is in line 3",
            "line 6: port must be a whole number",
        ] {
            assert!(mistakes.contains(expected), "{expected}: {mistakes}");
        }
        assert!(of("name,port,colour\n").unwrap_err().contains("the header has \"colour\""));
        assert!(of("name\nold-1\n").unwrap_err().contains("no column port"));
        assert!(of("{\"name\": \"a\", \"port\": 5000, \"x\": 1}\n{\n").unwrap_err().contains("line 2: not JSON"));
    }
}
