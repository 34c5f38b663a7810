//! `cli`: how long the command line takes, beside a program that does nothing.

use std::process::{Command, Stdio};

use anyhow::bail;
use model::Env;

use crate::boots::{all_at_once, clear};
use crate::cloud::Dev;
use crate::figures::{median, ms, percentile, show};
use crate::options::Options;
use crate::table::{Table, line};

/// Instances that `ps` lists.
const INSTANCES: usize = 20;

/// Measures it.
pub async fn measure(options: &Options) -> anyhow::Result<()> {
    let dev = Dev::start(&["--engine", "scripted"]).await?;
    let boots = all_at_once(&dev.target, 4, INSTANCES).await?;
    let settings = dev.folder.join("home").join("skep.env").display().to_string();
    let commands: [(&str, Vec<&str>); 4] = [
        ("true", vec![]),
        ("skep --version", vec!["--version"]),
        ("skep ps (20 instances)", vec!["ps", "--env-file", &settings]),
        ("skep status", vec!["status", "--env-file", &settings]),
    ];
    let mut times = vec![Vec::new(); commands.len()];
    for _ in 0..options.pick(40, 5) {
        for ((name, arguments), times) in commands.iter().zip(&mut times) {
            times.push(once(name, arguments)?);
        }
    }
    let mut table = Table::new(&["command", "p50 ms", "p95 ms", "more than true ms"]);
    let least = median(&times[0]);
    for ((name, _), times) in commands.iter().zip(&times) {
        let figures = [median(times), percentile(times, 0.95), median(times) - least].map(show);
        table.row([(*name).to_owned()].into_iter().chain(figures));
    }
    table.print();
    line("from the start of the process to its end, its answer thrown away");
    clear(&dev.target, 4, boots.ids).await?;
    dev.end();
    Ok(())
}

fn once(name: &str, arguments: &[&str]) -> anyhow::Result<f64> {
    let program = if name == "true" { "true".into() } else { tests::skep() };
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null());
    let env = Env::system();
    let start = env.monotonic();
    let status = command.status()?;
    let took = ms(env.monotonic() - start);
    if status.success() { Ok(took) } else { bail!("{name}: {status}") }
}
