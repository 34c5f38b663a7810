//! The testbed of the stories: services, processes, HTTP, and waiting.
//!
//! A story starts real `skep` processes over the services that `deploy/services.sh` started, speaks to
//! them as a user would, and waits for conditions, each with a deadline. Whatever a story starts ends
//! with it: processes are killed, databases dropped and folders removed on drop. Nothing is skipped: a
//! service that is missing fails the story that wants it, and the text says how to start it.
//!
//! A story that hurts a service (freezes PostgreSQL, kills RabbitMQ) starts its own with
//! [`Services::private`], because the shared ones serve the stories beside it.

pub mod backup;
pub mod check;
pub mod clients;
pub mod cloud;
pub mod estate;
pub mod face;
pub mod http;
pub mod place;
pub mod process;
pub mod proxy;
pub mod services;
pub mod sim;
pub mod wait;

pub use clients::OpenStack;
pub use estate::Estate;
pub use http::{Client, Reply};
pub use place::{Folder, free_port, root, skep, sources, unique};
pub use process::{Process, Signal};
pub use proxy::{Faults, Proxy};
pub use services::{Database, Docker, Part, Postgres, Rabbit, Services, Vhost, docker, postgres, rabbit};
pub use wait::{eventually, eventually_blocking, within};
