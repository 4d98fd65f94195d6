//! How an operator talks to a running node: typed messages to the [`Admin`] actor, and HTTP that
//! only translates to them.
//!
//! # Security
//! Provided: the Unix socket is made with mode 0600, so who may open it is who may already read
//! the node's key; TCP is loopback only and guarded by a bearer token that is compared in
//! constant time; a `Host` or `Origin` that is not this machine's is refused, so a web page can
//! reach the node neither through a name that was rebound to 127.0.0.1 nor with a form; bodies
//! are JSON with a limit; the token is never logged. A client that is silent or slow keeps nobody
//! out. The metrics listener only reads, and gives no peer's id or address away.
//! Not provided: encryption (it never leaves the machine), and different rights for different
//! operators.

mod actor;
mod bodies;
mod checks;
mod door;
mod events;
mod guard;
mod http;
mod metrics;
mod pages;
mod request;
mod serve;
mod token;

pub use actor::{Admin, AdminParts, Follow};
#[doc(hidden)]
pub use bodies::fuzz_body;
pub use checks::{Check, Readiness};
pub use metrics::Numbers;
pub use request::{AdminError, AdminRequest, AdminResponse, PREFIX_DIGITS_MIN, PeerName};
pub use serve::{AdminServers, Listeners, SOCKET_PATH_MAX, ServeError};
pub use token::{Token, TokenError};
