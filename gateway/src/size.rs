//! Sizes as the original's flags write them: `64`, `2K`, `512K`, `1M`, `1G`, each letter 1024 times the one before.

use std::fmt;
use std::str::FromStr;

const UNITS: [(char, u32); 3] = [('K', 10), ('M', 20), ('G', 30)];

/// A number of bytes, as flags write it: parsed from `64`, `2K`, `512K`, `1M` or `1G`, and shown in the largest unit that
/// divides it.
///
/// ```
/// use fastway_gateway::Size;
///
/// assert_eq!("512K".parse(), Ok(Size(524_288)));
/// assert_eq!(Size(2048).to_string(), "2K");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size(
    /// The number.
    pub usize,
);

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
        let unit = text[digits.len()..].to_ascii_uppercase();
        let shift = match unit.strip_suffix('B').unwrap_or(&unit) {
            "" => Some(0),
            unit => UNITS.iter().find(|(letter, _)| *unit == letter.to_string()).map(|(_, shift)| *shift),
        };
        let number: Option<usize> = digits.parse().ok();
        match (number, shift) {
            (Some(number), Some(shift)) => number
                .checked_mul(1 << shift)
                .map(Self)
                .ok_or_else(|| "the size is larger than this machine can count".to_owned()),
            _ => {
                Err("a size is a number of bytes, or one with K, M or G (1024-based), such as 512K"
                    .to_owned())
            }
        }
    }
}

impl fmt::Display for Size {
    /// In the largest unit that divides it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = UNITS.iter().rev().find(|(_, shift)| self.0 != 0 && self.0.is_multiple_of(1 << shift));
        match unit {
            Some((letter, shift)) => write!(f, "{}{letter}", self.0 >> shift),
            None => self.0.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_1024_based() {
        for (text, bytes) in [
            ("0", 0),
            ("64", 64),
            ("64B", 64),
            ("2K", 2048),
            ("512k", 524_288),
            ("1M", 1 << 20),
            ("64MB", 64 << 20),
            ("1g", 1 << 30),
        ] {
            assert_eq!(text.parse(), Ok(Size(bytes)), "{text}");
        }
    }

    #[test]
    fn anything_else_is_no_size() {
        for text in
            ["", "K", "1.5M", "-1", "1T", "12 K", "1KK", "one", "99999999999999999999", "99999999999G"]
        {
            assert!(text.parse::<Size>().is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_are_shown_as_they_are_written() {
        for text in ["0", "100", "2K", "1M", "1537", "1G"] {
            assert_eq!(text.parse::<Size>().unwrap().to_string(), text);
        }
    }
}
