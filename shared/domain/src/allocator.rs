//! Choosing a port: pure code, no I/O.
//!
//! The idea, whole. A function remembers which ports of a service it has *seen* taken or free ([`Knowledge`]), and each
//! offer asks that memory for a candidate ([`Knowledge::propose`]). The memory may be wrong in any way: the claim that
//! follows is a conditional write, so a wrong memory costs a retry and never a second holder. Three answers are possible:
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
//! What it costs: a warm function finds its candidate in memory and reads nothing. A cold one reads one window of at most
//! [`WINDOW`] items, which shows everything where fewer ports are taken, and (but for `lowest`) another one around its
//! candidate at the same time; if neither helps, or another offer follows, the whole range at once, unless another process
//! left a [`Hint`] of it. After a lost race it looks before it tries again.
//! None of it depends on the size of the range. An unknown port is never tried: a lost race costs more than a look.
//!
//! The three strategies, and when each is good:
//! - `lowest` keeps the ports in use dense and is what a person expects. Everybody wants the same port, so a crowd of
//!   functions that share no memory collides; what they see of each other spreads them, see `Knowledge::width`.
//! - `hashed` gives a name the same port even in a fresh table, and callers rarely meet. The ports in use are scattered.
//! - `random` meets least, and tells nobody which port a new name will get.
//!
//! Callers in *one* process never meet at all: a candidate is reserved in the memory until its claim has been answered.

mod knowledge;
mod port_set;

pub use knowledge::{Hint, Holder, Knowledge, Proposal, REFRESH_MILLIS, Search, WINDOW};
pub use port_set::PortSet;
