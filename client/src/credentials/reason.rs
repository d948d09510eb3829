//! Why AWS gave no keys, in words that repeat nothing of an answer.
//!
//! The SDK's own `DisplayErrorContext` prints each error of the chain by its `Debug`, and so the raw answer: where STS
//! answered with keys that cannot be read, the keys. Here only `Display` is used, and what comes of parsing an answer is
//! left out as well, since a parser's complaint may quote what it could not parse.

use std::error::Error;

use aws_sdk_sts::error::ProvideErrorMetadata;
use aws_sdk_sts::operation::assume_role::AssumeRoleError;
use aws_sdk_sts::operation::assume_role_with_web_identity::AssumeRoleWithWebIdentityError;

/// What is said of an answer that was not understood.
const UNREADABLE: &str = "the answer cannot be read";

/// How many characters of a service's own message are kept.
const KEPT: usize = 400;

/// Says why, from the outermost error to the innermost.
pub(super) fn reason(error: &(dyn Error + 'static)) -> String {
    let mut reasons = Vec::<String>::new();
    let mut next = Some(error);
    while let Some(cause) = next {
        if let Some(said) = by_sts(cause) {
            reasons.push(said);
            break;
        }
        let text = cause.to_string();
        match text.as_str() {
            // What follows is a parser's.
            "response error" => {
                reasons.push(UNREADABLE.to_owned());
                break;
            }
            // Of another service: its code, if there is one, and nothing below it.
            text if text.starts_with("unhandled error") => {
                let code = text.trim_start_matches("unhandled error").trim_matches([' ', '(', ')']);
                reasons.push(if code.is_empty() { UNREADABLE.to_owned() } else { code.to_owned() });
                break;
            }
            // These say that something went wrong, and what follows says what.
            "dispatch failure" | "service error" => {}
            _ if reasons.iter().any(|known| known.contains(&text)) => {}
            _ => reasons.push(text),
        }
        next = cause.source();
    }
    if reasons.is_empty() { "for no reason that is known".to_owned() } else { reasons.join(": ") }
}

/// What STS said, as `code: message`.
fn by_sts(error: &(dyn Error + 'static)) -> Option<String> {
    let by_chain = error.downcast_ref::<AssumeRoleError>().map(said);
    by_chain.or_else(|| error.downcast_ref::<AssumeRoleWithWebIdentityError>().map(said))
}

fn said(error: &impl ProvideErrorMetadata) -> String {
    match (error.code(), error.message()) {
        (Some(code), Some(message)) => format!("{code}: {}", message.chars().take(KEPT).collect::<String>()),
        (Some(code), None) => code.to_owned(),
        _ => UNREADABLE.to_owned(),
    }
}
