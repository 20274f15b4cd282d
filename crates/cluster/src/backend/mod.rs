//! What a cluster is made of: one module a kind.

pub mod local;
