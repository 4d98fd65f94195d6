//! Sizes as people write them: `10MiB`, `64KiB`, or plain bytes.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::span::split_while;

/// A number of bytes in the configuration.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Size(pub u64);

/// Units from the largest to the smallest, in bytes (IEC 80000-13).
const UNITS: [(&str, u64); 5] =
    [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

/// Why a text is not a size.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseSizeError {
    /// There is nothing there.
    #[error("a size can't be empty")]
    Empty,
    /// The text doesn't start with a whole number.
    #[error("{0:?} doesn't start with a whole number")]
    NoNumber(String),
    /// The unit isn't one of ours.
    #[error("{0:?} is no unit of size; use B, KiB, MiB, GiB or TiB")]
    UnknownUnit(String),
    /// More bytes than fit 64 bits.
    #[error("larger than {} TiB", u64::MAX >> 40)]
    TooLarge,
    /// A number below zero.
    #[error("{0} bytes is less than nothing")]
    Negative(i64),
}

impl Size {
    /// A number of kibibytes.
    #[must_use]
    pub const fn kib(kib: u64) -> Self {
        Size(kib.saturating_mul(1 << 10))
    }

    /// A number of mebibytes.
    #[must_use]
    pub const fn mib(mib: u64) -> Self {
        Size(mib.saturating_mul(1 << 20))
    }

    /// A number of gibibytes.
    #[must_use]
    pub const fn gib(gib: u64) -> Self {
        Size(gib.saturating_mul(1 << 30))
    }

    /// Bytes.
    #[must_use]
    pub const fn bytes(self) -> u64 {
        self.0
    }

    /// Bytes, at most what this machine can address.
    #[must_use]
    pub fn as_usize(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

/// In the largest unit that leaves no rest: `10MiB`, `1500B`.
impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole =
            UNITS.iter().find(|(_, bytes)| self.0 >= *bytes && self.0.is_multiple_of(*bytes));
        let (unit, bytes) = whole.copied().unwrap_or(("B", 1));
        write!(f, "{}{unit}", self.0 / bytes)
    }
}

impl FromStr for Size {
    type Err = ParseSizeError;

    fn from_str(text: &str) -> Result<Self, ParseSizeError> {
        let text = text.trim();
        if text.is_empty() {
            return Err(ParseSizeError::Empty);
        }
        let (number, unit) = split_while(text, |c| c.is_ascii_digit());
        if number.is_empty() {
            return Err(ParseSizeError::NoNumber(text.to_string()));
        }
        let unit = match unit.trim_start() {
            "" => "B",
            unit => unit,
        };
        let bytes = UNITS
            .iter()
            .find(|(name, _)| *name == unit)
            .map(|(_, bytes)| *bytes)
            .ok_or_else(|| ParseSizeError::UnknownUnit(unit.to_string()))?;
        let number = number.parse::<u64>().map_err(|_| ParseSizeError::TooLarge)?;
        number.checked_mul(bytes).map(Size).ok_or(ParseSizeError::TooLarge)
    }
}

impl Serialize for Size {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Size;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("text or a whole number of bytes")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Size, E> {
                text.parse().map_err(E::custom)
            }
            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Size, E> {
                let bytes = u64::try_from(number);
                bytes.map(Size).map_err(|_| E::custom(ParseSizeError::Negative(number)))
            }
            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Size, E> {
                Ok(Size(number))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn people_write_sizes_in_many_ways() {
        for (text, bytes) in
            [("10MiB", 10 << 20), ("64 KiB", 65_536), ("1500", 1_500), ("7B", 7), ("0", 0)]
        {
            assert_eq!(text.parse(), Ok(Size(bytes)), "{text}");
        }
        assert_eq!(Size(1_500).to_string(), "1500B");
        assert_eq!(Size::gib(2).to_string(), "2GiB");
        assert_eq!(Size(0).to_string(), "0B");
    }

    #[test]
    fn a_wrong_size_is_told_what_is_wrong() {
        let error = |text: &str| text.parse::<Size>().unwrap_err();
        assert_eq!(error(" "), ParseSizeError::Empty);
        assert_eq!(error("10MB"), ParseSizeError::UnknownUnit("MB".into()));
        assert_eq!(error("1.5MiB"), ParseSizeError::UnknownUnit(".5MiB".into()));
        assert_eq!(error("-1"), ParseSizeError::NoNumber("-1".into()));
        assert_eq!(error("99999999TiB"), ParseSizeError::TooLarge);
        assert_eq!(error("18446744073709551616"), ParseSizeError::TooLarge);
    }

    proptest! {
        #[test]
        fn every_size_prints_and_parses_back(bytes: u64) {
            prop_assert_eq!(Size(bytes).to_string().parse(), Ok(Size(bytes)));
        }

        #[test]
        fn arbitrary_text_is_a_size_or_an_error(text: String) {
            let _ = text.parse::<Size>();
        }
    }
}
