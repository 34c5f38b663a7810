//! Whether new credentials work, and lead to the database and the vhost that a mapping leads to already.

use model::{Cell, Incarnation};
use router::Which;
use sql::{Error, Work, migrate};

use super::preflight::queues_by;
use super::{Admin, DEADLINE, Denied, Why, close, open, reason};

impl Admin {
    /// Refuses new URLs that do not work, or that lead elsewhere.
    pub(super) async fn usable(
        &self,
        cell: &Cell,
        slots: &[(Which, String)],
        pending: bool,
    ) -> Result<(), Denied> {
        for (which, url) in slots {
            let new = self.secrets.fill(*which, url)?;
            let same = match self.secrets.ways(cell, *which)?.0.first() {
                Some(old) => place(old) == place(&new),
                None => false,
            };
            let what = which.word();
            if pending && !same {
                let why = format!(
                    "the new {what} URL names another server, port or name than the mapping: 'skep cell set' moves a cell"
                );
                return Err(Denied::new(Why::Bad, why));
            }
            if pending {
                continue;
            }
            let works = match which {
                Which::Database | Which::SecondDatabase => self.same_database(cell, &new, same).await,
                Which::Transport | Which::SecondTransport => self.same_vhost(cell, &new, same).await,
            };
            if let Err(why) = works {
                let why = format!(
                    "the new {what} URL of cell {} cannot be used: {why}; --pending if the server will take it later",
                    cell.name
                );
                return Err(Denied::new(Why::NotReady, why));
            }
        }
        Ok(())
    }

    async fn same_database(&self, cell: &Cell, new: &str, same_place: bool) -> Result<(), String> {
        let theirs = incarnation(open(new.to_owned(), false, DEADLINE)).await;
        let theirs = theirs.map_err(|error| reason(&error))?;
        if same_place {
            return Ok(());
        }
        match incarnation(self.open_within(cell, DEADLINE)).await {
            Ok(ours) if ours == theirs => Ok(()),
            Ok(_) => Err("it leads to another database: 'skep cell set' moves a cell".to_owned()),
            Err(error) => Err(format!(
                "it names another place, and whether that is the cell's database cannot be seen, as {}",
                reason(&error)
            )),
        }
    }

    async fn same_vhost(&self, cell: &Cell, new: &str, same_place: bool) -> Result<(), String> {
        let ours = self.secrets.ways(cell, Which::Transport).map_err(|fault| fault.message)?.0;
        let vhost = |url: &str| place(url).split_once('/').map(|(_, vhost)| vhost.to_owned());
        if !same_place && ours.first().map(|ours| vhost(ours)) != Some(vhost(new)) {
            return Err("it leads to another vhost: 'skep cell set' moves a cell".to_owned());
        }
        let bus = self.connector.connect(new, Default::default()).map_err(|fault| fault.message)?;
        queues_by(bus, false).await
    }
}

/// Where a URL leads to, without who goes there and how.
fn place(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let rest = rest.rsplit_once('@').map_or(rest, |(_, place)| place);
    rest.split_once('?').map_or(rest, |(place, _)| place)
}

async fn incarnation(db: Result<cell_db::Db, Error>) -> Result<Incarnation, Error> {
    let db = db?;
    let read = db.read(|tx| -> Work<'_, Incarnation> { Box::pin(migrate::incarnation(tx)) }).await;
    close(db);
    read
}

#[cfg(test)]
mod tests {
    use super::place;

    #[test]
    fn a_place_is_without_credentials() {
        for (url, wanted) in [
            ("postgres://u:p@ss@h:5/d?sslmode=require", "h:5/d"),
            ("amqps://u:p@h/v", "h/v"),
            ("postgres://h/d", "h/d"),
            ("sqlite:/x/y.db?mode=rw", "sqlite:/x/y.db"),
            ("local:x", "local:x"),
        ] {
            assert_eq!(place(url), wanted);
        }
    }
}
