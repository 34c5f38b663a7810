//! The API's policy: its file, and the commands that show what it says.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use api::{InForce, Policy, Target};
use clap::{Args, Subcommand};
use model::Caller;

use super::files::Watch;
use crate::config::{self, Source};
use crate::exit::{Code, Failure, print};

/// The policy, and the watch over its file if there is one.
pub fn open(file: Option<&Path>) -> Result<(InForce, Vec<Watch>), Failure> {
    let Some(file) = file else { return Ok((InForce::default(), Vec::new())) };
    let watch = Watch::new("api.policy_file", vec![file.to_owned()]);
    let policy = InForce::new(read(file).map_err(Failure::usage)?);
    let (shared, file) = (policy.clone(), file.to_owned());
    let watch = watch.on_change(move || {
        shared.replace(read(&file)?);
        Ok(())
    });
    Ok((policy, vec![watch]))
}

fn read(file: &Path) -> Result<Policy, String> {
    let text = std::fs::read_to_string(file)
        .map_err(|why| format!("api.policy_file: cannot read {}: {why}", file.display()))?;
    Policy::parse(&text).map_err(|mistake| format!("{}:{mistake}", file.display()))
}

/// Commands on the policy.
#[derive(Debug, Subcommand)]
pub enum PolicyCommand {
    /// List every rule as it is in effect
    List(List),
    /// Tell whether a rule lets a caller through: exit code 0 if it does, 1 if not
    Check(Check),
}

/// Options of `skep policy list`.
#[derive(Args, Debug)]
pub struct List {
    #[command(flatten)]
    from: From,
}

/// Options of `skep policy check`.
#[derive(Args, Debug)]
pub struct Check {
    #[command(flatten)]
    from: From,
    /// The rule, such as os_compute_api:servers:delete
    #[arg(long, value_name = "NAME")]
    rule: String,
    /// A role that the caller holds; may be given again
    #[arg(long = "role", value_name = "ROLE")]
    roles: Vec<String>,
    /// The caller's user
    #[arg(long, value_name = "ID", default_value = "user")]
    user: String,
    /// The caller's project
    #[arg(long, value_name = "ID", default_value = "project")]
    project: String,
    /// Whose the server is that is acted on [default: the caller]
    #[arg(long, value_name = "ID")]
    target_user: Option<String>,
    /// Which project's it is [default: the caller's]
    #[arg(long, value_name = "ID")]
    target_project: Option<String>,
}

/// Where the policy is.
#[derive(Args, Debug)]
struct From {
    /// The API's configuration, a TOML file; its api.policy_file is read
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl From {
    fn policy(&self) -> Result<Policy, Failure> {
        let config = config::load(&Source::new(self.config.clone()))?;
        match &config.api.policy_file {
            Some(file) => read(file).map_err(Failure::usage),
            None => Ok(Policy::default()),
        }
    }
}

impl PolicyCommand {
    /// Runs the command.
    pub fn run(&self) -> Result<Code, Failure> {
        match self {
            Self::List(list) => {
                let policy = list.from.policy()?;
                let mut text = String::new();
                for rule in policy.rules() {
                    let mark = if rule.overridden { "  # api.policy_file" } else { "" };
                    let _ = writeln!(text, "{}: {}{mark}", quoted(rule.name), quoted(rule.text));
                }
                print(&text)?;
                Ok(Code::Done)
            }
            Self::Check(check) => check.run(),
        }
    }
}

impl Check {
    fn run(&self) -> Result<Code, Failure> {
        let policy = self.from.policy()?;
        if !policy.knows(&self.rule) {
            return Err(Failure::usage(format!(
                "there is no rule '{}'; `skep policy list` shows all",
                self.rule
            )));
        }
        let caller =
            Caller { user: self.user.clone(), project: self.project.clone(), roles: self.roles.clone() };
        let target = Target {
            user: self.target_user.as_deref().unwrap_or(&caller.user),
            project: self.target_project.as_deref().unwrap_or(&caller.project),
        };
        match policy.allows(&caller, &target, &self.rule) {
            true => print("allowed\n").map(|()| Code::Done),
            false => print("denied\n").map(|()| Code::Failed),
        }
    }
}

/// As the policy's file has it.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}
