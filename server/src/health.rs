//! Whether this replica hears what it publishes: a message of its own through the broker, every second.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use tokio::time::sleep;

use crate::{Server, broker::Publication, rooms};

/// How often the heartbeat is published.
const INTERVAL: Duration = Duration::from_secs(1);

/// The age of the last heartbeat up to which a replica is ready.
const FRESH: Duration = Duration::from_secs(3);

/// When the heartbeat last came back.
#[derive(Default)]
pub(crate) struct Health(Mutex<Option<Instant>>);

impl Health {
    pub(crate) fn beat(&self) {
        *self.lock() = Some(Instant::now());
    }

    /// Why this replica should get no new connections; none if it should.
    pub(crate) fn trouble(&self) -> Option<String> {
        match self.lock().map(|last| last.elapsed()) {
            Some(age) if age <= FRESH => None,
            Some(age) => Some(format!("the last message of its own came back {} s ago", age.as_secs())),
            None => Some("no message of its own has come back through the broker yet".into()),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Instant>> {
        self.0.lock().expect("nothing panics while it is held")
    }
}

/// Publishes the heartbeat until shutdown.
pub(crate) async fn heartbeat(server: Arc<Server>) {
    let channel = rooms::heartbeat_channel(&server.config.node);
    let beating = async {
        // The channels that exist on every replica from its start.
        for channel in [rooms::ALL, &channel] {
            while server.broker.subscribe(channel).await.is_err() {
                sleep(INTERVAL).await;
            }
        }
        loop {
            let publication = Publication { channel: channel.clone(), text: String::new() };
            server.broker.publish(publication, None, Box::new(|_| {})).await;
            sleep(INTERVAL).await;
        }
    };
    tokio::select! {
        () = beating => {}
        () = server.shutdown.cancelled() => {}
    }
}
