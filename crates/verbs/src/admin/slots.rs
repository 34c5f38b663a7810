//! The URLs of a mapping, two for each place that it leads to: which may be used, and how a cell is reached by them.

use std::time::Duration;

use api_db::cells::Change;
use model::{Cell, CellId, Fault};
use router::{Secrets, Which};
use sql::Error;

use super::{Admin, Denied, Why, close, open};

impl Admin {
    /// Opens a cell's database for a few calls, by the slot that is not refused. A SQLite file is not made.
    pub(super) fn open_within(&self, cell: &Cell, deadline: Duration) -> Result<cell_db::Db, Error> {
        let (urls, _) = self.secrets.ways(cell, Which::Database)?;
        let db = open(urls.first().cloned().unwrap_or_default(), false, deadline)?;
        db.change_credentials(&urls)?;
        Ok(db)
    }

    /// A bus of a cell, by the slot that works.
    pub(super) fn bus(&self, cell: &Cell) -> Result<rpc::Bus, Fault> {
        let (urls, _) = self.secrets.ways(cell, Which::Transport)?;
        let first = urls.first().cloned().unwrap_or_default();
        let bus = self.connector.connect(&first, Default::default())?;
        bus.change_credentials(&urls)?;
        Ok(bus)
    }

    /// Refuses a URL of a cell that could not be used, or leads to another cell. A second one may be empty: there is
    /// none any more.
    pub(super) fn check_url(&self, all: &[Cell], cell: &Cell, which: Which, url: &str) -> Result<(), Denied> {
        let is_second = matches!(which, Which::SecondDatabase | Which::SecondTransport);
        if url.is_empty() && is_second {
            return Ok(());
        }
        match which {
            Which::Database | Which::SecondDatabase => self.check_database(url)?,
            _ if cell.is_cell0() => {
                let why = "cell0 is a database and nothing else: it has no broker";
                return Err(Denied::new(Why::Cell0, why));
            }
            Which::Transport | Which::SecondTransport => self.check_transport(url)?,
        }
        free_url(&self.secrets, all, cell.id, which, url)
    }

    /// Refuses a broker's URL that could not be used.
    pub(super) fn check_transport(&self, template: &str) -> Result<(), Denied> {
        let bad = |why: String| Denied::new(Why::Bad, format!("transport URL: {why}"));
        let filled = self.secrets.fill(Which::Transport, template).map_err(|fault| bad(fault.message))?;
        let bus = self.connector.connect(&filled, Default::default()).map_err(|fault| bad(fault.message))?;
        tokio::spawn(async move { bus.close().await });
        Ok(())
    }

    /// Refuses a database's URL that could not be used. Nothing is connected.
    pub(super) fn check_database(&self, template: &str) -> Result<(), Denied> {
        let bad = |why: String| Denied::new(Why::Bad, why);
        let url = self.secrets.fill(Which::Database, template);
        let url = url.map_err(|fault| bad(format!("database URL: {}", fault.message)))?;
        match cell_db::Db::open(&sql::Settings::new(url)) {
            Ok(db) => close(db),
            Err(Error::Statement(why)) => return Err(bad(why)),
            Err(why) => return Err(bad(why.to_string())),
        }
        Ok(())
    }
}

/// What a change names of a mapping's URLs.
pub(super) fn named(change: &mut Change) -> [(Which, &mut Option<String>); 4] {
    [
        (Which::Database, &mut change.database_url),
        (Which::Transport, &mut change.transport_url),
        (Which::SecondDatabase, &mut change.second_database_url),
        (Which::SecondTransport, &mut change.second_transport_url),
    ]
}

/// Refuses another first URL where the second would still lead to where the first one led before.
pub(super) fn agree(cell: &Cell, change: &Change) -> Result<(), Denied> {
    for (what, second, first, named) in [
        ("database", &cell.second_database_url, &change.database_url, &change.second_database_url),
        ("transport", &cell.second_transport_url, &change.transport_url, &change.second_transport_url),
    ] {
        if !second.is_empty() && first.is_some() && named.is_none() {
            let why = format!(
                "cell {} has a second {what} URL, as its credentials are being rotated: finish that ('skep cell \
                 rotate'), or forget it first ('skep cell set --second-{what}-url=')",
                cell.name
            );
            return Err(Denied::new(Why::State, why));
        }
    }
    Ok(())
}

/// Refuses a URL that leads to another cell. Templates are compared by what they stand for here.
pub(super) fn free_url(
    secrets: &Secrets,
    all: &[Cell],
    id: CellId,
    which: Which,
    url: &str,
) -> Result<(), Denied> {
    let other = all.iter().filter(|other| other.id != id).find(|other| leads(secrets, other, which, url));
    match other {
        Some(other) => {
            let which = which.word();
            let why = format!("the {which} URL is that of cell {} ({}) already", other.name, other.id);
            Err(Denied::new(Why::UrlTaken, why))
        }
        None => Ok(()),
    }
}

/// Whether a cell has that URL, in either slot. What cannot be opened here leads nowhere from here.
fn leads(secrets: &Secrets, cell: &Cell, which: Which, url: &str) -> bool {
    let full = |template: String| secrets.fill(which, &template).unwrap_or(template);
    let has = |slot| secrets.template(cell, slot).is_ok_and(|theirs| full(theirs) == full(url.to_owned()));
    !url.is_empty() && [which, which.other()].into_iter().any(has)
}

/// Whether a mapping has the URLs of another one that is to be made.
pub(super) fn same_urls(secrets: &Secrets, known: &Cell, new: &Cell) -> bool {
    [Which::Database, Which::Transport]
        .into_iter()
        .all(|which| which.of(new).is_empty() || leads(secrets, known, which, which.of(new)))
}
