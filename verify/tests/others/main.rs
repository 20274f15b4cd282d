//! ws-verify against servers that others wrote, and behind a balancer. `./test` installs what each module needs.

mod cluster;
mod nginx;
mod node;
mod python;
mod socketioxide;
mod template;
#[allow(dead_code, reason = "it serves the other tests too")]
#[path = "../it/tool.rs"]
mod tool;
