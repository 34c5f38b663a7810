//! Stories on separate processes: three cells over PostgreSQL and RabbitMQ, containers in Docker Engine,
//! everything asked for over HTTP; what is killed is killed with SIGKILL.
//!
//! One story runs at a time, because each takes both of a small machine's cores. Each ends by the checker.

#[path = "processes/commands.rs"]
mod commands;
#[path = "processes/deaths.rs"]
mod deaths;
#[path = "processes/grows.rs"]
mod grows;
#[path = "processes/health.rs"]
mod health;
#[path = "processes/life.rs"]
mod life;
#[path = "processes/outages.rs"]
mod outages;
#[path = "processes/retries.rs"]
mod retries;
#[path = "processes/slots.rs"]
mod slots;
#[path = "processes/trial.rs"]
mod trial;
#[path = "processes/users.rs"]
mod users;

use tokio::sync::{Mutex, MutexGuard};

static ALONE: Mutex<()> = Mutex::const_new(());

/// Waits until no other story runs.
async fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().await
}
