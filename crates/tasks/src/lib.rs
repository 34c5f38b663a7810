//! Durable tasks: promises that outlive the process that made them.
//!
//! A task is a row: what kind of work, on which instance, and the state that it has reached (an enum,
//! stored as JSON). It is enqueued in the transaction that makes the promise, leased by a worker's
//! *incarnation*, and advanced in the same transaction as the effect that it records.
//!
//! - One live task for each subject (unique index): operations on an instance are serialized.
//! - A lease is the worker's id in the row. The worker bumps its *beat*; whoever sees a beat stand still
//!   for [`LEASE`] of its own monotonic clock may release that worker's tasks. No wall clocks are
//!   compared.
//! - Fencing counters belong to the subject, not to the task: whoever leases bumps them in the same
//!   transaction (see `api_db::mappings::lease`).
//! - A finished task's row is deleted; what happened is in the audit trail.

pub mod store;
pub mod worker;

pub use store::{Lease, Leased, NewTask};
pub use worker::{LEASE, Worker};

/// The tables, part of the first migration of every database that holds tasks.
pub const TABLES: &str = "
CREATE TABLE task (
  id UUID PRIMARY KEY,
  kind TEXT NOT NULL,
  subject UUID NOT NULL UNIQUE,
  state JSONB NOT NULL,
  bucket BIGINT NOT NULL,
  owner UUID,
  attempt BIGINT NOT NULL,
  run_at BIGINT NOT NULL,
  deadline BIGINT NOT NULL,
  parked BOOLEAN NOT NULL,
  last_fault TEXT,
  request_id TEXT NOT NULL,
  created_at BIGINT NOT NULL
);
CREATE INDEX task_due ON task (bucket) WHERE owner IS NULL AND NOT parked;
CREATE INDEX task_owner ON task (owner) WHERE owner IS NOT NULL;
CREATE TABLE worker (
  id UUID PRIMARY KEY,
  kind TEXT NOT NULL,
  name TEXT NOT NULL,
  version TEXT NOT NULL,
  beat BIGINT NOT NULL,
  started_at BIGINT NOT NULL
);
";
