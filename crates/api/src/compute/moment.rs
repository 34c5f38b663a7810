//! Times as queries carry them.

use model::Timestamp;

/// Reads `YYYY-MM-DD[(T| )HH:MM[:SS[.ffffff]]][Z|±HH:MM]`; without a zone it is UTC.
pub fn parse(text: &str) -> Option<Timestamp> {
    let text = text.trim();
    let (date, rest) = text.split_at_checked(10)?;
    let days = days(date)?;
    let Some(rest) = rest.strip_prefix(['T', ' ']) else {
        return rest.is_empty().then_some(Timestamp(days * 86_400_000_000));
    };
    let (clock, offset) = match rest.find(['Z', '+', '-']) {
        None => (rest, 0),
        Some(at) => (&rest[..at], offset(&rest[at..])?),
    };
    Some(Timestamp(days * 86_400_000_000 + micros(clock)? - offset * 1_000_000))
}

fn digits(text: &str) -> Option<i64> {
    (!text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())).then(|| text.parse().ok()).flatten()
}

/// Days since 1970-01-01: Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms".
fn days(date: &str) -> Option<i64> {
    let mut parts = date.split('-');
    let (year, month, day) = (digits(parts.next()?)?, digits(parts.next()?)?, digits(parts.next()?)?);
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let last = match month {
        2 if leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => return None,
    };
    if day < 1 || day > last {
        return None;
    }
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let yoe = year.rem_euclid(400);
    let doy = (153 * (month + if month > 2 { -3 } else { 9 }) + 2) / 5 + day - 1;
    Some(era * 146_097 + yoe * 365 + yoe / 4 - yoe / 100 + doy - 719_468)
}

fn micros(clock: &str) -> Option<i64> {
    let (whole, fraction) = clock.split_once('.').unwrap_or((clock, "0"));
    let mut parts = whole.split(':');
    let (hour, minute) = (digits(parts.next()?)?, digits(parts.next()?)?);
    let second = parts.next().map_or(Some(0), digits)?;
    if hour > 23 || minute > 59 || second > 59 || parts.next().is_some() || fraction.len() > 6 {
        return None;
    }
    let fraction = digits(fraction)? * 10_i64.pow(6 - fraction.len() as u32);
    Some(((hour * 60 + minute) * 60 + second) * 1_000_000 + fraction)
}

/// Seconds east of UTC.
fn offset(text: &str) -> Option<i64> {
    if text == "Z" {
        return Some(0);
    }
    let sign = if text.starts_with('-') { -1 } else { 1 };
    let (hours, minutes) = text[1..].split_once(':').or_else(|| text[1..].split_at_checked(2))?;
    Some(sign * (digits(hours)? * 3_600 + digits(minutes)? * 60))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_that_clients_send() {
        for (text, shown) in [
            ("2026-01-05", "2026-01-05T00:00:00.000000"),
            ("2026-01-05T10:02:03", "2026-01-05T10:02:03.000000"),
            ("2026-01-05 10:02:03.5", "2026-01-05T10:02:03.500000"),
            ("2024-02-29T10:02Z", "2024-02-29T10:02:00.000000"),
            ("2026-01-05T10:02:03+02:00", "2026-01-05T08:02:03.000000"),
        ] {
            assert_eq!(parse(text).map(Timestamp::micros_naive).as_deref(), Some(shown), "{text}");
        }
        for bad in ["", "yesterday", "2026-13-01", "2026-02-29", "2026-01-05T25:00:00", "2026-01-05Q"] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
