//! ws-verify from outside: the program itself, real sockets, a real Redis, every exit code.

mod children;
mod clusters;
mod compose;
mod endings;
#[path = "../../../crates/cluster/tests/it/engine.rs"]
#[allow(dead_code, reason = "what it can do beside is for the tests of the faults themselves")]
mod engine;
mod faults;
mod members;
mod past;
mod serve;
mod tool;
