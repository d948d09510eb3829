//! `doctor`: what a call needs, in order.

use std::process::ExitCode;

use portmaster_client::domain::{InstanceName, Port, ServiceName};
use portmaster_client::wire::{Kind, NewPort, Renewal};
use portmaster_client::{Client, Error, Filter, Holder, PortOrName, Precondition, Stage};
use serde::Serialize;

use crate::args::Global;
use crate::output::{Shown, Table, Voice, help};
use crate::{Context, Failure};

/// A clock that is further away from the registry's than this is reported. The margin of leases is ten seconds.
const CLOCK_MILLIS: i64 = 5_000;

/// The calls that every job needs.
const JOB: [&str; 3] = ["take", "renew", "release"];

/// How a check went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Outcome {
    Ok,
    Warning,
    Failed,
    /// It could not be checked, because of an earlier failure.
    Skipped,
}

#[derive(Clone, Debug, Serialize)]
struct Check {
    check: &'static str,
    outcome: Outcome,
    detail: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    help: Option<String>,
}

#[derive(Clone, Debug, Default, Serialize)]
#[serde(transparent)]
struct Checks(Vec<Check>);

impl Shown for Checks {
    fn table(&self) -> Table {
        let row = |check: &Check| {
            let outcome = match check.outcome {
                Outcome::Ok => "ok",
                Outcome::Warning => "warning",
                Outcome::Failed => "FAILED",
                Outcome::Skipped => "skipped",
            };
            let help = check.help.as_ref().map(|help| format!(" ({help})")).unwrap_or_default();
            vec![check.check.to_owned(), outcome.to_owned(), format!("{}{help}", check.detail)]
        };
        Table::of_many(&["check", "outcome", "detail"], self.0.iter().map(row).collect())
    }
}

impl Checks {
    fn add(&mut self, check: &'static str, outcome: Outcome, detail: impl Into<String>) {
        self.0.push(Check { check, outcome, detail: detail.into(), help: None });
    }

    fn fail(&mut self, check: &'static str, error: &Error) {
        self.0.push(Check { check, outcome: Outcome::Failed, detail: error.to_string(), help: help(error) });
    }

