//! Hands out what is due by now.

use std::iter::Peekable;

use crate::schedule::{Arrival, Schedule};

/// A schedule against a clock that the caller reads.
#[derive(Debug)]
pub struct Pacer {
    arrivals: Peekable<Schedule>,
}

/// What to do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// Send this, and ask again: more may be due.
    Send(Arrival),
    /// Nothing before this time, in microseconds from the start of sending.
    WaitUntil(u64),
    /// Nothing any more.
    Done,
}

impl Pacer {
    /// Paces `schedule`.
    #[must_use]
    pub fn new(schedule: Schedule) -> Self {
        Self { arrivals: schedule.peekable() }
    }

    /// What is due at `now_us`, in microseconds from the start of sending.
    pub fn poll(&mut self, now_us: u64) -> Due {
        match self.arrivals.next_if(|arrival| arrival.due_us <= now_us) {
            Some(arrival) => Due::Send(arrival),
            None => self.arrivals.peek().map_or(Due::Done, |arrival| Due::WaitUntil(arrival.due_us)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::{Scenario, sample};

    #[test]
    fn what_is_overdue_comes_at_once_and_nothing_early() {
        let scenario = Scenario { rate: 1000.0, ..sample() };
        let mut pacer = Pacer::new(Schedule::new(&scenario, 0, 1, vec![vec![7]]));
        let mut sent = vec![];
        while let Due::Send(arrival) = pacer.poll(2500) {
            sent.push(arrival.due_us);
        }
        assert_eq!(sent, [0, 1000, 2000]);
        assert_eq!(pacer.poll(2999), Due::WaitUntil(3000));
        while let Due::Send(_) = pacer.poll(u64::MAX) {}
        assert_eq!(pacer.poll(u64::MAX), Due::Done);
    }
}
