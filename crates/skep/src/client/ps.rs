//! `skep ps`: list instances.

use std::collections::BTreeMap;

use clap::{Args, ValueEnum};
use model::Env;
use serde_json::Value;

use super::age::ago;
use super::http::{Http, escape};
use super::server::Server;
use super::settings::Settings;
use super::{status, table};
use crate::exit::{Code, Failure, print};

/// Largest page that the API gives.
const PAGE: usize = 1000;

/// Options of `skep ps`.
#[derive(Args, Debug)]
pub struct Ps {
    /// Instances of every project, for administrators
    #[arg(long, short)]
    all_projects: bool,
    /// How to show them
    #[arg(long, short, value_enum, default_value_t)]
    output: Form,
    /// Show at most this many, the newest; all if absent
    #[arg(long)]
    limit: Option<usize>,
    /// Only those whose name matches this regular expression
    #[arg(long)]
    name: Option<String>,
    /// Only those with this status, such as ACTIVE or ERROR; may be given again
    #[arg(long)]
    status: Vec<String>,
    #[command(flatten)]
    settings: Settings,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Form {
    /// Columns
    #[default]
    Table,
    /// Columns with whole ids, and the cell and host for administrators
    Wide,
    /// JSON as the API sent it
    Json,
    /// Names only, one a line
    Name,
}

impl Ps {
    /// Lists the instances, newest first.
    pub async fn run(self) -> Result<Code, Failure> {
        let http = Http::new(&self.settings)?;
        let wide = self.output == Form::Wide;
        // At the same time: with a dark cell each takes a while.
        let (servers, cells) = futures::join!(self.fetch(&http), async {
            if wide { status::names(&http).await.unwrap_or_default() } else { BTreeMap::new() }
        });
        let servers = servers?;
        let text = match self.output {
            Form::Json => {
                let all: Vec<Value> = servers.into_iter().map(|server| server.0).collect();
                format!("{:#}\n", Value::from(all))
            }
            Form::Name => servers.iter().map(|server| server.name() + "\n").collect(),
            Form::Table => columns(&servers, None, age),
            Form::Wide => columns(&servers, Some(&cells), age),
        };
        print(&text)?;
        Ok(http.verdict())
    }

    async fn fetch(&self, http: &Http) -> Result<Vec<Server>, Failure> {
        let mut filter = String::new();
        if self.all_projects {
            filter.push_str("&all_tenants=1");
        }
        if let Some(name) = &self.name {
            filter.push_str(&format!("&name={}", escape(name)));
        }
        for status in &self.status {
            filter.push_str(&format!("&status={}", escape(&status.to_ascii_uppercase())));
        }
        let wanted = self.limit.unwrap_or(usize::MAX);
        let mut servers: Vec<Server> = Vec::new();
        while servers.len() < wanted {
            let limit = PAGE.min(wanted - servers.len());
            let after =
                servers.last().map(|last| format!("&marker={}", escape(last.id()))).unwrap_or_default();
            let mut page = http.get(&format!("/v2.1/servers/detail?limit={limit}{filter}{after}")).await?;
            let more = page.get("servers_links").is_some();
            let items = match page["servers"].take() {
                Value::Array(items) => items,
                _ => {
                    return Err(Failure::new(
                        "the API's answer is no list of servers: is this a compute endpoint?",
                    ));
                }
            };
            let done = items.is_empty() || !more;
            servers.extend(items.into_iter().map(Server));
            if done {
                break;
            }
        }
        servers.truncate(wanted);
        Ok(servers)
    }
}

fn age(created: &str) -> String {
    ago(created, Env::system().now())
}

/// The table; with names of cells by id it is the wide one.
fn columns(
    servers: &[Server],
    cells: Option<&BTreeMap<String, String>>,
    age: impl Fn(&str) -> String,
) -> String {
    let wide = cells.is_some();
    let mut head = vec!["ID", "NAME", "IMAGE", "STATUS", "PORTS", "CREATED"];
    let places: Vec<_> = servers.iter().map(Server::place).collect();
    let placed = wide && places.iter().any(|(cell, host)| !cell.is_empty() || !host.is_empty());
    if placed {
        head.extend(["CELL", "HOST"]);
    }
    let rows = servers.iter().zip(places).map(|(server, (cell, host))| {
        let id = if wide { table::clean(server.id()) } else { server.short_id() };
        let mut row =
            vec![id, server.name(), server.image(), server.state(), server.ports(), age(server.created())];
        if placed {
            row.extend([cells.and_then(|cells| cells.get(&cell)).cloned().unwrap_or(cell), host]);
        }
        row
    });
    table::render(&head, &rows.collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn columns_for_users_and_for_administrators() {
        let mine =
            Server(json!({"id": "019a0000-0000-7000-8000-0123456789ab", "name": "web", "status": "ACTIVE"}));
        let cells = BTreeMap::from([("id1".to_owned(), "c1".to_owned())]);
        let table = columns(std::slice::from_ref(&mine), Some(&cells), |_| "now".into());
        assert!(!table.contains("CELL"), "{table}");
        let mut placed = mine.clone();
        placed.0["skep"] = json!({"cell": "id1", "host": "h2"});
        let table = columns(&[mine, placed], Some(&cells), |_| "now".into());
        assert!(table.lines().next().is_some_and(|head| head.ends_with("CELL   HOST")), "{table}");
        assert!(table.contains("c1     h2"), "{table}");
    }
}
