//! The operations of a history with leases, and what their answers tell.

use super::super::linearize::Stamp;

/// Who holds a port: this owner, or nobody in particular, under this name of this service.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Holder {
    pub service: &'static str,
    pub name: String,
    pub owner: Option<String>,
}

/// How a port is named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    Port(u16),
    Name(String),
}

/// In whose name a port is released.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Whose {
    Anybodys,
    Of(Option<String>),
}

impl Whose {
    pub fn may_end(&self, owner: Option<&str>) -> bool {
        match self {
            Self::Anybodys => true,
            Self::Of(its) => its.as_deref() == owner,
        }
    }
}

/// What the caller of a PUT takes for granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum If {
    Whatever,
    NoneMatch,
    Match,
}

/// The terms of a service: lease, longest lease, cool-down.
pub type Terms = (Option<u32>, Option<u32>, u32);

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Act {
    Put {
        holder: Holder,
        lease: Option<u32>,
        port: Option<u16>,
        expected: If,
    },
    Set {
        service: &'static str,
        names: Vec<String>,
        owner: Option<String>,
        lease: Option<u32>,
        contiguous: bool,
    },
    Offer(Holder),
    /// The offer with this number.
    Accept(usize, Option<u32>),
    Reject(usize),
    /// In use on the host, for so many seconds.
    InUse(usize, u32),
    Renew {
        service: &'static str,
        wanted: Wanted,
        owner: Option<String>,
        lease: Option<u32>,
    },
    Release {
        service: &'static str,
        wanted: Wanted,
        whose: Whose,
    },
    /// All of a service's allocations, or also its offers, of this owner or of a name.
    ReleaseAll {
        service: &'static str,
        owner: Option<String>,
        name: Option<String>,
        offered: bool,
    },
    Lift(&'static str, u16),
    Get(&'static str, String),
    Find(u16),
    Reconcile,
    Expire,
    Terms(&'static str, Terms),
    /// A new range for the service that has others.
    Range(&'static str, u16, u16),
    Delete(&'static str),
}

/// A port that a holder was told it has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    pub holder: Holder,
    pub port: u16,
    pub created: i64,
    /// When it was accepted; none if it is an offer.
    pub accepted: Option<i64>,
    /// In seconds; none if it has no end.
    pub until: Option<i64>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The caller has these, as allocations or as an offer with this number.
    Has(Vec<Shown>),
    Offered(usize, Shown),
    Done,
    /// Something was found that is no news for its holder.
    Seen(Shown),
    /// To a renewal: it is not there, or its lease is over.
    Lost,
    /// Something else, and certain.
    Refused(String),
    /// The outcome is ambiguous: no answer, or none that says whether it happened.
    Open(String),
}

/// One operation with its answer.
#[derive(Clone, Debug)]
pub struct Event {
    pub act: Act,
    /// How far ahead the clock of its process is.
    pub skew: i64,
    pub began: Stamp,
    pub ended: Stamp,
    pub answer: Answer,
    /// Whether the outcome of one of its writes was ambiguous: it may have happened more than once, and may still.
    pub doubt: bool,
    /// When the last of its writes was sent that was executed, or may be.
    pub sent: Option<i64>,
}

impl Event {
    pub fn is_open(&self) -> bool {
        matches!(self.answer, Answer::Open(_))
    }

    /// Whether it may still have an effect after its end.
    pub fn may_be_late(&self) -> bool {
        self.is_open() || self.doubt
    }
}
