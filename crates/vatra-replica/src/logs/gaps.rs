//! What is missing of a log.

use super::LogState;

impl LogState {
    /// The ranges `[from, to)` below `top` that are not held, lowest first, at most `max` of them.
    pub(crate) fn missing(&self, top: u64, max: usize) -> Vec<(u64, u64)> {
        let mut ranges = Vec::new();
        let mut from = self.accepted.height;
        for &seq in self.ahead.range(from..).map(|(seq, _)| seq).take_while(|&&seq| seq < top) {
            if seq > from {
                ranges.push((from, seq));
                if ranges.len() >= max {
                    return ranges;
                }
            }
            from = seq + 1;
        }
        if from < top {
            ranges.push((from, top));
        }
        ranges
    }

    /// The ranges `[from, to)` below `top` that are not held, highest first, at most `max` of them.
    pub(crate) fn missing_newest_first(&self, top: u64, max: usize) -> Vec<(u64, u64)> {
        let mut ranges = Vec::new();
        let mut to = top;
        for &seq in self.ahead.range(..top).rev().map(|(seq, _)| seq) {
            if seq + 1 < to {
                ranges.push((seq + 1, to));
                if ranges.len() >= max {
                    return ranges;
                }
            }
            to = seq;
        }
        if self.accepted.height < to {
            ranges.push((self.accepted.height, to));
        }
        ranges
    }

    /// The parts of `[from, to)` that are not held, lowest first. Held entries in between that are fewer than
    /// `run_min` are counted as missing, so that the parts are few.
    pub(crate) fn gaps_between(&self, from: u64, to: u64, run_min: u64) -> Vec<(u64, u64)> {
        let mut gaps: Vec<(u64, u64)> = Vec::new();
        let mut next = from.max(self.accepted.height);
        let mut add = |from: u64, to: u64| match gaps.last_mut() {
            Some(last) if from - last.1 < run_min => last.1 = to,
            _ => gaps.push((from, to)),
        };
        if next >= to {
            return Vec::new();
        }
        for &seq in self.ahead.range(next..to).map(|(seq, _)| seq) {
            if seq > next {
                add(next, seq);
            }
            next = seq + 1;
        }
        if next < to {
            add(next, to);
        }
        gaps
    }
}
