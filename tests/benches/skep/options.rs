//! What is measured, and how often.

use std::path::Path;

use anyhow::bail;

/// Every scenario that measures.
const SCENARIOS: [&str; 9] = ["boot", "show", "tokens", "lists", "overload", "edge", "docker", "dev", "cli"];
/// The one that lets others measure.
const HOLD: &str = "hold";

const USAGE: &str = "\
cargo bench -p tests --bench skep -- [SCENARIO...] [OPTIONS]

  boot      boots to ACTIVE with the scripted engine, beside durable commits
  show      show and list, beside a bare HTTP server over the same rows
  tokens    checks of tokens, from memory and from the database
  overload  goodput at up to three times the load that can be carried
  edge      latency beside 10,000 idle connections, slow heads and slow bodies
  lists     lists of many rows in many cells, beside the bare queries, with a cell frozen
  docker    boots with Docker, beside the engine's own create and start
  dev       skep dev: time to ready, memory, first container
  cli       start-up of the command line
  hold      nothing: runs separate processes until Ctrl-C, for a generator or a profiler from outside

  --runs N         alternating runs; medians are shown [5]
  --quick          two short runs, to see that it works
  --clients A,B,C  clients of `boot` [1,8,32]
  --on WHERE       `boot` on `processes`, on `dev`, or on `both` [both]
  --count N        boots of a run with many clients [1000]
  --pause MS       pause between looks of `docker`'s parallel clients [30]
  --rows N         rows of `lists` [100000]
  --cells A,B,C    cells of `lists` [2,8,64]
  --debug          measure a debug build all the same";

/// What is measured, and how often.
#[derive(Clone, Debug)]
pub struct Options {
    /// Which scenarios, in this order.
    pub scenarios: Vec<String>,
    /// Alternating runs of baseline and subject.
    pub runs: usize,
    /// Short runs.
    pub quick: bool,
    /// How many clients boot at a time.
    pub clients: Vec<usize>,
    /// `processes`, `dev` or `both`.
    pub on: String,
    /// Boots of a run with many clients.
    pub count: usize,
    /// Milliseconds between looks at an instance by parallel clients.
    pub pause: usize,
    /// Rows that are listed.
    pub rows: usize,
    /// How many cells they lie in.
    pub cells: Vec<usize>,
    debug: bool,
}

impl Options {
    /// Reads the command line; `--bench`, which Cargo adds, says nothing.
    pub fn parse(arguments: &[String]) -> Result<Self, String> {
        let mut options = Self {
            scenarios: Vec::new(),
            runs: 5,
            quick: false,
            clients: vec![1, 8, 32],
            on: "both".into(),
            count: 1_000,
            pause: 30,
            rows: 100_000,
            cells: vec![2, 8, 64],
            debug: false,
        };
        let mut rest = arguments.iter();
        while let Some(argument) = rest.next() {
            let mut value = || rest.next().ok_or_else(|| format!("{argument} wants a value\n\n{USAGE}"));
            match argument.as_str() {
                "--bench" => {}
                "--debug" => options.debug = true,
                "--quick" => options.quick = true,
                "--runs" => options.runs = number(argument, value()?)?,
                "--pause" => options.pause = number(argument, value()?)?,
                "--count" => options.count = number(argument, value()?)?,
                "--on" => options.on = value()?.clone(),
                "--rows" => options.rows = number(argument, value()?)?,
                "--clients" | "--cells" => {
                    let each = value()?.split(',').map(|text| number(argument, text));
                    let each = each.collect::<Result<_, _>>()?;
                    if argument == "--cells" { options.cells = each } else { options.clients = each }
                }
                known if known == HOLD || SCENARIOS.contains(&known) => {
                    options.scenarios.push(argument.clone())
                }
                other => return Err(format!("'{other}' is not known\n\n{USAGE}")),
            }
        }
        if options.quick {
            (options.runs, options.count) = (options.runs.min(2), options.count.min(100));
        }
        if options.scenarios.is_empty() {
            options.scenarios = SCENARIOS.map(str::to_owned).to_vec();
        }
        match options.on.as_str() {
            "processes" | "dev" | "both" => Ok(options),
            other => Err(format!("--on {other}: give processes, dev or both")),
        }
    }

    /// Figures of a debug build say nothing, so it is not measured by mistake.
    ///
    /// # Errors
    /// If the binary, or this program, is one.
    pub fn refuse_debug(&self) -> anyhow::Result<()> {
        let binary = tests::skep();
        let debug = |path: &Path| path.components().any(|part| part.as_os_str() == "debug");
        if !binary.exists() {
            bail!("{} is missing: cargo build --release -p skep", binary.display());
        }
        if !self.debug && (debug(&binary) || cfg!(debug_assertions)) {
            bail!(
                "{} or this program is a debug build: cargo build --release -p skep, then cargo bench; or give --debug",
                binary.display()
            );
        }
        Ok(())
    }

    /// `long`, or `short` in a quick run.
    pub fn pick(&self, long: usize, short: usize) -> usize {
        if self.quick { short } else { long }
    }
}

fn number(option: &str, text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(number) if number > 0 => Ok(number),
        _ => Err(format!("{option} {text}: give a whole number above 0")),
    }
}
