//! Failures, with what to do next.

use portmaster_client::wire::{At, Fault, Kind};
use portmaster_client::{Error, Stage};
use serde_json::{Value, json};

use crate::Failure;

/// What happened, for people. A problem's detail ends with what to do next, in the API's own calls; where the help says
/// that in commands, it is left out.
pub(super) fn said(failure: &Failure) -> String {
    let whole = failure.to_string();
    let Failure::Call(error) = failure else { return whole };
    if error.problem().is_none() || help(error).is_none() {
        return whole;
    }
    // A sentence with a call, and what follows, which may depend on it ("Otherwise …").
    let Some(call) =
        ["GET /", "PUT /", "POST /", "PATCH /", "DELETE /"].iter().filter_map(|call| whole.find(call)).min()
    else {
        return whole;
    };
    let before = whole.get(..call).unwrap_or_default();
    match before.rfind(". ") {
        Some(end) => before.get(..=end).unwrap_or_default().to_owned(),
        None => whole,
    }
}

/// What to do next, and what may help to do it: a word for each line, and the line.
pub(super) fn next(failure: &Failure) -> Vec<(&'static str, String)> {
    let mut lines = Vec::new();
    let Failure::Call(error) = failure else { return lines };
    // A single mistake is in the detail.
    if let Error::Problem(problem) = error
        && problem.errors.len() > 1
    {
        lines.extend(problem.errors.iter().map(|mistake| ("mistake", fault("", mistake))));
    }
    if let Some(help) = help(error) {
        lines.push(("help", help));
    }
    if let Some(wait) = error.retry_after() {
        lines.push(("retry", format!("in {}", crate::args::values::show(wait))));
    }
    let id = match error {
        Error::Problem(problem) => problem.instance.as_ref(),
        Error::Denied(denied) => denied.request_id.as_ref(),
        _ => None,
    };
    lines.extend(id.map(|id| ("request", id.clone())));
    lines
}

/// A mistake and its place: within something, if it has a name.
pub(crate) fn fault(within: &str, fault: &Fault) -> String {
    let at = match &fault.at {
        At::Pointer(pointer) => pointer.trim_start_matches(['#', '/']).replace('/', "."),
        At::Parameter(name) | At::Header(name) => name.to_string(),
    };
    // Some details begin with the place.
    let at = Some(at).filter(|at| !fault.detail.starts_with(at.as_str())).unwrap_or_default();
    let place = [within, at.as_str()].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(": ");
    format!("{place} {}", fault.detail).trim_start().to_owned()
}

/// What to do next on the command line. A problem's `detail` says it for the API.
pub(crate) fn help(error: &Error) -> Option<String> {
    let text = match error {
        Error::Problem(problem) => match problem.kind? {
            Kind::ServiceNotFound => "`portmaster service list` shows the services; `portmaster service put` makes one",
            Kind::NamespaceNotFound => "`portmaster namespace list` shows them; `portmaster namespace put` makes one",
            Kind::NamespaceInUse => "`portmaster service list` shows its services, which are deleted first",
            Kind::NotTheOwner => {
                "if it is yours, give its owner with --owner; `portmaster release --any-owner` gives it back, whoever \
                 holds it"
            }
            Kind::NameTaken => {
                "if it is yours, give its --owner; otherwise choose another NAME. `portmaster release --any-owner` gives \
                 it back, whoever holds it"
            }
            Kind::PortNotFound => {
                "`portmaster list` shows the ports of a service, and `portmaster map` all of its range"
            }
            Kind::PortNotInRange => {
                "`portmaster service show` says which ports the service has; `portmaster service put` extends its range"
            }
            Kind::RangeOverlap => "`portmaster service list` shows the ranges; ports between them are free for another",
            Kind::PreconditionFailed => "it has changed meanwhile; look at it, and decide again",
            Kind::RangeExhausted => {
                "`portmaster map` shows what has the ports; `portmaster run --wait 5m` waits for one, and \
                 `portmaster service put` extends the range"
            }
            Kind::LeaseExpired => {
                "`portmaster take` asks for it again; the same owner gets it back, if nobody else has it"
            }
            Kind::PortTaken => "`portmaster find` shows what has it; without --port any port will do",
            Kind::ServiceInUse => "`portmaster list` shows its ports",
            Kind::MisdirectedRequest => "use the address that the registry listens on, or start it with --allow-host",
            _ => return None,
        },
        Error::Denied(denied) if denied.is_of_the_function() => {
            "the function failed or timed out; its log, and the gateway's, have the reason under the request's id"
        }
        Error::Denied(denied) if denied.status.as_u16() == 429 => "too many calls at once; try again in a while",
        Error::Denied(_) => {
            "`portmaster doctor` shows who you are to AWS; a policy must allow this identity to invoke this path. Without \
             --role-arn, --profile or --region, requests to a domain of your own are not signed"
        }
        Error::Unreachable(unreachable) => match unreachable.stage {
            Stage::Name | Stage::Connect => "is --url (PORTMASTER_URL) right, and the registry running?",
            Stage::Tls => "SSL_CERT_FILE names the certificate authorities to trust",
            Stage::Timeout | Stage::Lost => "`portmaster doctor` shows how far a request comes",
        },
        Error::Unexpected(_) => "is --url (PORTMASTER_URL) right? A proxy may have answered; NO_PROXY leaves it out",
        Error::Credentials(_) => "`portmaster doctor` shows which identity is found",
        Error::Invalid(_) => return None,
    };
    Some(text.to_owned())
}

/// A failure as a problem document. One of the registry's is as it came.
pub(super) fn document(failure: &Failure) -> Value {
    match failure {
        Failure::Call(Error::Problem(problem)) => problem.document.clone(),
        failure => {
            let title = match failure {
                Failure::Usage(_) | Failure::Call(Error::Invalid(_)) => "The command line is wrong",
                Failure::Call(Error::Denied(denied)) if denied.is_of_the_function() => "The registry's function failed",
                Failure::Call(Error::Denied(_)) => "The gateway refused the call",
                Failure::Call(Error::Unreachable(_)) => "The registry was not reached",
                Failure::Call(Error::Unexpected(_)) => "Something else than the registry answered",
                Failure::Call(Error::Credentials(_)) => "There are no credentials",
                _ => "It cannot be done",
            };
            json!({ "type": "about:blank", "title": title, "detail": failure.to_string() })
        }
    }
}
