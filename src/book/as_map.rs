//! Which autonomous system an IP belongs to, from a list the operator provides.
//!
//! One line a prefix: `203.0.113.0/24 64500`, or `2001:db8::/32 AS64500`. Empty lines and what
//! follows a `#` are left out. The longest prefix that covers an IP counts.
//!
//! # Security
//! Provided: memory is bounded by [`PREFIXES_MAX`]; a line that says nothing is refused with its
//! number, not skipped.
//! Not provided: any check of what the list says: whoever writes it decides which addresses
//! count as one neighbourhood.

use std::net::IpAddr;

use crate::address::NetworkGroup;

/// Prefixes in a list: twice what the public routing tables of IPv4 and IPv6 have (1.2 million
/// in 2025, bgp.potaroo.net), 32 bytes each.
pub const PREFIXES_MAX: usize = 2_500_000;

/// A list of prefixes with the number of their autonomous system.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AsMap {
    /// By length, then by network; IPv4 as mapped IPv6.
    prefixes: Vec<(u8, u128, u32)>,
    /// The lengths there are, longest first.
    lengths: Vec<u8>,
}

/// Why a list can't be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AsMapError {
    /// A line that is no prefix with a number.
    #[error("line {line}: expected PREFIX/LENGTH NUMBER, for example 203.0.113.0/24 64500")]
    Line {
        /// Counted from 1.
        line: usize,
    },
    /// More prefixes than the public internet has.
    #[error("more than {PREFIXES_MAX} prefixes")]
    TooLong,
}

impl AsMap {
    /// Reads a list.
    ///
    /// # Errors
    /// [`AsMapError`] with the line.
    pub fn parse(text: &str) -> Result<Self, AsMapError> {
        let mut prefixes = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let line = line.split('#').next().unwrap_or_default().trim();
            if line.is_empty() {
                continue;
            }
            if prefixes.len() >= PREFIXES_MAX {
                return Err(AsMapError::TooLong);
            }
            let parsed = parse_line(line);
            prefixes.push(parsed.ok_or(AsMapError::Line { line: index.saturating_add(1) })?);
        }
        prefixes.sort_unstable();
        prefixes.dedup_by_key(|(length, network, _)| (*length, *network));
        let mut lengths: Vec<u8> = prefixes.iter().map(|(length, ..)| *length).collect();
        lengths.dedup();
        lengths.reverse();
        Ok(AsMap { prefixes, lengths })
    }

    /// How many prefixes there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.prefixes.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.prefixes.is_empty()
    }

    /// The autonomous system of an IP, as a neighbourhood; `None` if the list does not say.
    #[must_use]
    pub fn group(&self, ip: IpAddr) -> Option<NetworkGroup> {
        let bits = bits(ip);
        self.lengths.iter().find_map(|length| {
            let key = (*length, masked(bits, *length));
            let found = self
                .prefixes
                .binary_search_by_key(&key, |(length, network, _)| (*length, *network));
            let (.., number) = self.prefixes.get(found.ok()?)?;
            Some(NetworkGroup::autonomous_system(*number))
        })
    }
}

fn bits(ip: IpAddr) -> u128 {
    match ip.to_canonical() {
        IpAddr::V4(ip) => ip.to_ipv6_mapped().to_bits(),
        IpAddr::V6(ip) => ip.to_bits(),
    }
}

fn masked(bits: u128, length: u8) -> u128 {
    let off = 128u32.saturating_sub(length.into());
    bits.checked_shr(off).and_then(|kept| kept.checked_shl(off)).unwrap_or(0)
}

fn parse_line(line: &str) -> Option<(u8, u128, u32)> {
    let mut words = line.split_whitespace();
    let (network, length) = words.next()?.split_once('/')?;
    let number = words.next()?;
    let number: u32 = number.trim_start_matches("AS").parse().ok()?;
    let (ip, length): (IpAddr, u8) = (network.parse().ok()?, length.parse().ok()?);
    let (before, most) = if ip.is_ipv4() { (96, 32) } else { (0, 128) };
    if length > most || words.next().is_some() {
        return None;
    }
    let length = length.checked_add(before)?;
    Some((length, masked(bits(ip), length), number))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(map: &AsMap, ip: &str) -> Option<String> {
        map.group(ip.parse().unwrap()).map(|group| group.to_string())
    }

    #[test]
    fn the_longest_prefix_counts() {
        let map = AsMap::parse(
            "# A list.\n203.0.0.0/8 1\n203.0.113.0/24 AS64500 # inside\n2a01:4f8::/32 24940\n\n",
        )
        .unwrap();
        assert_eq!(map.len(), 3);
        assert_eq!(group(&map, "203.0.113.9").as_deref(), Some("AS64500"));
        assert_eq!(group(&map, "::ffff:203.0.113.9").as_deref(), Some("AS64500"));
        assert_eq!(group(&map, "203.9.9.9").as_deref(), Some("AS1"));
        assert_eq!(group(&map, "2a01:4f8:9::1").as_deref(), Some("AS24940"));
        assert_eq!(group(&map, "8.8.8.8"), None);
        let whole = AsMap::parse("0.0.0.0/0 7\n::/0 8").unwrap();
        assert_eq!(group(&whole, "8.8.8.8").as_deref(), Some("AS7"));
        assert_eq!(group(&whole, "2a01::1").as_deref(), Some("AS8"));
    }

    #[test]
    fn a_line_that_says_nothing_is_refused() {
        let bad =
            ["nonsense", "1.2.3.4/24", "1.2.3.4/33 5", "1.2.3.4 5", "::/129 1", "1.0.0.0/8 1 2"];
        for line in bad {
            let text = format!("8.0.0.0/8 1\n{line}");
            assert_eq!(AsMap::parse(&text), Err(AsMapError::Line { line: 2 }), "{line}");
        }
    }
}
