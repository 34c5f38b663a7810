//! How long ago something was, in words.

use model::Timestamp;

/// `3 minutes ago`, from the API's `YYYY-MM-DDTHH:MM:SSZ`; the text itself if it is not of that form.
pub fn ago(then: &str, now: Timestamp) -> String {
    match parse(then) {
        Some(then) => words(now.0 / 1_000_000 - then),
        None => super::table::clean(then),
    }
}

fn words(seconds: i64) -> String {
    let (count, unit) = match seconds {
        ..=0 => return "now".to_owned(),
        1..=119 => (seconds, "second"),
        120..=7_199 => (seconds / 60, "minute"),
        7_200..=172_799 => (seconds / 3_600, "hour"),
        _ => (seconds / 86_400, "day"),
    };
    format!("{count} {unit}{} ago", if count == 1 { "" } else { "s" })
}

/// Seconds since 1970 of `YYYY-MM-DDTHH:MM:SS…`.
fn parse(text: &str) -> Option<i64> {
    let number = |from: usize, to: usize| text.get(from..to)?.parse::<i64>().ok();
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    // Civil date to days: Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms".
    let year = year - i64::from(month <= 2);
    let era = year.div_euclid(400);
    let yoe = year.rem_euclid(400);
    let doy = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let days = era * 146_097 + yoe * 365 + yoe / 4 - yoe / 100 + doy - 719_468;
    Some(days * 86_400 + hour * 3_600 + minute * 60 + second)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_they_are_written() {
        for micros in [0, 951_782_400_000_000, 1_763_829_296_000_000, 1_709_164_800_000_000] {
            let time = Timestamp(micros);
            assert_eq!(parse(&time.seconds_z()), Some(micros / 1_000_000));
        }
        assert_eq!(parse("yesterday"), None);
    }

    #[test]
    fn ages() {
        let at = |seconds: i64| ago("1970-01-01T00:00:00Z", Timestamp(seconds * 1_000_000));
        assert_eq!(
            [at(0), at(1), at(59), at(180), at(7_200), at(864_000)],
            ["now", "1 second ago", "59 seconds ago", "3 minutes ago", "2 hours ago", "10 days ago"]
        );
    }
}
