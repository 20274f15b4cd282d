//! How long it took those who were cut off by a fault to be back in their rooms.

use crate::{
    ledger::{Ledger, Session},
    timeline::Timeline,
};

/// The returns of those whom one fault cut off; each session counts once, with its first return.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Returns {
    /// Members that were cut off.
    pub cut: u64,
    /// Of these the ones that never came back into their room.
    pub never: u64,
    /// Whether times count from the heal, because nobody was back before; else from the injection.
    pub from_heal: bool,
    /// Until half of them, 95 % and all were back, in microseconds; none if they never were.
    pub half_us: Option<u64>,
    /// See `half_us`.
    pub most_us: Option<u64>,
    /// See `half_us`.
    pub all_us: Option<u64>,
}

/// By fault of the timeline; none where nobody was cut off.
pub(super) fn returns(ledgers: &[Ledger], timeline: &Timeline) -> Vec<Option<Returns>> {
    let mut by_fault: Vec<Vec<Option<u64>>> = vec![Vec::new(); timeline.faults.len()];
    for session in ledgers.iter().flat_map(|ledger| &ledger.sessions) {
        let mut counted = Vec::new();
        for (heard_us, back_us) in absences(session) {
            let fault = timeline.cut_by(heard_us, back_us.unwrap_or(u64::MAX));
            if let Some(fault) = fault.filter(|fault| !counted.contains(fault)) {
                counted.push(fault);
                by_fault[fault].push(back_us);
            }
        }
    }
    let windows = timeline.faults.iter().zip(by_fault);
    windows.map(|(window, backs)| Returns::new(window.start_us, window.end_us, &backs)).collect()
}

/// From when to when it was cut off.
fn absences(session: &Session) -> impl Iterator<Item = (u64, Option<u64>)> {
    let returned = session.returns().map(|(heard_us, back_us)| (heard_us, Some(back_us)));
    let last = session.is_cut_off().then(|| session.cuts().last()).flatten();
    returned.chain(last.map(|heard_us| (heard_us, None)))
}

impl Returns {
    /// From when each was back, if it was.
    fn new(start_us: u64, end_us: u64, backs: &[Option<u64>]) -> Option<Self> {
        let mut times: Vec<u64> = backs.iter().flatten().copied().collect();
        times.sort_unstable();
        let from_heal = times.first().is_some_and(|&first| first >= end_us);
        let from_us = if from_heal { end_us } else { start_us };
        let until = |percent: usize| {
            let place = (backs.len() * percent).div_ceil(100).checked_sub(1)?;
            times.get(place).map(|back_us| back_us.saturating_sub(from_us))
        };
        (!backs.is_empty()).then(|| Self {
            cut: backs.len() as u64,
            never: (backs.len() - times.len()) as u64,
            from_heal,
            half_us: until(50),
            most_us: until(95),
            all_us: until(100),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_count_over_all_who_were_cut_off() {
        let backs: Vec<Option<u64>> = (1..=20).map(|number| Some(100 + number)).collect();
        let returns = |backs: &[Option<u64>], end_us| Returns::new(100, end_us, backs).expect("somebody");
        let all = returns(&backs, 105);
        assert_eq!((all.cut, all.never, all.from_heal), (20, 0, false));
        assert_eq!((all.half_us, all.most_us, all.all_us), (Some(10), Some(19), Some(20)));
        let one_gone = [&backs[1..], &[None]].concat();
        let gone = returns(&one_gone, 105);
        assert_eq!((gone.never, gone.half_us, gone.most_us, gone.all_us), (1, Some(11), Some(20), None));
        // Nobody was back before the heal.
        let healed = returns(&backs, 101);
        assert_eq!((healed.from_heal, healed.half_us), (true, Some(9)));
        let never = returns(&[None], 101);
        assert_eq!((never.never, never.from_heal, never.half_us), (1, false, None));
        assert_eq!(Returns::new(100, 105, &[]), None);
    }
}
