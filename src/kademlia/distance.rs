//! Points of the 256-bit space that nodes and keys share, and how far apart they are.

use sha2::{Digest, Sha256};

use crate::identity::{NodeId, PublicKey};

/// A place in the space: a node's id, or where something is stored.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Point(pub [u8; 32]);

/// The XOR of two points, compared as a number, big-endian (Maymounkov and Mazieres 2002).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Distance([u8; 32]);

impl Point {
    /// Where the words of an application are: SHA-256.
    #[must_use]
    pub fn of(words: &[u8]) -> Self {
        Point(Sha256::digest(words).into())
    }

    /// Where a signer's value of this name is: nobody else's value can be there.
    #[must_use]
    pub fn of_value(signer: &PublicKey, name: &[u8; 32]) -> Self {
        let mut hash = Sha256::new();
        hash.update(b"peerstage/value-key/1");
        hash.update(signer.0);
        hash.update(name);
        Point(hash.finalize().into())
    }

    /// How far it is to another point.
    #[must_use]
    pub fn distance(&self, other: &Point) -> Distance {
        let mut between = self.0;
        for (byte, other) in between.iter_mut().zip(other.0) {
            *byte ^= other;
        }
        Distance(between)
    }

    /// A point that differs from this one first in the bit `index`, counted from the left, and
    /// is `rest` behind it.
    #[must_use]
    pub fn across(&self, index: usize, rest: &[u8; 32]) -> Point {
        let mut point = self.0;
        for (at, (byte, random)) in point.iter_mut().zip(rest).enumerate() {
            for bit in 0..8usize {
                let position = at.saturating_mul(8).saturating_add(bit);
                let mask = 0x80u8 >> bit;
                if position == index {
                    *byte ^= mask;
                } else if position > index {
                    *byte = (*byte & !mask) | (random & mask);
                }
            }
        }
        Point(point)
    }
}

impl Distance {
    /// Leading bits that the two points share; 256 if they are one.
    #[must_use]
    pub fn shared_bits(&self) -> usize {
        let mut shared = 0usize;
        for byte in self.0 {
            let zeros = usize::try_from(byte.leading_zeros()).unwrap_or(0);
            shared = shared.saturating_add(zeros);
            if zeros < 8 {
                break;
            }
        }
        shared
    }
}

impl From<NodeId> for Point {
    fn from(id: NodeId) -> Self {
        Point(id.0)
    }
}

impl std::fmt::Debug for Point {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Point({})", crate::identity::hex(&self.0[..4]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_are_numbers_and_share_bits() {
        let zero = Point([0; 32]);
        let mut one = [0u8; 32];
        one[1] = 0x10;
        assert_eq!(zero.distance(&Point(one)).shared_bits(), 11);
        assert_eq!(zero.distance(&zero).shared_bits(), 256);
        assert!(zero.distance(&Point(one)) < zero.distance(&Point([1; 32])));
    }

    #[test]
    fn a_point_across_differs_first_where_it_is_told() {
        let home = Point([0xa5; 32]);
        for index in [0, 7, 8, 100, 255] {
            let across = home.across(index, &[0x3c; 32]);
            assert_eq!(home.distance(&across).shared_bits(), index);
        }
    }
}
