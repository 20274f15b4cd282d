//! The system under test: replicas and a Redis as child processes, or containers of somebody's Compose project.
//!
//! - [`backend`]: what a cluster is made of; `local` is processes on this machine, `compose` containers.
//! - [`child`]: the hidden subcommands by which a tool's own binary becomes a replica.
//! - [`fault`]: what breaks it on purpose, the proof that it did, and the heal.
//! - [`port`]: a port that stays ours while nobody listens on it.
//! - [`process`]: a child that can't outlive us, and what it uses.
//! - [`proxy`]: a link that can be cut, stalled, refused and slowed.
//! - [`redis`]: a private Redis.
//! - [`service`]: a child that is killed, paused and started again.

pub mod backend;
pub mod child;
pub mod fault;
pub mod port;
pub mod process;
pub mod proxy;
pub mod redis;
pub mod service;

use std::str::FromStr;

use ws_server::bug::Bug;

/// Which Redis the replicas get.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RedisChoice {
    /// One of our own: `$REDIS_SERVER`, `redis-server` or `valkey-server`; without any the memory broker.
    Auto,
    /// None: replicas in this process on the memory broker.
    Embedded,
    /// This one.
    Url(String),
}

impl FromStr for RedisChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            "embedded" => Ok(Self::Embedded),
            _ => match ::redis::Client::open(text) {
                Ok(_) => Ok(Self::Url(text.to_owned())),
                Err(_) => Err("it is auto, embedded, or a URL like redis://127.0.0.1:6379".into()),
            },
        }
    }
}

/// A bug switch for all replicas, or for one: `drop` or `drop@2`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BugSwitch {
    /// Which.
    pub bug: Bug,
    /// On the so-manieth replica, counted from 1; none for all.
    pub replica: Option<usize>,
}

impl FromStr for BugSwitch {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let Some((name, replica)) = text.split_once('@') else {
            return Ok(Self { bug: text.parse()?, replica: None });
        };
        match replica.parse() {
            Ok(replica @ 1..) => Ok(Self { bug: name.parse()?, replica: Some(replica) }),
            _ => Err(format!("{replica:?} is no replica's number; the first is {name}@1")),
        }
    }
}

impl std::fmt::Display for BugSwitch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.replica {
            None => write!(f, "{}", self.bug),
            Some(replica) => write!(f, "{}@{replica}", self.bug),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redis_is_chosen_by_a_word_or_a_url() {
        assert_eq!("auto".parse(), Ok(RedisChoice::Auto));
        assert_eq!("embedded".parse(), Ok(RedisChoice::Embedded));
        assert_eq!("redis://h:1".parse(), Ok(RedisChoice::Url("redis://h:1".into())));
        assert!("maybe".parse::<RedisChoice>().is_err());
    }

    #[test]
    fn a_bug_is_for_all_or_for_one() {
        assert_eq!("drop".parse(), Ok(BugSwitch { bug: Bug::Drop, replica: None }));
        assert_eq!("swap@2".parse(), Ok(BugSwitch { bug: Bug::Swap, replica: Some(2) }));
        for wrong in ["", "ant", "drop@0", "drop@x", "ant@1"] {
            assert!(wrong.parse::<BugSwitch>().is_err(), "{wrong}");
        }
    }
}
