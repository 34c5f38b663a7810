//! Models of durable lifecycle.
