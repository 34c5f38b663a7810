//! Time: the only seam through which a clock is read.

use std::fmt;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

/// Microseconds since 1970-01-01 UTC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// This time, `by` later.
    pub fn plus(self, by: Duration) -> Self {
        Self(self.0.saturating_add(by.as_micros().min(i64::MAX as u128) as i64))
    }

    /// How long after `earlier` this is; zero if it is not.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0).max(0) as u64)
    }

    /// Reads `YYYY-MM-DDTHH:MM:SS[.ffffff][Z]` (UTC), as services of OpenStack write it; a zone that is not
    /// UTC, and a day that does not exist, is refused.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.strip_suffix('Z').or_else(|| text.strip_suffix("+00:00")).unwrap_or(text);
        let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
        let (date, time) = whole.split_once(['T', ' '])?;
        let number = |text: &str| match text.bytes().all(|byte| byte.is_ascii_digit()) {
            true => text.parse::<i64>().ok(),
            false => None,
        };
        let numbers = |text: &str, by: char| text.split(by).map(number).collect::<Option<Vec<i64>>>();
        let (date, time) = (numbers(date, '-')?, numbers(time, ':')?);
        let (&[y, mo, d], &[h, mi, s]) = (date.as_slice(), time.as_slice()) else { return None };
        if !(1..=9_999).contains(&y) || fraction.len() > 9 || h > 23 || mi > 59 || s > 59 {
            return None;
        }
        // Civil date to days: Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms".
        let (year, month) = if mo > 2 { (y, mo - 3) } else { (y - 1, mo + 9) };
        let era = year.div_euclid(400);
        let yoe = year.rem_euclid(400);
        let doe = yoe * 365 + yoe / 4 - yoe / 100 + (153 * month + 2) / 5 + d - 1;
        let days = era * 146_097 + doe - 719_468;
        let micros = match fraction {
            "" => 0,
            // Digits are one byte each, so the cut is between two of them.
            digits => number(digits).and_then(|_| number(&format!("{digits:0<6}")[..6]))?,
        };
        let read = Self((((days * 24 + h) * 60 + mi) * 60 + s) * 1_000_000 + micros);
        let civil = read.civil();
        ((civil.0, i64::from(civil.1), i64::from(civil.2)) == (y, mo, d)).then_some(read)
    }

    /// Year, month, day, hour, minute, second, microsecond in UTC (proleptic Gregorian calendar).
    pub fn civil(self) -> (i64, u32, u32, u32, u32, u32, u32) {
        let (seconds, micros) = (self.0.div_euclid(1_000_000), self.0.rem_euclid(1_000_000));
        let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
        // Days to civil date: Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms".
        let z = days + 719_468;
        let era = z.div_euclid(146_097);
        let doe = z.rem_euclid(146_097);
        let yoe = (doe - doe / 1_460 + doe / 36_524 - doe / 146_096) / 365;
        let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
        let mp = (5 * doy + 2) / 153;
        let day = (doy - (153 * mp + 2) / 5 + 1) as u32;
        let month = if mp < 10 { mp + 3 } else { mp - 9 } as u32;
        let year = yoe + era * 400 + i64::from(month <= 2);
        let second = second as u32;
        (year, month, day, second / 3_600, second / 60 % 60, second % 60, micros as u32)
    }

    /// `YYYY-MM-DDTHH:MM:SSZ`, Nova's form of `created` and `updated`.
    pub fn seconds_z(self) -> String {
        let (y, mo, d, h, mi, s, _) = self.civil();
        format!("{y:04}-{mo:02}-{d:02}T{h:02}:{mi:02}:{s:02}Z")
    }

    /// `YYYY-MM-DDTHH:MM:SS.ffffff`, Nova's form of `OS-SRV-USG:launched_at` and of action times.
    pub fn micros_naive(self) -> String {
        let (y, mo, d, h, mi, s, us) = self.civil();
        format!("{y:04}-{mo:02}-{d:02}T{h:02}:{mi:02}:{s:02}.{us:06}")
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}Z", self.micros_naive())
    }
}

/// A source of time. Wall time is for people and for records; only monotonic time measures waits.
pub trait Clock: Send + Sync {
    /// Wall-clock time.
    fn now(&self) -> Timestamp;
    /// Monotonic time since an arbitrary start.
    fn monotonic(&self) -> Duration;
}

/// The machine's clocks.
#[derive(Debug)]
pub struct SystemClock {
    start: Instant,
}

impl Default for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the seam that provides the clock")]
    fn default() -> Self {
        Self { start: Instant::now() }
    }
}

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the seam that provides the clock")]
    fn now(&self) -> Timestamp {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp(since.as_micros() as i64)
    }

    fn monotonic(&self) -> Duration {
        self.start.elapsed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        for micros in [0, 951_782_400_000_000, 1_763_829_296_123_456, -62_135_596_800_000_000] {
            let time = Timestamp(micros);
            assert_eq!(Timestamp::parse(&time.to_string()), Some(time), "{time}");
            assert_eq!(Timestamp::parse(&time.micros_naive()), Some(time), "{time}");
        }
        assert_eq!(Timestamp::parse("2000-02-29T00:00:00Z"), Some(Timestamp(951_782_400_000_000)));
        assert_eq!(Timestamp::parse("1970-01-01T00:00:01.5"), Some(Timestamp(1_500_000)));
        for wrong in [
            "",
            "2001-02-29T00:00:00",
            "2000-13-01T00:00:00",
            "2000-01-01",
            "2000-01-01T24:00:00",
            "2000-01-01T00:00:00+02:00",
            "20é0-01-01T00:00:00",
            "2000-01-01T00:00:00.é",
        ] {
            assert_eq!(Timestamp::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn civil_dates() {
        assert_eq!(Timestamp(0).seconds_z(), "1970-01-01T00:00:00Z");
        assert_eq!(Timestamp(951_782_400_000_000).seconds_z(), "2000-02-29T00:00:00Z");
        assert_eq!(Timestamp(1_763_829_296_123_456).micros_naive(), "2025-11-22T16:34:56.123456");
        assert_eq!(Timestamp(-1).micros_naive(), "1969-12-31T23:59:59.999999");
    }
}
