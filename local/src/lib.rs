//! The Portmaster registry on one machine: the API that the functions serve, mounted in one process, over an embedded
//! DynamoDB or another one.

mod embedded;
mod guard;
mod options;
mod server;

pub use embedded::{Embedded, without_tokens};
pub use options::Options;
pub use server::{Server, StartError};
