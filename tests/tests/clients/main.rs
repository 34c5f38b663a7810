//! The released clients of OpenStack, unmodified, against a cloud of three cells: PostgreSQL, RabbitMQ, real
//! containers, each role a process of its own.

mod identity;
mod servers;
mod story;
mod tempest;
