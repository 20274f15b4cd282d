//! Redis goes away and comes back, with clients connected.

use serde_json::json;

use crate::{client::Client, redis::Redis, replica::Replica};

#[tokio::test]
async fn clients_are_told_and_everything_comes_back() {
    let mut redis = Redis::start();
    let replicas = Replica::cluster(&redis, 2).await;
    let mut one = Client::connect(&replicas[0]).await;
    let mut two = Client::connect(&replicas[1]).await;
    one.join("r").await;
    two.join("r").await;
    redis.stop();
    // Into a room that is live here: its subscription is lost, an ack now would be a lie.
    let mut late = Client::connect(&replicas[0]).await;
    let send =
        async |client: &mut Client| client.ask(json!({"op": "send", "room": "r", "data": "lost"})).await;
    // The first may have been on its way.
    while send(&mut one).await["code"] != "broker_unavailable" {}
    let refused = late.ask(json!({"op": "join", "room": "r"})).await;
    assert_eq!(refused["code"], "broker_unavailable");
    for replica in &replicas {
        replica.until_ready(false).await;
        assert_eq!(replica.get("/livez").await.status, 200);
    }
    let waiting = late.request(json!({"op": "join", "room": "r"})).await;
    redis.start_again();
    assert_eq!(late.answer(waiting).await["op"], "ack", "this one waits until Redis is back");
    for replica in &replicas {
        replica.until_ready(true).await;
    }
    one.send("r", "back").await;
    for client in [&mut one, &mut two, &mut late] {
        assert_eq!(client.data_until("back").await, ["back"], "the rooms are the same as before");
    }
}
