//! The Portmaster registry on one machine: the API that the functions serve, mounted in one process, over an embedded
//! DynamoDB or another one.

mod connections;
mod embedded;
mod events;
mod guard;
mod log;
mod options;
mod page;
mod server;

pub use embedded::{Embedded, HISTORY_TABLE, Keeping, Request, perform, response, without_tokens};
pub use events::Events;
pub use log::Log;
pub use options::{Options, Page};
pub use server::{Server, StartError};
