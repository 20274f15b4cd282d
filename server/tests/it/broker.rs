//! The contract that every broker keeps, without the rest of the server.

use std::{sync::Arc, time::Duration};

use futures_util::future::join_all;
use tokio::{
    sync::{mpsc, oneshot},
    time::{interval, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use ws_server::{
    BrokerChoice,
    broker::{Arrival, Broker, BrokerError, Deliver, Publication, memory::Hub, redis::History},
};

use ws_wire::message::Position;

use crate::{link::Link, redis::Redis, replica::PATIENCE};

/// One test a broker for each contract.
macro_rules! contracts {
    ($($contract:ident),+ $(,)?) => {
        mod memory {
            $(#[tokio::test] async fn $contract() { super::$contract(super::World::memory()).await; })+
        }
        mod redis_stream {
            $(#[tokio::test] async fn $contract() { super::$contract(super::World::stream()).await; })+
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

#[tokio::test]
async fn a_key_is_published_once() {
    let world = World::stream();
    let (mut one, two) = (world.end(), world.end());
    one.subscribe("a").await;
    let first = one.publish_as("a", "first", Some("k")).await.expect("it is there").expect("a log");
    // A second try, from wherever it comes, is answered like the first.
    let again = two.publish_as("a", "first", Some("k")).await.expect("it is there").expect("a log");
    assert_eq!(first, again);
    one.publish("a", "second").await.expect("it is there");
    for expected in [("gap", 0), ("first", 1), ("second", 2)] {
        assert_eq!(one.next_place().await, (expected.0.into(), expected.1));
    }
}

#[tokio::test]
async fn a_lost_subscription_is_made_up_for() {
    let redis = Redis::start();
    let world = World::stream_over(&redis, History::default());
    let (mut one, two) = (world.end(), world.end());
    one.subscribe("a").await;
    for round in 0..20_u64 {
        redis.command(&["CLIENT", "KILL", "TYPE", "pubsub"]);
        two.publish("a", "missed?").await.expect("only the listeners are cut");
        if round == 0 {
            assert_eq!(one.next_place().await, ("gap".into(), 0));
        }
        assert_eq!(one.next_place().await, ("missed?".into(), round + 1));
    }
}

#[tokio::test]
async fn a_wake_up_that_never_came_is_made_up_for() {
    let redis = Redis::start();
    let world = World::stream_over(&redis, History::default());
    let mut end = world.end();
    end.subscribe("a").await;
    // What the script does, without its PUBLISH.
    redis.command(&["HSET", "{a}:head", "offset", "1"]);
    redis.command(&["XADD", "{a}:log", "1-0", "text", "unheard"]);
    assert_eq!(end.next_place().await, ("gap".into(), 0));
    assert_eq!(end.next_place().await, ("unheard".into(), 1));
}

#[tokio::test]
async fn lost_data_begins_a_new_order_and_says_so() {
    let redis = Redis::start();
    let world = World::stream_over(&redis, History::default());
    let mut end = world.end();
    end.subscribe("a").await;
    let before = end.publish_as("a", "before", None).await.expect("it is there").expect("a log");
    redis.command(&["FLUSHALL"]);
    let after = end.publish_as("a", "after", None).await.expect("it is there").expect("a log");
    assert_ne!(before.epoch, after.epoch);
    for expected in [("gap", 0), ("before", 1), ("gap", 0), ("after", 1)] {
        assert_eq!(end.next_place().await, (expected.0.into(), expected.1));
    }
    assert_eq!(end.broker.since("a", &before, usize::MAX).await, Ok(None));
}

#[tokio::test]
async fn a_failover_that_went_back_begins_a_new_order() {
    let redis = Redis::start();
    let world = World::stream_over(&redis, History::default());
    let mut end = world.end();
    end.subscribe("a").await;
    for text in ["one", "two", "three"] {
        end.publish("a", text).await.expect("it is there");
    }
    // As a promoted replica of Redis has it that did not get the last two.
    redis.command(&["HSET", "{a}:head", "offset", "1"]);
    redis.command(&["XTRIM", "{a}:log", "MAXLEN", "1"]);
    for expected in [("gap", 0), ("one", 1), ("two", 2), ("three", 3), ("gap", 0)] {
        assert_eq!(end.next_place().await, (expected.0.into(), expected.1));
    }
}

#[tokio::test]
async fn history_is_all_or_nothing() {
    let redis = Redis::start();
    let world = World::stream_over(&redis, History { messages: 1000, ..History::default() });
    let end = world.end();
    let mut positions = Vec::new();
    for number in 0..1300 {
        let position = end.publish_as("a", &number.to_string(), None).await.expect("it is there");
        positions.push(position.expect("a log"));
    }
    let texts = async |since: &Position| {
        let all = end.broker.since("a", since, usize::MAX).await.expect("it is there")?;
        Some(
            all.into_iter()
                .map(|(offset, text)| (offset, text.parse().expect("a number")))
                .collect::<Vec<_>>(),
        )
    };
    let last = &positions[1299];
    assert_eq!(texts(last).await, Some(Vec::new()));
    // More than one answer holds.
    let expected = (500..1300).map(|number| (number + 1, number)).collect();
    assert_eq!(texts(&positions[499]).await, Some(expected));
    // No longer kept, never was, of another order.
    assert_eq!(texts(&positions[0]).await, None);
    assert_eq!(texts(&Position { offset: last.offset + 1, ..last.clone() }).await, None);
    assert_eq!(texts(&Position { epoch: "other".into(), ..last.clone() }).await, None);
    assert_eq!(end.broker.since("a", &positions[499], 1000).await, Ok(None), "more bytes than are wanted");
    // And nobody's claim makes the order a new one.
    assert_eq!(texts(last).await, Some(Vec::new()));
}

/// A publisher behind a link of its own, and a listener that hears all that Redis does.
async fn publisher_and_listener(redis: &Redis) -> (Link, World, End, End) {
    let link = Link::to(redis).await;
    let world = World::stream_behind(&link);
    let (publisher, listener) = (world.end(), World::stream_over(redis, History::default()).end());
    listener.subscribe("a").await;
    publisher.publish("a", "first").await.expect("it is there");
    (link, world, publisher, listener)
}

impl End {
    /// The texts up to `last`, and that nothing else comes before the end of what Redis was told.
    async fn texts_until(&mut self, last: &str) -> Vec<String> {
        let mut texts = Vec::new();
        while texts.last().is_none_or(|text| text != last) {
            texts.push(self.next().await.text);
        }
        texts
    }
}

#[tokio::test]
async fn an_answer_that_was_lost_is_asked_for_again() {
    let redis = Redis::start();
    let (link, _world, publisher, mut listener) = publisher_and_listener(&redis).await;
    link.hold_answers();
    publisher.publish("a", "once").await.expect("the second try finds what the first one did");
    publisher.publish("a", "end").await.expect("it is there");
    assert_eq!(listener.texts_until("end").await, ["first", "once", "end"]);
}

/// The keys that make a second try harmless went with the data.
#[tokio::test]
async fn data_wiped_between_two_tries_gives_no_duplicate() {
    let redis = Redis::start();
    let (link, _world, publisher, mut listener) = publisher_and_listener(&redis).await;
    link.hold_answers();
    let answer = publisher.start_publish("a", "once").await;
    assert_eq!(listener.texts_until("once").await, ["first", "once"]);
    redis.command(&["FLUSHALL"]);
    let answer = timeout(PATIENCE, answer).await.expect("an answer").expect("every publish is answered");
    assert_eq!(answer, Err(BrokerError::Unknown));
    publisher.publish("a", "end").await.expect("it is there");
    assert_eq!(listener.texts_until("end").await, ["end"]);
}

#[tokio::test]
async fn data_wiped_before_the_first_try_costs_nothing() {
    let redis = Redis::start();
    let (_link, _world, publisher, mut listener) = publisher_and_listener(&redis).await;
    redis.command(&["FLUSHALL"]);
    publisher.publish("a", "once").await.expect("it certainly was not there yet");
    publisher.publish("a", "end").await.expect("it is there");
    assert_eq!(listener.texts_until("end").await, ["first", "once", "end"]);
}

/// What an old connection left in the network must not come behind later messages.
#[tokio::test]
async fn a_zombie_can_not_publish() {
    let redis = Redis::start();
    let (link, _world, publisher, mut listener) = publisher_and_listener(&redis).await;
    link.hold_requests();
    let stuck = publisher.publish_as("a", "stuck", Some("k")).await.expect("tried again").expect("a log");
    publisher.publish("a", "later").await.expect("it is there");
    // As if its publisher had given up; the key would else do the fence's work.
    redis.command(&["DEL", "{a}:key:k"]);
    link.release();
    link.one_ended().await;
    let end = publisher.publish_as("a", "end", None).await.expect("it is there").expect("a log");
    assert_eq!(end.offset, stuck.offset + 2);
    assert_eq!(listener.texts_until("end").await, ["first", "stuck", "later", "end"]);
}

/// A snapshot brings back old keys and an old fence, but not the last messages: those were heard.
#[tokio::test]
async fn a_redis_that_came_back_with_old_data_begins_a_new_order() {
    let mut redis = Redis::start();
    let world = World::stream_over(&redis, History::default());
    let mut end = world.end();
    end.subscribe("a").await;
    end.publish("a", "kept").await.expect("it is there");
    redis.command(&["SAVE"]);
    end.publish("a", "lost").await.expect("it is there");
    for expected in [("gap", 0), ("kept", 1), ("lost", 2)] {
        assert_eq!(end.next_place().await, (expected.0.into(), expected.1));
    }
    redis.stop();
    redis.start_again();
    // As many as were lost, maybe before the listener is back.
    let back = async { while end.publish("a", "new").await.is_err() {} };
    timeout(PATIENCE, back).await.expect("publishing comes back");
    assert_eq!(end.next_place().await, ("gap".into(), 0));
    assert_eq!(end.next_place().await, ("new".into(), 1));
}

/// A link that stalls says nothing: only the heartbeat's silence does, whatever else the listener is busy with.
#[tokio::test]
async fn a_listener_that_hears_nothing_connects_anew() {
    let redis = Redis::start();
    let link = Link::to(&redis).await;
    let world = World { choice: BrokerChoice::RedisPubSub(link.url()), ..World::stream_behind(&link) };
    let (mut end, publisher) = (world.end(), World::over(&redis).end());
    end.subscribe("a").await;
    link.hold_answers();
    let mut ticks = interval(Duration::from_millis(50));
    let heard = async {
        loop {
            tokio::select! {
                _ = ticks.tick() => publisher.publish("a", "x").await.expect("it is there"),
                publication = end.next() => return publication,
            }
        }
    };
    assert_eq!(timeout(PATIENCE, heard).await.expect("it listens again"), publication("a", "x"));
}

#[tokio::test]
async fn a_shutdown_answers_what_was_taken() {
    let redis = Redis::start();
    let (_link, world, publisher, mut listener) = publisher_and_listener(&redis).await;
    let mut answers = Vec::new();
    for number in 0..1000 {
        answers.push(publisher.start_publish("a", &number.to_string()).await);
    }
    world.shutdown.cancel();
    timeout(PATIENCE, publisher.broker.finished()).await.expect("it is bounded");
    for answer in answers {
        answer.await.expect("every publish is answered").expect("it was taken before");
    }
    assert_eq!(publisher.publish("a", "too late").await, Err(BrokerError::Unavailable));
    assert_eq!(listener.texts_until("999").await.len(), 1001);
}

#[tokio::test]
async fn a_shutdown_does_not_wait_for_a_redis_that_hangs() {
    let redis = Redis::start();
    let (link, world, publisher, _listener) = publisher_and_listener(&redis).await;
    link.hold_all();
    let tried = publisher.start_publish("a", "tried").await;
    let mut queued = Vec::new();
    for _ in 0..300 {
        queued.push(publisher.start_publish("a", "queued").await);
    }
    world.shutdown.cancel();
    timeout(PATIENCE / 2, publisher.broker.finished()).await.expect("it is bounded");
    assert_eq!(tried.await, Ok(Err(BrokerError::Unknown)));
    let last = queued.pop().expect("300 were queued");
    assert_eq!(last.await, Ok(Err(BrokerError::Unavailable)), "it certainly did not go out");
}

/// A storm of members who come back must not become one of connections.
#[tokio::test]
async fn resumes_share_a_connection() {
    let redis = Redis::start();
    let (link, _world, publisher, _listener) = publisher_and_listener(&redis).await;
    let since = publisher.publish_as("a", "here", None).await.expect("it is there").expect("a log");
    publisher.publish("a", "missed").await.expect("it is there");
    let before = link.connections();
    let resume = || async {
        let missed = publisher.broker.since("a", &since, usize::MAX).await;
        assert_eq!(missed, Ok(Some(vec![(since.offset + 1, "missed".into())])));
    };
    join_all((0..500).map(|_| resume())).await;
    assert_eq!(link.connections(), before + 1);
    // It is opened again when it was lost.
    redis.command(&["CLIENT", "KILL", "TYPE", "normal"]);
    join_all((0..500).map(|_| resume())).await;
}

type Answer = Result<Option<Position>, BrokerError>;

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

    fn stream() -> Self {
        let redis = Redis::start();
        let world = Self::stream_over(&redis, History::default());
        Self { _redis: Some(redis), ..world }
    }

    fn stream_over(redis: &Redis, history: History) -> Self {
        Self { choice: BrokerChoice::RedisStream(redis.url(), history), ..Self::over(redis) }
    }

    /// The other end of `link`, on the same Redis.
    fn stream_behind(link: &Link) -> Self {
        let choice = BrokerChoice::RedisStream(link.url(), History::default());
        Self { choice, shutdown: CancellationToken::new(), _redis: None }
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
    arrivals: mpsc::UnboundedReceiver<Arrival>,
}

impl End {
    async fn subscribe(&self, channel: &str) {
        self.broker.subscribe(channel).await.expect("confirmed");
    }

    async fn publish(&self, channel: &str, text: &str) -> Result<(), BrokerError> {
        self.publish_as(channel, text, None).await.map(|_| ())
    }

    async fn publish_as(&self, channel: &str, text: &str, key: Option<&str>) -> Answer {
        let answer = self.start_publish_as(channel, text, key).await;
        timeout(PATIENCE, answer).await.expect("an answer").expect("every publish is answered")
    }

    async fn start_publish(&self, channel: &str, text: &str) -> oneshot::Receiver<Answer> {
        self.start_publish_as(channel, text, None).await
    }

    async fn start_publish_as(
        &self,
        channel: &str,
        text: &str,
        key: Option<&str>,
    ) -> oneshot::Receiver<Answer> {
        let (reply, answer) = oneshot::channel();
        let reply = Box::new(move |result| {
            // An error: nobody asks for this answer.
            let _ = reply.send(result);
        });
        self.broker.publish(publication(channel, text), key.map(str::to_owned), reply).await;
        answer
    }

    async fn next(&mut self) -> Publication {
        loop {
            if let Arrival::Message { publication, .. } = self.next_arrival().await {
                return publication;
            }
        }
    }

    async fn next_arrival(&mut self) -> Arrival {
        timeout(PATIENCE, self.arrivals.recv()).await.expect("it arrives").expect("the broker runs")
    }

    /// The next arrival in short: a text and its offset, or a gap and its end.
    async fn next_place(&mut self) -> (String, u64) {
        match self.next_arrival().await {
            Arrival::Message { publication, position } => (publication.text, position.expect("a log").offset),
            Arrival::Gap { position, .. } => ("gap".into(), position.offset),
        }
    }
}

struct Inbox(mpsc::UnboundedSender<Arrival>);

impl Deliver for Inbox {
    fn deliver(&self, batch: &[Arrival]) {
        for arrival in batch {
            // An error: the test is over.
            let _ = self.0.send(arrival.clone());
        }
    }
}

fn publication(channel: &str, text: &str) -> Publication {
    Publication { channel: channel.into(), text: text.into() }
}
