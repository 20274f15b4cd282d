//! What happened: from observations to a verdict, without a socket, clock, file or randomness.
//!
//! - [`property`]: what is proved, one line each. [`contract`]: what the server is held to.
//! - [`ledger`]: follows every message from send to each member; one a worker.
//! - [`received`], [`log`]: its two bounded memories.
//! - [`history`]: what a ledger saw, as lines of JSON, and back.
//! - [`timeline`]: when faults were on.
//! - [`judge`]: the end of the run, over all the ledgers.
//! - [`stats`], [`series`]: latencies, in all and by the second. [`pulse`]: where a worker stands meanwhile.
//! - [`verdict`]: what all of it proves. [`threshold`]: what a user demands of its numbers.
//!   [`strain`]: whether the generator was the limit.
//! - [`capacity`]: how much a cluster carries, from many runs.
//! - [`report`]: the result as a document and as text.
//! - [`compare`]: two reports beside each other, and whether what differs is more than noise.
//! - [`metrics`]: numbers for monitoring, as Prometheus and OTLP have them.
//! - [`exit`]: the table of exit codes.

pub mod capacity;
pub mod compare;
pub mod contract;
pub mod exit;
pub mod history;
pub mod judge;
pub mod ledger;
pub mod log;
pub mod metrics;
pub mod property;
pub mod pulse;
pub mod received;
pub mod report;
pub mod series;
pub mod stats;
pub mod strain;
pub mod threshold;
pub mod timeline;
pub mod verdict;
