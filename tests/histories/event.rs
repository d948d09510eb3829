//! The actions of callers, and their answers.

use std::fmt::Write as _;

use portmaster_registry::{Error, Findings};

use super::linearize::Stamp;
use portmaster_testkit::EPOCH;

use super::plan::Plan;
use super::slot::Claim;

/// An action of a caller.
#[derive(Clone, Debug)]
pub enum Act {
    Offer {
        service: &'static str,
        name: String,
        key: Option<String>,
    },
    Accept(usize),
    Reject(usize),
    ReadOffer(usize),
    ReleasePort(&'static str, u16),
    ReleaseName(&'static str, String),
    Find(u16),
    Get(&'static str, String),
    Offers(&'static str),
    Ports(&'static str),
    Reconcile,
    /// DynamoDB's TTL.
    Expire,
    Create(&'static str, u16, u16),
    Put(&'static str, u16, u16),
    Describe(&'static str),
    Delete(&'static str),
    Look(&'static str),
}

/// The answer to an action.
#[derive(Clone, Debug)]
pub enum Answer {
    Offered {
        claim: usize,
        replayed: bool,
    },
    Accepted {
        first: bool,
    },
    Done,
    Created,
    Allocation {
        name: String,
        port: u16,
    },
    List(Vec<(u16, String)>),
    Service,
    Reconciled(Findings),
    Refused(Error),
    /// The table did not respond, in time or at all.
    Unknown(#[allow(dead_code, reason = "for who reads a failure")] String),
    /// The caller had stopped.
    Stopped,
}

/// One operation with its answer.
#[derive(Clone, Debug)]
pub struct Event {
    pub act: Act,
    pub process: usize,
    pub began: Stamp,
    /// When it was answered, or its caller stopped.
    pub ended: Stamp,
    pub answer: Answer,
    pub doubt: bool,
    /// When the first and the last of its writes were sent that were executed, or may have been.
    pub sent: Option<(i64, i64)>,
}

impl Event {
    /// Whether its outcome is ambiguous.
    pub fn is_open(&self) -> bool {
        matches!(self.answer, Answer::Unknown(_) | Answer::Stopped)
            || matches!(self.answer, Answer::Refused(Error::ServiceClosing { .. }))
    }
}

/// Describes a history in words.
pub fn describe(plan: &Plan, claims: &[Claim], events: &[Event]) -> String {
    let mut events = events.to_vec();
    events.sort_by_key(|event| event.began);
    let mut text = format!("{plan:?}\n");
    for (i, claim) in claims.iter().enumerate() {
        let Claim { service, name, port, expires_at, .. } = claim;
        writeln!(text, "claim {i}: {service} {name} {port}, until {}", expires_at * 1000 - EPOCH).unwrap();
    }
    for Event { act, process, began, ended, answer, doubt, sent: _ } in events {
        writeln!(
            text,
            "{:>4}-{:<4} {:>6}-{:<6} process {process}{}: {act:?} -> {answer:?}",
            began.order,
            ended.order,
            began.millis - EPOCH,
            ended.millis - EPOCH,
            if doubt { ", in doubt" } else { "" }
        )
        .unwrap();
    }
    text
}
