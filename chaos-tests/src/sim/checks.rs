//! Invariants, one in each file, named by their codes. Those of a step or a second are checked while a world runs;
//! [`all`] checks what needs a look at everything, whenever it is asked.

pub mod told;

pub mod s11_revocation;
pub mod s12_clocks;
pub mod s1_acknowledged;
pub mod s2_views;
pub mod s3_no_forgery;
pub mod s4_authority;
pub mod s5_forks;
pub mod s6_session;
pub mod s7_causality;
pub mod s8_stream;

pub mod l1_local_writes;
pub mod l2_convergence;
pub mod l3_no_storm;
pub mod l4_recovery;

pub mod r1_memory;
pub mod r2_disk;
pub mod r3_queues;
pub mod r4_traffic;

pub mod o1_damage;
pub mod o4_no_panic;

mod held;

use crate::sim::world::World;

/// Codes of all invariants, as violations name them in parentheses.
pub const CODES: &[&str] = &[
    "S1", "S2", "S3", "S4", "S5", "S6", "S7", "S8", "S11", "S12", "L1", "L2", "L3", "L4", "R1", "R2", "R3", "R4", "O1",
    "O4", "P2",
];

/// The code of the invariant that a violation is of.
#[must_use]
pub fn code_of(violation: &str) -> Option<&'static str> {
    CODES.iter().copied().find(|code| violation.contains(&format!("({code})")))
}

/// Everything that must hold at any time.
#[must_use]
pub fn all(world: &World) -> Vec<String> {
    let mut found = Vec::new();
    found.extend(s1_acknowledged::check(world));
    found.extend(s2_views::check(world));
    found.extend(s3_no_forgery::check(world));
    found.extend(s4_authority::check(world));
    found.extend(s5_forks::check(world));
    found.extend(s7_causality::check(world));
    found.extend(s8_stream::check(world));
    found.extend(s11_revocation::check(world));
    found.extend(s12_clocks::check(world));
    found
}
