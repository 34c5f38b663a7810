//! Where callers are known from, and the command that makes the first of them.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Subcommand};
use identity::{Backend, Bootstrap, Embedded, Keystone, KeystoneSettings, Settings};
use model::Env;
use tokio_util::sync::CancellationToken;

use super::{database, needed};
use crate::client::tls;
use crate::config::{self, Config, IdentityKind, Source};
use crate::exit::{Code, Failure, print};

/// The backend that the configuration names. Nothing waits for it.
pub fn open(
    config: &Config,
    env: &Env,
    db: &api_db::Db,
    shutdown: CancellationToken,
) -> Result<Backend, Failure> {
    let section = &config.identity;
    match section.kind {
        IdentityKind::Static => Ok(Backend::Fixed),
        IdentityKind::Embedded => {
            let settings = Settings { token_lifetime: Duration::from_secs(section.token_lifetime_s.max(1)) };
            Ok(Backend::Embedded(Embedded::start(settings, env.clone(), db.clone(), shutdown)))
        }
        IdentityKind::Keystone => {
            let section = &section.keystone;
            if section.url.is_empty() {
                return Err(Failure::usage("identity.keystone.url is not set: identity.kind is keystone"));
            }
            // Certificates cost time to read and are not there on every machine: only who needs them asks.
            let trusted = match section.url.starts_with("https://") {
                true => tls::trusted(section.ca_file.as_deref())?,
                false => rustls::RootCertStore::empty(),
            };
            let settings = KeystoneSettings {
                url: section.url.clone(),
                public_url: section.public_url.clone(),
                user: section.user.clone(),
                password: needed(section.password.as_ref(), "identity.keystone.password")?.to_owned(),
                user_domain: section.user_domain.clone(),
                project: section.project.clone(),
                project_domain: section.project_domain.clone(),
                cached: Duration::from_secs(section.cache_s),
                stale: Duration::from_secs(section.stale_s),
                tls: tls::config(trusted)?,
            };
            Ok(Backend::Keystone(Keystone::new(settings, env.clone())))
        }
    }
}

/// `skep identity …`.
#[derive(Debug, Subcommand)]
pub enum IdentityCommand {
    /// Make the default domain, the roles, an administrator and a project; tells the password once
    Bootstrap(BootstrapArgs),
}

/// Options of `skep identity bootstrap`.
#[derive(Args, Debug)]
pub struct BootstrapArgs {
    /// The API's configuration, a TOML file
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The administrator's name
    #[arg(long, default_value = "admin")]
    user: String,
    /// Their project's name
    #[arg(long, default_value = "admin")]
    project: String,
    /// Where users reach the API [default: api.public_url, else api.listen]
    #[arg(long, value_name = "URL")]
    auth_url: Option<String>,
    /// The clouds.yaml to write, with the password in it; must not exist
    #[arg(long, value_name = "FILE", default_value = "clouds.yaml")]
    clouds: PathBuf,
    /// Give the administrator a new password; all their tokens are revoked
    #[arg(long)]
    reset_password: bool,
}

impl IdentityCommand {
    /// Runs the command.
    pub async fn run(self) -> Result<Code, Failure> {
        let Self::Bootstrap(args) = self;
        let config = config::load(&Source::new(args.config.clone()))?;
        if config.identity.kind != IdentityKind::Embedded {
            return Err(Failure::usage("identity.kind is not embedded: users are not kept here"));
        }
        let at = args.clouds.display();
        if args.clouds.exists() {
            return Err(Failure::usage(format!("{at} exists: move it away, or name another with --clouds")));
        }
        let env = Env::system();
        let db: api_db::Db = database::open(&config.api_database, "api_database")?;
        api_db::SCHEMA.status(&db).await.map_err(|why| Failure::new(format!("api_database: {why}")))?;
        let wanted = Bootstrap {
            user: args.user.clone(),
            user_id: None,
            project: args.project.clone(),
            project_id: None,
            reset_password: args.reset_password,
        };
        let done = Embedded::without_loop(Settings::default(), env, db.clone()).bootstrap(wanted).await;
        db.close().await;
        let Some(password) = done?.password else {
            print(&format!(
                "user {} is there already and keeps the password; --reset-password makes another\n",
                args.user
            ))?;
            return Ok(Code::Done);
        };
        let scheme = if config.api.tls_cert.is_some() { "https" } else { "http" };
        let url = args
            .auth_url
            .or(config.api.public_url)
            .unwrap_or_else(|| format!("{scheme}://{}", config.api.listen));
        let region = region(&config.api.region);
        let text =
            format!("clouds:\n{}", cloud("skep", &url, (&args.user, &password), &args.project, region));
        let kept = write(&args.clouds, &text);
        // Told in any case: it is nowhere else.
        print(&format!("user {}, project {}, password {password}\n", args.user, args.project))?;
        kept?;
        print(&format!("wrote {at}: OS_CLIENT_CONFIG_FILE={at} openstack --os-cloud skep token issue\n"))?;
        Ok(Code::Done)
    }
}

/// The region of an endpoint in the catalog.
pub fn region(configured: &str) -> &str {
    if configured.is_empty() { api::REGION } else { configured }
}

/// One entry of a `clouds.yaml`.
pub fn cloud(name: &str, url: &str, (user, password): (&str, &str), project: &str, region: &str) -> String {
    let url = url.trim_end_matches('/');
    format!(
        "  {name}:
    region_name: {}
    identity_api_version: '3'
    auth:
      auth_url: {}
      username: {}
      password: {}
      project_name: {}
      user_domain_id: default
      project_domain_id: default
",
        quoted(region),
        quoted(&format!("{url}/identity")),
        quoted(user),
        quoted(password),
        quoted(project),
    )
}

/// As YAML reads it back.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// Writes a new file that only its owner may read.
fn write(path: &Path, text: &str) -> Result<(), Failure> {
    let wrong = |why: std::io::Error| Failure::new(format!("cannot write {}: {why}", path.display()));
    let mut file = OpenOptions::new().create_new(true).write(true).mode(0o600).open(path).map_err(wrong)?;
    file.write_all(text.as_bytes()).map_err(wrong)
}
