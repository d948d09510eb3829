//! Why AWS gave no keys, in words that repeat nothing of an answer.
//!
//! The SDK's own `DisplayErrorContext` prints each error of the chain by its `Debug`, and so the raw answer: where STS
//! answered with keys that cannot be read, the keys. Here only `Display` is used. What comes of parsing an answer is left
//! out as well, since a parser's complaint may quote what it could not parse, and so is the rest of a text that has a
//! `Debug` in it after all.

use std::error::Error;

use aws_sdk_sts::error::ProvideErrorMetadata;
use aws_sdk_sts::operation::assume_role::AssumeRoleError;
use aws_sdk_sts::operation::assume_role_with_web_identity::AssumeRoleWithWebIdentityError;

/// What is said of an answer that was not understood.
const UNREADABLE: &str = "the answer cannot be read";

/// How many characters of a text are kept.
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
        let text = without_debug(&cause.to_string());
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

/// The text without the answer that is in the `Display` of the metadata service's error.
fn without_debug(text: &str) -> String {
    let begin = ["Response {", "SdkBody"].iter().filter_map(|mark| text.find(mark)).min();
    let text = text.get(..begin.unwrap_or(text.len())).unwrap_or_default().trim_end_matches([' ', '.', ':']);
    text.chars().take(KEPT).collect()
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
