//! Latency is right: what a server is late by is in the histogram, all of it and no more.
//!
//! Between ws-loadgen and a replica stands a relay of this test's own that holds back what the replica says, by a known
//! time.

use std::{
    io::{Read as _, Write as _},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering::Relaxed},
        mpsc,
    },
    thread::{sleep, spawn},
    time::{Duration, Instant},
};

use serde_json::Value;
use ws_cluster::{
    RedisChoice,
    backend::local::{LocalCluster, LocalOptions},
    redis::{Redis, program},
};

use crate::{document, run};

/// A closed loop of as many senders would have sent one message each into the stall, too few for its p99 to show it:
/// every sender would have waited, and the messages that were due meanwhile would never have been late.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_stalls_can_not_hide_it() {
    const STALL: Duration = Duration::from_secs(2);
    let cluster = replica().await;
    let relay = Relay::start(address(&cluster), Duration::ZERO);
    let stalled = relay.clone();
    let load = tokio::task::spawn_blocking(move || {
        document(&run(&format!(
            "run {} --replicas 1 -c 4 --room-size 4 -r 100 -d 5s --output-format json -q",
            stalled.url()
        )))
    });
    // Joins are a few hundred bytes: when so many have come, messages are on their way.
    while relay.said.load(Relaxed) < 16_000 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    relay.stall(STALL);
    let report = load.await.expect("the run does not panic");

    let count = |name: &str| report["counts"][name].as_u64().expect("a count");
    let delivery = |statistic: &str| us(&report["latency_us"]["delivery"][statistic]);
    assert_eq!(
        (count("lost"), count("sent")),
        (0, 500),
        "all were sent when they were due, and came: {report:#}"
    );
    // Of five seconds two were a stall: the latest one in a hundred were due in the first tenth of it.
    assert!(delivery("p99") > STALL * 9 / 10, "{report:#}");
    let into_the_stall = count("connections");
    assert!(
        into_the_stall * 100 < count("sent"),
        "in a closed loop less than one in a hundred would be late"
    );
    // It was the server: the generator sent on time.
    assert!(us(&report["generator"]["schedule_lag_us"]["p99"]) < delivery("p99") / 2, "{report:#}");
}

/// Whatever else happens on the machine only adds to a time. So of some hundred times the shortest is the one without it,
/// and two such differ by the delay alone.
#[tokio::test(flavor = "multi_thread")]
async fn a_known_delay_is_told_to_the_millisecond() {
    const DELAY: Duration = Duration::from_millis(50);
    let cluster = replica().await;
    let shortest = async |delay: Duration| {
        let url = Relay::start(address(&cluster), delay).url();
        let load = format!("run {url} --replicas 1 -c 4 --room-size 4 -r 100 -d 4s --output-format json -q");
        let report = tokio::task::spawn_blocking(move || document(&run(&load))).await.expect("no panic");
        let delivery = &report["latency_us"]["delivery"];
        assert_eq!(delivery["count"], 1600, "{report:#}");
        assert!(us(&delivery["p50"]) >= delay, "nothing comes before it was let go: {report:#}");
        us(&delivery["min"])
    };
    let (without, with) = (shortest(Duration::ZERO).await, shortest(DELAY).await);
    let told = with.saturating_sub(without);
    assert!(told.abs_diff(DELAY) <= Duration::from_millis(1), "{told:?} of {DELAY:?}: {without:?}, {with:?}");
}

/// The same load by one process and by two agents: as many times are measured, and the delay is in both. That histograms
/// travel and add up without loss is shown where ledgers do (analysis/tests/it/workers.rs).
#[tokio::test(flavor = "multi_thread")]
async fn two_agents_measure_what_one_process_does() {
    const DELAY: Duration = Duration::from_millis(50);
    let cluster = replica().await;
    let relay = Relay::start(address(&cluster), DELAY);
    let tool = Path::new(env!("CARGO_BIN_EXE_ws-loadgen"));
    let redis = Redis::start(tool, &program().expect("./test installs one"), false).await.expect("a Redis");
    let coordinator = format!("--coordinator {}", redis.url);
    let agents: Vec<Child> = (0..2)
        .map(|_| {
            let args = format!("agent --once --quiet {coordinator}");
            Command::new(tool).args(args.split_whitespace()).spawn().expect("it starts")
        })
        .collect();
    let measure = async |share: &str| {
        let url = relay.url();
        let load =
            format!("run {url} --replicas 1 -c 8 --room-size 4 -r 100 -d 4s --output-format json -q {share}");
        let report = tokio::task::spawn_blocking(move || document(&run(&load))).await.expect("no panic");
        assert_eq!(report["counts"]["lost"], 0, "{report:#}");
        report
    };
    let one = measure("").await;
    let two = measure(&format!("--agents 2 {coordinator}")).await;
    for mut agent in agents {
        assert!(agent.wait().expect("it ends").success(), "each had a part");
    }
    assert_eq!(two["members"].as_array().map(Vec::len), Some(2), "{two:#}");
    let [one, two] = [one, two].map(|report| report["latency_us"]["delivery"].clone());
    assert_eq!((&one["count"], &two["count"]), (&1600.into(), &1600.into()));
    let least = [&one, &two].map(|delivery| us(&delivery["min"]));
    assert!(least[0] >= DELAY && least[0].abs_diff(least[1]) <= Duration::from_millis(1), "{one:#} {two:#}");
}

