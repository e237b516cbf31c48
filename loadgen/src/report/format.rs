//! Numbers as people read them: `49.98k`, `3.00M`, `1.94 ms`, `212 MiB`.

use crate::clock::Nanos;

/// A count: as it is below 10000, then with three significant digits.
pub(crate) fn count(count: u64) -> String {
    if count < 10_000 { count.to_string() } else { scaled(count as f64, 3) }
}

/// A number a second: four significant digits, of which a trailing zero is dropped.
pub(crate) fn rate(rate: f64) -> String {
    scaled(rate, 4)
}

/// A time in ns, in the unit that suits it, with three significant digits.
pub(crate) fn time(nanos: f64) -> String {
    let unit = Unit::of(nanos);
    format!("{} {}", unit.number(nanos), unit.name())
}

/// A moment of the run, in seconds.
pub(crate) fn moment(at: Nanos) -> String {
    format!("{:.2} s", at as f64 / 1e9)
}

/// A share as a percentage, rounded down: 98.999 % must not read as 99 %.
pub(crate) fn percent(share: f64) -> String {
    // The little that is added makes up for what the multiplication takes away.
    format!("{:.2} %", (share * 10_000.0 + 1e-6).floor() / 100.0)
}

/// Bytes, in the unit that suits them.
pub(crate) fn bytes(bytes: u64) -> String {
    let mut size = bytes as f64;
    for unit in ["B", "KiB", "MiB"] {
        if size < 1024.0 {
            return format!("{} {unit}", significant(size, if unit == "B" { 0 } else { 3 }));
        }
        size /= 1024.0;
    }
    format!("{} GiB", significant(size, 3))
}

/// A unit of time, that a row of numbers shares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    Micro,
    Milli,
    Second,
}

impl Unit {
    /// The one for a time in ns.
    pub(crate) fn of(nanos: f64) -> Self {
        // What is rounded up to the next unit belongs to it: 999.96 µs is 1.00 ms.
        if nanos < 999_500.0 {
            Self::Micro
        } else if nanos < 999_500_000.0 {
            Self::Milli
        } else {
            Self::Second
        }
    }

    /// The one for a row: what its 99th percentile is said in, unless nothing would be left of its median.
    pub(crate) fn of_row(median: Nanos, p99: Nanos) -> Self {
        match Self::of(p99 as f64) {
            Self::Second if median < 1_000_000 => Self::Milli,
            unit => unit,
        }
    }

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Micro => "µs",
            Self::Milli => "ms",
            Self::Second => "s",
        }
    }

    /// A time in ns in this unit: three significant digits, three decimals at most.
    pub(crate) fn number(self, nanos: f64) -> String {
        let number = nanos
            / match self {
                Self::Micro => 1e3,
                Self::Milli => 1e6,
                Self::Second => 1e9,
            };
        significant(number, 3)
    }
}

/// So many significant digits, and so many decimals at most; 0 is `0`.
fn significant(number: f64, digits: usize) -> String {
    if number == 0.0 {
        return "0".to_owned();
    }
    let decimals = |number: f64| {
        let before = if number < 1.0 { 0 } else { number.log10() as usize + 1 };
        digits.saturating_sub(before)
    };
    let text = format!("{number:.*}", decimals(number));
    // 9.996 has become 10.00: that is a digit too many.
    let rounded: f64 = text.parse().unwrap_or(number);
    format!("{number:.*}", decimals(rounded))
}

fn scaled(number: f64, digits: usize) -> String {
    let mut number = number;
    let mut suffix = "";
    for next in ["k", "M", "G"] {
        if number < 999.95 {
            break;
        }
        number /= 1000.0;
        suffix = next;
    }
    let mut text = significant(number, digits);
    if digits > 3 && text.contains('.') && text.ends_with('0') {
        text.pop();
        if text.ends_with('.') {
            text.pop();
        }
    }
    text + suffix
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_have_four_digits_or_three() {
        for (number, text) in [
            (0.0, "0"),
            (0.25, "0.250"),
            (10.0, "10.0"),
            (999.0, "999"),
            (1000.0, "1.00k"),
            (49_980.0, "49.98k"),
            (50_000.0, "50.0k"),
            (61_234.0, "61.23k"),
            (999_999.0, "1.00M"),
            (1_200_000.0, "1.20M"),
            (123_456_789_000.0, "123.5G"),
        ] {
            assert_eq!(rate(number), text);
        }
    }

    #[test]
    fn counts_are_exact_while_they_are_short() {
        for (number, text) in
            [(0, "0"), (9999, "9999"), (10_100, "10.1k"), (3_000_000, "3.00M"), (99_999, "100k")]
        {
            assert_eq!(count(number), text);
        }
    }

    #[test]
    fn times_choose_their_unit() {
        for (nanos, text) in [
            (0.0, "0 µs"),
            (64.0, "0.064 µs"),
            (310_000.0, "310 µs"),
            (999_700.0, "1.00 ms"),
            (1_940_000.0, "1.94 ms"),
            (9_996_000.0, "10.0 ms"),
            (18_200_000.0, "18.2 ms"),
            (61e9, "61.0 s"),
        ] {
            assert_eq!(time(nanos), text);
        }
        assert_eq!(Unit::of_row(310_000, 1_940_000), Unit::Milli);
        assert_eq!(Unit::of_row(310_000, 2_000_000_000), Unit::Milli);
        assert_eq!(Unit::of_row(310_000_000, 2_000_000_000), Unit::Second);
    }

    #[test]
    fn a_share_is_never_rounded_up() {
        for (share, text) in [
            (1.0, "100.00 %"),
            (0.9996, "99.96 %"),
            (0.989_999, "98.99 %"),
            (0.999_999, "99.99 %"),
            (0.0, "0.00 %"),
        ] {
            assert_eq!(percent(share), text);
        }
    }

    #[test]
    fn bytes_choose_their_unit() {
        for (size, text) in
            [(64, "64 B"), (1024, "1.00 KiB"), (222_298_112, "212 MiB"), (5 << 30, "5.00 GiB")]
        {
            assert_eq!(bytes(size), text);
        }
    }
}
