//! The proxy by itself, and every fault on a real cluster.

mod commands;
mod compose;
mod engine;
mod faults;
mod proxy;
mod serve;
mod world;

use std::time::Duration;

/// Waits until it is so.
async fn until(is_so: impl Fn() -> bool) {
    let waiting = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), waiting).await.expect("it comes true");
}
