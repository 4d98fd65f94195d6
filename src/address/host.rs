//! The machine part of an address, by number or by name.

use std::{fmt, net::IpAddr, str::FromStr};

/// The machine part of an address.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Host {
    /// A number; IPv4-mapped IPv6 has become IPv4.
    Ip(IpAddr),
    /// A name for DNS to resolve, in lower case.
    Name(String),
}

/// The longest host name, characters (RFC 1035 section 2.3.4, without the root's dot).
pub const HOST_NAME_MAX: usize = 253;
/// The longest label of a host name, characters (RFC 1035 section 2.3.4).
pub const LABEL_MAX: usize = 63;

/// Why a text is no machine.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is neither an IP address nor a host name")]
pub struct ParseHostError(pub String);

impl FromStr for Host {
    type Err = ParseHostError;

    /// An IP address, or a host name (RFC 1123 section 2.1, and underscores, which container
    /// networks use). A name whose last label is a number would be a misspelt IPv4 address.
    fn from_str(text: &str) -> Result<Self, ParseHostError> {
        if let Ok(ip) = text.parse::<IpAddr>() {
            return Ok(Host::Ip(ip.to_canonical()));
        }
        let name = text.strip_suffix('.').unwrap_or(text);
        let label_fits = |label: &str| {
            (1..=LABEL_MAX).contains(&label.len())
                && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
                && !label.starts_with('-')
                && !label.ends_with('-')
        };
        let last_is_number =
            name.rsplit('.').next().is_some_and(|last| last.bytes().all(|b| b.is_ascii_digit()));
        if name.len() > HOST_NAME_MAX || last_is_number || !name.split('.').all(label_fits) {
            return Err(ParseHostError(text.to_string()));
        }
        Ok(Host::Name(name.to_ascii_lowercase()))
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Host::Ip(IpAddr::V4(ip)) => ip.fmt(f),
            Host::Ip(IpAddr::V6(ip)) => write!(f, "[{ip}]"),
            Host::Name(name) => f.write_str(name),
        }
    }
}
