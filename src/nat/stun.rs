//! The two messages of STUN that a node needs: the binding request and its answer.
//!
//! Source: RFC 8489, sections 5 (header), 14.1 (MAPPED-ADDRESS) and 14.2 (XOR-MAPPED-ADDRESS).
//!
//! # Security
//! Provided: every length is checked, nothing is allocated, an answer belongs to the request with
//! its 96 random bits and to nobody else.
//! Not provided: that the server tells the truth; whoever asks compares several
//! ([`super::Prober`]).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Bytes of a header.
const HEADER: usize = 20;
/// The second word of every header.
const COOKIE: u32 = 0x2112_a442;
const BINDING_REQUEST: u16 = 0x0001;
const BINDING_SUCCESS: u16 = 0x0101;
const BINDING_ERROR: u16 = 0x0111;
const MAPPED_ADDRESS: u16 = 0x0001;
const XOR_MAPPED_ADDRESS: u16 = 0x0020;
const FAMILY_V4: u8 = 1;
const FAMILY_V6: u8 = 2;

/// The name of an exchange: 96 random bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TransactionId(pub [u8; 12]);

/// What a server answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The request it belongs to.
    pub id: TransactionId,
    /// Where the server saw the request come from; `None` if it refuses to say.
    pub seen: Option<SocketAddr>,
}

/// Why a datagram is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StunError {
    /// Not a STUN message, or not as long as it says.
    #[error("{0} bytes that are no STUN message")]
    NotStun(usize),
    /// A message that is neither kind of answer.
    #[error("STUN message type {0:#06x} is no answer to a binding request")]
    NotAnAnswer(u16),
    /// An attribute reaches beyond the message, or an address is not as long as its family's.
    #[error("STUN attribute {0:#06x} is not as long as it must be")]
    Attribute(u16),
    /// A success without an address.
    #[error("the STUN answer holds no address")]
    NoAddress,
}

/// A binding request without attributes.
#[must_use]
pub fn binding_request(id: TransactionId) -> [u8; HEADER] {
    let mut request = [0; HEADER];
    let (head, tail) = request.split_at_mut(8);
    head.copy_from_slice(&word_pair(u32::from(BINDING_REQUEST) << 16, COOKIE));
    tail.copy_from_slice(&id.0);
    request
}

/// Reads an answer to a binding request. Unknown attributes are skipped, as the address is all
/// that is wanted.
///
/// # Errors
/// [`StunError`].
pub fn read_answer(datagram: &[u8]) -> Result<Answer, StunError> {
    let not = StunError::NotStun(datagram.len());
    let (header, mut rest) = datagram.split_first_chunk::<HEADER>().ok_or(not)?;
    let [a, b, c, d, e, f, g, h, id @ ..] = *header;
    let (kind, length) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
    if u32::from_be_bytes([e, f, g, h]) != COOKIE || rest.len() != usize::from(length) {
        return Err(not);
    }
    let id = TransactionId(id);
    match kind {
        BINDING_ERROR => return Ok(Answer { id, seen: None }),
        BINDING_SUCCESS => {}
        other => return Err(StunError::NotAnAnswer(other)),
    }
    let mut plain = None;
    while let Some(([a, b, c, d], tail)) = rest.split_first_chunk::<4>() {
        let (attribute, length) = (u16::from_be_bytes([*a, *b]), u16::from_be_bytes([*c, *d]));
        let wrong = StunError::Attribute(attribute);
        let length = usize::from(length);
        let value = tail.get(..length).ok_or(wrong)?;
        match attribute {
            XOR_MAPPED_ADDRESS => {
                let seen = Some(unmask(address(value).ok_or(wrong)?, id));
                return Ok(Answer { id, seen });
            }
            MAPPED_ADDRESS => plain = Some(address(value).ok_or(wrong)?),
            _ => {}
        }
        // Padded to four bytes; the last one may lack its padding.
        rest = tail.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    // Servers of RFC 3489's time know the plain attribute only.
    plain.map(|seen| Answer { id, seen: Some(seen) }).ok_or(StunError::NoAddress)
}

/// The name of a binding request without attributes, as other nodes send to open a NAT; `None` for
/// anything else.
#[must_use]
pub fn read_request(datagram: &[u8]) -> Option<TransactionId> {
    let request: [u8; HEADER] = datagram.try_into().ok()?;
    let [_, _, _, _, _, _, _, _, id @ ..] = request;
    let id = TransactionId(id);
    (binding_request(id) == request).then_some(id)
}

fn word_pair(first: u32, second: u32) -> [u8; 8] {
    ((u64::from(first) << 32) | u64::from(second)).to_be_bytes()
}

fn address(value: &[u8]) -> Option<SocketAddr> {
    let ([_, family, high, low], ip) = value.split_first_chunk::<4>()?;
    let ip = match *family {
        FAMILY_V4 => IpAddr::V4(Ipv4Addr::from(<[u8; 4]>::try_from(ip).ok()?)),
        FAMILY_V6 => IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(ip).ok()?)),
        _ => return None,
    };
    Some(SocketAddr::new(ip, u16::from_be_bytes([*high, *low])))
}

