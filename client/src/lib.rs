//! A client of Portmaster's API: typed calls, retries, problems as errors, and signatures for a registry on AWS.
//!
//! ```no_run
//! use portmaster_client::wire::NewPort;
//! use portmaster_client::{Client, Precondition};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let client = Client::builder().url("http://127.0.0.1:8080").build()?;
//! let wanted = NewPort { owner: Some("build-4711".try_into()?), lease_seconds: Some(900.try_into()?), ..NewPort::default() };
//! let port = client.put_port(&"web".try_into()?, &"job-1".try_into()?, &wanted, Precondition::None).await?;
//! println!("{} until {:?}", port.port, port.holds_until());
//! # Ok(())
//! # }
//! ```
//!
//! A call is repeated, with jitter, where the API says that it may be (docs/api.md, *Repeating a call*), until its
//! deadline; see [`Builder::deadline`]. A conflict (409) is never repeated: whether to wait is the caller's decision.
//!
//! Nothing here prints a secret: not a signature, not a token, not an offer's secret, whether in an error, in `Debug`
//! or in the log.

mod answer;
mod builder;
mod calls;
pub mod credentials;
mod error;
mod pages;
mod request;
mod retry;
mod sign;
mod target;
pub mod transport;

pub use answer::Answer;
pub use builder::{Builder, Client};
pub use calls::{Events, Filter, Holder, Passed, Precondition, Span, Told};
pub use credentials::Credentials;
pub use error::{Denied, Error, Problem, Stage, Unexpected, Unreachable};
pub use pages::Pages;
pub use portmaster_domain as domain;
pub use portmaster_wire as wire;
pub use sign::Signer;
pub use target::{InvalidTarget, PortOrName};
