//! `service apply`: services as a file says.

use std::io::Read as _;
use std::path::Path;

use portmaster_client::Precondition;
use portmaster_client::domain::{ServiceName, Terms};
use portmaster_client::wire::parse::{Unreadable, parse};
use portmaster_client::wire::{Kind, LeaseSeconds, NewService, Service, ServiceContent};
use serde::Serialize;
use serde_json::Value;

use crate::output::{Shown, Table};
use crate::{Context, Failure};

/// What happened to a service.
#[derive(Clone, Debug, Serialize)]
struct Applied {
    service: ServiceName,
    outcome: Outcome,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Outcome {
    Created,
    Changed,
    Unchanged,
    WouldBeCreated,
    WouldBeChanged,
}

#[derive(Clone, Debug, Serialize)]
#[serde(transparent)]
struct All(Vec<Applied>);

impl Shown for All {
    fn table(&self) -> Table {
        let row = |applied: &Applied| {
            let outcome = match applied.outcome {
                Outcome::Created => "created",
                Outcome::Changed => "changed",
                Outcome::Unchanged => "unchanged",
                Outcome::WouldBeCreated => "would be created",
                Outcome::WouldBeChanged => "would be changed",
            };
            vec![applied.service.to_string(), outcome.to_owned()]
        };
        Table::of_many(&["service", "outcome"], self.0.iter().map(row).collect())
    }
}

/// Makes services as a file says: first all that is in it is checked, then they are made one after another. Those that
/// are as they should be are not written.
pub(super) async fn run(context: &Context<'_>, file: &Path, dry_run: bool) -> Result<(), Failure> {
    let services = read(file)?;
    let mut all = Vec::new();
    for wanted in services {
        let (service, content) = split(wanted);
        match apply(context, &service, &content, dry_run).await {
            Ok(outcome) => all.push(Applied { service, outcome }),
            Err(failure) => {
                // What was done is said too, so that nobody has to guess.
                if !all.is_empty() {
                    context.voice.show(&All(all))?;
                }
                context.voice.warn(&format!("{} failed; those after it were left alone", context.of(&service)));
                return Err(failure);
            }
        }
    }
    context.voice.show(&All(all))
}

async fn apply(
    context: &Context<'_>,
    service: &ServiceName,
    content: &ServiceContent,
    dry_run: bool,
) -> Result<Outcome, Failure> {
    let found = match context.client.get_service(service).await {
        Ok(found) => Some(found),
        Err(error) if error.kind() == Some(Kind::ServiceNotFound) => None,
        Err(error) => return Err(error.into()),
    };
    let (outcome, precondition) = match &found {
        Some(found) if is(found, content) => return Ok(Outcome::Unchanged),
        Some(_) if dry_run => return Ok(Outcome::WouldBeChanged),
        None if dry_run => return Ok(Outcome::WouldBeCreated),
        // Whoever changes it meanwhile is not overwritten.
        Some(found) => (Outcome::Changed, found.etag.clone().map_or(Precondition::Present, Precondition::Version)),
        None => (Outcome::Created, Precondition::Absent),
    };
    context.client.put_service(service, content, precondition).await?;
    Ok(outcome)
}

/// Whether a service has this content, defaults included.
fn is(service: &Service, content: &ServiceContent) -> bool {
    let lease = |lease: Option<LeaseSeconds>| lease.map(LeaseSeconds::get);
    let hold = |hold: Option<portmaster_client::wire::HoldSeconds>, default| hold.map_or(default, |hold| hold.get());
    let default = Terms::default();
    service.description == content.description.clone().unwrap_or_default()
        && (service.start, service.end) == (content.start, content.end)
        && service.strategy == content.strategy.unwrap_or_default()
        && service.lease_seconds == lease(content.lease_seconds)
        && service.max_lease_seconds == lease(content.max_lease_seconds)
        && service.cooldown_seconds == hold(content.cooldown_seconds, default.cooldown)
        && service.quarantine_seconds == hold(content.quarantine_seconds, default.quarantine)
        && service.reserved == content.reserved.clone().unwrap_or_default()
}

fn split(wanted: NewService) -> (ServiceName, ServiceContent) {
    let NewService { name, description, start, end, strategy, .. } = wanted;
    let NewService { lease_seconds, max_lease_seconds, cooldown_seconds, quarantine_seconds, reserved, .. } = wanted;
    let content = ServiceContent {
        name: None,
        description,
        start,
        end,
        strategy,
        lease_seconds,
        max_lease_seconds,
        cooldown_seconds,
        quarantine_seconds,
        reserved,
        created: None,
    };
    (name, content)
}

/// Reads a file of services, and reports every mistake in it.
fn read(file: &Path) -> Result<Vec<NewService>, Failure> {
    let wrong = |reason: String| Failure::Usage(format!("{}: {reason}", file.display()));
    let mut text = String::new();
    let opened = if file == Path::new("-") {
        std::io::stdin().lock().read_to_string(&mut text)
    } else {
        std::fs::File::open(file).and_then(|mut file| file.read_to_string(&mut text))
    };
    opened.map_err(|reason| wrong(reason.to_string()))?;
    let value: Value = if file.extension().is_some_and(|extension| extension == "toml") {
        let table: toml::Table = text.parse().map_err(|reason: toml::de::Error| wrong(reason.to_string()))?;
        serde_json::to_value(table).map_err(|reason| wrong(reason.to_string()))?
    } else {
        // JSON is YAML too.
        serde_saphyr::from_str(&text).map_err(|reason| wrong(reason.to_string()))?
    };
    let services = match value {
        Value::Array(services) => services,
        Value::Object(mut one) => match one.remove("services") {
            Some(Value::Array(services)) if one.is_empty() => services,
            Some(_) => return Err(wrong("`services` must be a list, and nothing else may stand beside it".to_owned())),
            None => vec![Value::Object(one)],
        },
        _ => return Err(wrong("must be a service, or a list of services".to_owned())),
    };
    let (mut parsed, mut mistakes) = (Vec::<NewService>::new(), Vec::new());
    for (index, service) in services.iter().enumerate() {
        let name =
            service.get("name").and_then(Value::as_str).map_or_else(|| format!("service {}", index + 1), str::to_owned);
        match parse::<NewService>(service.to_string().as_bytes()) {
            Ok(service) if parsed.iter().any(|other| other.name == service.name) => {
                mistakes.push(format!("{name}: appears twice"));
            }
            Ok(service) => parsed.push(service),
            Err(Unreadable::Faulty(faults)) => {
                mistakes.extend(faults.iter().map(|fault| crate::output::fault(&name, fault)))
            }
            Err(Unreadable::NotJson(reason)) => mistakes.push(format!("{name}: {reason}")),
        }
    }
    if mistakes.is_empty() { Ok(parsed) } else { Err(wrong(mistakes.join("\n  "))) }
}
