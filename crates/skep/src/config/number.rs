//! Numbers and truths that may also be written as text, because variables of the environment are text.

use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;

use serde::Deserializer;
use serde::de::{Error, Visitor};

struct Number<T>(PhantomData<T>);

impl<T: TryFrom<i64> + FromStr> Visitor<'_> for Number<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a whole number in range")
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<T, E> {
        T::try_from(number).map_err(|_| E::custom(format!("{number} is out of range")))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<T, E> {
        let small = i64::try_from(number).ok().and_then(|number| T::try_from(number).ok());
        small.ok_or_else(|| E::custom(format!("{number} is out of range")))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        text.trim().parse().map_err(|_| E::custom("expected a whole number in range"))
    }
}

/// A whole number, also as text.
pub fn whole<'de, T: TryFrom<i64> + FromStr, D: Deserializer<'de>>(from: D) -> Result<T, D::Error> {
    from.deserialize_any(Number(PhantomData))
}

/// The same where the key may be absent.
pub fn maybe<'de, T: TryFrom<i64> + FromStr, D: Deserializer<'de>>(from: D) -> Result<Option<T>, D::Error> {
    whole(from).map(Some)
}

struct Truth;

impl Visitor<'_> for Truth {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("true or false")
    }

    fn visit_bool<E: Error>(self, truth: bool) -> Result<bool, E> {
        Ok(truth)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<bool, E> {
        text.trim().parse().map_err(|_| E::custom("expected true or false"))
    }
}

/// `true` or `false`, also as text.
pub fn truth<'de, D: Deserializer<'de>>(from: D) -> Result<bool, D::Error> {
    from.deserialize_any(Truth)
}
