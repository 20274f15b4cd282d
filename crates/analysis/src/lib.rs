//! What happened: from observations to a verdict, without a socket, clock, file or randomness.
//!
//! - [`property`]: what is proved, one line each.
//! - [`ledger`]: follows every message from send to each member; one a worker.
//! - [`received`], [`log`]: its two bounded memories.
//! - [`judge`]: the end of the run, over all the ledgers.
//! - [`stats`][]: latencies.
//! - [`report`]: the result as a document and as text.
//! - [`exit`]: the table of exit codes.

pub mod exit;
pub mod judge;
pub mod ledger;
pub mod log;
pub mod property;
pub mod received;
pub mod report;
pub mod stats;
