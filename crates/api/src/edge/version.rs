//! Microversions of the compute face: which one a request asks for.
//!
//! Rules: `doc/source/reference/api-microversion-history.rst` and the API-SIG microversion
//! specification; texts as in Nova's `nova/exception.py`.

use std::fmt;

use axum::http::StatusCode;
use axum::http::header::{HeaderMap, HeaderName, HeaderValue, VARY};

use crate::edge::refused::Refused;

/// The header of all services, `compute X.Y`.
const COMMON: HeaderName = HeaderName::from_static("openstack-api-version");
/// Nova's own, older header, `X.Y`.
const LEGACY: HeaderName = HeaderName::from_static("x-openstack-nova-api-version");

/// A microversion `2.N`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(pub u16);

impl Version {
    /// The oldest one, and the one that a request without a header gets.
    pub const MIN: Version = Version(1);
    /// The newest one.
    pub const MAX: Version = Version(96);

    /// The microversion that a request asks for: 400 if it cannot be read, 406 if it is out of range.
    pub fn negotiate(headers: &HeaderMap) -> Result<Self, Refused> {
        let mut asked = None;
        for value in headers.get_all(&COMMON) {
            let text = value.to_str().map_err(|_| malformed("(not text)"))?;
            for part in text.split(',') {
                let mut words = part.split_ascii_whitespace();
                if words.next().is_some_and(|service| service.eq_ignore_ascii_case("compute")) {
                    match (words.next(), words.next()) {
                        (Some(version), None) => asked = Some(version.to_owned()),
                        _ => return Err(malformed(part.trim())),
                    }
                }
            }
        }
        if asked.is_none()
            && let Some(value) = headers.get(&LEGACY)
        {
            asked = Some(value.to_str().map_err(|_| malformed("(not text)"))?.trim().to_owned());
        }
        asked.map_or(Ok(Self::MIN), |text| Self::parse(&text))
    }

    fn parse(text: &str) -> Result<Self, Refused> {
        if text == "latest" {
            return Ok(Self::MAX);
        }
        let number = |digits: &str| {
            let plain = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
            (plain && (digits == "0" || !digits.starts_with('0')))
                .then(|| digits.parse::<u32>().unwrap_or(u32::MAX))
        };
        let parts = text.split_once('.').and_then(|(major, minor)| Some((number(major)?, number(minor)?)));
        let (major, minor) = parts.filter(|(major, _)| *major > 0).ok_or_else(|| malformed(text))?;
        match u16::try_from(minor).map(Version) {
            Ok(version) if major == 2 && (Self::MIN..=Self::MAX).contains(&version) => Ok(version),
            _ => Err(Refused::new(
                StatusCode::NOT_ACCEPTABLE,
                format!(
                    "Version {text} is not supported by the API. Minimum is {} and maximum is {}.",
                    Self::MIN,
                    Self::MAX
                ),
            )),
        }
    }

    /// Tells the client which microversion it got, in both headers.
    pub fn announce(self, headers: &mut HeaderMap) {
        if let Ok(value) = HeaderValue::from_str(&format!("compute {self}")) {
            headers.insert(COMMON, value);
        }
        if let Ok(value) = HeaderValue::from_str(&self.to_string()) {
            headers.insert(LEGACY, value);
        }
        vary(headers);
    }
}

/// Tells caches that the answer depends on the microversion asked for.
pub fn vary(headers: &mut HeaderMap) {
    headers.insert(VARY, HeaderValue::from_static("OpenStack-API-Version, X-OpenStack-Nova-API-Version"));
}

fn malformed(text: &str) -> Refused {
    Refused::bad(format!(
        "API Version String {text} is of invalid format. Must be of format MajorNum.MinorNum."
    ))
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "2.{}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(name: &'static str, value: &'static str) -> Result<u16, u16> {
        let mut headers = HeaderMap::new();
        headers.insert(name, HeaderValue::from_static(value));
        Version::negotiate(&headers).map(|version| version.0).map_err(|refused| refused.status.as_u16())
    }

    #[test]
    fn both_headers_and_their_limits() {
        assert_eq!(Version::negotiate(&HeaderMap::new()), Ok(Version::MIN));
        assert_eq!(ask("openstack-api-version", "compute 2.79"), Ok(79));
        assert_eq!(ask("openstack-api-version", "image 2.9, compute 2.79"), Ok(79));
        assert_eq!(ask("openstack-api-version", "image 2.9"), Ok(1));
        assert_eq!(ask("openstack-api-version", "compute latest"), Ok(96));
        assert_eq!(ask("x-openstack-nova-api-version", "2.53"), Ok(53));
        assert_eq!(ask("x-openstack-nova-api-version", "latest"), Ok(96));
        for out in ["2.0", "2.97", "3.1", "1.1", "2.70000", "2.99999999999"] {
            assert_eq!(ask("x-openstack-nova-api-version", out), Err(406), "{out}");
        }
        for bad in ["2", "2.", "a.b", "2.01", "02.1", "", "2.1.1", "0.1", "-2.1"] {
            assert_eq!(ask("x-openstack-nova-api-version", bad), Err(400), "{bad}");
        }
        assert_eq!(ask("openstack-api-version", "compute"), Err(400));
    }

    #[test]
    fn the_common_header_wins() {
        let mut headers = HeaderMap::new();
        headers.insert("openstack-api-version", HeaderValue::from_static("compute 2.50"));
        headers.insert("x-openstack-nova-api-version", HeaderValue::from_static("2.60"));
        assert_eq!(Version::negotiate(&headers), Ok(Version(50)));
    }
}
