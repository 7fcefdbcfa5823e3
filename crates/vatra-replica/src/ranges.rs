//! Ranges of places in a log, from the first to before the second: what is missing, asked for, answered.

/// Answered ranges of one log that are remembered.
const RANGES_MAX: usize = 64;
/// The newest so many entries of a range are asked for before those below them.
const PART_ENTRIES: u64 = 4096;

/// Ranges in order that do not touch.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ranges(pub(crate) Vec<(u64, u64)>);

impl Ranges {
    /// These too.
    pub(crate) fn add(&mut self, (from, to): (u64, u64)) {
        if from >= to {
            return;
        }
        let (touching, mut apart): (Vec<_>, Vec<_>) = self.0.iter().partition(|(a, b)| *a <= to && from <= *b);
        let from = touching.iter().map(|(a, _)| *a).fold(from, u64::min);
        let to = touching.iter().map(|(_, b)| *b).fold(to, u64::max);
        apart.push((from, to));
        apart.sort_unstable();
        if apart.len() > RANGES_MAX {
            // What is forgotten is asked for once more.
            apart.remove(0);
        }
        self.0 = apart;
    }
}

/// The first entries of the newest part of some ranges: within a part entries come in order, so that a height grows
/// with it and others can be told.
pub(crate) fn newest(mut ranges: Vec<(u64, u64)>, most: u64) -> Option<(u64, u64)> {
    ranges.retain(|(from, to)| from < to);
    let part = ranges.iter().map(|(_, to)| *to).max()?.saturating_sub(PART_ENTRIES);
    let (from, to) = ranges.into_iter().filter(|(_, to)| *to > part).min()?;
    let from = from.max(part);
    Some((from, to.min(from.saturating_add(most))))
}

/// What another range leaves of some.
pub(crate) fn without(ranges: Vec<(u64, u64)>, cut: (u64, u64)) -> Vec<(u64, u64)> {
    ranges.into_iter().flat_map(|range| subtract(range, cut)).collect()
}

/// The parts of a range that another does not cover.
fn subtract((from, to): (u64, u64), (cut_from, cut_to): (u64, u64)) -> Vec<(u64, u64)> {
    let parts = [(from, to.min(cut_from)), (from.max(cut_to), to)];
    parts.into_iter().filter(|(from, to)| from < to).collect()
}

#[cfg(test)]
mod tests {
    use super::{Ranges, newest, subtract};

    #[test]
    fn the_newest_part_comes_first_and_in_order() {
        assert_eq!(newest(vec![(0, 10_000)], 100), Some((5_904, 6_004)));
        assert_eq!(newest(vec![(0, 5_904), (6_004, 10_000)], 5_000), Some((6_004, 10_000)));
        assert_eq!(newest(vec![(0, 10), (20, 30)], 100), Some((0, 10)), "what was cut short goes on first");
        assert_eq!(newest(vec![(5, 5)], 100), None);
    }

    #[test]
    fn answered_ranges_grow_together() {
        let mut ranges = Ranges::default();
        for range in [(10, 20), (30, 40), (5, 5), (20, 30), (50, 60)] {
            ranges.add(range);
        }
        assert_eq!(ranges.0, [(10, 40), (50, 60)]);
    }

    #[test]
    fn ranges_are_cut_out() {
        assert_eq!(subtract((0, 10), (3, 5)), vec![(0, 3), (5, 10)]);
        assert_eq!(subtract((0, 10), (0, 10)), vec![]);
        assert_eq!(subtract((0, 10), (20, 30)), vec![(0, 10)]);
        assert_eq!(subtract((5, 10), (0, 7)), vec![(7, 10)]);
    }
}
