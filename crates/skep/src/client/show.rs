//! `skep show`: one instance.

use std::collections::BTreeMap;

use clap::Args;
use model::Env;
use serde_json::Value;

use super::age::ago;
use super::find;
use super::http::{Http, escape};
use super::server::Server;
use super::settings::Settings;
use super::status::names;
use super::{Output, table};
use crate::exit::{Code, Failure, print};

/// Options of `skep show`.
#[derive(Args, Debug)]
pub struct Show {
    /// How to show it
    #[arg(long, short, value_enum, default_value_t)]
    output: Output,
    #[command(flatten)]
    settings: Settings,
    /// Id, beginning or end of an id, or name
    id: String,
}

impl Show {
    /// Shows the instance.
    pub async fn run(self) -> Result<Code, Failure> {
        let http = Http::new(&self.settings)?;
        let id = find::one(&http, &self.id).await?;
        let mut answer = http.get(&format!("/v2.1/servers/{}", escape(&id))).await?;
        let server = Server(answer["server"].take());
        print(&match self.output {
            Output::Json => format!("{:#}\n", server.0),
            Output::Table => {
                let is_id = uuid::Uuid::parse_str(&server.place().0).is_ok();
                let cells = if is_id { names(&http).await.unwrap_or_default() } else { BTreeMap::new() };
                sheet(&server, &cells)
            }
        })?;
        Ok(http.verdict())
    }
}

fn sheet(server: &Server, cells: &BTreeMap<String, String>) -> String {
    let skep = |key: &str| server.0.get("skep").and_then(|skep| skep.get(key)).map(plain).unwrap_or_default();
    let (cell_id, host) = server.place();
    let cell = cells.get(&cell_id).cloned().unwrap_or(cell_id);
    let created = server.created();
    let created = match created {
        "" => String::new(),
        at => format!("{} ({})", table::clean(at), ago(at, Env::system().now())),
    };
    let flavor = ["/flavor/original_name", "/flavor/id"]
        .iter()
        .map(|at| server.text(at))
        .find(|text| !text.is_empty());
    let lines = [
        ("id", table::clean(server.id())),
        ("name", server.name()),
        ("status", server.state()),
        ("fault", server.fault().unwrap_or_default()),
        ("image", server.image()),
        ("flavor", table::clean(flavor.unwrap_or_default())),
        ("command", skep("command")),
        ("env", skep("env")),
        ("labels", skep("labels")),
        ("ports", server.ports()),
        ("restart", skep("restart")),
        ("restarts", skep("restarts")),
        ("exit code", skep("exit_code")),
        ("container", skep("container")),
        ("zone", table::clean(server.text("/OS-EXT-AZ:availability_zone"))),
        ("cell", cell),
        ("host", host),
        ("project", table::clean(server.text("/tenant_id"))),
        ("created", created),
        ("updated", table::clean(server.text("/updated"))),
    ];
    let shown = lines.iter().filter(|(_, value)| !value.is_empty());
    shown.map(|(key, value)| format!("{:<11}{value}\n", format!("{key}:"))).collect()
}

/// A value on one line, for people.
fn plain(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => table::clean(text),
        Value::Array(items) => items.iter().map(quoted).collect::<Vec<_>>().join(" "),
        Value::Object(map) => {
            let pairs = map.iter().map(|(key, value)| format!("{}={}", table::clean(key), quoted(value)));
            pairs.collect::<Vec<_>>().join(" ")
        }
        other => other.to_string(),
    }
}

fn quoted(value: &Value) -> String {
    match value {
        Value::String(text) if !text.is_empty() && !text.contains([' ', '\'', '"', '\n']) => {
            table::clean(text)
        }
        other => table::clean(&other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn values_on_one_line() {
        assert_eq!(plain(&json!(["sh", "-c", "echo a b"])), "sh -c \"echo a b\"");
        assert_eq!(plain(&json!({"A": "1", "B": ""})), "A=1 B=\"\"");
        assert_eq!(plain(&Value::Null), "");
    }
}
