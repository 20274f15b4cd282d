//! When sending went on and when faults were on, as it really happened: cuts the run into phases.

/// The run's calendar. Times are microseconds of the run.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Timeline {
    /// In the order of their starts.
    pub faults: Vec<Window>,
    /// How long after a heal everything has to work again.
    pub settle_us: u64,
}

/// One fault's time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Window {
    /// The injection.
    pub start_us: u64,
    /// The heal.
    pub end_us: u64,
}

/// A stretch of the run in which the same faults were on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Phase {
    /// When it begins.
    pub start_us: u64,
    /// The faults that were on, as places in [`Timeline::faults`].
    pub faults: Vec<usize>,
}

/// What is due so shortly before a fault was on its way when the fault struck.
const BEFORE_US: u64 = 1_000_000;

impl Timeline {
    /// The phases in order; the first begins with the run.
    #[must_use]
    pub fn phases(&self) -> Vec<Phase> {
        let mut starts: Vec<u64> =
            self.faults.iter().flat_map(|fault| [fault.start_us, fault.end_us]).collect();
        starts.push(0);
        starts.sort_unstable();
        starts.dedup();
        let phase = |start_us| {
            let on = |(_, fault): &(usize, &Window)| fault.start_us <= start_us && start_us < fault.end_us;
            let faults = self.faults.iter().enumerate().filter(on).map(|(place, _)| place).collect();
            Phase { start_us, faults }
        };
        starts.into_iter().map(phase).collect()
    }

    /// The fault to which what was due at `due_us` is put down: the last that began before it (or a moment after it),
    /// unless that had healed and settled.
    #[must_use]
    pub fn fault_at(&self, due_us: u64) -> Option<usize> {
        let struck = |fault: &Window| {
            fault.start_us <= due_us.saturating_add(BEFORE_US)
                && due_us <= fault.end_us.saturating_add(self.settle_us)
        };
        self.faults.iter().rposition(struck)
    }

    /// Whether a fault was on, or had just healed, at some time from `from_us` to `to_us`.
    #[must_use]
    pub fn is_disturbed(&self, from_us: u64, to_us: u64) -> bool {
        let overlaps = |fault: &Window| {
            fault.start_us <= to_us && from_us <= fault.end_us.saturating_add(self.settle_us)
        };
        self.faults.iter().any(overlaps)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn timeline(faults: &[(u64, u64)]) -> Timeline {
        let faults = faults.iter().map(|&(start_us, end_us)| Window { start_us, end_us }).collect();
        Timeline { faults, settle_us: 5_000_000 }
    }

    #[test]
    fn phases_are_cut_where_faults_begin_and_end() {
        let check = |faults: &[(u64, u64)], expected: &[(u64, &[usize])]| {
            let phases = timeline(faults).phases();
            let seen: Vec<_> = phases.iter().map(|phase| (phase.start_us, &phase.faults[..])).collect();
            assert_eq!(seen, expected);
        };
        check(&[], &[(0, &[])]);
        check(&[(10, 20)], &[(0, &[]), (10, &[0]), (20, &[])]);
        check(&[(10, 30), (20, 40)], &[(0, &[]), (10, &[0]), (20, &[0, 1]), (30, &[1]), (40, &[])]);
        // Done at once: no phase of its own.
        check(&[(10, 10)], &[(0, &[]), (10, &[])]);
    }

    #[test]
    fn a_loss_is_put_down_to_the_fault_that_was_on_or_had_just_been() {
        let timeline = timeline(&[(10_000_000, 13_000_000), (16_000_000, 17_000_000)]);
        let check = |due_us, fault| assert_eq!(timeline.fault_at(due_us), fault, "{due_us}");
        check(8_000_000, None);
        check(9_500_000, Some(0));
        check(12_000_000, Some(0));
        check(14_900_000, Some(0));
        check(15_500_000, Some(1));
        check(22_000_000, Some(1));
        check(22_000_001, None);
        assert!(timeline.is_disturbed(1, 10_000_000) && !timeline.is_disturbed(1, 9_999_999));
    }
}
