//! Thousands of sockets, each driving one session, and the ledgers that follow them.
//!
//! Workers are threads with a single-threaded runtime each. A room lives wholly on one worker, so nothing is shared
//! while messages flow; `coordinator` leads all workers from step to step, and the ledgers meet at the end.
//!
//! - [`Plan`]: what to connect to and how; the workload itself is a [`ws_workload::scenario::Scenario`].
//! - [`run()`]: the steps of a run: connect, join, send, fence, part.
//! - [`Sources`]: which local addresses connections come from.
//! - [`canary`]: planted violations that the pipeline must find.
//! - [`hands()`]: faults of the clients' own connections.
//! - [`Monitor`]: what a progress display reads meanwhile.

pub mod canary;
mod connect;
mod coordinator;
mod files;
mod hands;
mod line;
mod monitor;
mod plan;
mod socket;
mod sources;
mod team;
mod timer;
mod tls;
mod worker;

pub use coordinator::{Conductor, Means, Met, Outcome, Step, SwarmError, run};
pub use hands::{Hands, Reach, hands};
pub use line::{Clock, Line};
pub use monitor::{Monitor, Seen};
pub use plan::{Endpoint, Heartbeat, Plan, PlanError};
pub use sources::{Sources, TooFewSources, ephemeral_ports};
pub use team::{Lost, Member, MemberFacts, serve};
