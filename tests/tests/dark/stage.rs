//! What the stories play on: two cells, each a region; the first one's database and cell0's on servers of
//! their own, and lines to them.

use std::time::Duration;

use serde_json::json;
use tests::estate::{Apart, Engine, Plan, User, server};
use tests::{Client, Estate, Part, Services, eventually};

use crate::line::{Line, Mode};

/// Which cell goes dark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// `cell1`.
    One,
    /// `cell0`.
    Zero,
}

/// How it is dark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Connections are refused.
    Refused,
    /// They are accepted, and nothing answers.
    Frozen,
    /// Every packet is 200 ms late.
    Slow,
    /// It comes and goes.
    Flapping,
}

/// A packet's delay in a slow cell.
const SLOW: Duration = Duration::from_millis(200);

/// The stage.
pub struct Stage {
    // Dropped first: its processes use what is below.
    pub estate: Estate,
    pub alice: User,
    pub operator: User,
    /// What lies in the first cell, in the second, and in cell0.
    pub inside: Vec<String>,
    pub outside: Vec<String>,
    pub buried: String,
    lines: [Line; 2],
    services: [Services; 2],
}

impl Stage {
    /// Sets it, with instances in all cells.
    pub async fn set() -> Self {
        let services = [Services::private(&[Part::Postgres]), Services::private(&[Part::Postgres])];
        let lines =
            [Line::to(services[0].postgres().url()).await, Line::to(services[1].postgres().url()).await];
        let plan = Plan { cells: 2, hosts: 1, engine: Engine::Scripted, regions: true, ..Plan::default() };
        let apart = Apart {
            cell1: Some(&services[0]),
            cell0: Some(&services[1]),
            by: Some((&lines[0].address, &lines[1].address)),
            ..Apart::default()
        };
        let estate = Estate::start_apart(plan, apart).await;
        let (alice, operator) = (estate.user("alice"), estate.user("operator"));
        let (one, two) = (estate.user_in("alice", 1), estate.user_in("alice", 2));
        let (inside, outside) = (one.boot_many("in", 8).await, two.boot_many("out", 3).await);
        let mut huge = server("huge");
        huge["flavorRef"] = json!("5");
        let buried = alice.boot(huge).await;
        for id in inside.iter().chain(&outside) {
            alice.reaches(id, "ACTIVE").await;
        }
        alice.reaches(&buried, "ERROR").await;
        estate.at_rest().await;
        let stage = Self { estate, alice, operator, inside, outside, buried, lines, services };
        stage.heal().await;
        stage
    }

    /// The line to a cell.
    pub fn line(&self, which: Which) -> &Line {
        &self.lines[which as usize]
    }

    /// Puts a cell into a state; flapping begins with being refused, and is kept up by [`Stage::flap`].
    pub fn put(&self, which: Which, state: State) {
        match state {
            State::Refused | State::Flapping => self.line(which).set(Mode::Refuse),
            State::Frozen => self.services[which as usize].freeze(Part::Postgres),
            State::Slow => self.line(which).set(Mode::Slow(SLOW)),
        }
    }

    /// Lets a cell come and go while something is done.
    pub async fn flap<T>(&self, which: Which, state: State, work: impl Future<Output = T>) -> T {
        let flapping = async {
            loop {
                for mode in [Mode::Refuse, Mode::Pass] {
                    self.line(which).set(mode);
                    tokio::time::sleep(Duration::from_millis(300)).await;
                }
            }
        };
        if state != State::Flapping {
            return work.await;
        }
        tokio::select! {
            done = work => done,
            () = flapping => unreachable!("it goes on"),
        }
    }

    /// Ends whatever the cells were put into, and waits until the API level, the superconductor included,
    /// knows them again.
    pub async fn heal(&self) {
        for at in [0, 1] {
            self.lines[at].set(Mode::Pass);
            self.services[at].thaw(Part::Postgres);
        }
        eventually(Duration::from_secs(60), "all cells are up, and the index is fed", async || {
            let status = self.operator.get("/admin/v1/status").await?;
            let cells = status["cells"].as_array().cloned().unwrap_or_default();
            let well = |cell: &serde_json::Value| cell["up"] == true && cell["index_behind"] == 0;
            if cells.len() == 3 && cells.iter().all(well) { Ok(()) } else { Err(status.to_string()) }
        })
        .await;
    }

    /// A client that asks for another microversion, without our own extension.
    pub fn plain(&self, version: &str) -> Client {
        Client::new(self.estate.url(0))
            .header("X-Auth-Token", &tests::estate::token("alice"))
            .header("OpenStack-API-Version", &format!("compute {version}"))
    }

    /// How many files and sockets the first API process holds open.
    pub fn descriptors(&self) -> usize {
        let folder = format!("/proc/{}/fd", self.estate.pid("api1"));
        std::fs::read_dir(folder).map(Iterator::count).unwrap_or_default()
    }
}
