//! Messages between the processes of one cell, and down to it: calls, doorbells, and two transports.
//!
//! Messages are doorbells, rows are truth: whatever is lost, doubled, reordered or late here costs
//! latency, never work. `lapin` is used in this crate and nowhere else.
//!
//! [`Connector::connect`] gives a [`Bus`]; a bus calls, rings, listens and serves. Over RabbitMQ a bus is
//! two connections that are rebuilt for ever; in process it is a vhost of a [`local::Hub`], which moves
//! the same bytes and passes the same contract suite.

mod amqp;
mod bus;
mod connector;
pub mod contract;
mod gate;
pub mod local;
mod management;
mod pending;
mod ringing;
mod service;
mod serving;
mod signing;
mod topology;
mod transport;
mod user;
mod wire;

pub use bus::Bus;
pub use connector::Connector;
pub use contract::{Address, Bell, Call};
pub use management::Management;
pub use ringing::Ringing;
pub use service::Service;
pub use serving::Serving;
pub use signing::{HostKey, JoinToken, Signed, Signer};
pub use user::BrokerUser;
