//! Choosing a port: pure code, no I/O.
//!
//! The whole idea first. A process remembers which ports of a service it has *seen* taken or free ([`Knowledge`]), and
//! each offer asks that memory for a candidate ([`Knowledge::propose`]). The memory may be wrong in any way: the claim
//! that follows is a conditional write, so a wrong memory costs a retry and never a second holder. Four answers are
//! possible:
//!
//! ```text
//!   range of the service   5000 ........................................................ 10000
//!   seen                   [■■■■■■■□■□□□□]                        [■□□□□□]
//!   Candidate(5007)               ↑ free as far as is known: claim it
//!   Look(5013..=10000, …)                ↑ would be next, but nothing is known here: read a window, ask again
//!   LookAll                  the window did not help either: read the whole range, ask again
//!   Full                     every port is believed taken: read the whole range consistently, then answer
//! ```
//!
//! A *barred* port ([`Knowledge::bar`]) is never proposed, so here "every port" means every port that is not barred.
//!
//! The cost: a warm process finds its candidate in memory and reads nothing. A cold one reads one window of at most
//! [`WINDOW`] items, which shows everything if fewer ports are taken, and (except for `lowest`) another one around its
//! candidate at the same time. If neither helps, or another offer follows, it reads the whole range at once, unless
//! another process left a [`Hint`] of it. After a lost race it looks before it tries again. None of this depends on the
//! size of the range. An unknown port is never tried: a lost race costs more than a look.
//!
//! The three strategies, and when each is good:
//! - `lowest` keeps the ports in use dense and is what people expect. Every caller wants the same port, so a crowd of
//!   processes that share no memory collides; the claims that they see of each other spread them, see
//!   `Knowledge::width`.
//! - `hashed` returns the same port for a name even in a fresh table, and callers rarely collide. The ports in use are
//!   scattered.
//! - `random` collides least, and nobody can predict which port a new name will get.
//!
//! The ports of a *set* are searched for together ([`Knowledge::propose_set`]), with the same four answers and the same
//! three strategies, in places where all of them are free instead of single ports. Sets of the same size take the same
//! slots of the range as long as any is free, so that a crowd of them can fill the range to the last port: see
//! `places.rs`. A lost race costs a set more than a single port, but not more often: sets that know the same want the
//! same place or have nothing to do with each other.
//!
//! Callers in *one* process never collide: a candidate is reserved in the memory until its claim has been answered.

mod knowledge;
mod port_set;

pub use knowledge::{Hint, Holder, Knowledge, Proposal, REFRESH_MILLIS, Search, SetSearch, WINDOW};
pub use port_set::PortSet;
