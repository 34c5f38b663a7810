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
}

impl Which {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Database, Self::Transport];

    fn word(self) -> &'static str {
        match self {
            Self::Database => "database",
            Self::Transport => "transport",
        }
    }

    /// As it is stored.
    fn of(self, cell: &Cell) -> &str {
        match self {
            Self::Database => &cell.database_url,
            Self::Transport => &cell.transport_url,
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

/// A cell's URLs as they are connected to.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Urls {
    pub(crate) database: String,
    pub(crate) transport: String,
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

    pub(crate) fn urls(&self, cell: &Cell) -> Result<Urls, Fault> {
        let [database, transport] = Which::ALL.map(|which| self.url(cell, which));
        Ok(Urls { database: database?, transport: transport? })
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
            Which::Database => &self.database,
            Which::Transport => &self.transport,
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
