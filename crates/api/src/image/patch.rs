//! JSON patches (RFC 6902) of an image, as Glance takes them: attributes and properties are one level deep, and
//! below that are only the elements of `tags`.

use model::{Fault, FaultKind};
use serde_json::{Map, Value};

use crate::edge::refused::Refused;

/// One step of a patch.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    op: Op,
    /// The attribute or property.
    name: String,
    /// The element of it.
    element: Option<String>,
}

#[derive(Clone, Debug, PartialEq)]
enum Op {
    Add(Value),
    Replace(Value),
    Remove,
    Test(Value),
}

/// Reads a patch.
///
/// # Errors
/// It is none, or does what Glance does not take.
pub fn read(body: &[u8]) -> Result<Vec<Step>, Refused> {
    let steps: Value = serde_json::from_slice(body)
        .map_err(|error| Refused::bad(format!("Malformed message body: cannot understand JSON: {error}")))?;
    let Value::Array(steps) = steps else {
        return Err(Refused::bad("Request body must be a JSON array of operation objects."));
    };
    steps.iter().map(step).collect()
}

fn step(step: &Value) -> Result<Step, Refused> {
    let text = |name: &str| {
        let value = step.get(name).and_then(Value::as_str);
        value.ok_or_else(|| Refused::bad(format!("Operation objects must contain a string member '{name}'.")))
    };
    let value = || {
        let value = step.get("value").cloned();
        value.ok_or_else(|| Refused::bad("Operation objects must contain a member 'value'."))
    };
    let (op, path) = match step.get("op") {
        Some(_) => (text("op")?, text("path")?),
        // As drafts of the RFC had it, and Glance's media type of version 2.0 still has: {"replace": "/name", …}.
        None => {
            let found = ["add", "replace", "remove"].into_iter().find(|op| step.get(op).is_some());
            let op =
                found.ok_or_else(|| text("op").err().unwrap_or_else(|| Refused::bad("No operation.")))?;
            (op, text(op)?)
        }
    };
    let op = match op {
        "add" => Op::Add(value()?),
        "replace" => Op::Replace(value()?),
        "remove" => Op::Remove,
        "test" => Op::Test(value()?),
        other => {
            return Err(Refused::bad(format!("Unable to find '{other}' among add, replace, remove, test.")));
        }
    };
    let Some(rest) = path.strip_prefix('/') else {
        return Err(Refused::bad(format!("Pointer `{path}` does not start with \"/\".")));
    };
    let mut parts = rest.split('/').map(|part| part.replace("~1", "/").replace("~0", "~"));
    let (name, element) = (parts.next().unwrap_or_default(), parts.next());
    if name.is_empty() || parts.next().is_some() || (element.is_some() && name != "tags") {
        return Err(Refused::bad(format!("Invalid JSON pointer for this resource: '{path}'")));
    }
    Ok(Step { op, name, element })
}

/// What an image is after a patch; statuses are Glance's.
///
/// # Errors
/// A conflict if there is no such thing, or it is not as the patch expects.
pub fn apply(before: &Map<String, Value>, steps: &[Step]) -> Result<Map<String, Value>, Fault> {
    let mut after = before.clone();
    for step in steps {
        let name = step.name.as_str();
        match &step.element {
            Some(element) => {
                let Some(Value::Array(tags)) = after.get_mut(name) else { return Err(missing(name)) };
                apply_to(tags, element, &step.op)?;
            }
            None => match &step.op {
                Op::Add(value) => drop(after.insert(name.to_owned(), value.clone())),
                Op::Replace(value) => match after.get_mut(name) {
                    Some(old) => *old = value.clone(),
                    None => return Err(missing(name)),
                },
                Op::Remove => drop(after.remove(name).ok_or_else(|| missing(name))?),
                Op::Test(value) if after.get(name) == Some(value) => {}
                Op::Test(_) => return Err(differs(name)),
            },
        }
    }
    Ok(after)
}

fn apply_to(tags: &mut Vec<Value>, element: &str, op: &Op) -> Result<(), Fault> {
    let at = match element {
        "-" => tags.len(),
        digits => digits.parse().map_err(|_| missing(element))?,
    };
    match op {
        Op::Add(value) if at <= tags.len() => tags.insert(at, value.clone()),
        _ if at >= tags.len() => return Err(missing(element)),
        Op::Add(_) => {}
        Op::Replace(value) => tags[at] = value.clone(),
        Op::Remove => drop(tags.remove(at)),
        Op::Test(value) if tags[at] == *value => {}
        Op::Test(_) => return Err(differs(element)),
    }
    Ok(())
}

fn missing(name: &str) -> Fault {
    Fault::new(FaultKind::Conflict, format!("Property {name} does not exist."))
}

fn differs(name: &str) -> Fault {
    Fault::new(FaultKind::Conflict, format!("Property {name} is not what the patch expects."))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn patched(steps: Value) -> Result<Value, u16> {
        let before = json!({"name": "a", "tags": ["x", "y"], "p/q": "1"});
        let before = before.as_object().expect("an object");
        let steps = read(steps.to_string().as_bytes()).map_err(|refused| refused.status.as_u16())?;
        apply(before, &steps).map(Value::Object).map_err(|fault| Refused::from(fault).status.as_u16())
    }

    #[test]
    fn steps_in_their_order() {
        let steps = json!([
            {"op": "test", "path": "/name", "value": "a"},
            {"op": "replace", "path": "/name", "value": "b"},
            {"op": "add", "path": "/tags/-", "value": "z"},
            {"op": "remove", "path": "/tags/0"},
            {"op": "remove", "path": "/p~1q"},
            {"op": "add", "path": "/n", "value": "2"},
        ]);
        assert_eq!(patched(steps), Ok(json!({"name": "b", "tags": ["y", "z"], "n": "2"})));
        let old =
            json!([{"replace": "/name", "value": "b"}, {"remove": "/p~1q"}, {"add": "/tags", "value": []}]);
        assert_eq!(patched(old), Ok(json!({"name": "b", "tags": []})));
        assert_eq!(patched(json!([{"op": "replace", "path": "/n", "value": "2"}])), Err(409));
        assert_eq!(patched(json!([{"op": "remove", "path": "/tags/2"}])), Err(409));
        assert_eq!(patched(json!([{"op": "test", "path": "/name", "value": "b"}])), Err(409));
        for bad in [
            json!({}),
            json!([{"op": "add", "path": "/n"}]),
            json!([{"op": "add", "path": "n", "value": "1"}]),
            json!([{"op": "add", "path": "/n/m", "value": "1"}]),
            json!([{"op": "copy", "path": "/n", "from": "/name"}]),
            json!([{"copy": "/n"}]),
        ] {
            assert_eq!(patched(bad.clone()), Err(400), "{bad}");
        }
    }
}