/// XOR with the cookie and, for IPv6, the transaction (section 14.2): so that a NAT that rewrites
/// addresses wherever it finds them leaves this one alone.
fn unmask(masked: SocketAddr, id: TransactionId) -> SocketAddr {
    // The upper half of the cookie.
    let port = masked.port() ^ 0x2112;
    let ip = match masked.ip() {
        IpAddr::V4(ip) => IpAddr::V4(Ipv4Addr::from_bits(ip.to_bits() ^ COOKIE)),
        IpAddr::V6(ip) => {
            let mut mask = [0; 16];
            let (head, tail) = mask.split_at_mut(4);
            head.copy_from_slice(&COOKIE.to_be_bytes());
            tail.copy_from_slice(&id.0);
            IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() ^ u128::from_be_bytes(mask)))
        }
    };
    SocketAddr::new(ip, port)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ID: TransactionId =
        TransactionId([0xb7, 0xe7, 0xa7, 0x01, 0xbc, 0x34, 0xd6, 0x86, 0xfa, 0x87, 0xdf, 0xae]);

    /// RFC 5769 section 2.2.
    const OVER_IPV4: &str = "0101003c2112a442b7e7a701bc34d686fa87dfae\
        8022000b7465737420766563746f7220002000080001a147e112a643\
        000800142b91f599fd9e90c38c7489f92af9ba53f06be7d780280004c07d4c96";

    /// RFC 5769 section 2.3.
    const OVER_IPV6: &str = "010100482112a442b7e7a701bc34d686fa87dfae\
        8022000b7465737420766563746f7220002000140002a1470113a9faa5d3f179bc25f4b5bed2b9d9\
        00080014a382954e4be67bf11784c97c8292c275bfe3ed4180280004c8fb0b4c";

    fn bytes(hex: &str) -> Vec<u8> {
        let digits = hex.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).unwrap());
        digits.map(|pair| u8::from_str_radix(pair, 16).unwrap()).collect()
    }

    #[test]
    fn the_vectors_of_rfc_5769_are_read() {
        for (vector, seen) in [
            (OVER_IPV4, "192.0.2.1:32853"),
            (OVER_IPV6, "[2001:db8:1234:5678:11:2233:4455:6677]:32853"),
        ] {
            let answer = Answer { id: ID, seen: Some(seen.parse().unwrap()) };
            assert_eq!(read_answer(&bytes(vector)), Ok(answer));
        }
    }

    #[test]
    fn a_request_is_a_header() {
        let request = binding_request(ID);
        assert_eq!(&request[..8], &bytes("000100002112a442"));
        assert_eq!(request[8..], ID.0);
        assert_eq!(read_answer(&request), Err(StunError::NotAnAnswer(BINDING_REQUEST)));
    }

    #[test]
    fn an_old_server_says_it_plainly_and_one_that_refuses_says_nothing() {
        let mut old = bytes("0101000c2112a442");
        old.extend(ID.0);
        old.extend(bytes("0001000800010050cb007107"));
        let seen = Some("203.0.113.7:80".parse().unwrap());
        assert_eq!(read_answer(&old), Ok(Answer { id: ID, seen }));
        let mut refuses = bytes("011100002112a442");
        refuses.extend(ID.0);
        assert_eq!(read_answer(&refuses), Ok(Answer { id: ID, seen: None }));
    }

    #[test]
    fn every_cut_and_every_wrong_length_is_refused() {
        let whole = bytes(OVER_IPV4);
        for length in 0..whole.len() {
            assert!(read_answer(&whole[..length]).is_err(), "{length}");
        }
        let mut longer = whole.clone();
        longer.push(0);
        assert_eq!(read_answer(&longer), Err(StunError::NotStun(longer.len())));
        // The address says that it is IPv6 and is too short for that.
        let mut family = whole;
        family[41] = FAMILY_V6;
        assert_eq!(read_answer(&family), Err(StunError::Attribute(XOR_MAPPED_ADDRESS)));
    }

    proptest! {
        #[test]
        fn nothing_that_arrives_panics(datagram in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = read_answer(&datagram);
            let mut answer = bytes("010100002112a442");
            answer.extend(ID.0);
            answer[3] = u8::try_from(datagram.len()).unwrap();
            answer.extend(&datagram);
            let _ = read_answer(&answer);
        }
    }
}
