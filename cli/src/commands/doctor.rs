//! `doctor`: what a call needs, in order.

mod rights;

use std::process::ExitCode;

use portmaster_client::wire::Kind;
use portmaster_client::{Client, Error, Stage};
use serde::Serialize;

use crate::args::Global;
use crate::output::{Shown, Table, Voice, help};
use crate::{Context, Failure};

/// A clock that is further away from the registry's than this is reported. The margin of leases is ten seconds.
const CLOCK_MILLIS: i64 = 5_000;

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
        // Whoever reads this has called the doctor already.
        let help = help(error).filter(|help| !help.contains("`portmaster doctor`"));
        self.0.push(Check { check, outcome: Outcome::Failed, detail: error.to_string(), help });
    }

    /// Takes back that the URL is one of a registry.
    fn fail_url(&mut self, error: &Error) {
        let help = match error.kind() {
            Some(Kind::MisdirectedRequest) => help(error),
            _ => Some("the URL has a path too many, or one too few: the API's own paths begin with /v1".to_owned()),
        };
        for check in self.0.iter_mut().filter(|check| check.check == "url") {
            (check.outcome, check.help) = (Outcome::Failed, help.clone());
            check.detail = format!("{}: {error}", check.detail);
        }
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
                if let Some(error) = elsewhere(&anonymous).await {
                    checks.fail_url(&error);
                    checks.skip(&["identity", "rights", "table", "versions"], "the URL is not a registry's");
                    return;
                }
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
            rights::examine(context, checks).await;
            table(context, checks).await;
            versions(context, checks).await;
        }
        (reached, _) => {
            checks.skip(&["rights", "table", "versions"], if reached { "no identity" } else { "nothing answers" });
        }
    }
}

/// Why what answers has no API of a registry at this path, or does not answer to this name; none if it has and does.
async fn elsewhere(anonymous: &Client) -> Option<Error> {
    // Every registry has this path, and one that refuses the call has it too.
    let error = anonymous.list_services().next().await.err()?;
    let is_wrong = match &error {
        Error::Problem(problem) => matches!(problem.kind, Some(Kind::NotFound | Kind::MisdirectedRequest)),
        Error::Denied(denied) => denied.status.as_u16() == 404,
        _ => false,
    };
    is_wrong.then_some(error)
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
