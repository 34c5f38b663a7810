//! Join tokens, which hosts enrol with, and hosts' keys that are taken back.

use std::time::Duration;

use cell_db::keys::{self, NewToken};
use model::CellId;
use rpc::JoinToken;
use serde::Serialize;
use serde_json::json;
use sql::Work;

use super::entry::nothing;
use super::hosts::HostView;
use super::{Admin, By, Denied, Why};

/// Most join tokens made at a time.
const MOST: usize = 1_000;
/// Longest that a join token may be good.
const LONGEST: Duration = Duration::from_secs(30 * 24 * 3600);

/// Join tokens as they are told once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct JoinTokens {
    /// The name of the cell that they are of.
    pub cell: String,
    /// The id of the cell.
    pub cell_id: CellId,
    /// The tokens, each for one host.
    pub tokens: Vec<JoinToken>,
    /// Until when they are good: microseconds since 1970, UTC.
    pub ends_at: i64,
}

impl Admin {
    /// Makes join tokens of a cell: each makes one host its own, once, within `lifetime`. The cell keeps a
    /// fingerprint of each; they cannot be shown again.
    ///
    /// # Errors
    /// [`Why::NoCell`], [`Why::Cell0`], [`Why::Dark`]; [`Why::Bad`]: not 1 to 1000 tokens, or not a minute to 30 days.
    pub async fn join_tokens(
        &self,
        by: &By,
        cell: &str,
        count: usize,
        lifetime: Duration,
    ) -> Result<JoinTokens, Denied> {
        let entry = self.entry(by, "host.join_token")?;
        if !(1..=MOST).contains(&count) || !(Duration::from_secs(60)..=LONGEST).contains(&lifetime) {
            let why = "1 to 1000 join tokens are made at a time, good for 60 seconds to 30 days";
            return Err(Denied::new(Why::Bad, why));
        }
        let cell = self.mapping(cell).await?;
        if cell.is_cell0() {
            return Err(Denied::new(Why::Cell0, "cell0 has no hosts"));
        }
        let (now, ends) = (entry.at, entry.at.plus(lifetime));
        let words = || (0..4).map(|_| format!("{:016x}", self.env.random())).collect::<String>();
        let tokens: Vec<JoinToken> =
            (0..count).map(|_| JoinToken::new(format!("skep-join-{}", words()))).collect();
        let kept: Vec<NewToken> = tokens
            .iter()
            .map(|token| NewToken { id: self.env.uuid(), fingerprint: token.fingerprint(), ends })
            .collect();
        let detail = json!({"count": count, "ends_at": ends.0, "tokens": kept.iter().map(|token| token.id).collect::<Vec<_>>()});
        let id = cell.id;
        let begun = self.begin(&entry, id.uuid(), detail).await?;
        let written = self.write(&cell, move |tx| -> Work<'_, ()> {
            let kept = kept.clone();
            Box::pin(async move { keys::allow(tx, &kept, now).await })
        });
        let written = written.await.map_err(|error| Denied::dark(&cell.name, &error));
        self.end(&begun, written, nothing).await?;
        Ok(JoinTokens { cell: cell.name, cell_id: id, tokens, ends_at: ends.0 })
    }

    /// Takes a host's key back: its agent is not heard any more until the host has enrolled again, with a new key
    /// and a join token. What runs on the host runs on.
    ///
    /// # Errors
    /// As [`Admin::host_view`]; [`Why::Dark`]; [`Why::State`]: it has no key.
    pub async fn revoke_host(
        &self,
        by: &By,
        host: &str,
        cell: Option<&str>,
        dry_run: bool,
    ) -> Result<HostView, Denied> {
        let entry = self.entry(by, "host.revoke")?;
        let place = self.known(host, cell).await?;
        let (id, name) = (place.view.id, place.view.name.clone());
        if place.view.key == Some("none") {
            return Err(Denied::new(Why::State, format!("host {name} has no key: it signs nothing")));
        }
        if dry_run {
            return Ok(place.view);
        }
        let detail = json!({"cell": place.cell.id, "name": name});
        let begun = self.begin(&entry, id.uuid(), detail).await?;
        let written = self.write(&place.cell, move |tx| -> Work<'_, bool> {
            Box::pin(async move { keys::revoke(tx, id).await })
        });
        let written = written.await.map_err(|error| Denied::dark(&place.cell.name, &error));
        self.end(&begun, written, nothing).await?;
        self.host_view(by, &id.to_string(), Some(&place.cell.name)).await
    }
}
