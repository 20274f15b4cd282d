//! Which connection is in which room and on which worker.
//!
//! Rooms are runs of consecutive connections, and connections go round-robin over the endpoints: so the members of a
//! room are spread over the replicas. A room lives wholly on one worker: nothing is shared while messages flow.

use std::ops::Range;

/// The arrangement of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Topology {
    /// Sockets in all.
    pub connections: u32,
    /// Rooms in all, at most as many as sockets.
    pub rooms: u32,
    /// Worker threads, at most as many as rooms.
    pub workers: u32,
}

impl Topology {
    /// The connections that are members of `room`.
    #[must_use]
    pub fn members(&self, room: u32) -> Range<u32> {
        let boundary = |room: u32| {
            let first = u64::from(room) * u64::from(self.connections) / u64::from(self.rooms);
            u32::try_from(first).expect("at most the number of connections")
        };
        boundary(room)..boundary(room + 1)
    }

    /// The rooms of one worker, ascending.
    pub fn rooms_of(&self, worker: u32) -> impl Iterator<Item = u32> + use<> {
        (worker..self.rooms).step_by(self.workers as usize)
    }

    /// The worker that has `room`.
    #[must_use]
    pub fn worker_of(&self, room: u32) -> u32 {
        room % self.workers
    }

    /// How many rooms of `room_size` members (fewer in some) hold `connections`.
    #[must_use]
    pub fn rooms_for(connections: u32, room_size: u32) -> u32 {
        connections.div_ceil(room_size.max(1)).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_connection_has_one_room_and_one_worker() {
        for (connections, rooms, workers) in [(1, 1, 1), (10, 3, 2), (10_000, 1000, 2), (15_000, 7, 3)] {
            let topology = Topology { connections, rooms, workers };
            let mut of_workers: Vec<u32> = (0..workers).flat_map(|w| topology.rooms_of(w)).collect();
            of_workers.sort_unstable();
            assert_eq!(of_workers, (0..rooms).collect::<Vec<_>>());
            let members: Vec<u32> = (0..rooms).flat_map(|room| topology.members(room)).collect();
            assert_eq!(members, (0..connections).collect::<Vec<_>>());
            let sizes = (0..rooms).map(|room| topology.members(room).len());
            assert!(sizes.clone().max().expect("a room") - sizes.min().expect("a room") <= 1);
        }
    }

    #[test]
    fn a_room_size_is_never_exceeded() {
        let topology = Topology { connections: 10, rooms: Topology::rooms_for(10, 4), workers: 1 };
        assert!((0..topology.rooms).all(|room| topology.members(room).len() <= 4));
    }
}
