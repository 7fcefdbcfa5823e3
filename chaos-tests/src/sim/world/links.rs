//! Pairs of nodes that may be connected, found by their numbers.

use crate::sim::world::lines::Link;

/// Links by pairs of nodes, whichever is named first.
#[derive(Default)]
pub(crate) struct Links(Vec<Option<Link>>);

/// Pairs by their larger number: a node that is added later comes after all others.
fn slot(a: usize, b: usize) -> Option<usize> {
    let (small, large) = (a.min(b), a.max(b));
    (small != large).then(|| large * (large - 1) / 2 + small)
}

impl Links {
    pub(crate) fn get(&self, a: usize, b: usize) -> Option<&Link> {
        self.0.get(slot(a, b)?)?.as_ref()
    }

    pub(crate) fn get_mut(&mut self, a: usize, b: usize) -> Option<&mut Link> {
        self.0.get_mut(slot(a, b)?)?.as_mut()
    }

    /// Links two nodes; a node has no link to itself.
    pub(crate) fn insert(&mut self, a: usize, b: usize, link: Link) {
        let Some(slot) = slot(a, b) else { return };
        if self.0.len() <= slot {
            self.0.resize_with(slot + 1, || None);
        }
        self.0[slot] = Some(link);
    }

    /// Unlinks all pairs that are not to be kept.
    pub(crate) fn retain(&mut self, keep: impl Fn(usize, usize) -> bool) {
        for (a, b) in self.pairs() {
            if let Some(slot) = slot(a, b).filter(|_| !keep(a, b)) {
                self.0[slot] = None;
            }
        }
    }

    /// All pairs, smaller number first, in order.
    pub(crate) fn pairs(&self) -> Vec<(usize, usize)> {
        let nodes =
            (1..).take_while(|large| large * (large - 1) / 2 < self.0.len()).last().map_or(0, |large| large + 1);
        let all = (0..nodes).flat_map(|a| (a + 1..nodes).map(move |b| (a, b)));
        all.filter(|(a, b)| self.get(*a, *b).is_some()).collect()
    }

    pub(crate) fn values(&self) -> impl Iterator<Item = &Link> {
        self.0.iter().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::network::Shape;

    #[test]
    fn a_link_is_found_from_both_ends() {
        let mut links = Links::default();
        for (a, b) in [(2, 0), (1, 4), (0, 1), (3, 3)] {
            links.insert(a, b, Link::new(Shape::NEAR));
        }
        assert_eq!(links.pairs(), [(0, 1), (0, 2), (1, 4)], "in order, and nobody is linked with itself");
        assert!(links.get(4, 1).is_some() && links.get_mut(1, 0).is_some());
        assert!(links.get(2, 1).is_none() && links.get(3, 3).is_none() && links.get(9, 8).is_none());
        links.retain(|a, b| (a, b) != (0, 2));
        assert_eq!((links.pairs(), links.values().count()), (vec![(0, 1), (1, 4)], 2));
        assert!(Links::default().pairs().is_empty());
    }
}
