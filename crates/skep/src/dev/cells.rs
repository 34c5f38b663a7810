//! `skep dev cell`: drills on a running development cloud.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::control::{Ask, ask};
use crate::client::table;
use crate::exit::{Code, Failure, print};

/// `skep dev cell …`.
#[derive(Debug, Subcommand)]
pub enum Cells {
    /// Make a cell dark for the API level; its hosts go on
    Down(Down),
    /// Make a cell light again
    Up(Up),
    /// List cells and drills
    List(Place),
}

/// Which cloud.
#[derive(Args, Debug)]
pub struct Place {
    /// The directory that the cloud was started with
    #[arg(long, default_value = super::DIR)]
    dir: PathBuf,
}

/// Options of `skep dev cell down`.
#[derive(Args, Debug)]
pub struct Down {
    /// The cell's name
    name: String,
    /// Let connections hang, as a frozen server does, instead of failing at once
    #[arg(long)]
    hang: bool,
    #[command(flatten)]
    place: Place,
}

/// Options of `skep dev cell up`.
#[derive(Args, Debug)]
pub struct Up {
    /// The cell's name
    name: String,
    #[command(flatten)]
    place: Place,
}

impl Cells {
    /// Runs the command.
    pub async fn run(self) -> Result<Code, Failure> {
        let (dir, question) = match self {
            Self::Down(down) => (down.place.dir, Ask::Down { cell: down.name, hang: down.hang }),
            Self::Up(up) => (up.place.dir, Ask::Up { cell: up.name }),
            Self::List(place) => (place.dir, Ask::List),
        };
        let lamps = ask(&dir, &question).await?;
        let rows: Vec<_> = lamps.into_iter().map(|lamp| vec![lamp.cell, lamp.region, lamp.drill]).collect();
        print(&table::render(&["CELL", "REGION", "DRILL"], &rows))?;
        Ok(Code::Done)
    }
}
