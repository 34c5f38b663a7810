//! What was done to an instance, by whom, and which request asked for it.

use api_db::audit::{self, Accepted};
use api_db::mappings::{self, Mapping, State};
use cell_db::actions::{self, Recorded};
use model::{Caller, Fault, Instance, InstanceId, Timestamp};
use sql::Work;

use crate::{Verbs, no_such_instance};

/// Something that was asked of an instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Done {
    /// Nova's word for it.
    pub action: String,
    /// The request that asked.
    pub request_id: String,
    /// Who asked.
    pub user: String,
    /// For which project.
    pub project: String,
    /// When.
    pub begun: Timestamp,
    /// When it came to its end, if it has.
    pub ended: Option<Timestamp>,
    /// `Success` or `Error`, once it has.
    pub result: Option<String>,
    /// Why it failed, if that is known.
    pub details: Option<String>,
}

/// What was done to an instance, and where it is.
#[derive(Clone, Debug)]
pub struct History {
    /// What was done, newest first.
    pub done: Vec<Done>,
    /// Whether the instance is gone.
    pub gone: bool,
    /// The instance as its cell has it, if it has.
    pub instance: Option<Instance>,
}

impl Verbs {
    /// What was done to an instance, also to one that is gone.
    ///
    /// # Errors
    /// Unavailable if its cell does not answer.
    pub async fn history(&self, caller: &Caller, id: InstanceId) -> Result<History, Fault> {
        let read = self.inner.db.read(move |tx| -> Work<'_, (Option<Mapping>, Vec<Accepted>)> {
            Box::pin(async move { Ok((mappings::get(tx, id).await?, audit::of(tx, id.uuid()).await?)) })
        });
        let (mapping, accepted) = read.await?;
        let mapping = mapping.filter(|mapping| caller.is_admin() || mapping.project == caller.project);
        let mapping = mapping.ok_or_else(|| no_such_instance(id))?;
        let (mut instance, mut recorded) = (None, Vec::new());
        if let Some(cell) = mapping.cell {
            let handle = self.inner.router.cell(cell)?;
            let read = handle.read(move |tx| -> Work<'_, (Option<Instance>, Vec<Recorded>)> {
                Box::pin(async move {
                    Ok((cell_db::instances::get(tx, cell, id).await?, actions::of(tx, id).await?))
                })
            });
            (instance, recorded) = read.await?;
        }
        let gone = mapping.state == State::Deleted;
        let own = accepted.into_iter().filter(|one| matches!(one.action.as_str(), "create" | "delete"));
        let mut done: Vec<Done> = own.map(|one| level(one, instance.as_ref(), gone)).collect();
        done.extend(recorded.into_iter().map(|one| Done {
            action: one.action,
            request_id: one.request_id,
            user: one.user,
            project: one.project,
            begun: one.at,
            ended: one.finished,
            result: one.result,
            details: one.message,
        }));
        done.sort_by_key(|one| std::cmp::Reverse(one.begun));
        Ok(History { done, gone, instance })
    }
}

/// What was accepted at the API level: its end is told by the cell's row.
fn level(one: Accepted, instance: Option<&Instance>, gone: bool) -> Done {
    let (ended, result) = match (one.action.as_str(), instance) {
        ("create", Some(row)) => match (row.launched, &row.fault) {
            (Some(at), _) => (Some(at), Some("Success".to_owned())),
            (None, Some((_, at))) => (Some(*at), Some("Error".to_owned())),
            (None, None) => (None, None),
        },
        ("delete", Some(row)) if gone => (row.terminated.or(Some(row.updated)), Some("Success".to_owned())),
        _ => (None, None),
    };
    Done {
        action: one.action,
        request_id: one.request_id,
        user: one.user,
        project: one.project,
        begun: one.at,
        ended,
        result,
        details: None,
    }
}
