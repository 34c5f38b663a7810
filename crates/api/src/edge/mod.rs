//! What every request passes: identity, authorization, microversion, body, and how answers are made.

pub mod base;
pub mod body;
pub mod call;
pub mod json;
pub mod once;
pub mod permit;
pub mod policy;
pub mod query;
pub mod refused;
pub mod room;
pub mod sealed;
pub mod seam;
pub mod version;
