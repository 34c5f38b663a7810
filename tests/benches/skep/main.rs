//! The benchmarks of skep: each beside its physical limit, measured in the same run.
//!
//! `cargo bench -p tests --bench skep -- SCENARIO…`; `docs/benchmarks.md` says what they measure and what
//! they found. Baseline and subject alternate; a table shows medians of the runs.

mod bare;
mod boot;
mod boots;
mod cli;
mod cloud;
mod commits;
mod cost;
mod desk;
mod docker;
mod edge;
mod engine;
mod figures;
mod http;
mod lists;
mod options;
mod overload;
mod rows;
mod show;
mod table;
mod tokens;

use std::process::ExitCode;

use options::Options;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    // The baseline of `show` is this program again, as a server.
    if let [role, url, table] = arguments.as_slice()
        && role == bare::ROLE
    {
        return end(bare::serve(url, table));
    }
    // `cargo bench` says so; whoever builds or tests all targets does not want to wait for measurements.
    if !arguments.iter().any(|argument| argument == "--bench") {
        table::line("measures nothing unless run as: cargo bench -p tests --bench skep -- SCENARIO…");
        return ExitCode::SUCCESS;
    }
    match Options::parse(&arguments) {
        Ok(options) => end(measure(&options)),
        Err(why) => {
            table::line(&why);
            ExitCode::from(2)
        }
    }
}

fn end(done: anyhow::Result<()>) -> ExitCode {
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            table::line(&format!("failed: {why:#}"));
            ExitCode::FAILURE
        }
    }
}

fn measure(options: &Options) -> anyhow::Result<()> {
    options.refuse_debug()?;
    table::line(&cost::machine());
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        for scenario in &options.scenarios {
            table::line(&format!("\n=== {scenario}, load before {}", cost::load()));
            match scenario.as_str() {
                "boot" => boot::measure(options).await?,
                "show" => show::measure(options).await?,
                "docker" => docker::measure(options).await?,
                "overload" => overload::measure(options).await?,
                "edge" => edge::measure(options).await?,
                "dev" => desk::measure(options).await?,
                "tokens" => tokens::measure(options).await?,
                "lists" => lists::measure(options).await?,
                "hold" => cloud::hold().await?,
                _ => cli::measure(options).await?,
            }
            table::line(&format!("load after {}", cost::load()));
        }
        Ok(())
    })
}
