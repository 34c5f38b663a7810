//! The only place that reads the process's environment.

use super::Variables;

/// One variable, if it is set and is UTF-8.
#[expect(clippy::disallowed_methods, reason = "this module provides the environment")]
pub fn var(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// All variables that override keys of the configuration, `SKEP__…`.
#[expect(clippy::disallowed_methods, reason = "this module provides the environment")]
pub fn overrides() -> Variables {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .filter(|(name, _)| name.starts_with("SKEP__"))
        .collect()
}
