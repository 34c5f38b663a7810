//! `skep flavor`: sizes on offer.

use clap::{Args, Subcommand};
use serde_json::Value;

use super::http::Http;
use super::settings::Settings;
use super::{Output, table};
use crate::exit::{Code, Failure, print};

/// `skep flavor …`.
#[derive(Debug, Subcommand)]
pub enum Flavor {
    /// List flavors
    List(List),
}

/// Options of `skep flavor list`.
#[derive(Args, Debug)]
pub struct List {
    /// How to show them
    #[arg(long, short, value_enum, default_value_t)]
    output: Output,
    #[command(flatten)]
    settings: Settings,
}

impl Flavor {
    /// Runs the command.
    pub async fn run(self) -> Result<Code, Failure> {
        let Self::List(list) = self;
        let http = Http::new(&list.settings)?;
        let flavors = all(&http).await?;
        print(&match list.output {
            Output::Json => format!("{:#}\n", Value::from(flavors)),
            Output::Table => {
                let row = |flavor: &Value| {
                    let text = |key: &str| table::clean(flavor[key].as_str().unwrap_or_default());
                    let number = |key: &str| flavor[key].as_i64().unwrap_or_default().to_string();
                    vec![text("id"), text("name"), number("vcpus"), number("ram"), number("disk")]
                };
                let rows: Vec<_> = flavors.iter().map(row).collect();
                table::render(&["ID", "NAME", "VCPUS", "MEMORY MIB", "DISK GIB"], &rows)
            }
        })?;
        Ok(Code::Done)
    }
}

async fn all(http: &Http) -> Result<Vec<Value>, Failure> {
    match http.get("/v2.1/flavors/detail").await?["flavors"].take() {
        Value::Array(flavors) => Ok(flavors),
        _ => Err(Failure::new("the API's answer is no list of flavors: is this a compute endpoint?")),
    }
}

/// The id of the flavor that the user named, by id or name; of the smallest if none was named.
pub async fn choose(http: &Http, wanted: Option<&str>) -> Result<String, Failure> {
    pick(&all(http).await?, wanted)
}

fn pick(flavors: &[Value], wanted: Option<&str>) -> Result<String, Failure> {
    let size = |flavor: &&Value| (flavor["ram"].as_i64(), flavor["vcpus"].as_i64());
    let is = |flavor: &&Value, key: &str, text: &str| flavor[key].as_str() == Some(text);
    let found = match wanted {
        None => flavors.iter().min_by_key(size),
        Some(text) => {
            let by = |key: &'static str| flavors.iter().find(move |flavor| is(flavor, key, text));
            by("id").or_else(|| by("name"))
        }
    };
    let id = found.and_then(|flavor| flavor["id"].as_str()).map(str::to_owned);
    id.ok_or_else(|| match wanted {
        None => Failure::new("no flavors are on offer; ask the administrator"),
        Some(text) => {
            let names: Vec<_> =
                flavors.iter().filter_map(|flavor| flavor["name"].as_str()).map(table::clean).collect();
            Failure::new(format!("there is no flavor '{text}'; on offer are {}", names.join(", ")))
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn flavors_by_id_by_name_and_the_smallest() {
        let flavors = [
            json!({"id": "7", "name": "big", "ram": 4096, "vcpus": 2}),
            json!({"id": "8", "name": "7", "ram": 64, "vcpus": 1}),
        ];
        let pick = |wanted| pick(&flavors, wanted).map_err(|why| why.message);
        assert_eq!(pick(Some("7")).as_deref(), Ok("7"));
        assert_eq!(pick(Some("big")).as_deref(), Ok("7"));
        assert_eq!(pick(None).as_deref(), Ok("8"));
        assert!(pick(Some("x")).is_err_and(|why| why.contains("big, 7")));
    }
}
