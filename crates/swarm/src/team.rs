//! Everybody who has sockets: the threads of this process, or members in others.

mod member;
mod members;
mod threads;

use ws_wire::message::Hello;

pub use member::{Member, serve};
pub(crate) use members::Members;
pub use members::{Lost, MemberFacts};
pub(crate) use threads::Threads;

use crate::{
    coordinator::SwarmError,
    worker::{Harvest, Order},
};

/// The workers of a run, wherever they are.
pub(crate) enum Team {
    Threads(Threads),
    Members(Members),
}

impl Team {
    /// Gives an order and waits until it is carried out; returns the replicas where somebody has open sockets, as bits of
    /// the fences to all.
    pub(crate) async fn order(&mut self, order: Order) -> u64 {
        match self {
            Self::Threads(threads) => threads.order(order).await,
            Self::Members(members) => members.order(order).await,
        }
    }

    /// Waits until everybody has carried out the first order, which nobody gave: to connect.
    pub(crate) async fn connected(&mut self) {
        match self {
            Self::Threads(threads) => drop(threads.report().await),
            Self::Members(members) => drop(members.report().await),
        }
    }

    /// The nodes that said hello.
    pub(crate) fn nodes(&self) -> Vec<(Hello, String)> {
        match self {
            Self::Threads(threads) => threads.nodes(),
            Self::Members(members) => members.nodes(),
        }
    }

    /// The last order; brings everything home.
    pub(crate) async fn part(self) -> Result<Home, SwarmError> {
        match self {
            Self::Threads(threads) => {
                let harvests = threads.part().await?;
                Ok(Home { harvests, ..Home::default() })
            }
            Self::Members(members) => Ok(members.part().await),
        }
    }
}

/// What came home.
#[derive(Default)]
pub(crate) struct Home {
    pub(crate) harvests: Vec<Harvest>,
    pub(crate) members: Vec<MemberFacts>,
    pub(crate) lost: Vec<Lost>,
}
