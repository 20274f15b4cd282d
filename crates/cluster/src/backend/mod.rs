//! What a cluster is made of: one module a kind.

pub mod compose;
pub mod local;
