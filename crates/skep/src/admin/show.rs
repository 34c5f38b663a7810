//! How administrators' commands show what they found.

use serde_json::Value;

use crate::client::table::{self, clean};

/// How to show it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Form {
    /// Columns
    #[default]
    Table,
    /// More columns where there are any; `cell list` asks the cells
    Wide,
    /// JSON
    Json,
    /// YAML
    Yaml,
    /// Names alone, one a line
    Name,
}

/// A column: its head, and what it shows of a thing.
pub type Column = (&'static str, fn(&Value) -> String);

/// A list of things.
pub fn list(form: Form, things: &[Value], columns: &[Column], wide: &[Column]) -> String {
    match form {
        Form::Json => format!("{:#}\n", Value::from(things.to_vec())),
        Form::Yaml => yaml(&Value::from(things.to_vec())),
        Form::Name => things.iter().map(|thing| format!("{}\n", text(thing, "name"))).collect(),
        Form::Table | Form::Wide => {
            let more = if form == Form::Wide { wide } else { &[] };
            let all: Vec<&Column> = columns.iter().chain(more).collect();
            let head: Vec<&str> = all.iter().map(|(head, _)| *head).collect();
            let row = |thing: &Value| all.iter().map(|(_, shown)| shown(thing)).collect();
            table::render(&head, &things.iter().map(row).collect::<Vec<Vec<String>>>())
        }
    }
}

/// One thing, member by member.
pub fn one(form: Form, thing: &Value) -> String {
    match form {
        Form::Json => format!("{thing:#}\n"),
        Form::Yaml => yaml(thing),
        Form::Name => format!("{}\n", text(thing, "name")),
        Form::Table | Form::Wide => {
            let row = |(key, value): (&String, &Value)| vec![clean(key), plain(value)];
            let rows: Vec<Vec<String>> = thing.as_object().into_iter().flatten().map(row).collect();
            table::render(&["FIELD", "VALUE"], &rows)
        }
    }
}

/// A member that is text; empty if there is none.
pub fn text(thing: &Value, key: &str) -> String {
    clean(thing[key].as_str().unwrap_or_default())
}

/// A member that may not be known.
pub fn known(thing: &Value, key: &str) -> String {
    if thing[key].is_null() { "?".to_owned() } else { plain(&thing[key]) }
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => clean(text),
        Value::Null => String::new(),
        Value::Object(members) => {
            members.iter().map(|(key, value)| format!("{key}={}", plain(value))).collect::<Vec<_>>().join(" ")
        }
        other => other.to_string(),
    }
}

/// A value as YAML: blocks, with scalars as in JSON, which YAML 1.2 understands.
fn yaml(value: &Value) -> String {
    let mut out = String::new();
    block(&mut out, value, 0);
    out
}

fn block(out: &mut String, value: &Value, depth: usize) {
    let indent = "  ".repeat(depth);
    match value {
        Value::Object(members) if !members.is_empty() => {
            for (n, (key, member)) in members.iter().enumerate() {
                // The first member of a list's item stands behind its dash.
                if n > 0 || !out.ends_with("- ") {
                    out.push_str(&indent);
                }
                out.push_str(&Value::from(key.as_str()).to_string());
                out.push(':');
                nested(out, member, depth);
            }
        }
        Value::Array(items) if !items.is_empty() => {
            for item in items {
                out.push_str(&format!("{indent}- "));
                match item {
                    Value::Object(members) if !members.is_empty() => block(out, item, depth + 1),
                    other => out.push_str(&format!("{other}\n")),
                }
            }
        }
        scalar => out.push_str(&format!("{indent}{scalar}\n")),
    }
}

fn nested(out: &mut String, value: &Value, depth: usize) {
    let is_block = match value {
        Value::Object(members) => !members.is_empty(),
        Value::Array(items) => !items.is_empty(),
        _ => false,
    };
    if is_block {
        out.push('\n');
        block(out, value, depth + 1);
    } else {
        out.push_str(&format!(" {value}\n"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn yaml_keeps_the_structure() {
        let value = json!([{"a": 1, "b": {"c": "x: y"}, "d": []}, {"a": null}]);
        assert_eq!(yaml(&value), "- \"a\": 1\n  \"b\":\n    \"c\": \"x: y\"\n  \"d\": []\n- \"a\": null\n");
    }

    #[test]
    fn what_is_not_known_is_told() {
        let columns: &[Column] =
            &[("NAME", |thing| text(thing, "name")), ("HOSTS", |thing| known(thing, "hosts"))];
        let things = [json!({"name": "a", "hosts": 2}), json!({"name": "b\u{1b}"})];
        assert_eq!(list(Form::Table, &things, columns, &[]), "NAME   HOSTS\na      2\nb      ?\n");
        assert_eq!(list(Form::Name, &things, columns, &[]), "a\nb\n");
    }
}
