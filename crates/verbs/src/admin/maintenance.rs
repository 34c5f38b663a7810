//! Maintenance of a host: it takes no new instances, and says why for whoever wonders.
//!
//! It is one way of being disabled, in the row that the cell's claims look at, so that no two databases can tell
//! different stories; its reason begins with [`MARK`], which Nova's clients see too.

use super::{Admin, By, Denied, HostView, Why};

/// What the reason of a host in maintenance begins with.
pub(super) const MARK: &str = "maintenance: ";

impl Admin {
    /// Keeps a host from taking new instances while it is in maintenance; what it runs goes on and is not moved.
    ///
    /// # Errors
    /// As [`Admin::disable_host`].
    pub async fn maintain_host(
        &self,
        by: &By,
        host: &str,
        cell: Option<&str>,
        words: &str,
        dry_run: bool,
    ) -> Result<HostView, Denied> {
        let words = match words.trim() {
            "" => String::new(),
            words => format!("{MARK}{words}"),
        };
        let words = super::hosts::reason_for(&words)?;
        self.switch(by, "host.maintenance", host, cell, Some(words), dry_run).await
    }

    /// Ends it: the host takes new instances again. Of one that is in no maintenance and not disabled nothing is
    /// changed.
    ///
    /// # Errors
    /// As [`Admin::enable_host`]; [`Why::State`] of a host that is disabled for another reason.
    pub async fn end_maintenance(
        &self,
        by: &By,
        host: &str,
        cell: Option<&str>,
        dry_run: bool,
    ) -> Result<HostView, Denied> {
        let now = self.host_view(by, host, cell).await?;
        if now.enabled == Some(false) && now.maintenance != Some(true) {
            let why = now.disabled_reason.unwrap_or_default();
            let why = format!("host {} is not in maintenance but disabled ({why}): enable it", now.name);
            return Err(Denied::new(Why::State, why));
        }
        match now.enabled {
            Some(true) => Ok(now),
            _ => self.switch(by, "host.maintenance-end", host, cell, None, dry_run).await,
        }
    }
}
