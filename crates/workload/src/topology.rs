//! Which connection is in which room and on which worker.
//!
//! Rooms are runs of consecutive connections, and connections go round-robin over the endpoints: so the members of a
//! room are spread over the replicas. A room lives wholly on one worker: nothing is shared while messages flow.
//!
//! Rooms are alike, or follow a Zipf law: the k-th largest has 1/k^s of the members of the largest, and none fewer
//! than two, for one alone has nobody to talk to.

use std::{ops::Range, sync::Arc};

/// Members that a room has at least where sizes follow a Zipf law.
pub const ZIPF_LEAST: u32 = 2;

/// The arrangement of a run. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "Written", into = "Written")]
pub struct Topology {
    /// Sockets in all.
    pub connections: u32,
    /// Rooms in all, at most as many as sockets.
    pub rooms: u32,
    /// Worker threads, at most as many as rooms.
    pub workers: u32,
    /// Where rooms are not alike.
    table: Option<Arc<Table>>,
}

/// Rooms of given sizes.
#[derive(Debug, PartialEq, Eq)]
struct Table {
    /// The first connection of each room, and behind the last room the number of connections.
    starts: Vec<u32>,
    /// The worker of each room.
    workers: Vec<u32>,
}

/// A topology as it is serialized. Sizes are written out: another machine's mathematics may round another way.
#[derive(Clone, serde::Serialize, serde::Deserialize)]
struct Written {
    connections: u32,
    rooms: u32,
    workers: u32,
    // Never skipped: on the line between processes fields have no names.
    #[serde(default)]
    sizes: Option<Vec<u32>>,
}

/// What was read is no topology.
#[derive(Debug, thiserror::Error)]
#[error("the sizes of the rooms do not add up to {connections} connections in {rooms} rooms")]
struct NoTopology {
    connections: u32,
    rooms: u32,
}

impl Topology {
    /// Rooms whose sizes differ by at most one.
    #[must_use]
    pub fn even(connections: u32, rooms: u32, workers: u32) -> Self {
        Self { connections, rooms, workers, table: None }
    }

    /// Rooms whose sizes follow a Zipf law with this exponent, the largest first; at least [`ZIPF_LEAST`] members for
    /// each must be there.
    #[must_use]
    pub fn zipf(connections: u32, rooms: u32, workers: u32, exponent: f64) -> Self {
        let table = Table::new(&zipf_sizes(connections, rooms, exponent), workers);
        Self { connections, rooms, workers, table: Some(Arc::new(table)) }
    }

    /// The connections that are members of `room`.
    #[must_use]
    pub fn members(&self, room: u32) -> Range<u32> {
        if let Some(table) = &self.table {
            return table.starts[room as usize]..table.starts[room as usize + 1];
        }
        let boundary = |room: u32| {
            let first = u64::from(room) * u64::from(self.connections) / u64::from(self.rooms);
            u32::try_from(first).expect("at most the number of connections")
        };
        boundary(room)..boundary(room + 1)
    }

    /// The rooms of one worker, ascending.
    pub fn rooms_of(&self, worker: u32) -> impl Iterator<Item = u32> {
        (0..self.rooms).filter(move |&room| self.worker_of(room) == worker)
    }

    /// The worker that has `room`.
    #[must_use]
    pub fn worker_of(&self, room: u32) -> u32 {
        self.table.as_ref().map_or(room % self.workers, |table| table.workers[room as usize])
    }

    /// How many rooms of `room_size` members (fewer in some) hold `connections`.
    #[must_use]
    pub fn rooms_for(connections: u32, room_size: u32) -> u32 {
        connections.div_ceil(room_size.max(1)).max(1)
    }
}

impl Table {
    fn new(sizes: &[u32], workers: u32) -> Self {
        let mut starts = vec![0];
        let mut end = 0;
        for size in sizes {
            end += size;
            starts.push(end);
        }
        Self { starts, workers: shared_out(sizes, workers) }
    }
}

/// The worker of each room: the largest rooms first, each to who has the fewest sockets.
fn shared_out(sizes: &[u32], workers: u32) -> Vec<u32> {
    let mut order: Vec<usize> = (0..sizes.len()).collect();
    order.sort_by_key(|&room| std::cmp::Reverse(sizes[room]));
    let mut loads = vec![0_u64; workers as usize];
    let mut of_room = vec![0; sizes.len()];
    for room in order {
        let (worker, load) = (0..).zip(&mut loads).min_by_key(|(_, load)| **load).expect("there is a worker");
        *load += u64::from(sizes[room]);
        of_room[room] = worker;
    }
    of_room
}

