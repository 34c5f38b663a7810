//! `skep`: one binary for every role, for the administrator and for the user.

mod admin;
mod cli;
mod client;
mod config;
mod dev;
mod exit;
mod health;
mod log;
mod manage;
mod role;

use std::process::ExitCode;

use clap::Parser;

/// Rows, JSON and messages are many small pieces, made on one thread and dropped on another.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    if manage::is_called() {
        return manage::main();
    }
    match cli::Cli::parse().run() {
        Ok(done) => done,
        Err(failure) => {
            exit::complain(&failure.message);
            failure.code.into()
        }
    }
}
