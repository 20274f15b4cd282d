//! The broker of replicas that share a process: a table of who listens to what.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use super::{Arrival, BrokerError, Deliver, Publication, Reply};

/// What the replicas share. Its lock is the order of all messages.
#[derive(Default)]
pub struct Hub {
    channels: Mutex<HashMap<String, Listeners>>,
    next_replica: AtomicU64,
}

/// The replicas that listen to a channel, by number.
type Listeners = HashMap<u64, Arc<dyn Deliver>>;

/// One replica's end.
pub struct Memory {
    hub: Arc<Hub>,
    replica: u64,
    to: Arc<dyn Deliver>,
}

impl Memory {
    pub(super) fn new(hub: Arc<Hub>, to: Arc<dyn Deliver>) -> Self {
        let replica = hub.next_replica.fetch_add(1, Relaxed);
        Self { hub, replica, to }
    }

    pub(super) fn subscribe(&self, channel: &str) -> Result<(), BrokerError> {
        let mut channels = self.hub.channels.lock().expect("nothing panics while it is held");
        channels.entry(channel.to_owned()).or_default().insert(self.replica, self.to.clone());
        Ok(())
    }

    pub(super) fn unsubscribe(&self, channel: &str) -> bool {
        // Called with the rooms locked, which a publish locks while it holds the table: so never wait for the table.
        let Ok(mut channels) = self.hub.channels.try_lock() else { return false };
        if let Some(replicas) = channels.get_mut(channel) {
            replicas.remove(&self.replica);
            if replicas.is_empty() {
                channels.remove(channel);
            }
        }
        true
    }

    pub(super) fn publish(&self, publication: Publication, reply: Reply) {
        let channels = self.hub.channels.lock().expect("nothing panics while it is held");
        let channel = publication.channel.clone();
        let batch = [Arrival::Message { publication, position: None }];
        for replica in channels.get(&channel).into_iter().flat_map(HashMap::values) {
            replica.deliver(&batch);
        }
        drop(channels);
        reply(Ok(None));
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        if let Ok(mut channels) = self.hub.channels.lock() {
            channels.retain(|_, replicas| {
                replicas.remove(&self.replica);
                !replicas.is_empty()
            });
        }
    }
}

impl std::fmt::Debug for Hub {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Hub")
    }
}
