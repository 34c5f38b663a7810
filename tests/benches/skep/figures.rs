//! Figures of samples: medians, percentiles, and how they are written.

use std::time::Duration;

/// The value below which `part` (0 to 1) of the samples lie; nothing of nothing.
pub fn percentile(samples: &[f64], part: f64) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = (sorted.len().saturating_sub(1)) as f64 * part;
    sorted.get(at.round() as usize).copied().unwrap_or(f64::NAN)
}

/// The middle one.
pub fn median(samples: &[f64]) -> f64 {
    percentile(samples, 0.5)
}

/// The median of one figure of several runs.
pub fn median_of<T>(runs: &[T], figure: impl Fn(&T) -> f64) -> f64 {
    median(&runs.iter().map(figure).collect::<Vec<_>>())
}

/// A number with as many digits as mean something.
pub fn show(number: f64) -> String {
    match number.abs() {
        n if n.is_nan() => "-".into(),
        n if n >= 100.0 => format!("{number:.0}"),
        n if n >= 10.0 => format!("{number:.1}"),
        _ => format!("{number:.2}"),
    }
}

/// A share in percent.
pub fn percent(part: f64, whole: f64) -> String {
    if whole > 0.0 { format!("{:.1} %", 100.0 * part / whole) } else { "-".into() }
}

/// Milliseconds.
pub fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1_000.0
}

/// All runs of one figure, for those who want to see how much it swings.
pub fn all<T>(runs: &[T], figure: impl Fn(&T) -> f64) -> String {
    runs.iter().map(|run| show(figure(run))).collect::<Vec<_>>().join(" ")
}
