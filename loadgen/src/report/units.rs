//! Numbers as people read them: thousands apart, a unit behind every figure, one unit for a whole table.

use std::fmt::Write;

/// A count with its thousands apart: `12,345`.
#[must_use]
pub fn grouped(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3 + 1);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A count and what is counted: `1 worker`, `2,000 workers`.
#[must_use]
pub fn counted(count: u64, one: &str, many: &str) -> String {
    format!("{} {}", grouped(count), if count == 1 { one } else { many })
}

/// Nanoseconds with three significant digits in the unit that fits them: `45.2 us`, `1.2 s`.
#[must_use]
pub fn span(ns: u64) -> String {
    // Rounded before the unit is chosen, so that 999.9 us become 1 ms and not 1000 us.
    let mut step = 1;
    while ns / step >= 1000 {
        step *= 10;
    }
    let ns = (u128::from(ns) + u128::from(step / 2)) / u128::from(step) * u128::from(step);
    let unit = [Unit::S, Unit::Ms, Unit::Us, Unit::Ns].into_iter().find(|unit| ns >= u128::from(unit.ns()));
    let unit = unit.unwrap_or(Unit::Ns);
    format!("{} {}", trimmed(fixed(ns, unit, 2)), unit.name())
}

/// Bytes as they are given on the command line: whole KiB, MiB and GiB where it is a whole number of them.
#[must_use]
pub fn bytes(count: u64) -> String {
    let units = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    match units.into_iter().find(|(unit, _)| count >= *unit && count.is_multiple_of(*unit)) {
        Some((unit, name)) => format!("{} {name}", grouped(count / unit)),
        None => format!("{} B", grouped(count)),
    }
}

/// A part as a percentage of the whole. Never 100 % for less than all, and never 0 % for more than none.
#[must_use]
pub fn percent(part: u64, whole: u64) -> String {
    if part == 0 || whole == 0 {
        return "0 %".to_owned();
    }
    if part >= whole {
        return "100 %".to_owned();
    }
    // Hundredths of a percent.
    match u128::from(part) * 10_000 / u128::from(whole) {
        0 => "<0.01 %".to_owned(),
        _ if u128::from(whole - part) * 10_000 < u128::from(whole) => ">99.99 %".to_owned(),
        share => format!("{}.{:02} %", share / 100, share % 100),
    }
}

/// A share from 0 to 1 in whole percent.
#[must_use]
pub fn share(share: f64) -> String {
    format!("{:.0} %", share * 100.0)
}

/// A rate in connections per second.
#[must_use]
pub fn rate(per_second: f64) -> String {
    // Casts of floats saturate, and what is no number becomes 0.
    let text = if per_second >= 1000.0 {
        grouped(per_second.round() as u64)
    } else {
        trimmed(fixed((per_second * 1000.0).round() as u128, Unit::Us, 3))
    };
    format!("{text}/s")
}

/// A unit of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Nanoseconds.
    Ns,
    /// Microseconds.
    Us,
    /// Milliseconds.
    Ms,
    /// Seconds.
    S,
}

impl Unit {
    /// Its name, in ASCII as the command line takes it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ns => "ns",
            Self::Us => "us",
            Self::Ms => "ms",
            Self::S => "s",
        }
    }

    /// Its length in nanoseconds.
    #[must_use]
    pub const fn ns(self) -> u64 {
        match self {
            Self::Ns => 1,
            Self::Us => 1_000,
            Self::Ms => 1_000_000,
            Self::S => 1_000_000_000,
        }
    }
}

/// What all times of one table are written in, so that a longer number is a longer time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scale {
    /// The unit.
    pub unit: Unit,
    /// Digits behind the point.
    pub decimals: usize,
}

impl Scale {
    const fn new(unit: Unit, decimals: usize) -> Self {
        Self { unit, decimals }
    }

    /// From the finest to the coarsest.
    const ALL: [Self; 7] = [
        Self::new(Unit::Us, 1),
        Self::new(Unit::Ms, 3),
        Self::new(Unit::Ms, 2),
        Self::new(Unit::Ms, 1),
        Self::new(Unit::S, 3),
        Self::new(Unit::S, 1),
        Self::new(Unit::S, 0),
    ];

    /// The finest that suits a typical time and that `fits`: a table with an hour in it may need a coarser one.
    pub fn choose(typical_ns: u64, fits: impl Fn(Self) -> bool) -> Self {
        let start = usize::from(typical_ns >= Unit::Ms.ns());
        let scales = &Self::ALL[start..];
        scales.iter().copied().find(|&scale| fits(scale)).unwrap_or(Self::ALL[Self::ALL.len() - 1])
    }

    /// A time, without the unit: the table has it in its corner.
    #[must_use]
    pub fn cell(self, ns: u64) -> String {
        let finest = self.unit.ns() / 10_u64.pow(self.decimals as u32);
        if ns > 0 && ns < finest.div_ceil(2) {
            // A 0.000 would say that it took no time.
            return format!("<{}", fixed(finest.into(), self.unit, self.decimals));
        }
        fixed(ns.into(), self.unit, self.decimals)
    }

    /// A time without needless zeros behind the point.
    #[must_use]
    pub fn edge(self, ns: u64) -> String {
        // All digits that a time has in the unit, for an edge is exact.
        trimmed(fixed(ns.into(), self.unit, self.unit.ns().ilog10() as usize))
    }
}

/// Nanoseconds in a unit, rounded to so many decimals, thousands apart.
fn fixed(ns: u128, unit: Unit, decimals: usize) -> String {
    let factor = 10_u128.pow(decimals as u32);
    let unit = u128::from(unit.ns());
    let scaled = (ns * factor + unit / 2) / unit;
    let mut text = grouped(u64::try_from(scaled / factor).unwrap_or(u64::MAX));
    if decimals > 0 {
        let _ = write!(text, ".{:0decimals$}", scaled % factor);
    }
    text
}

/// Without the zeros at the end of a fraction.
fn trimmed(text: String) -> String {
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}
