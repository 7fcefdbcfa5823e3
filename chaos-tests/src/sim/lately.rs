//! The last few of many things, by name.

use std::collections::{BTreeMap, VecDeque};

/// As many things as there may be; the oldest makes room for a new one.
pub(crate) struct Lately<K, V> {
    items: BTreeMap<K, V>,
    order: VecDeque<K>,
    max: usize,
}

impl<K: Ord + Copy, V> Lately<K, V> {
    pub(crate) fn new(max: usize) -> Lately<K, V> {
        Lately { items: BTreeMap::new(), order: VecDeque::new(), max }
    }

    /// Puts a thing in, in place of one of the same name.
    pub(crate) fn insert(&mut self, name: K, item: V) {
        if self.items.insert(name, item).is_none() {
            self.order.push_back(name);
        }
        if self.order.len() > self.max
            && let Some(oldest) = self.order.pop_front()
        {
            self.items.remove(&oldest);
        }
    }

    pub(crate) fn get(&self, name: &K) -> Option<&V> {
        self.items.get(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_makes_room() {
        let mut lately = Lately::new(2);
        for (name, item) in [(1, 'a'), (2, 'b'), (1, 'c'), (3, 'd')] {
            lately.insert(name, item);
        }
        assert_eq!([1, 2, 3].map(|name| lately.get(&name).copied()), [None, Some('b'), Some('d')]);
    }
}
