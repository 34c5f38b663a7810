//! `skep-manage db archive_deleted_rows`, `db purge` and `placement audit`.

use clap::{Args, Subcommand};
use model::{Cell, Timestamp};
use std::time::Duration;
use verbs::admin::{Done, Terms, Why};

use super::pretty::table;
use super::{CANNOT, Ground, date, refuse, say};
use crate::exit::{Failure, complain, print};

#[derive(Args, Debug)]
pub struct Archive {
    /// Most instances to archive
    #[arg(long = "max_rows", alias = "max-rows", value_name = "NUMBER", default_value = "1000")]
    max_rows: String,
    /// Only what ended before that day
    #[arg(long, value_name = "DATE")]
    before: Option<String>,
    /// Go on until nothing is left
    #[arg(long = "until-complete", alias = "until_complete")]
    until_complete: bool,
    /// Delete instead of archiving
    #[arg(long)]
    purge: bool,
    /// In every cell, not only in that of the configuration
    #[arg(long = "all-cells", alias = "all_cells")]
    all_cells: bool,
    /// Taken, and without meaning here: there is no task log
    #[arg(long = "task-log", alias = "task_log")]
    task_log: bool,
    /// Seconds between two rounds of --until-complete
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    sleep: u64,
    /// Tell what was archived
    #[arg(long)]
    verbose: bool,
}

#[derive(Args, Debug)]
pub struct Purge {
    /// All that was archived
    #[arg(long)]
    all: bool,
    /// Only what ended before that day
    #[arg(long, value_name = "DATE")]
    before: Option<String>,
    /// In every cell, not only in that of the configuration
    #[arg(long = "all-cells", alias = "all_cells")]
    all_cells: bool,
    /// Tell what was deleted
    #[arg(long)]
    verbose: bool,
}

#[derive(Debug, Subcommand)]
#[command(rename_all = "snake_case")]
pub enum Placement {
    /// Find allocations that no instance owns
    Audit(Audit),
}

#[derive(Args, Debug)]
pub struct Audit {
    /// Delete what is found
    #[arg(long)]
    delete: bool,
    /// Only those of one host, by its id or name
    #[arg(long = "resource_provider", alias = "resource-provider", value_name = "HOST")]
    resource_provider: Option<String>,
    /// Tell more
    #[arg(long)]
    verbose: bool,
}

/// The cells that are meant: all, that of the configuration, or cell0 where it names none.
async fn cells(ground: &Ground, all: bool) -> Result<Vec<Cell>, verbs::admin::Denied> {
    let mapped = ground.admin.mappings().await?;
    let configured = ground.config.cell.database.url.as_ref().map(|url| url.reveal().to_owned());
    let meant = |cell: &Cell| match &configured {
        _ if all => true,
        Some(url) => ground.leads_to(cell, url),
        None => cell.is_cell0(),
    };
    Ok(mapped.into_iter().filter(meant).collect())
}

fn tell(done: &Done, head: &[&str], all: bool) -> Result<(), Failure> {
    let name = |cell: &Option<String>, table: &str| match cell {
        None => format!("API_DB.{table}"),
        Some(cell) if all => format!("{cell}.{table}"),
        Some(_) => table.to_owned(),
    };
    let rows: Vec<Vec<String>> =
        done.rows.iter().map(|((cell, table), count)| vec![name(cell, table), count.to_string()]).collect();
    print(&table(head, &rows))
}

/// Tells which cells did not answer.
fn told_dark(done: &Done) -> bool {
    for (cell, why) in &done.dark {
        complain(&format!("cell {cell} was left out: {why}"));
    }
    !done.dark.is_empty()
}

fn before(text: Option<&String>) -> Result<Option<Timestamp>, Failure> {
    match text.map(|text| (text, date::parse(text))) {
        None => Ok(None),
        Some((_, Some(at))) => Ok(Some(at)),
        Some((text, None)) => Err(Failure::usage(format!(
            "Invalid value for --before: '{text}' is not of the form YYYY-MM-DD[ HH:MM]"
        ))),
    }
}

