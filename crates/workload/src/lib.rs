//! What a run does and when, from a seed and nothing else: no socket, clock, file or environment.
//!
//! - [`scenario`]: the workload as numbers, validated.
//! - [`topology`]: which connection is in which room, on which replica and on which worker.
//! - [`size`]: how long payloads are.
//! - [`profile`]: a rate that changes in time.
//! - [`schedule`]: when each message is due and who sends it.
//! - [`pacer`]: hands out what is due by now.
//! - [`fault`]: what is broken on purpose, when and where; [`fault::chaos`] draws it by lot.
//! - [`mod@file`]: all of it as a file says it.

pub mod fault;
pub mod file;
pub mod pacer;
pub mod profile;
pub mod scenario;
pub mod schedule;
pub mod size;
pub mod topology;
