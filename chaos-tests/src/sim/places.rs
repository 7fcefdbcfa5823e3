//! Something for each of many places of logs: a map in each log, which is what most look at, and cheap to append to.

use std::collections::BTreeMap;
use std::ops::RangeBounds;

use vatra_model::LogId;

/// A map from places, a log and a number in it, in that order.
#[derive(Clone, Debug)]
pub struct Places<T> {
    logs: BTreeMap<LogId, BTreeMap<u64, T>>,
    count: usize,
}

impl<T> Default for Places<T> {
    fn default() -> Places<T> {
        Places { logs: BTreeMap::new(), count: 0 }
    }
}

impl<T> Places<T> {
    /// What is at a place.
    #[must_use]
    pub fn get(&self, (log, seq): (LogId, u64)) -> Option<&T> {
        self.logs.get(&log)?.get(&seq)
    }

    /// Whether anything is at a place.
    #[must_use]
    pub fn contains(&self, place: (LogId, u64)) -> bool {
        self.get(place).is_some()
    }

    /// Puts something at a place; gives what was there.
    pub fn insert(&mut self, (log, seq): (LogId, u64), value: T) -> Option<T> {
        let before = self.logs.entry(log).or_default().insert(seq, value);
        self.count += usize::from(before.is_none());
        before
    }

    /// Takes away what is at a place.
    pub fn remove(&mut self, (log, seq): (LogId, u64)) -> Option<T> {
        let before = self.logs.get_mut(&log)?.remove(&seq);
        self.count -= usize::from(before.is_some());
        before
    }

    /// What is at a place, made if nothing is.
    pub fn at(&mut self, (log, seq): (LogId, u64)) -> &mut T
    where
        T: Default,
    {
        let count = &mut self.count;
        self.logs.entry(log).or_default().entry(seq).or_insert_with(|| {
            *count += 1;
            T::default()
        })
    }

    /// Takes away what is at the places that are not to be kept.
    pub fn retain(&mut self, keep: impl Fn((LogId, u64)) -> bool) {
        for (log, places) in &mut self.logs {
            places.retain(|seq, _| keep((*log, *seq)));
        }
        self.count = self.logs.values().map(BTreeMap::len).sum();
    }

    /// Takes away everything.
    pub fn clear(&mut self) {
        *self = Places::default();
    }

    /// How many places there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// All places of a log within a range.
    pub fn range(&self, log: LogId, seqs: impl RangeBounds<u64>) -> impl DoubleEndedIterator<Item = (u64, &T)> {
        let places = self.logs.get(&log).map(|places| places.range(seqs));
        places.into_iter().flatten().map(|(seq, value)| (*seq, value))
    }

    /// Everything, in order.
    pub fn iter(&self) -> impl Iterator<Item = ((LogId, u64), &T)> {
        self.logs.iter().flat_map(|(log, places)| places.iter().map(|(seq, value)| ((*log, *seq), value)))
    }

    /// All places, in order.
    pub fn keys(&self) -> impl Iterator<Item = (LogId, u64)> {
        self.iter().map(|(place, _)| place)
    }

    /// What is at all places, in their order.
    pub fn values(&self) -> impl Iterator<Item = &T> {
        self.logs.values().flat_map(BTreeMap::values)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_counts_what_it_holds() {
        let (a, b) = (LogId([1; 16]), LogId([2; 16]));
        let mut places = Places::default();
        assert!(places.insert((b, 7), "b7").is_none() && places.insert((a, 9), "a9").is_none());
        *places.at((a, 1)) = "a1";
        assert_eq!(places.insert((a, 9), "a9 again"), Some("a9"));
        assert_eq!(*places.at((a, 9)), "a9 again");
        assert_eq!(places.keys().collect::<Vec<_>>(), [(a, 1), (a, 9), (b, 7)]);
        assert_eq!(places.values().copied().collect::<Vec<_>>(), ["a1", "a9 again", "b7"]);
        assert_eq!((places.len(), places.get((b, 7)), places.contains((b, 1))), (3, Some(&"b7"), false));
        assert_eq!(places.range(a, 2..).next(), Some((9, &"a9 again")));
        assert_eq!(places.range(a, ..).next_back(), Some((9, &"a9 again")));
        places.retain(|(log, _)| log == a);
        assert_eq!((places.remove((a, 1)), places.remove((a, 1)), places.len()), (Some("a1"), None, 1));
        places.clear();
        assert!(places.is_empty() && places.range(a, ..).next().is_none());
    }
}
