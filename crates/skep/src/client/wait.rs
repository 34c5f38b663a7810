//! Waiting for servers to become what was asked for, with progress for people.

use std::io::{IsTerminal, Write};
use std::time::Duration;

use hyper::Method;
use model::Env;

use super::http::{Http, escape};
use super::server::Server;
use crate::exit::{Code, Failure, complain};

/// What is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Goal {
    /// It runs, or ran to its end without an error.
    Started,
    /// It runs.
    Active,
    /// It is stopped.
    Stopped,
    /// It does not exist any more.
    Gone,
}

/// Where one server stands.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    Waiting(String),
    Reached,
    Failed(String),
}

/// Waits until every one of `ids` is as wished, or in error, or `limit` is over. Complains of each that
/// failed; the code is the worst of them.
pub async fn wait(http: &Http, ids: &[String], goal: Goal, limit: Duration) -> Result<Code, Failure> {
    let env = Env::system();
    let start = env.monotonic();
    let mut open: Vec<&String> = ids.iter().collect();
    let mut line = Line { shown: false, on: std::io::stderr().is_terminal() };
    let (mut code, mut pause) = (Code::Done, Duration::from_millis(50));
    loop {
        let mut still = Vec::new();
        let mut last = String::new();
        for id in open {
            match look(http, id, goal).await? {
                Step::Reached => {}
                Step::Failed(why) => {
                    line.clear();
                    complain(&why);
                    code = Code::Failed;
                }
                Step::Waiting(state) => {
                    last = state;
                    still.push(id);
                }
            }
        }
        open = still;
        if open.is_empty() {
            line.clear();
            return Ok(code);
        }
        let waited = env.monotonic().saturating_sub(start);
        if waited >= limit {
            line.clear();
            let names: Vec<_> = open.iter().map(|id| id.as_str()).collect();
            let count = ids.len();
            return Err(Failure::timeout(format!(
                "{} of {count} not done after {} s, last seen {last}: {}; it goes on without you",
                open.len(),
                limit.as_secs(),
                names.join(", ")
            )));
        }
        line.show(&format!("{} of {} left, {last}, {:.0} s", open.len(), ids.len(), waited.as_secs_f64()));
        tokio::time::sleep(pause.min(limit - waited)).await;
        pause = (pause * 3 / 2).min(Duration::from_secs(1));
    }
}

async fn look(http: &Http, id: &str, goal: Goal) -> Result<Step, Failure> {
    let reply = match http.call(Method::GET, &format!("/v2.1/servers/{}", escape(id)), None).await {
        Ok(reply) => reply,
        // The API may be restarting; what was asked for goes on without it.
        Err(why) if why.code != Code::Usage => return Ok(Step::Waiting("no answer".into())),
        Err(why) => return Err(why),
    };
    match reply.status {
        404 if goal == Goal::Gone => Ok(Step::Reached),
        500.. => Ok(Step::Waiting("no answer".into())),
        _ => {
            let mut body = reply.ok()?.body;
            Ok(judge(&Server(body["server"].take()), goal))
        }
    }
}

fn judge(server: &Server, goal: Goal) -> Step {
    let state = server.state();
    let waiting = Step::Waiting(state.clone());
    let because = |why: String| Step::Failed(format!("{} ({}): {why}", server.name(), server.id()));
    match (server.status(), goal) {
        // A deletion is never given up; until it has come to the cell, what was in error before is told so.
        ("ERROR", Goal::Started | Goal::Active | Goal::Stopped) => {
            because(server.fault().unwrap_or_else(|| "it is in error, and no reason is known".into()))
        }
        ("ACTIVE", Goal::Started | Goal::Active) if server.task().is_none() => Step::Reached,
        ("SHUTOFF", Goal::Stopped) if server.task().is_none() => Step::Reached,
        ("SHUTOFF", Goal::Started) if server.task().is_none() => match server.exit_code() {
            Some(0) => Step::Reached,
            Some(code) => because(format!("it ended with exit code {code}")),
            None => waiting,
        },
        ("DELETED", Goal::Gone) => Step::Reached,
        ("DELETED", _) => because("it was deleted".into()),
        _ => waiting,
    }
}

/// The one line of progress, on a terminal only.
struct Line {
    on: bool,
    shown: bool,
}

impl Line {
    fn show(&mut self, text: &str) {
        if self.on {
            let _ = write!(std::io::stderr(), "\r\x1b[K{text}");
            self.shown = true;
        }
    }

    fn clear(&mut self) {
        if std::mem::take(&mut self.shown) {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_counts_as_done() {
        let judge = |status: &str, task: Option<&str>, goal| {
            judge(&Server(json!({"status": status, "OS-EXT-STS:task_state": task})), goal)
        };
        assert_eq!(judge("ACTIVE", None, Goal::Started), Step::Reached);
        assert_eq!(
            judge("ACTIVE", Some("powering-off"), Goal::Stopped),
            Step::Waiting("ACTIVE (powering-off)".into())
        );
        assert!(matches!(judge("ACTIVE", Some("rebooting"), Goal::Active), Step::Waiting(_)));
        assert_eq!(judge("SHUTOFF", None, Goal::Stopped), Step::Reached);
        assert!(matches!(judge("ERROR", None, Goal::Active), Step::Failed(_)));
        assert!(matches!(judge("ERROR", Some("deleting"), Goal::Gone), Step::Waiting(_)));
        assert!(matches!(judge("ERROR", None, Goal::Gone), Step::Waiting(_)), "it is about to be deleted");
        assert!(matches!(judge("UNKNOWN", None, Goal::Gone), Step::Waiting(_)));
    }

    #[test]
    fn a_container_that_ran_to_its_end_was_started() {
        let ended = |code: i64| Server(json!({"status": "SHUTOFF", "skep": {"exit_code": code}}));
        assert_eq!(judge(&ended(0), Goal::Started), Step::Reached);
        assert!(matches!(judge(&ended(3), Goal::Started), Step::Failed(why) if why.contains("exit code 3")));
    }
}
