//! A line over Redis, and how agents and whoever leads them find each other.
//!
//! Whoever leads pushes one seat an agent onto the list `ws-run:JOB:seats`; an agent pops one. From then on two lists
//! are the two directions of the line: `ws-run:JOB:RUN:SEAT:agent` to the agent, and `...:leader` from it. A message
//! is cut into pieces, each with a byte before it that tells whether more follows. Who sends waits while the other end
//! is behind, so that Redis never holds more than a few megabytes. What is left over expires.

use std::{str::FromStr, time::Duration};

use anyhow::{Context as _, bail, ensure};
use redis::{
    AsyncConnectionConfig, Client, IntoConnectionInfo as _, RedisResult, aio::MultiplexedConnection, cmd,
    pipe,
};
use serde::{Deserialize, Serialize};
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;
use ws_swarm::{Clock, Line};

use crate::{config::Agents, run::say};

/// Messages on their way on our side.
const QUEUE: usize = 64;

/// The longest piece.
const PIECE: usize = 256 * 1024;

/// Pieces that may wait in Redis for the other end.
const BEHIND: u64 = 64;

/// How much longer than whoever leads waits for agents the first of them waits for it, and a list is kept.
const MARGIN_S: u64 = 60;

/// How long one wait for a piece may take: then it is asked again.
const WAIT_S: f64 = 5.0;

/// Round trips for one estimate of the clock.
const ROUND_TRIPS: u32 = 32;

/// How often the clock is estimated anew.
const CLOCK_EVERY: Duration = Duration::from_secs(5);

/// How often it is looked how many agents are there.
const LOOK: Duration = Duration::from_millis(200);

/// What stands before a piece.
const MORE: u8 = 0;
const END: u8 = 1;
/// Nothing will follow.
const BYE: u8 = 2;

/// A Redis through which agents are led: `redis://host:port`.
#[derive(Clone, Debug)]
pub struct Coordinator(Client);

impl FromStr for Coordinator {
    type Err = String;

    fn from_str(url: &str) -> Result<Self, String> {
        let wrong = |why: String| format!("{url:?} is no Redis ({why}); it looks like redis://host:6379");
        url.into_connection_info().map_err(|error| wrong(error.to_string()))?;
        Client::open(url).map(Self).map_err(|error| wrong(error.to_string()))
    }
}

/// An agent's part of a run, as it lies in the list of seats.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Seat {
    run: String,
    seat: usize,
    of: usize,
    version: String,
    /// Seconds that the run may take to begin.
    patience_s: u64,
}

/// The two ends of a line.
#[derive(Clone, Copy, PartialEq)]
enum End {
    Leader,
    Agent,
}

