//! Links of different lengths, as between real places: delays by chance, round trips that are measured anew with
//! jitter, and how deliveries compare with the shortest paths.

use vatra_replica::Input;

use crate::sim::chance::Chance;
use crate::sim::network::Shape;
use crate::sim::world::World;

/// Shortest and longest one-way delay that chance gives a link, in microseconds.
const DELAY_US: (u64, u64) = (500, 40_000);

/// The links of a world and how long they are.
pub struct Spans {
    links: Vec<(usize, usize, u64)>,
    chance: Option<Chance>,
}

impl Spans {
    /// The links as the world's setup shapes them.
    #[must_use]
    pub fn of(world: &World) -> Spans {
        let count = world.nodes.len();
        let pairs = (0..count).flat_map(|a| (a + 1..count).map(move |b| (a, b)));
        let linked = pairs.filter(|(a, b)| world.is_linked(*a, *b));
        let delay_us = world.setup.shape.delay_us;
        Spans { links: linked.map(|(a, b)| (a, b, delay_us)).collect(), chance: None }
    }

    /// Gives each link a length by chance.
    #[must_use]
    pub fn by_chance(world: &mut World) -> Spans {
        let mut spans = Spans::of(world);
        let mut chance = Chance::new(world.setup.seed, "spans");
        for (a, b, delay_us) in &mut spans.links {
            *delay_us = chance.between(DELAY_US.0, DELAY_US.1);
            world.reshape(*a, *b, Shape { delay_us: *delay_us, jitter_us: *delay_us / 10, ..Shape::NEAR });
        }
        spans.chance = Some(chance);
        spans
    }

    /// How many links there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.links.len()
    }

    /// Lets seconds pass; in each of them every end measures its links again, a tenth off either way.
    pub fn run_for(&mut self, world: &mut World, seconds: u64) {
        for _ in 0..seconds {
            world.run_for(1_000);
            self.measure(world);
        }
    }

    /// Every end measures its links, if chance made them.
    pub fn measure(&mut self, world: &mut World) {
        let Some(chance) = &mut self.chance else { return };
        for (a, b, delay_us) in &self.links {
            for (node, peer) in [(*a, *b), (*b, *a)] {
                if !world.is_up(node, peer) {
                    continue;
                }
                let rtt_us = 2 * delay_us - delay_us / 5 + chance.below(delay_us / 2 + 1);
                let rtt_ms = u32::try_from(rtt_us.div_ceil(1000)).unwrap_or(u32::MAX);
                let peer = world.nodes[peer].key();
                world.feed(node, Input::RoundTrip { peer, rtt_ms });
            }
        }
    }

    /// The time of each counted delivery over that of the shortest path there, where a hop costs a disk: so many
    /// in a thousand of them took at most this.
    #[must_use]
    pub fn over_shortest_path(&self, world: &World, permille: usize) -> f64 {
        let count = world.nodes.len();
        let mut paths = vec![vec![u64::MAX / 4; count]; count];
        for (a, b, delay_us) in &self.links {
            let jitter_us = if self.chance.is_some() { delay_us / 10 } else { world.setup.shape.jitter_us };
            paths[*a][*b] = delay_us + jitter_us + world.setup.sync_us.1;
            paths[*b][*a] = paths[*a][*b];
        }
        for over in 0..count {
            for a in 0..count {
                for b in 0..count {
                    paths[a][b] = paths[a][b].min(paths[a][over] + paths[over][b]);
                }
            }
        }
        let taken = world.delays.taken().iter();
        let mut ratios: Vec<f64> = taken.map(|(from, to, us)| *us as f64 / paths[*from][*to] as f64).collect();
        ratios.sort_by(f64::total_cmp);
        let index = (ratios.len() * permille / 1000).min(ratios.len().saturating_sub(1));
        ratios.get(index).copied().unwrap_or(0.0)
    }
}
