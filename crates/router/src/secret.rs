//! The secrets in cell mappings: how their URLs are stored, and what every process of the API level makes of
//! them when it opens a cell.

use std::fmt;
use std::path::PathBuf;

use model::{Cell, CellId, Env, Fault};

use crate::keys::{self, Keys};
use crate::template;

/// Which URL of a mapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// That of the cell's database.
    Database,
    /// That of its broker.
    Transport,
    /// The second of its database, if there is one.
    SecondDatabase,
    /// The second of its broker, if there is one.
    SecondTransport,
}

impl Which {
    /// All.
    pub const ALL: [Self; 4] = [Self::Database, Self::Transport, Self::SecondDatabase, Self::SecondTransport];

    /// What it is called, and what it is sealed as: a URL opens in its own place only.
    pub fn word(self) -> &'static str {
        match self {
            Self::Database => "database",
            Self::Transport => "transport",
            Self::SecondDatabase => "second database",
            Self::SecondTransport => "second transport",
        }
    }

    /// As it is stored.
    pub fn of(self, cell: &Cell) -> &str {
        match self {
            Self::Database => &cell.database_url,
            Self::Transport => &cell.transport_url,
            Self::SecondDatabase => &cell.second_database_url,
            Self::SecondTransport => &cell.second_transport_url,
        }
    }

    /// That of the other slot, which leads to the same place.
    pub fn other(self) -> Self {
        match self {
            Self::Database => Self::SecondDatabase,
            Self::Transport => Self::SecondTransport,
            Self::SecondDatabase => Self::Database,
            Self::SecondTransport => Self::Transport,
        }
    }
}

/// What this process opens and fills in cells' URLs with. Files are read each time, so that a change of theirs
/// needs no restart.
#[derive(Clone, Default)]
pub struct Secrets {
    /// The file of keys that URLs are sealed with, the first key, and opened, all of them; without one they are
    /// stored as they were written.
    pub keys_file: Option<PathBuf>,
    /// The URL whose parts stand for Nova's words in database URLs. Secret.
    pub database: Option<String>,
    /// The same for transport URLs. Secret.
    pub transport: Option<String>,
}

impl fmt::Debug for Secrets {
    /// Without the URLs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Secrets").field("keys_file", &self.keys_file).finish_non_exhaustive()
    }
}

/// A cell's URLs as they are connected to: those of the first slots first.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Urls {
    pub(crate) database: Vec<String>,
    /// None if the cell has no broker.
    pub(crate) transport: Vec<String>,
}

impl Secrets {
    /// A cell's URL as it was written, a template perhaps.
    ///
    /// # Errors
    /// If it is sealed and cannot be opened here. The message holds neither the URL nor what is stored.
    pub fn template(&self, cell: &Cell, which: Which) -> Result<String, Fault> {
        let stored = which.of(cell);
        if !keys::is_sealed(stored) {
            return Ok(stored.to_owned());
        }
        let word = which.word();
        let id = keys::key_of(stored).unwrap_or("?");
        let sealed = format!("its {word} URL is sealed with key '{id}'");
        let Some(file) = &self.keys_file else {
            return Err(Fault::invalid(format!(
                "{sealed}, and there are no keys here: set router.keys_file"
            )));
        };
        let keys = Keys::read(file).map_err(|why| Fault::invalid(format!("{sealed}: {}", why.message)))?;
        match keys.open(cell.id, word, stored) {
            Some(Ok(url)) => Ok(url),
            Some(Err(keys::Refused)) => Err(Fault::invalid(format!(
                "{sealed}, which does not open it: in {} another key has this id, or the mapping was changed by \
                 other hands",
                file.display()
            ))),
            None => Err(Fault::invalid(format!("{sealed}, which {} does not hold", file.display()))),
        }
    }

    /// A cell's URL as it is connected to.
    ///
    /// # Errors
    /// Those of [`Secrets::template`] and [`Secrets::fill`].
    pub fn url(&self, cell: &Cell, which: Which) -> Result<String, Fault> {
        self.fill(which, &self.template(cell, which)?)
    }

    /// The URLs by which a cell's database or broker is reached, that of the first slot first: the next is for
    /// whoever is refused by the one before. One that cannot be filled in is left out and told of, as long as the
    /// other can.
    ///
    /// # Errors
    /// Those of [`Secrets::url`], if there is no URL to use.
    pub fn ways(&self, cell: &Cell, which: Which) -> Result<(Vec<String>, Option<Fault>), Fault> {
        let (mut urls, mut fault) = (Vec::new(), None);
        for slot in [which, which.other()] {
            if slot.of(cell).is_empty() {
                continue;
            }
            match self.url(cell, slot) {
                Ok(url) => urls.push(url),
                Err(why) => fault = fault.or(Some(why)),
            }
        }
        match (urls.is_empty(), fault) {
            (true, Some(fault)) => Err(fault),
            (_, fault) => Ok((urls, fault)),
        }
    }

    /// Both, with what could not be filled in.
    pub(crate) fn urls(&self, cell: &Cell) -> Result<(Urls, Option<Fault>), Fault> {
        let (database, one) = self.ways(cell, Which::Database)?;
        let (transport, two) = self.ways(cell, Which::Transport)?;
        Ok((Urls { database, transport }, one.or(two)))
    }

    /// Fills in a template: `{file:PATH}`, `{env:NAME}`, and Nova's words.
    ///
    /// # Errors
    /// Whatever cannot be filled in; nothing that failed is ever used as it stands. The message holds no secret.
    pub fn fill(&self, which: Which, template: &str) -> Result<String, Fault> {
        if keys::is_sealed(template) {
            return Err(Fault::invalid("a sealed value is no URL: give the URL itself"));
        }
        let base = match which {
            Which::Database | Which::SecondDatabase => &self.database,
            Which::Transport | Which::SecondTransport => &self.transport,
        };
        template::fill(template, base.as_deref())
    }

    /// A URL as it is to be stored: sealed, if there is a file of keys.
    ///
    /// # Errors
    /// A file of keys that cannot be read.
    pub fn seal(&self, env: &Env, cell: CellId, which: Which, url: &str) -> Result<String, Fault> {
        match &self.keys_file {
            Some(file) if !url.is_empty() => Keys::read(file)?.seal(env, cell, which.word(), url),
            _ => Ok(url.to_owned()),
        }
    }

    /// Whether a cell's URL is stored as it would be now: sealed with the first key, if there are keys.
    ///
    /// # Errors
    /// A file of keys that cannot be read.
    pub fn is_current(&self, cell: &Cell, which: Which) -> Result<bool, Fault> {
        let stored = which.of(cell);
        match &self.keys_file {
            Some(file) => Ok(stored.is_empty() || Keys::read(file)?.is_current(stored)),
            None => Ok(!keys::is_sealed(stored)),
        }
    }
}
