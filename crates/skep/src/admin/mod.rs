//! The administrator's commands for people: `skep cell`, `skep host`, `skep index`. They go through the API's
//! `/admin/v1`, or with `--direct` straight to the databases, by the same verbs.

pub mod cell;
pub mod doctor;
mod enrol;
pub mod host;
pub mod index;
pub mod instance;
mod keys;
mod life;
mod maintenance;
mod show;
mod slots;
mod sync;
pub mod task;
mod way;

use std::io::{BufRead, IsTerminal, Write};

use model::{Caller, Context, Env};
use verbs::admin::By;

use crate::config::environment;
use crate::exit::Failure;

/// Whoever works straight on the databases: an administrator by that.
pub fn operator(env: &Env) -> By {
    let user = ["SUDO_USER", "USER", "LOGNAME"].into_iter().find_map(environment::var);
    let user = user.filter(|user| !user.is_empty()).unwrap_or_else(|| "operator".to_owned());
    let caller = Caller { user, project: String::new(), roles: vec!["admin".to_owned()] };
    By { caller, context: Context { request_id: format!("req-{}", env.uuid()), ..Context::default() } }
}

/// Asks whether `what` is to be done, unless `yes` says so already.
fn confirm(what: &str, yes: bool) -> Result<(), Failure> {
    if yes {
        return Ok(());
    }
    let input = std::io::stdin();
    if !input.is_terminal() {
        return Err(Failure::usage(format!("{what}? nobody can be asked here: repeat with --yes")));
    }
    let _ = write!(std::io::stderr(), "{what}? [y/N] ");
    let mut line = String::new();
    input.lock().read_line(&mut line).map_err(|why| Failure::new(format!("cannot read an answer: {why}")))?;
    match line.trim().to_ascii_lowercase().as_str() {
        "y" | "yes" => Ok(()),
        _ => Err(Failure::new("nothing was done")),
    }
}