/// Calls `count` agents to a run, and waits at most `patience` for them. Their lines are in the order of their parts.
///
/// # Errors
/// No Redis, or fewer agents than that.
pub(crate) async fn call(
    agents: &Agents,
    version: &str,
    stop: &CancellationToken,
) -> anyhow::Result<Vec<Line>> {
    let Agents { count, coordinator, job, wait: patience } = agents;
    let (count, patience) = (*count, *patience);
    let mut redis = coordinator.connect(None).await?;
    let clock = clock(coordinator).await?;
    let run = format!("{:016x}", rand::random::<u64>());
    let seats = seats_key(job);
    let patience_s = patience.as_secs() + MARGIN_S;
    let seat = |seat| Seat { run: run.clone(), seat, of: count, version: version.to_owned(), patience_s };
    let all: Vec<String> = (0..count)
        .map(|number| serde_json::to_string(&seat(number)).expect("a seat is always JSON"))
        .collect();
    let called: RedisResult<()> = pipe()
        .cmd("RPUSH")
        .arg(&seats)
        .arg(&all)
        .ignore()
        .cmd("EXPIRE")
        .arg(&seats)
        .arg(patience_s)
        .ignore()
        .query_async(&mut redis)
        .await;
    called.context("the agents can't be called")?;
    let deadline = Instant::now() + patience;
    let mut told = Instant::now();
    loop {
        let waiting: Vec<String> = cmd("LRANGE")
            .arg(&seats)
            .arg(0)
            .arg(-1)
            .query_async(&mut redis)
            .await
            .context("Redis went away")?;
        let left = waiting.iter().filter(|seat| seat.contains(&run)).count();
        if left == 0 {
            break;
        }
        if told.elapsed() > Duration::from_secs(3) {
            told = Instant::now();
            say(&format!("{} of {count} agents are here; waiting for the others", count - left));
        }
        if Instant::now() > deadline || stop.is_cancelled() {
            for seat in &all {
                let _: RedisResult<()> =
                    cmd("LREM").arg(&seats).arg(0).arg(seat).query_async(&mut redis).await;
            }
            // Those that came have an end of a line in their hands: its other end says that there is no run.
            for number in 0..count {
                let (line, writer) =
                    carry(coordinator, job, &seat(number), End::Leader, clock.clone()).await?;
                drop(line);
                let _ = writer.await;
            }
            ensure!(!stop.is_cancelled(), "interrupted while agents were waited for");
            bail!(
                "{} of {count} agents came within {} s; start more of them: agent --coordinator URL{}",
                count - left,
                patience.as_secs(),
                if job == super::agent::JOB { String::new() } else { format!(" --job {job}") }
            );
        }
        sleep(LOOK).await;
    }
    let mut lines = Vec::new();
    for number in 0..count {
        lines.push(carry(coordinator, job, &seat(number), End::Leader, clock.clone()).await?.0);
    }
    Ok(lines)
}

/// Waits for a seat.
pub(super) async fn wait_for_seat(coordinator: &Coordinator, job: &str) -> anyhow::Result<Seat> {
    let mut redis = coordinator.connect(None).await?;
    loop {
        let popped: Option<(String, String)> = cmd("BLPOP")
            .arg(seats_key(job))
            .arg(WAIT_S)
            .query_async(&mut redis)
            .await
            .context("Redis went away")?;
        if let Some((_, seat)) = popped {
            return serde_json::from_str(&seat).context("a seat that this version does not understand");
        }
    }
}

impl Seat {
    /// The agent's end of its line.
    ///
    /// # Errors
    /// Another version leads, or no Redis.
    pub(super) async fn take(
        &self,
        coordinator: &Coordinator,
        job: &str,
    ) -> anyhow::Result<(Line, JoinHandle<()>)> {
        carry(coordinator, job, self, End::Agent, clock(coordinator).await?).await
    }

    /// For a person.
    pub(super) fn describe(&self) -> String {
        format!("part {} of {}, run {}", self.seat + 1, self.of, self.run)
    }

    /// How long the run may take to begin.
    pub(super) fn patience(&self) -> Duration {
        Duration::from_secs(self.patience_s)
    }

    /// The version that leads.
    pub(super) fn version(&self) -> &str {
        &self.version
    }
}

fn seats_key(job: &str) -> String {
    format!("ws-run:{job}:seats")
}

impl Coordinator {
    async fn connect(&self, response: Option<Duration>) -> anyhow::Result<MultiplexedConnection> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(Duration::from_secs(5)))
            .set_response_timeout(response);
        let connected = self.0.get_multiplexed_async_connection_with_config(&config).await;
        let at = self.0.get_connection_info().addr().to_string();
        connected.with_context(|| {
            format!("no Redis answers at {at}, through which agents are led (--coordinator)")
        })
    }
}

/// One end of a line, and what ends when everything that was said is in Redis.
async fn carry(
    coordinator: &Coordinator,
    job: &str,
    seat: &Seat,
    end: End,
    clock: watch::Receiver<Clock>,
) -> anyhow::Result<(Line, JoinHandle<()>)> {
    let list = |end: &str| format!("ws-run:{job}:{}:{}:{end}", seat.run, seat.seat);
    let (ours, theirs) = match end {
        End::Leader => (list("leader"), list("agent")),
        End::Agent => (list("agent"), list("leader")),
    };
    let (reads, writes) = (coordinator.connect(None).await?, coordinator.connect(None).await?);
    let (to, outgoing) = mpsc::channel(QUEUE);
    let (incoming, from) = mpsc::channel(QUEUE);
    // An error is the end of the line, which the other side of the channel sees.
    tokio::spawn(async move { drop(read(reads, ours, incoming).await) });
    let expires_s = seat.patience_s;
    let writer = tokio::spawn(async move { drop(write(writes, (theirs, expires_s), outgoing).await) });
    Ok((Line { clock, to, from }, writer))
}

