//! Durations as people write them: `5s`, `250ms`, `1h 30m`.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::time::Millis;

/// A duration in the configuration, milliseconds inside.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span(pub Millis);

/// Units from the longest to the shortest, in milliseconds. A day is 24 hours.
const UNITS: [(&str, u64); 5] =
    [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// Why a text is not a duration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseSpanError {
    /// There is nothing there.
    #[error("a duration can't be empty")]
    Empty,
    /// A number stands alone.
    #[error("{0} has no unit; write {0}ms, {0}s, {0}m, {0}h or {0}d")]
    NoUnit(String),
    /// The unit isn't one of ours.
    #[error("{0:?} is no unit of time; use ms, s, m, h or d")]
    UnknownUnit(String),
    /// A part doesn't start with a whole number.
    #[error("{0:?} doesn't start with a whole number")]
    NoNumber(String),
    /// Parts are repeated or run from short to long.
    #[error("units must run from long to short, each once, as in \"1h 30m\"")]
    Order,
    /// More milliseconds than fit 64 bits.
    #[error("longer than {} days", u64::MAX / 86_400_000)]
    TooLong,
}

impl Span {
    /// A span of milliseconds.
    #[must_use]
    pub const fn millis(millis: u64) -> Self {
        Span(millis)
    }

    /// A span of seconds.
    #[must_use]
    pub const fn seconds(seconds: u64) -> Self {
        Span(seconds.saturating_mul(1_000))
    }

    /// A span of minutes.
    #[must_use]
    pub const fn minutes(minutes: u64) -> Self {
        Span(minutes.saturating_mul(60_000))
    }

    /// A span of hours.
    #[must_use]
    pub const fn hours(hours: u64) -> Self {
        Span(hours.saturating_mul(3_600_000))
    }

    /// Milliseconds, for the machines.
    #[must_use]
    pub const fn as_millis(self) -> Millis {
        self.0
    }

    /// As the standard library has it, for the shell.
    #[must_use]
    pub const fn as_duration(self) -> std::time::Duration {
        std::time::Duration::from_millis(self.0)
    }
}

/// The largest units first, none that is zero: `1h 30m`, `250ms`, `0s`.
impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == 0 {
            return f.write_str("0s");
        }
        let mut rest = self.0;
        let mut space = "";
        for (unit, millis) in UNITS {
            if rest >= millis {
                write!(f, "{space}{}{unit}", rest / millis)?;
                rest %= millis;
                space = " ";
            }
        }
        Ok(())
    }
}

impl FromStr for Span {
    type Err = ParseSpanError;

    fn from_str(text: &str) -> Result<Self, ParseSpanError> {
        let mut rest = text.trim();
        if rest.is_empty() {
            return Err(ParseSpanError::Empty);
        }
        let mut total = 0u64;
        let mut shortest = u64::MAX;
        while !rest.is_empty() {
            let (number, after) = split_while(rest, |c| c.is_ascii_digit());
            if number.is_empty() {
                return Err(ParseSpanError::NoNumber(rest.to_string()));
            }
            let (unit, after) = split_while(after, |c| !c.is_ascii_digit() && c != ' ');
            if unit.is_empty() {
                return Err(ParseSpanError::NoUnit(number.to_string()));
            }
            let millis = UNITS
                .iter()
                .find(|(name, _)| *name == unit)
                .map(|(_, millis)| *millis)
                .ok_or_else(|| ParseSpanError::UnknownUnit(unit.to_string()))?;
            if millis >= shortest {
                return Err(ParseSpanError::Order);
            }
            shortest = millis;
            let part = number.parse::<u64>().ok().and_then(|number| number.checked_mul(millis));
            total = part.and_then(|part| total.checked_add(part)).ok_or(ParseSpanError::TooLong)?;
            rest = after.trim_start();
        }
        Ok(Span(total))
    }
}

/// Splits off the longest start of `text` whose characters all satisfy `belongs`.
pub(crate) fn split_while(text: &str, belongs: impl Fn(char) -> bool) -> (&str, &str) {
    let end = text.find(|c| !belongs(c)).unwrap_or(text.len());
    text.split_at(end)
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Span;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("text")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Span, E> {
                text.parse().map_err(E::custom)
            }
            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Span, E> {
                Err(E::custom(ParseSpanError::NoUnit(number.to_string())))
            }
            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Span, E> {
                Err(E::custom(ParseSpanError::NoUnit(number.to_string())))
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
    fn people_write_durations_in_many_ways() {
        for (text, millis) in [
            ("5s", 5_000),
            ("250ms", 250),
            ("1h 30m", 5_400_000),
            ("1h30m", 5_400_000),
            (" 2d ", 172_800_000),
            ("0s", 0),
            ("1m 1ms", 60_001),
        ] {
            assert_eq!(text.parse(), Ok(Span(millis)), "{text}");
        }
    }

    #[test]
    fn a_wrong_duration_is_told_what_is_wrong() {
        let error = |text: &str| text.parse::<Span>().unwrap_err();
        assert_eq!(error(""), ParseSpanError::Empty);
        assert_eq!(error("5"), ParseSpanError::NoUnit("5".into()));
        assert_eq!(error("5 s"), ParseSpanError::NoUnit("5".into()));
        assert_eq!(error("5 bananas"), ParseSpanError::NoUnit("5".into()));
        assert_eq!(error("5bananas"), ParseSpanError::UnknownUnit("bananas".into()));
        assert_eq!(error("-5s"), ParseSpanError::NoNumber("-5s".into()));
        assert_eq!(error("1.5s"), ParseSpanError::UnknownUnit(".".into()));
        assert_eq!(error("5s 1m"), ParseSpanError::Order);
        assert_eq!(error("5s 5s"), ParseSpanError::Order);
        assert_eq!(error("99999999999999999999s"), ParseSpanError::TooLong);
        assert_eq!(error("18446744073709551615s"), ParseSpanError::TooLong);
        assert_eq!(error("5").to_string(), "5 has no unit; write 5ms, 5s, 5m, 5h or 5d");
    }

    proptest! {
        #[test]
        fn every_span_prints_and_parses_back(millis: u64) {
            prop_assert_eq!(Span(millis).to_string().parse(), Ok(Span(millis)));
        }

        #[test]
        fn arbitrary_text_is_a_span_or_an_error(text: String) {
            let _ = text.parse::<Span>();
        }
    }
}
