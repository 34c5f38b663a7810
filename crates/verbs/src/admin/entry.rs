//! Audit entries of administrators' changes.
//!
//! A change of the API database is recorded in its transaction. A change in a cell's database has no transaction in
//! common with the records: so its record is written before it begins, with the outcome `begun`, and told afterwards
//! whether it was `done` or `failed`. One that stays `begun` was cut off, and may have been done.

use api_db::{Tx, audit};
use model::Timestamp;
use serde_json::{Value, json};
use sql::{Error, Work};
use uuid::Uuid;

use super::{Admin, By, Denied, only_admins};

/// An audit entry, complete but for its detail; made before the transaction that stores it.
#[derive(Clone)]
pub(crate) struct Entry {
    id: Uuid,
    /// When.
    pub(crate) at: Timestamp,
    by: By,
    action: &'static str,
}

impl Entry {
    /// The entry of the nth of several things that one request does.
    pub(crate) fn nth(&self, n: usize) -> Self {
        Self { id: Uuid::from_u128(self.id.as_u128().wrapping_add(n as u128)), ..self.clone() }
    }

    /// Records it, in the transaction of the change.
    pub(crate) async fn record(&self, tx: &mut Tx, target: Uuid, detail: Value) -> Result<(), Error> {
        let who = (&self.by.caller, &self.by.context);
        audit::record(tx, self.id, self.at, who, self.action, Some(target), detail).await
    }
}

/// The record of a change in a cell that has begun.
#[derive(Clone)]
pub(crate) struct Begun {
    id: Uuid,
    detail: Value,
}

impl Begun {
    /// Says that it was done, in the last transaction of the change.
    pub(crate) async fn done(&self, tx: &mut Tx, more: &Value) -> Result<(), Error> {
        audit::amend(tx, self.id, self.with("done", more)).await
    }

    fn with(&self, outcome: &str, more: &Value) -> Value {
        let mut detail = self.detail.clone();
        for (key, value) in more.as_object().into_iter().flatten() {
            detail[key] = value.clone();
        }
        detail["outcome"] = json!(outcome);
        detail
    }
}

impl Admin {
    pub(super) fn entry(&self, by: &By, action: &'static str) -> Result<Entry, Denied> {
        only_admins(by)?;
        Ok(Entry { id: self.env.uuid(), at: self.env.now(), by: by.clone(), action })
    }

    /// Records a change in a cell that is about to begin.
    pub(super) async fn begin(
        &self,
        entry: &Entry,
        target: Uuid,
        mut detail: Value,
    ) -> Result<Begun, Denied> {
        let begun = Begun { id: entry.id, detail: detail.clone() };
        detail["outcome"] = json!("begun");
        let entry = entry.clone();
        let recorded = self.db.write(move |tx| -> Work<'_, ()> {
            let (entry, detail) = (entry.clone(), detail.clone());
            Box::pin(async move { entry.record(tx, target, detail).await })
        });
        recorded.await?;
        Ok(begun)
    }

    /// Tells the record how the change ended, and gives what it came to. If it cannot be told, the record says `begun`.
    pub(super) async fn end<T>(
        &self,
        begun: &Begun,
        came_to: Result<T, Denied>,
        more: impl FnOnce(&T) -> Value,
    ) -> Result<T, Denied> {
        let detail = match &came_to {
            Ok(done) => begun.with("done", &more(done)),
            Err(denied) => begun.with("failed", &json!({"why": denied.message})),
        };
        let id = begun.id;
        let told = self.db.write(move |tx| -> Work<'_, ()> {
            let detail = detail.clone();
            Box::pin(async move { audit::amend(tx, id, detail).await })
        });
        if let Err(error) = told.await {
            tracing::warn!(%error, audit.id = %id, "the outcome of a change was not recorded");
        }
        came_to
    }
}

/// Nothing more to say of a change that was done.
pub(super) fn nothing<T>(_: &T) -> Value {
    json!({})
}
