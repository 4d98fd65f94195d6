//! A STUN server, as an operator writes it: `host` or `host:port`.

use std::{fmt, str::FromStr};

use super::values::as_text;
use crate::address::Host;

/// STUN's port over UDP (RFC 8489 section 8).
const PORT: u16 = 3_478;

/// A server that says where it sees this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StunServer {
    /// A name or an IP address.
    pub host: Host,
    /// Its port.
    pub port: u16,
}

/// Why a text is no STUN server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected HOST or HOST:PORT, for example stun.example.org or 203.0.113.7:3478")]
pub struct ParseStunServerError;

impl FromStr for StunServer {
    type Err = ParseStunServerError;

    fn from_str(text: &str) -> Result<Self, ParseStunServerError> {
        let whole = || text.parse::<Host>().map(|host| StunServer { host, port: PORT });
        // What follows the last colon is a port, but not within a bare IPv6 address.
        match text.rsplit_once(':') {
            Some((host, port)) if !host.contains(':') || host.ends_with(']') => {
                let host =
                    host.strip_prefix('[').and_then(|ip| ip.strip_suffix(']')).unwrap_or(host);
                let port = port.parse().ok().filter(|port| *port != 0);
                let host = host.parse().map_err(|_| ParseStunServerError)?;
                Ok(StunServer { host, port: port.ok_or(ParseStunServerError)? })
            }
            _ => whole().map_err(|_| ParseStunServerError),
        }
    }
}

impl fmt::Display for StunServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::Ip(ip) => std::net::SocketAddr::new(*ip, self.port).fmt(f),
            host => write!(f, "{host}:{}", self.port),
        }
    }
}

as_text!(StunServer);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_may_be_left_out() {
        for (written, read) in [
            ("stun.example.org", "stun.example.org:3478"),
            ("stun.example.org:19302", "stun.example.org:19302"),
            ("203.0.113.7", "203.0.113.7:3478"),
            ("2001:db8::1", "[2001:db8::1]:3478"),
            ("[2001:db8::1]:99", "[2001:db8::1]:99"),
        ] {
            assert_eq!(written.parse::<StunServer>().unwrap().to_string(), read);
        }
        for wrong in ["", ":3478", "a:0", "a:70000", "a b", "stun:stun.example.org:1"] {
            assert!(wrong.parse::<StunServer>().is_err(), "{wrong}");
        }
    }
}
