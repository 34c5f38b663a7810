//! `skep run`: make instances.

use std::time::Duration;

use clap::Args;
use futures::stream::{self, StreamExt};
use model::Env;
use model::image::ImageRef;
use model::spec::{PortWish, RestartPolicy};
use serde_json::{Map, Value, json};

use super::http::Http;
use super::settings::Settings;
use super::wait::{Goal, wait};
use crate::exit::{Code, Failure, complain, print};

/// How many requests are under way at the same time.
const PARALLEL: usize = 8;

/// Options of `skep run`.
#[derive(Args, Debug)]
pub struct Run {
    /// Name; made from the image's if absent; with --count each gets -1, -2, … appended
    #[arg(long)]
    name: Option<String>,
    /// Flavor, by id or name; the smallest if absent
    #[arg(long, short)]
    flavor: Option<String>,
    /// Publish a port: [HOST:]CONTAINER[/tcp|/udp]
    #[arg(long = "publish", short, value_name = "PORT", value_parser = port)]
    publish: Vec<String>,
    /// Set an environment variable
    #[arg(long = "env", short, value_name = "KEY=VALUE", value_parser = pair)]
    env: Vec<(String, String)>,
    /// Set a label
    #[arg(long = "label", short, value_name = "KEY=VALUE", value_parser = pair)]
    label: Vec<(String, String)>,
    /// What to do when it ends by itself: no, always, unless-stopped, on-failure[:N]
    #[arg(long, default_value = "no", value_parser = policy)]
    restart: String,
    /// Make its root filesystem read only
    #[arg(long)]
    read_only: bool,
    /// Availability zone
    #[arg(long)]
    zone: Option<String>,
    /// How many instances
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    count: u32,
    /// Network: auto is the project's own, none is no interface at all
    #[arg(long, default_value = "auto", value_parser = ["auto", "none"])]
    network: String,
    /// Wait until it runs
    #[arg(long, short)]
    wait: bool,
    /// How long to wait, in seconds
    #[arg(long, default_value_t = 300, value_name = "SECONDS")]
    timeout: u64,
    #[command(flatten)]
    settings: Settings,
    /// The image, [REGISTRY/]NAME[:TAG][@DIGEST]
    #[arg(value_parser = image)]
    image: String,
    /// Command and arguments, instead of the image's own
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<String>,
}

fn port(text: &str) -> Result<String, String> {
    PortWish::parse(text).map(|_| text.to_owned()).map_err(|why| why.message)
}

fn policy(text: &str) -> Result<String, String> {
    RestartPolicy::parse(text).map(|_| text.to_owned()).map_err(|why| why.message)
}

fn image(text: &str) -> Result<String, String> {
    text.parse::<ImageRef>().map(|_| text.to_owned()).map_err(|why| why.message)
}

fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("write KEY=VALUE".to_owned()),
    }
}

impl Run {
    /// Makes the instances and prints their ids, each as soon as the API has accepted it.
    pub async fn run(self) -> Result<Code, Failure> {
        let http = Http::new(&self.settings)?;
        let flavor = super::flavor::choose(&http, self.flavor.as_deref()).await?;
        let name = self.name.clone().unwrap_or_else(|| invent(&self.image, &Env::system()));
        let names = (1..=self.count).map(|n| match self.count {
            1 => name.clone(),
            _ => format!("{name}-{n}"),
        });
        let bodies: Vec<Value> = names.map(|name| self.body(&name, &flavor)).collect();
        let http = &http;
        let mut answers = stream::iter(bodies)
            .map(|body| async move { http.post("/v2.1/servers", &body).await })
            .buffered(PARALLEL);
        let (mut ids, mut refused) = (Vec::new(), 0);
        let mut last: Option<Failure> = None;
        while let Some(answer) = answers.next().await {
            match answer {
                Ok(answer) => {
                    let id = answer["server"]["id"].as_str().unwrap_or_default().to_owned();
                    print(&format!("{}\n", super::table::clean(&id)))?;
                    ids.push(id);
                }
                Err(why) => {
                    refused += 1;
                    // With one instance, or the same words again, once is enough.
                    if last.as_ref() != Some(&why) && self.count > 1 {
                        complain(&why.message);
                    }
                    last = Some(why);
                }
            }
        }
        let waited = match self.wait && !ids.is_empty() {
            true => wait(http, &ids, Goal::Started, Duration::from_secs(self.timeout)).await?,
            false => Code::Done,
        };
        match last {
            None => Ok(waited),
            Some(why) if self.count == 1 => Err(why),
            Some(why) => {
                let message = format!("{refused} of {} were not accepted", self.count);
                Err(Failure { code: why.code, message })
            }
        }
    }

    fn body(&self, name: &str, flavor: &str) -> Value {
        let map = |pairs: &[(String, String)]| -> Map<String, Value> {
            pairs.iter().map(|(key, value)| (key.clone(), Value::from(value.as_str()))).collect()
        };
        let mut server = json!({
            "name": name, "imageRef": self.image, "flavorRef": flavor,
            "min_count": 1, "max_count": 1, "networks": self.network,
            "skep": {
                "command": self.command, "env": map(&self.env), "ports": self.publish,
                "restart": self.restart, "labels": map(&self.label), "read_only": self.read_only,
            },
        });
        if let Some(zone) = &self.zone {
            server["availability_zone"] = json!(zone);
        }
        json!({"server": server})
    }
}

/// A name out of the image's own and six random hex digits.
fn invent(image: &str, env: &Env) -> String {
    let path = image.split('@').next().unwrap_or(image);
    let last = path.rsplit('/').next().unwrap_or(path);
    let stem = last.split(':').next().unwrap_or(last);
    format!("{stem}-{:06x}", env.below(1 << 24))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        run: Run,
    }

    #[test]
    fn the_command_takes_all_that_follows_the_image() {
        let line =
            "run -p 8080:80 -e A=b=c -l x= --restart on-failure:3 --zone z --network none web:1 sh -c echo";
        let run = Line::try_parse_from(line.split(' ')).expect("legal").run;
        let body = run.body("n", "1");
        let server = &body["server"];
        assert_eq!(server["skep"]["command"], json!(["sh", "-c", "echo"]));
        assert_eq!(server["skep"]["env"], json!({"A": "b=c"}));
        assert_eq!(server["skep"]["labels"], json!({"x": ""}));
        assert_eq!((&server["networks"], &server["availability_zone"]), (&json!("none"), &json!("z")));
    }

    #[test]
    fn mistakes_are_found_before_anything_is_sent() {
        for line in ["run -p 80:80 i", "run -e A i", "run --restart never i", "run UPPER", "run --count 0 i"]
        {
            assert!(Line::try_parse_from(line.split(' ')).is_err(), "{line}");
        }
    }

    #[test]
    fn invented_names() {
        assert!(invent("reg.example.com:5000/a/web:1@sha256:00", &Env::system()).starts_with("web-"));
    }
}
