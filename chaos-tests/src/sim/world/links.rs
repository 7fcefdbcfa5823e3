//! Pairs of nodes that may be connected, found by their numbers, and what is known of each pair.

use vatra_replica::Cost;

use crate::sim::network::{Pipe, Shape};

/// Two nodes that may be connected.
pub(crate) struct Link {
    pub(crate) is_wanted: bool,
    /// What it costs, if it is another than the world's.
    pub(crate) cost: Option<Cost>,
    /// The present or last connection.
    pub(crate) number: u64,
    /// Whether the ends, smaller index first, think that it is up.
    pub(crate) up: [bool; 2],
    /// Until when the ends, smaller index first, hear of the present connection at the latest.
    pub(crate) coming_until: [u64; 2],
    pub(crate) pipes: [Pipe; 2],
    pub(crate) is_dialing: bool,
    pub(crate) banned_until: u64,
    /// The last connection that a fault ended, and which fault.
    ended: Option<(u64, Cause)>,
}

/// A fault that ends connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    Cut,
    Kill,
}

impl Link {
    pub(crate) fn new(shape: Shape) -> Link {
        let pipes = [Pipe::new(shape), Pipe::new(shape)];
        Link {
            is_wanted: true,
            cost: None,
            number: 0,
            up: [false; 2],
            coming_until: [0; 2],
            pipes,
            is_dialing: false,
            banned_until: 0,
            ended: None,
        }
    }

    /// A fault ends the present connection. What came first is to blame for all that is lost with it.
    pub(crate) fn blame(&mut self, cause: Cause) {
        if self.ended.is_none_or(|(number, _)| number != self.number) {
            self.ended = Some((self.number, cause));
        }
    }

    /// Frames of a connection are lost on their way from one end to the other.
    pub(crate) fn lose(&mut self, from_end: usize, number: u64, frames: u64) {
        let counts = &mut self.pipes[from_end].counts;
        match self.ended.filter(|(ended, _)| *ended == number) {
            Some((_, Cause::Cut)) => counts.cut += frames,
            Some((_, Cause::Kill)) => counts.killed += frames,
            None => {}
        }
    }
}

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
