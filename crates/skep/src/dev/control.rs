//! The control socket of a development cloud: making cells dark, and light again.
//!
//! One line of JSON asks, one line answers; each connection carries one of them.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use model::drill::{Drill, Gate};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio_util::sync::CancellationToken;

use crate::exit::Failure;

/// Longest that one exchange may take.
const DEADLINE: Duration = Duration::from_secs(5);
/// Longest line, in bytes.
const LINE: u64 = 64 * 1024;
/// Longest path that a socket can have (`unix(7)`, `sun_path`).
const PATH: usize = 107;

/// What is asked of a running cloud.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "ask")]
pub enum Ask {
    /// Make a cell dark: its connections fail, or hang.
    Down {
        /// The cell's name.
        cell: String,
        /// Hang instead of failing.
        hang: bool,
    },
    /// Make a cell light again.
    Up {
        /// The cell's name.
        cell: String,
    },
    /// Tell of all cells.
    List,
}

/// A cell and the drill that is on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lamp {
    /// The cell's name.
    pub cell: String,
    /// Its region.
    pub region: String,
    /// `off`, `refuse` or `hang`.
    pub drill: String,
}

type Answer = Result<Vec<Lamp>, String>;

/// A cell, and how to make it dark for everybody who looks down.
pub struct Switch {
    /// The cell's name.
    pub cell: String,
    /// Its region.
    pub region: String,
    /// The drill that is on.
    pub gate: Gate,
    /// Sets the drill; false if the cell is not known there.
    pub set: Box<dyn Fn(Drill) -> bool + Send + Sync>,
}

/// The socket, listening.
pub struct Control {
    listener: UnixListener,
    switches: Vec<Switch>,
}

impl Control {
    /// Listens at `path`, in the place of a dead socket that may lie there. The caller holds the
    /// directory's lock, so nobody else listens.
    pub fn bind(path: &Path, switches: Vec<Switch>) -> Result<Self, Failure> {
        let wrong = |why: &dyn std::fmt::Display| {
            Failure::new(format!("cannot listen on {}: {why}; give a shorter --dir", path.display()))
        };
        if path.as_os_str().len() > PATH {
            return Err(wrong(&format!("the path is longer than {PATH} bytes")));
        }
        match std::fs::remove_file(path) {
            Err(why) if why.kind() != ErrorKind::NotFound => return Err(wrong(&why)),
            _ => {}
        }
        Ok(Self { listener: UnixListener::bind(path).map_err(|why| wrong(&why))?, switches })
    }

    /// Answers until `stop`.
    pub async fn serve(self, stop: CancellationToken) {
        loop {
            let accepted = tokio::select! {
                () = stop.cancelled() => return,
                accepted = self.listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, _)) => drop(tokio::time::timeout(DEADLINE, self.exchange(stream)).await),
                Err(why) => {
                    tracing::warn!(%why, "control: cannot accept");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }

    async fn exchange(&self, stream: UnixStream) -> std::io::Result<()> {
        let mut stream = BufReader::new(stream);
        let mut line = String::new();
        (&mut stream).take(LINE).read_line(&mut line).await?;
        let answer: Answer = match serde_json::from_str(&line) {
            Ok(ask) => self.answer(ask),
            Err(why) => Err(format!("not understood: {why}")),
        };
        let text = serde_json::to_string(&answer).unwrap_or_default();
        stream.get_mut().write_all(format!("{text}\n").as_bytes()).await
    }

    fn answer(&self, ask: Ask) -> Answer {
        let (cell, drill) = match ask {
            Ask::List => return Ok(self.switches.iter().map(lamp).collect()),
            Ask::Down { cell, hang } => (cell, if hang { Drill::Hang } else { Drill::Refuse }),
            Ask::Up { cell } => (cell, Drill::Off),
        };
        let Some(switch) = self.switches.iter().find(|switch| switch.cell == cell) else {
            let names: Vec<_> = self.switches.iter().map(|switch| switch.cell.as_str()).collect();
            return Err(format!("there is no cell '{cell}'; there are {}", names.join(", ")));
        };
        if !(switch.set)(drill) {
            return Err(format!("cell '{cell}' is not opened yet: try again"));
        }
        switch.gate.set(drill);
        tracing::warn!(cell, drill = word(drill), "drill");
        Ok(vec![lamp(switch)])
    }
}

fn lamp(switch: &Switch) -> Lamp {
    let Switch { cell, region, gate, .. } = switch;
    Lamp { cell: cell.clone(), region: region.clone(), drill: word(gate.get()).to_owned() }
}

fn word(drill: Drill) -> &'static str {
    match drill {
        Drill::Off => "off",
        Drill::Refuse => "refuse",
        Drill::Hang => "hang",
    }
}

/// Asks the cloud that runs in `dir`.
pub async fn ask(dir: &Path, ask: &Ask) -> Result<Vec<Lamp>, Failure> {
    let path: PathBuf = dir.join("control.sock");
    let exchange = async {
        let mut stream = UnixStream::connect(&path).await?;
        stream.write_all(format!("{}\n", serde_json::to_string(ask)?).as_bytes()).await?;
        let mut line = String::new();
        BufReader::new(stream).take(LINE).read_line(&mut line).await?;
        Ok::<Answer, std::io::Error>(serde_json::from_str(&line)?)
    };
    match tokio::time::timeout(DEADLINE, exchange).await {
        Ok(Ok(answer)) => answer.map_err(Failure::new),
        Ok(Err(why)) => {
            Err(Failure::new(format!("no `skep dev` answers in {} ({why}): is --dir right?", dir.display())))
        }
        Err(_) => Err(Failure::timeout(format!("{} did not answer within {DEADLINE:?}", path.display()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn cells_go_dark_and_light_again() {
        let dir = std::env::temp_dir().join(format!("skep-control-{}", model::Env::system().uuid()));
        std::fs::create_dir(&dir).expect("is made");
        let gate = Gate::default();
        let far = gate.clone();
        let set = Box::new(move |drill| {
            far.set(drill);
            true
        });
        let (cell, region) = ("cell1".to_owned(), "region1".to_owned());
        let switches = vec![Switch { cell, region, gate: Gate::default(), set }];
        std::fs::write(dir.join("control.sock"), "a leftover").expect("is written");
        let control = Control::bind(&dir.join("control.sock"), switches).expect("listens");
        let stop = CancellationToken::new();
        let served = tokio::spawn(control.serve(stop.clone()));
        let down = Ask::Down { cell: "cell1".into(), hang: true };
        assert_eq!(ask(&dir, &down).await.expect("is done")[0].drill, "hang");
        assert_eq!(gate.get(), Drill::Hang);
        assert_eq!(ask(&dir, &Ask::List).await.expect("is told")[0].region, "region1");
        assert_eq!(ask(&dir, &Ask::Up { cell: "cell1".into() }).await.expect("is done")[0].drill, "off");
        let why = ask(&dir, &Ask::Up { cell: "x".into() }).await.expect_err("is refused").message;
        assert!(why.contains("there are cell1"), "{why}");
        stop.cancel();
        served.await.expect("ends");
        assert!(ask(&dir, &Ask::List).await.is_err());
        std::fs::remove_dir_all(&dir).expect("cleans up");
    }
}
