//! The contract that every broker keeps, without the rest of the server.

use std::sync::Arc;

use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use ws_server::{
    BrokerChoice,
    broker::{Broker, BrokerError, Deliver, Publication, memory::Hub},
};

use crate::{redis::Redis, replica::PATIENCE};

/// One test a broker for each contract.
macro_rules! contracts {
    ($($contract:ident),+ $(,)?) => {
        mod memory {
            $(#[tokio::test] async fn $contract() { super::$contract(super::World::memory()).await; })+
        }
        mod redis_pubsub {
            $(#[tokio::test] async fn $contract() { super::$contract(super::World::redis()).await; })+
        }
    };
}

contracts!(
    what_follows_a_subscribe_arrives,
    one_order_for_everybody,
    nothing_arrives_unasked,
    who_comes_back_hears_again,
    a_payload_arrives_as_it_was,
);

async fn what_follows_a_subscribe_arrives(world: World) {
    let (mut one, mut two) = (world.end(), world.end());
    one.subscribe("a").await;
    two.subscribe("a").await;
    one.publish("a", "to both").await.expect("it is there");
    // Its own comes back the same way as the other's.
    assert_eq!(one.next().await, publication("a", "to both"));
    assert_eq!(two.next().await, publication("a", "to both"));
}

async fn one_order_for_everybody(world: World) {
    const EACH: usize = 300;
    let mut ends = [world.end(), world.end(), world.end()];
    for end in &ends {
        end.subscribe("a").await;
    }
    let (one, two) = (&ends[0], &ends[1]);
    let both = async |end: &End, name: &str| {
        for number in 0..EACH {
            end.start_publish("a", &format!("{name} {number:03}")).await;
        }
    };
    tokio::join!(both(one, "one"), both(two, "two"));
    let mut orders = Vec::new();
    for end in &mut ends {
        let mut order = Vec::new();
        for _ in 0..2 * EACH {
            order.push(end.next().await.text);
        }
        orders.push(order);
    }
    assert_eq!(orders[0], orders[1]);
    assert_eq!(orders[0], orders[2]);
    let from_one = orders[0].iter().filter(|text| text.starts_with("one"));
    assert!(from_one.is_sorted(), "a publisher's own order is kept");
}

async fn nothing_arrives_unasked(world: World) {
    let (mut listener, publisher) = (world.end(), world.end());
    listener.subscribe("left").await;
    assert!(listener.broker.unsubscribe("left"));
    // Subscribing comes after unsubscribing, so its confirmation says that both are done.
    listener.subscribe("stayed").await;
    for channel in ["left", "never asked for", "stayed"] {
        publisher.publish(channel, "x").await.expect("it is there");
    }
    assert_eq!(listener.next().await.channel, "stayed");
}

async fn who_comes_back_hears_again(world: World) {
    let mut end = world.end();
    for round in ["first", "second", "third"] {
        end.subscribe("a").await;
        end.publish("a", round).await.expect("it is there");
        assert_eq!(end.next().await.text, round);
        assert!(end.broker.unsubscribe("a"));
    }
}

async fn a_payload_arrives_as_it_was(world: World) {
    let mut end = world.end();
    let channel = "ws:room:\u{e4} {x}\n*";
    end.subscribe(channel).await;
    for text in ["", "\r\n$5\r\n", "\u{1f600}\0", &"long ".repeat(50_000)] {
        end.publish(channel, text).await.expect("it is there");
        assert_eq!(end.next().await, publication(channel, text));
    }
}

#[tokio::test]
async fn redis_goes_and_comes_back() {
    let mut redis = Redis::start();
    let world = World::over(&redis);
    let mut end = world.end();
    end.subscribe("before").await;
    redis.stop();
    // Until the loss is noticed a publish may be on its way; then it is certain that nothing goes out.
    let refused = async { while end.publish("before", "lost").await != Err(BrokerError::Unavailable) {} };
    timeout(PATIENCE, refused).await.expect("the loss is noticed");
    let (subscribed, ()) = tokio::join!(end.broker.subscribe("meanwhile"), async { redis.start_again() });
    subscribed.expect("asked for while Redis was away, confirmed when it was back");
    let back = async { while end.publish("before", "back").await.is_err() {} };
    timeout(PATIENCE, back).await.expect("publishing comes back too");
    end.publish("meanwhile", "too").await.expect("it is there");
    assert_eq!(end.next().await, publication("before", "back"));
    assert_eq!(end.next().await, publication("meanwhile", "too"));
}

/// What replicas have in common.
struct World {
    choice: BrokerChoice,
    shutdown: CancellationToken,
    /// Held for its drop.
    _redis: Option<Redis>,
}

impl World {
    fn memory() -> Self {
        let choice = BrokerChoice::Memory(Arc::new(Hub::default()));
        Self { choice, shutdown: CancellationToken::new(), _redis: None }
    }

    fn redis() -> Self {
        let redis = Redis::start();
        let world = Self::over(&redis);
        Self { _redis: Some(redis), ..world }
    }

    fn over(redis: &Redis) -> Self {
        Self {
            choice: BrokerChoice::RedisPubSub(redis.url()),
            shutdown: CancellationToken::new(),
            _redis: None,
        }
    }

    fn end(&self) -> End {
        let (arrived, arrivals) = mpsc::unbounded_channel();
        let tasks = TaskTracker::new();
        let broker = Broker::start(&self.choice, Arc::new(Inbox(arrived)), &tasks, &self.shutdown);
        End { broker, arrivals }
    }
}

/// One replica's end of a broker.
struct End {
    broker: Broker,
    arrivals: mpsc::UnboundedReceiver<Publication>,
}

impl End {
    async fn subscribe(&self, channel: &str) {
        self.broker.subscribe(channel).await.expect("confirmed");
    }

    async fn publish(&self, channel: &str, text: &str) -> Result<(), BrokerError> {
        let answer = self.start_publish(channel, text).await;
        timeout(PATIENCE, answer).await.expect("an answer").expect("every publish is answered")
    }

    async fn start_publish(&self, channel: &str, text: &str) -> oneshot::Receiver<Result<(), BrokerError>> {
        let (reply, answer) = oneshot::channel();
        let reply = Box::new(move |result| {
            // An error: nobody asks for this answer.
            let _ = reply.send(result);
        });
        self.broker.publish(publication(channel, text), reply).await;
        answer
    }

    async fn next(&mut self) -> Publication {
        timeout(PATIENCE, self.arrivals.recv()).await.expect("it arrives").expect("the broker runs")
    }
}

struct Inbox(mpsc::UnboundedSender<Publication>);

impl Deliver for Inbox {
    fn deliver(&self, batch: &[Publication]) {
        for publication in batch {
            // An error: the test is over.
            let _ = self.0.send(publication.clone());
        }
    }
}

fn publication(channel: &str, text: &str) -> Publication {
    Publication { channel: channel.into(), text: text.into() }
}
