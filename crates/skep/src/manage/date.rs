//! Dates on command lines.

use model::Timestamp;

const DAY: i64 = 86_400;

/// Reads `YYYY-MM-DD`, `YYYY-MM-DD HH:MM[:SS]` or the same with `T`, as UTC; `Z` may follow.
pub fn parse(text: &str) -> Option<Timestamp> {
    let text = text.trim().trim_end_matches('Z');
    let (date, time) = text.split_once(['T', ' ']).unwrap_or((text, "00:00"));
    let number = |text: &str, range: std::ops::RangeInclusive<i64>| {
        let digits = !text.is_empty() && text.len() <= 4 && text.bytes().all(|b| b.is_ascii_digit());
        text.parse().ok().filter(|n| digits && range.contains(n))
    };
    let mut parts = date.split('-');
    let (year, month) = (number(parts.next()?, 1970..=9999)?, number(parts.next()?, 1..=12)?);
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let longest = match month {
        2 if leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    };
    let day = number(parts.next()?, 1..=longest)?;
    let mut clock = time.split(':');
    let (hour, minute) = (number(clock.next()?, 0..=23)?, number(clock.next()?, 0..=59)?);
    let second = clock.next().map_or(Some(0), |second| number(second, 0..=59))?;
    if parts.next().is_some() || clock.next().is_some() {
        return None;
    }
    // Days since 1970-01-01 (Howard Hinnant, "chrono-compatible low-level date algorithms").
    let (y, m) = if month <= 2 { (year - 1, month + 9) } else { (year, month - 3) };
    let (era, of_era) = (y / 400, y % 400);
    let of_year = (153 * m + 2) / 5 + day - 1;
    let days = era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468;
    Some(Timestamp((days * DAY + hour * 3_600 + minute * 60 + second) * 1_000_000))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_read_or_refused() {
        for (text, seconds) in [
            ("1970-01-01", 0),
            ("2000-02-29", 951_782_400),
            ("2024-12-31 23:59", 1_735_689_540),
            ("2014-11-20T10:11:12Z", 1_416_478_272),
        ] {
            assert_eq!(parse(text), Some(Timestamp(seconds * 1_000_000)), "{text}");
        }
        for bad in ["", "x", "2023-02-29", "2024-13-01", "2024-01-32", "2024-01-01 25:00", "24-1-1", "2024-1"]
        {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
