//! The end of a replica.

use std::time::{Duration, Instant};

use tokio::net::TcpStream;

use crate::{client::Client, replica::Replica};

#[tokio::test]
async fn every_client_is_told_to_come_back() {
    let replica = Replica::alone(|_| {}).await;
    let mut one = Client::connect(&replica).await;
    let two = Client::connect(&replica).await;
    one.join("r").await;
    // Open, but no WebSocket: it is not waited for.
    let _silent = TcpStream::connect(replica.address).await.expect("it listens");
    replica.shutdown.cancel();
    let (one, two) = tokio::join!(one.closed(), two.closed());
    assert_eq!((one.0, two.0), (1012, 1012));
    let address = replica.address;
    replica.ended().await.expect("a shutdown is no failure");
    assert!(TcpStream::connect(address).await.is_err(), "nobody listens any more");
}

#[tokio::test]
async fn a_client_that_does_not_go_is_not_waited_for() {
    let replica = Replica::alone(|config| config.drain_timeout = Duration::from_millis(100)).await;
    let _stays = Client::connect(&replica).await;
    let start = Instant::now();
    replica.shutdown.cancel();
    replica.ended().await.expect("a shutdown is no failure");
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
}
