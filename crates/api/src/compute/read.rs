//! Reading bodies by the rules of Nova's schemas (`nova/api/validation/parameter_types.py`).

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::edge::refused::Refused;
use crate::edge::{body, query};

/// Largest number in any of Nova's bodies.
pub const LARGEST: i64 = 0x7fff_ffff;

/// The object called `name`, which must be all that the body has.
pub fn only(bytes: &[u8], name: &str) -> Result<Map<String, Value>, Refused> {
    let mut whole = body::object(bytes)?;
    let inner = whole.remove(name);
    known(&whole, &[])?;
    match inner {
        Some(Value::Object(members)) => Ok(members),
        Some(other) => Err(Refused::field(name, &other, format!("{other} is not of type 'object'"))),
        None => Err(required(name)),
    }
}

/// Refuses members that are not among these.
pub fn known(object: &Map<String, Value>, names: &[&str]) -> Result<(), Refused> {
    match object.keys().find(|key| !names.contains(&key.as_str())) {
        None => Ok(()),
        Some(key) => Err(Refused::bad(format!(
            "Invalid input for field/attribute. Additional properties are not allowed ('{key}' was unexpected)"
        ))),
    }
}

/// A member that must be there is not.
pub fn required(name: &str) -> Refused {
    Refused::bad(format!("Invalid input for field/attribute. '{name}' is a required property"))
}

/// A text of `min` to `max` characters; nothing if absent or null.
pub fn text(
    object: &Map<String, Value>,
    name: &str,
    (min, max): (usize, usize),
) -> Result<Option<String>, Refused> {
    match object.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(value @ Value::String(text)) => match text.chars().count() {
            length if length < min => Err(Refused::field(name, value, format!("'{text}' is too short"))),
            length if length > max => Err(Refused::field(name, value, "It is too long")),
            _ => Ok(Some(text.clone())),
        },
        Some(other) => Err(Refused::field(name, other, format!("{other} is not of type 'string'"))),
    }
}

/// A name: 1 to 255 printable characters, without blanks at its ends.
pub fn name(object: &Map<String, Value>, name: &str) -> Result<Option<String>, Refused> {
    if object.get(name) == Some(&Value::Null) {
        return Err(Refused::field(name, &Value::Null, "None is not of type 'string'"));
    }
    let Some(text) = text(object, name, (1, 255))? else { return Ok(None) };
    if text.trim() != text || text.chars().any(char::is_control) {
        let why = "It does not match: printable characters without blanks at the ends";
        return Err(Refused::field(name, &Value::String(text), why));
    }
    Ok(Some(text))
}

/// A whole number between two, also as text.
pub fn number(path: &str, value: &Value, (min, max): (i64, i64)) -> Result<i64, Refused> {
    let number = match value {
        Value::Number(number) => number.as_i64(),
        Value::String(text) => text.parse().ok(),
        _ => None,
    };
    let Some(number) = number else {
        return Err(Refused::field(path, value, format!("{value} is not of type 'integer'")));
    };
    if number < min {
        return Err(Refused::field(path, value, format!("{number} is less than the minimum of {min}")));
    }
    if number > max {
        return Err(Refused::field(path, value, format!("{number} is greater than the maximum of {max}")));
    }
    Ok(number)
}

/// A truth value, also as one of Nova's words; nothing if absent.
pub fn truth(object: &Map<String, Value>, name: &str) -> Result<Option<bool>, Refused> {
    let truth = match object.get(name) {
        None => return Ok(None),
        Some(Value::Bool(truth)) => Some(*truth),
        Some(Value::String(word)) => query::truth(word),
        Some(_) => None,
    };
    let refuse = || Refused::field(name, &object[name], "It is neither true nor false");
    truth.map(Some).ok_or_else(refuse)
}

/// Whether a text may be a key of metadata or of extra specs.
pub fn is_key(key: &str) -> bool {
    let legal = |c: char| c.is_ascii_alphanumeric() || "-_:. ".contains(c);
    !key.is_empty() && key.len() <= 255 && key.chars().all(legal)
}

/// Keys and values of metadata: texts of at most 255 characters.
pub fn pairs(path: &str, object: &Map<String, Value>) -> Result<BTreeMap<String, String>, Refused> {
    let mut pairs = BTreeMap::new();
    for (key, value) in object {
        if !is_key(key) {
            let why = "A key does not match '^[a-zA-Z0-9-_:. ]{1,255}$'";
            return Err(Refused::field(path, &Value::String(key.clone()), why));
        }
        match value {
            Value::String(text) if text.chars().count() <= 255 => pairs.insert(key.clone(), text.clone()),
            Value::String(_) => {
                return Err(Refused::field(&format!("{path}/{key}"), value, "It is too long"));
            }
            _ => {
                let why = format!("{value} is not of type 'string'");
                return Err(Refused::field(&format!("{path}/{key}"), value, why));
            }
        };
    }
    Ok(pairs)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(value: Value) -> Map<String, Value> {
        value.as_object().expect("object").clone()
    }

    #[test]
    fn what_is_taken_and_what_not() {
        let o = object(json!({"a": "x", "n": "7", "t": "True", "u": true, "z": null, "i": 5}));
        assert_eq!(text(&o, "a", (1, 3)), Ok(Some("x".into())));
        assert_eq!(text(&o, "missing", (1, 3)), Ok(None));
        assert!(text(&o, "i", (1, 3)).is_err());
        assert!(text(&o, "a", (2, 3)).is_err());
        assert_eq!(number("n", &o["n"], (0, 9)), Ok(7));
        assert!(number("n", &o["n"], (8, 9)).is_err());
        assert!(number("n", &o["u"], (0, 9)).is_err());
        assert_eq!((truth(&o, "t"), truth(&o, "u")), (Ok(Some(true)), Ok(Some(true))));
        assert!(truth(&o, "i").is_err());
        assert!(name(&o, "z").is_err());
        assert!(name(&object(json!({"name": " a"})), "name").is_err());
        assert!(pairs("m", &object(json!({"": "x"}))).is_err());
        assert!(pairs("m", &object(json!({"k": 1}))).is_err());
        assert_eq!(pairs("m", &object(json!({"k": "v"}))).map(|pairs| pairs.len()), Ok(1));
        assert!(only(br#"{"a": {}, "b": 1}"#, "a").is_err());
        assert!(only(br#"{"b": {}}"#, "a").is_err());
    }
}