impl Archive {
    pub async fn run(self, ground: &Ground) -> Result<u8, Failure> {
        let most = match self.max_rows.parse::<i64>() {
            Ok(most) if most >= 1 => most,
            Ok(_) => {
                say("Must supply a positive value for max_rows")?;
                return Ok(2);
            }
            Err(_) => {
                say(&format!("Invalid value for --max_rows: '{}'", self.max_rows))?;
                return Ok(2);
            }
        };
        let before = match before(self.before.as_ref()) {
            Ok(before) => before,
            Err(why) => {
                say(&why.message)?;
                return Ok(4);
            }
        };
        let terms = Terms { most, before, purge: self.purge };
        let mut sum = Done::default();
        loop {
            let round = async {
                let cells = cells(ground, self.all_cells).await?;
                ground.admin.archive(&ground.by, &cells, terms).await
            };
            match round.await {
                Ok(done) => {
                    for (key, rows) in done.rows {
                        *sum.rows.entry(key).or_default() += rows;
                    }
                    sum.instances += done.instances;
                    sum.dark = done.dark;
                    // A round that was not full has seen everything.
                    if !self.until_complete || done.instances < most {
                        break;
                    }
                }
                Err(denied) => return refuse_api(&denied, 3),
            }
            tokio::time::sleep(Duration::from_secs(self.sleep)).await;
        }
        let dark = told_dark(&sum);
        if self.verbose && sum.rows.is_empty() {
            say("Nothing was archived.")?;
        } else if self.verbose {
            tell(&sum, &["Table", "Number of Rows Archived"], self.all_cells)?;
        }
        Ok(if dark { CANNOT } else { u8::from(!sum.rows.is_empty()) })
    }
}

impl Purge {
    pub async fn run(self, ground: &Ground) -> Result<u8, Failure> {
        if self.all == self.before.is_some() {
            say("Specify either --all or --before")?;
            return Ok(1);
        }
        let before = match before(self.before.as_ref()) {
            Ok(before) => before,
            Err(why) => {
                say(&why.message)?;
                return Ok(2);
            }
        };
        let purged = async {
            let cells = cells(ground, self.all_cells).await?;
            ground.admin.purge(&ground.by, &cells, before).await
        };
        match purged.await {
            Ok(done) => {
                let dark = told_dark(&done);
                if self.verbose && !done.rows.is_empty() {
                    tell(&done, &["Table", "Number of Rows Deleted"], self.all_cells)?;
                }
                Ok(match (dark, done.rows.is_empty()) {
                    (true, _) => CANNOT,
                    (false, true) => 3,
                    (false, false) => 0,
                })
            }
            Err(denied) => refuse_api(&denied, 4),
        }
    }
}

/// The API database does not answer: Nova has a code of its own for that here.
fn refuse_api(denied: &verbs::admin::Denied, code: u8) -> Result<u8, Failure> {
    match denied.why {
        Why::Fault(model::FaultKind::Unavailable | model::FaultKind::Timeout) => {
            complain(&denied.message);
            Ok(code)
        }
        _ => refuse(denied, &[]),
    }
}

impl Placement {
    pub async fn run(self, ground: &Ground) -> Result<u8, Failure> {
        let Self::Audit(it) = self;
        it.run(ground).await
    }
}

impl Audit {
    async fn run(self, ground: &Ground) -> Result<u8, Failure> {
        if let Some(host) = &self.resource_provider
            && ground.admin.host_mappings(&ground.by, None).await.is_ok_and(|mapped| {
                !mapped.iter().any(|(mapping, _)| mapping.name == *host || mapping.host.to_string() == *host)
            })
        {
            say(&format!("Resource provider with UUID {host} does not exist."))?;
            return Ok(127);
        }
        let found = match ground.admin.orphans(&ground.by).await {
            Ok(found) => found,
            Err(denied) => return refuse(&denied, &[]),
        };
        let (mut count, mut failed) = (0, false);
        for cell in &found {
            let orphans = match &cell.found {
                Ok(orphans) => orphans,
                Err(why) => {
                    complain(&format!("cell {} was left out: {why}", cell.cell.name));
                    failed = true;
                    continue;
                }
            };
            let meant = |host: &str, name: &str| {
                self.resource_provider.as_deref().is_none_or(|wanted| wanted == host || wanted == name)
            };
            for orphan in orphans.iter().filter(|o| meant(&o.host.to_string(), &o.host_name)) {
                let (instance, host) = (orphan.instance, orphan.host);
                if !self.delete {
                    count += 1;
                    say(&format!(
                        "Allocations were set against instance UUID {instance} on Resource Provider {host} but \
                         no longer exist: run with --delete to free them"
                    ))?;
                    continue;
                }
                match ground.admin.free_orphan(&ground.by, &cell.cell, orphan).await {
                    Ok(true) => {
                        count += 1;
                        say(&format!(
                            "Deleted allocations for instance UUID {instance} on Resource Provider {host}"
                        ))?;
                    }
                    // Somebody owns it by now.
                    Ok(false) => {}
                    Err(denied) => {
                        complain(&denied.message);
                        failed = true;
                    }
                }
            }
        }
        if self.verbose {
            say(&format!("Processed {count} allocation{}.", if count == 1 { "" } else { "s" }))?;
        }
        Ok(match (failed, count, self.delete) {
            (true, ..) => 1,
            (false, 0, _) => 0,
            (false, _, false) => 3,
            (false, _, true) => 4,
        })
    }
}
