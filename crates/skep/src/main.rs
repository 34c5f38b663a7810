//! `skep`: one binary for every role, for the administrator and for the user.

mod cli;
mod client;
mod config;
mod dev;
mod exit;
mod health;
mod log;
mod role;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    match cli::Cli::parse().run() {
        Ok(done) => done.into(),
        Err(failure) => {
            exit::complain(&failure.message);
            failure.code.into()
        }
    }
}
