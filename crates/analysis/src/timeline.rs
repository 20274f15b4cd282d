//! When sending went on and when faults were on, as it really happened: cuts the run into phases.

/// The run's calendar. Times are microseconds of the run.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Timeline {
    /// In the order of their starts.
    pub faults: Vec<Window>,
    /// R: how long after a heal everything may take to work again.
    pub settle_us: u64,
    /// When the windows closed, if somebody stopped the run: what was not due by then is not owed.
    #[serde(default)]
    pub stopped_us: Option<u64>,
    /// How far the clocks of two workers may be apart: of messages to all it is not known more exactly when they were sent.
    #[serde(default)]
    pub apart_us: u64,
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

    /// The fault to which what was due at `due_us`, and known to be on its way until `alive_us`, is put down: the last that
    /// began before that (or a moment after it), unless it had healed and settled when it was due.
    #[must_use]
    pub fn fault_at(&self, due_us: u64, alive_us: u64) -> Option<usize> {
        let struck = |fault: &Window| {
            fault.start_us <= due_us.max(alive_us).saturating_add(BEFORE_US)
                && due_us <= fault.end_us.saturating_add(self.settle_us / 2)
        };
        self.faults.iter().rposition(struck)
    }

    /// Whether what was due at `due_us` and is over at `over_us` may have been held by a fault: one was on meanwhile or
    /// had just healed, and R has not passed since the last of those.
    #[must_use]
    pub fn is_disturbed(&self, due_us: u64, over_us: u64) -> bool {
        let held = |fault: &&Window| {
            fault.start_us <= over_us && due_us <= fault.end_us.saturating_add(self.settle_us / 2)
        };
        let last = self.faults.iter().filter(held).map(|fault| fault.end_us).max();
        last.is_some_and(|end_us| over_us <= end_us.saturating_add(self.settle_us))
    }

    /// The fault that cut somebody off who was heard last at `heard_us` and back at `back_us`: the last of those that were on
    /// then or began a moment later; else the first that began before the return.
    #[must_use]
    pub fn cut_by(&self, heard_us: u64, back_us: u64) -> Option<usize> {
        let may = |fault: &&Window| fault.start_us <= back_us && heard_us <= fault.end_us;
        let near = |fault: &Window| may(&fault) && fault.start_us <= heard_us.saturating_add(BEFORE_US);
        self.faults.iter().rposition(near).or_else(|| self.faults.iter().position(|fault| may(&fault)))
    }

    /// By when somebody who was cut off at `heard_us` and is back at `back_us` had to be back: R after the last heal of
    /// what was on in between.
    #[must_use]
    pub fn due_back_us(&self, heard_us: u64, back_us: u64) -> u64 {
        let heals = self.faults.iter().filter(|fault| fault.start_us <= back_us).map(|fault| fault.end_us);
        heals.fold(heard_us, u64::max).saturating_add(self.settle_us)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn timeline(faults: &[(u64, u64)]) -> Timeline {
        let faults = faults.iter().map(|&(start_us, end_us)| Window { start_us, end_us }).collect();
        Timeline { faults, settle_us: 10_000_000, stopped_us: None, apart_us: 0 }
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
        let check = |due_us, fault| assert_eq!(timeline.fault_at(due_us, due_us), fault, "{due_us}");
        check(8_000_000, None);
        check(9_500_000, Some(0));
        check(12_000_000, Some(0));
        check(14_900_000, Some(0));
        check(15_500_000, Some(1));
        check(22_000_000, Some(1));
        check(22_000_001, None);
        // A slow server still had it when the fault struck.
        assert_eq!(timeline.fault_at(8_000_000, 9_100_000), Some(0));
        assert_eq!(timeline.fault_at(22_000_001, 23_000_000), None);
        assert!(timeline.is_disturbed(1, 10_000_000) && !timeline.is_disturbed(1, 9_999_999));
        // A backlog has R to arrive, and no longer.
        assert!(
            timeline.is_disturbed(16_500_000, 27_000_000) && !timeline.is_disturbed(16_500_000, 27_000_001)
        );
        assert!(!timeline.is_disturbed(22_000_001, 23_000_000));
    }

    #[test]
    fn a_cut_is_put_down_to_a_fault() {
        let timeline =
            timeline(&[(10_000_000, 13_000_000), (12_000_000, 12_100_000), (20_000_000, 20_000_000)]);
        let check =
            |heard_us, back_us, fault| assert_eq!(timeline.cut_by(heard_us, back_us), fault, "{heard_us}");
        check(9_999_000, 10_500_000, Some(0));
        check(11_990_000, 12_500_000, Some(1));
        check(12_500_000, 14_000_000, Some(0));
        // Before the next one began it was back.
        check(11_990_000, 11_995_000, Some(0));
        // Nobody had said anything for a while.
        check(5_000_000, u64::MAX, Some(0));
        check(15_000_000, 20_100_000, Some(2));
        // No fault's doing.
        check(5_000_000, 6_000_000, None);
        check(13_000_001, 14_000_000, None);
        check(21_000_000, u64::MAX, None);
    }

    #[test]
    fn who_was_cut_off_is_due_back_r_after_the_last_heal() {
        let timeline = timeline(&[(10_000_000, 13_000_000), (16_000_000, 17_000_000)]);
        let check = |heard_us, back_us, due_us| assert_eq!(timeline.due_back_us(heard_us, back_us), due_us);
        check(5_000_000, 6_000_000, 15_000_000);
        check(10_500_000, 14_000_000, 23_000_000);
        check(10_500_000, 16_500_000, 27_000_000);
        check(20_000_000, 21_000_000, 30_000_000);
    }
}
