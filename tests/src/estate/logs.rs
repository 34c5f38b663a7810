//! What no process may ever log: a panic, and what is secret.

use super::config::{USERS, token};
use super::{Estate, Role};
use crate::Process;

/// The password in the URLs of the databases. The services of the tests ask for none, so it is there to be looked for.
pub const PASSWORD: &str = "canary-of-the-database";

/// The longest piece of a line that is told.
const LONGEST: usize = 300;

impl Estate {
    /// What processes have logged that none may, since the estate began.
    pub(super) fn wrong_lines(&self) -> Vec<String> {
        let mut secrets: Vec<String> = USERS.iter().map(|(user, ..)| token(user)).collect();
        secrets.push(PASSWORD.to_owned());
        secrets.extend(self.vhosts.iter().filter_map(|vhost| credentials(vhost.url())));
        let log = |role: &Role| role.process.as_ref().map(Process::log);
        let logs = self.roles.iter().filter_map(|(name, role)| Some((name, log(role)?)));
        logs.flat_map(|(name, log)| {
            let found = wrong(&log, &secrets).into_iter();
            found.map(|line| format!("{name} has logged: {line}")).collect::<Vec<_>>()
        })
        .collect()
    }
}

/// `user:password@` of a URL.
fn credentials(url: &str) -> Option<String> {
    let (_, rest) = url.split_once("://")?;
    let (credentials, _) = rest.split_once('@')?;
    credentials.contains(':').then(|| format!("{credentials}@"))
}

fn wrong(log: &str, secrets: &[String]) -> Vec<String> {
    let is_wrong =
        |line: &&str| line.contains("panicked at") || secrets.iter().any(|secret| line.contains(secret));
    log.lines().filter(is_wrong).map(|line| line.chars().take(LONGEST).collect()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn panics_and_secrets_are_seen() {
        let secrets =
            [credentials("amqp://guest:word@127.0.0.1:1/v").expect("has some"), "token-of".to_owned()];
        let log = "all is well\nthread 'main' panicked at src/x.rs:1:1:\nby token-of-alice\n\
                   amqp://guest:***@127.0.0.1\namqp://guest:word@127.0.0.1\n";
        assert_eq!(wrong(log, &secrets).len(), 3);
        assert_eq!(credentials("postgres://postgres@127.0.0.1/x"), None);
    }
}
