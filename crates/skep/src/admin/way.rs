//! The two ways that an administrator's command may go: the API, or straight to the databases.

use std::path::PathBuf;

use clap::Args;
use hyper::Method;
use model::{Env, FaultKind};
use serde::Serialize;
use serde_json::Value;
use verbs::admin::{Admin, By, Denied, Why};

use super::operator;
use crate::client::{Http, Settings};
use crate::config::{self, Source};
use crate::exit::{Code, Failure};
use crate::role::{database, level};

/// Options of every administrator's command.
#[derive(Args, Debug)]
pub struct Way {
    /// Straight on the databases, where no API runs; needs the API level's configuration
    #[arg(long)]
    direct: bool,
    /// The API level's configuration, a TOML file; implies --direct
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    settings: Settings,
}

/// A way, opened.
pub enum Open {
    /// By the API.
    Api(Box<Http>),
    /// Straight to the databases.
    Direct(Box<(Admin, By)>),
}

impl Way {
    /// Opens it. Straight to the databases the API database must have a schema that this release works on.
    pub async fn open(self) -> Result<Open, Failure> {
        if !self.direct && self.config.is_none() {
            return Ok(Open::Api(Box::new(Http::new(&self.settings)?)));
        }
        let config = config::load(&Source::new(self.config))?;
        let db: api_db::Db = database::open(&config.api_database, "api_database")?;
        let usable = api_db::SCHEMA.status(&db).await;
        usable.map_err(|why| Failure::new(format!("api_database: {why}")))?;
        let env = Env::system();
        let by = operator(&env);
        Ok(Open::Direct(Box::new((Admin::new(env, db, level::secrets(&config)), by))))
    }
}

/// One request to the API; a request that the API calls wrong is a wrong command line.
pub async fn call(http: &Http, method: Method, path: &str, body: Option<&Value>) -> Result<Value, Failure> {
    let reply = http.call(method, path, body).await?;
    let status = reply.status;
    reply.ok().map(|reply| reply.body).map_err(|failure| match status {
        400 => Failure { code: Code::Usage, ..failure },
        _ => failure,
    })
}

/// What the verbs gave, in the form that the API gives it.
pub fn value<T: Serialize>(name: Option<&str>, given: Result<T, Denied>) -> Result<Value, Failure> {
    let given = given.map_err(|denied| match denied.why {
        Why::Bad => Failure::usage(denied.message),
        Why::Fault(FaultKind::Timeout) => Failure::timeout(denied.message),
        _ => Failure::new(denied.message),
    })?;
    let value = serde_json::to_value(given).map_err(|why| Failure::new(why.to_string()))?;
    Ok(match name {
        Some(name) => serde_json::json!({ name: value }),
        None => value,
    })
}