async fn read(mut redis: MultiplexedConnection, list: String, to: mpsc::Sender<Vec<u8>>) -> RedisResult<()> {
    let mut message = Vec::new();
    while !to.is_closed() {
        let popped: Option<(String, Vec<u8>)> =
            cmd("BLPOP").arg(&list).arg(WAIT_S).query_async(&mut redis).await?;
        let Some((_, piece)) = popped else { continue };
        let Some((&what, bytes)) = piece.split_first() else { continue };
        message.extend_from_slice(bytes);
        match what {
            // A sign of life.
            MORE => drop(to.send(Vec::new()).await),
            END => drop(to.send(std::mem::take(&mut message)).await),
            _ => return Ok(()),
        }
    }
    Ok(())
}

async fn write(
    mut redis: MultiplexedConnection,
    list: (String, u64),
    mut from: mpsc::Receiver<Vec<u8>>,
) -> RedisResult<()> {
    while let Some(message) = from.recv().await {
        let pieces = message.len().div_ceil(PIECE).max(1);
        for (number, piece) in message.chunks(PIECE).enumerate() {
            let what = if number + 1 == pieces { END } else { MORE };
            push(&mut redis, &list, what, piece).await?;
        }
    }
    push(&mut redis, &list, BYE, &[]).await
}

/// Appends one piece, once there is room for it.
async fn push(
    redis: &mut MultiplexedConnection,
    (list, expires_s): &(String, u64),
    what: u8,
    piece: &[u8],
) -> RedisResult<()> {
    let piece = [&[what], piece].concat();
    let (mut waiting,): (u64,) = pipe()
        .cmd("RPUSH")
        .arg(list)
        .arg(piece)
        .cmd("EXPIRE")
        .arg(list)
        .arg(expires_s)
        .ignore()
        .query_async(redis)
        .await?;
    while waiting > BEHIND {
        sleep(Duration::from_millis(5)).await;
        waiting = cmd("LLEN").arg(list).query_async(redis).await?;
    }
    Ok(())
}

/// The clock of that Redis: now, and estimated anew from time to time while anybody asks.
async fn clock(coordinator: &Coordinator) -> anyhow::Result<watch::Receiver<Clock>> {
    let mut redis = coordinator.connect(Some(Duration::from_secs(5))).await?;
    let first = estimate(&mut redis).await.context("Redis does not tell the time")?;
    let (clock, reader) = watch::channel(first);
    tokio::spawn(async move {
        while !clock.is_closed() {
            sleep(CLOCK_EVERY).await;
            if let Ok(estimate) = estimate(&mut redis).await {
                clock.send_replace(estimate);
            }
        }
    });
    Ok(reader)
}

/// The best of some round trips: the answer was made somewhere within it, so half of it is the error.
async fn estimate(redis: &mut MultiplexedConnection) -> RedisResult<Clock> {
    let mut best: Option<Clock> = None;
    for _ in 0..ROUND_TRIPS {
        let asked = Instant::now();
        let (seconds, micros): (i64, i64) = cmd("TIME").query_async(redis).await?;
        let half = asked.elapsed() / 2;
        let error_us = u64::try_from(half.as_micros()).unwrap_or(u64::MAX).max(1);
        if best.is_none_or(|best| error_us < best.error_us) {
            let at = asked.into_std() + half;
            best = Some(Clock { at, reads_us: seconds * 1_000_000 + micros, error_us });
        }
    }
    Ok(best.expect("there was one round trip at least"))
}