fn us(value: &Value) -> Duration {
    Duration::from_micros(value.as_u64().expect("microseconds"))
}

/// One replica, in this process.
pub(crate) async fn replica() -> LocalCluster {
    let options = LocalOptions {
        replicas: 1,
        redis: RedisChoice::Embedded,
        serve: None,
        broker: None,
        bugs: Vec::new(),
        faults: Vec::new(),
        tool: PathBuf::new(),
        sends_per_second: 1_000_000,
    };
    LocalCluster::start(options).await.expect("it starts")
}

fn address(cluster: &LocalCluster) -> SocketAddr {
    let url = &cluster.replicas()[0].url;
    let host = url.strip_prefix("ws://").and_then(|rest| rest.split('/').next());
    host.and_then(|host| host.parse().ok()).expect("a URL of loopback")
}

/// Passes connections on. Threads rather than tasks: a timer of tokio is late by up to a millisecond.
struct Relay {
    here: SocketAddr,
    target: SocketAddr,
    /// What the replica says comes so much later.
    delay: Duration,
    /// Until then it says nothing.
    silent_until: Mutex<Instant>,
    /// Bytes that the replica said.
    said: AtomicU64,
}

impl Relay {
    fn start(target: SocketAddr, delay: Duration) -> Arc<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let here = listener.local_addr().expect("an address");
        let (silent_until, said) = (Mutex::new(Instant::now()), AtomicU64::new(0));
        let relay = Arc::new(Self { here, target, delay, silent_until, said });
        let accepting = relay.clone();
        // Ends with the test's process.
        spawn(move || listener.incoming().flatten().for_each(|client| accepting.pass(client)));
        relay
    }

    fn url(&self) -> String {
        format!("ws://{}", self.here)
    }

    fn stall(&self, lasts: Duration) {
        *self.silent_until.lock().expect("nothing panics while it is held") = Instant::now() + lasts;
    }

    fn pass(self: &Arc<Self>, client: TcpStream) {
        let server = TcpStream::connect(self.target).expect("the replica listens");
        let both = [&client, &server];
        both.into_iter().for_each(|stream| stream.set_nodelay(true).expect("a socket"));
        let (from, mut to) = (client.try_clone().expect("a file"), server.try_clone().expect("a file"));
        spawn(move || {
            read(from, |_, bytes| to.write_all(&bytes).is_ok());
            let _ = to.shutdown(Shutdown::Write);
        });
        let (chunks, held) = mpsc::channel::<(Instant, Vec<u8>)>();
        let relay = self.clone();
        spawn(move || {
            read(server, |at, bytes| {
                relay.said.fetch_add(bytes.len() as u64, Relaxed);
                chunks.send((at, bytes)).is_ok()
            });
        });
        let relay = self.clone();
        spawn(move || relay.speak(client, &held));
    }

    fn speak(&self, mut client: TcpStream, held: &mpsc::Receiver<(Instant, Vec<u8>)>) {
        for (came, bytes) in held {
            let silent_until = *self.silent_until.lock().expect("nothing panics while it is held");
            sleep((came + self.delay).max(silent_until).saturating_duration_since(Instant::now()));
            if client.write_all(&bytes).is_err() {
                break;
            }
        }
        let _ = client.shutdown(Shutdown::Write);
    }
}

/// Hands on what comes, with its time, until one side has enough.
fn read(mut from: TcpStream, mut take: impl FnMut(Instant, Vec<u8>) -> bool) {
    let mut buffer = [0; 16 << 10];
    while let Ok(read @ 1..) = from.read(&mut buffer) {
        if !take(Instant::now(), buffer[..read].to_vec()) {
            break;
        }
    }
}
