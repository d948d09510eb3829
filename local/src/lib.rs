//! The Portmaster registry on one machine: the API that the functions serve, mounted in one process, over an embedded
//! DynamoDB or another one.

mod connections;
mod embedded;
mod guard;
mod log;
mod options;
mod page;
mod server;

pub use embedded::{Embedded, Request, perform, response, without_tokens};
pub use log::Log;
pub use options::{Options, Page};
pub use server::{Server, StartError};