    fn skip(&mut self, checks: &[&'static str], because: &str) {
        for check in checks {
            self.add(check, Outcome::Skipped, because);
        }
    }
}

/// Checks, in order, and prints what works and what does not. Exit code 1 where something does not.
pub(super) async fn run(
    global: &Global,
    variable: impl Fn(&str) -> Option<String>,
    voice: &Voice,
) -> Result<ExitCode, Failure> {
    let mut checks = Checks::default();
    match Context::new(global, &variable, voice) {
        Err(Failure::Call(error)) => {
            checks.fail("url", &error);
            checks.skip(&["dns", "connection", "clock", "identity", "rights", "table", "versions"], "no URL");
        }
        Err(other) => return Err(other),
        Ok(context) => {
            checks.add(
                "url",
                Outcome::Ok,
                format!("{}, namespace {}", context.client.url(), context.client.namespace()),
            );
            examine(&context, &mut checks).await;
        }
    }
    let failed = checks.0.iter().any(|check| check.outcome == Outcome::Failed);
    voice.show(&checks)?;
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

async fn examine(context: &Context<'_>, checks: &mut Checks) {
    // Without a signature, so that what is wrong with the network is not hidden by what is wrong with the keys.
    let reached = match Client::builder().url(context.client.url()).build() {
        Ok(anonymous) => {
            let health = anonymous.health().await;
            let reached = connection(context, &health, checks);
            if reached {
                clock(&anonymous, checks);
            }
            reached
        }
        Err(error) => {
            checks.fail("connection", &error);
            false
        }
    };
    if !reached {
        checks.skip(&["clock"], "nothing answers");
    }
    let identified = identity(context, checks).await;
    match (reached, identified) {
        (true, true) => {
            rights(context, checks).await;
            table(context, checks).await;
            versions(context, checks).await;
        }
        (reached, _) => {
            checks.skip(&["rights", "table", "versions"], if reached { "no identity" } else { "nothing answers" });
        }
    }
}

/// DNS, and the way to the registry. Any answer shows that there is one.
fn connection<T>(context: &Context<'_>, health: &Result<T, Error>, checks: &mut Checks) -> bool {
    let is_secure = context.client.url().starts_with("https");
    let connected = if is_secure { "connected, and the certificate is trusted" } else { "connected, without TLS" };
    match health {
        Err(error @ Error::Unreachable(unreachable)) => {
            match unreachable.stage {
                Stage::Name => {
                    checks.fail("dns", error);
                    checks.skip(&["connection"], "no address");
                }
                _ => {
                    checks.add("dns", Outcome::Ok, "the host has an address");
                    checks.fail("connection", error);
                }
            }
            false
        }
        Err(error @ (Error::Unexpected(_) | Error::Invalid(_) | Error::Credentials(_))) => {
            checks.add("dns", Outcome::Ok, "the host has an address");
            checks.fail("connection", error);
            false
        }
        Ok(_) | Err(Error::Problem(_) | Error::Denied(_)) => {
            checks.add("dns", Outcome::Ok, "the host has an address");
            checks.add("connection", Outcome::Ok, connected);
            true
        }
    }
}

fn clock(client: &Client, checks: &mut Checks) {
    let ahead = client.clock_millis();
    let seconds = ahead.unsigned_abs() / 1000;
    if ahead.abs() <= CLOCK_MILLIS {
        checks.add("clock", Outcome::Ok, "agrees with the registry's");
    } else {
        let side = if ahead > 0 { "behind" } else { "ahead of" };
        let detail = format!("{seconds} s {side} the registry's; leases and signatures depend on it. Is NTP running?");
        checks.add("clock", Outcome::Warning, detail);
    }
}

async fn identity(context: &Context<'_>, checks: &mut Checks) -> bool {
    let job = format!("{}, owner {}", context.identity.system().as_str(), context.owner);
    match context.client.identity().await {
        Ok(None) => {
            checks.add("identity", Outcome::Ok, format!("requests are not signed; {job}"));
            true
        }
        Ok(Some(found)) => {
            let until = found.expires_at.map(|until| format!(" until {}", until.to_rfc3339())).unwrap_or_default();
            checks.add("identity", Outcome::Ok, format!("{}{until}, region {}; {job}", found.source, found.region));
            true
        }
        Err(error) => {
            checks.fail("identity", &error);
            false
        }
    }
}

/// Tries calls that change nothing, for a service that there is not: whoever may make one is told so.
async fn rights(context: &Context<'_>, checks: &mut Checks) {
    let client = &context.client;
    let names = (ServiceName::try_from("portmaster-doctor"), InstanceName::try_from("portmaster-doctor"));
    let (Ok(service), Ok(name)) = names else { return };
    let target: PortOrName = name.clone().into();
    // If there is such a service after all, the precondition still keeps it from giving a port.
    let take = client.put_port(&service, &name, &NewPort::default(), Precondition::Present).await.map(|_| ());
    let renew = client.renew(&service, &target, &Renewal::default()).await.map(|_| ());
    let release = client.release(&service, &target, &Holder::Nobody).await;
    let read = client.get_port(&service, &Port::MIN.into()).await.map(|_| ());
    let list = client.list_ports(&service, &Filter::default()).next().await.map(|_| ());
    let services = client.list_services().next().await.map(|_| ());
    let namespaces = client.get_namespace(client.namespace()).await.map(|_| ());
    let tried = [
        ("take", take),
        ("renew", renew),
        ("release", release),
        ("show", read),
        ("list", list),
        ("service list", services),
        ("namespace show", namespaces),
    ];
    let refused: Vec<_> = tried.iter().filter(|(_, outcome)| matches!(outcome, Err(Error::Denied(_)))).collect();
    let failed = tried.iter().find_map(|(_, outcome)| match outcome {
        Err(error) if error.is_temporary() || !matches!(error, Error::Problem(_) | Error::Denied(_)) => Some(error),
        _ => None,
    });
    match (refused.first(), failed) {
        (Some((_, Err(error))), _) => {
            let allowed = if refused.len() == tried.len() { "none is allowed" } else { "the others are allowed" };
            let calls = refused.iter().map(|(call, _)| *call).collect::<Vec<_>>().join(", ");
            checks.0.push(Check {
                check: "rights",
                // Without these there are no ports; the others are an operator's, or a matter of policy.
                outcome: if refused.iter().any(|(call, _)| JOB.contains(call)) {
                    Outcome::Failed
                } else {
                    Outcome::Warning
                },
                detail: format!("refused: {calls}; {allowed}. {error}"),
                help: help(error),
            });
        }
        (_, Some(error)) => checks.fail("rights", error),
        _ => checks.add("rights", Outcome::Ok, tried.map(|(call, _)| call).join(", ")),
    }
}

async fn table(context: &Context<'_>, checks: &mut Checks) {
    match context.client.health().await {
        Ok(_) => checks.add("table", Outcome::Ok, "the registry reads and writes its table"),
        // A deployment may have closed it, since anybody may call it.
        Err(Error::Denied(_)) => checks.add("table", Outcome::Skipped, "this registry does not show its health"),
        Err(error) if error.kind() == Some(Kind::NotFound) => {
            checks.add("table", Outcome::Skipped, "this registry does not show its health");
        }
        Err(error) => checks.fail("table", &error),
    }
}

async fn versions(context: &Context<'_>, checks: &mut Checks) {
    let own = env!("CARGO_PKG_VERSION");
    match context.client.version().await {
        Ok(there) if there.value == own => checks.add("versions", Outcome::Ok, format!("{own}, here and there")),
        Ok(there) => checks.add("versions", Outcome::Ok, format!("{own} here, {} there", there.value)),
        Err(error) => checks.0.push(Check {
            check: "versions",
            outcome: Outcome::Warning,
            detail: format!("{own} here; the registry's is not known: {error}"),
            help: None,
        }),
    }
}