/// Shares by the law for as many of the largest rooms as have more than the least by it, the least for all others; what
/// is left over by rounding goes to the largest, one each.
fn zipf_sizes(connections: u32, rooms: u32, exponent: f64) -> Vec<u32> {
    let weights: Vec<f64> = (1..=rooms).map(|rank| f64::from(rank).powf(-exponent)).collect();
    let mut sum: f64 = weights.iter().sum();
    let mut left = connections;
    let mut head = weights.len();
    while head > 1 && weights[head - 1] / sum * f64::from(left) < f64::from(ZIPF_LEAST) {
        head -= 1;
        sum -= weights[head];
        left = left.saturating_sub(ZIPF_LEAST);
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a part of the connections")]
    let share = |weight: &f64| ((weight / sum * f64::from(left)) as u32).max(ZIPF_LEAST);
    let mut sizes: Vec<u32> = weights[..head].iter().map(share).collect();
    sizes.resize(weights.len(), ZIPF_LEAST);
    let over = connections.saturating_sub(sizes.iter().sum());
    sizes.iter_mut().take(over as usize).for_each(|size| *size += 1);
    // Whatever floating point has done, the sum is right.
    sizes[0] = connections.saturating_sub(sizes[1..].iter().sum());
    sizes
}

impl From<Topology> for Written {
    fn from(topology: Topology) -> Self {
        let Topology { connections, rooms, workers, table } = topology;
        let sizes = table.map(|table| table.starts.windows(2).map(|pair| pair[1] - pair[0]).collect());
        Self { connections, rooms, workers, sizes }
    }
}

impl TryFrom<Written> for Topology {
    type Error = NoTopology;

    fn try_from(Written { connections, rooms, workers, sizes }: Written) -> Result<Self, NoTopology> {
        let Some(sizes) = sizes else { return Ok(Self::even(connections, rooms, workers)) };
        let sum: u64 = sizes.iter().map(|&size| u64::from(size)).sum();
        if sizes.len() != rooms as usize || sum != u64::from(connections) || workers == 0 {
            return Err(NoTopology { connections, rooms });
        }
        Ok(Self { connections, rooms, workers, table: Some(Arc::new(Table::new(&sizes, workers))) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(topology: &Topology) {
        let Topology { connections, rooms, workers, .. } = *topology;
        let mut of_workers: Vec<u32> = (0..workers).flat_map(|w| topology.rooms_of(w)).collect();
        of_workers.sort_unstable();
        assert_eq!(of_workers, (0..rooms).collect::<Vec<_>>());
        assert!((0..workers).all(|worker| topology.rooms_of(worker).next().is_some()), "nobody is idle");
        let members: Vec<u32> = (0..rooms).flat_map(|room| topology.members(room)).collect();
        assert_eq!(members, (0..connections).collect::<Vec<_>>());
    }

    fn sizes(topology: &Topology) -> Vec<usize> {
        (0..topology.rooms).map(|room| topology.members(room).len()).collect()
    }

    #[test]
    fn every_connection_has_one_room_and_one_worker() {
        for (connections, rooms, workers) in [(1, 1, 1), (10, 3, 2), (10_000, 1000, 2), (15_000, 7, 3)] {
            let topology = Topology::even(connections, rooms, workers);
            check(&topology);
            let sizes = sizes(&topology);
            assert!(sizes.iter().max().expect("a room") - sizes.iter().min().expect("a room") <= 1);
        }
    }

    #[test]
    fn a_room_size_is_never_exceeded() {
        let topology = Topology::even(10, Topology::rooms_for(10, 4), 1);
        assert!((0..topology.rooms).all(|room| topology.members(room).len() <= 4));
    }

    #[test]
    fn sizes_follow_the_law_and_nobody_is_alone() {
        assert_eq!(sizes(&Topology::zipf(110, 4, 1, 1.0)), [53, 27, 17, 13]);
        // Of an even law the rooms are alike; of a steep one the largest has what the others need not.
        assert_eq!(sizes(&Topology::zipf(12, 4, 1, 0.0)), [3; 4]);
        assert_eq!(sizes(&Topology::zipf(20, 4, 1, 30.0)), [14, 2, 2, 2]);
        assert_eq!(sizes(&Topology::zipf(8, 4, 1, 1.1)), [2; 4]);
        for (connections, rooms, workers, exponent) in [
            (2, 1, 1, 1.0),
            (1000, 100, 2, 1.1),
            (10_000, 1000, 7, 0.8),
            (300_000, 9999, 4, 2.0),
            (9, 4, 4, 1.0),
        ] {
            let topology = Topology::zipf(connections, rooms, workers, exponent);
            check(&topology);
            let sizes = sizes(&topology);
            assert!(sizes.iter().all(|&size| size >= 2) && sizes.is_sorted_by(|a, b| a >= b), "{sizes:?}");
        }
    }

    #[test]
    fn workers_have_as_many_sockets_as_one_another() {
        let topology = Topology::zipf(10_000, 100, 4, 1.0);
        let sockets =
            |worker| topology.rooms_of(worker).map(|room| topology.members(room).len()).sum::<usize>();
        let loads: Vec<usize> = (0..4).map(sockets).collect();
        assert!(loads.iter().all(|load| (2450..2550).contains(load)), "{loads:?}");
    }

    #[test]
    fn it_is_the_same_after_a_journey() {
        for topology in [Topology::even(10, 3, 2), Topology::zipf(100, 10, 3, 1.1)] {
            let text = serde_json::to_string(&topology).expect("JSON");
            assert_eq!(serde_json::from_str::<Topology>(&text).expect("a topology"), topology);
            let bytes = postcard::to_stdvec(&topology).expect("bytes");
            assert_eq!(postcard::from_bytes::<Topology>(&bytes).expect("a topology"), topology);
        }
        let wrong = r#"{"connections":10,"rooms":2,"workers":1,"sizes":[5,4]}"#;
        let error = serde_json::from_str::<Topology>(wrong).expect_err("9 are not 10").to_string();
        assert!(error.contains("do not add up"), "{error}");
        let even = serde_json::from_str(r#"{"connections":9,"rooms":2,"workers":1}"#);
        assert_eq!(even.ok(), Some(Topology::even(9, 2, 1)));
    }
}
