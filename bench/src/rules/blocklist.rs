//! Lists of addresses to drop.

use fastrand::Rng;

use super::{Match, Network, Rule, Target, Verdict, different, public_address};

/// So many rules.
pub fn rules(rng: &mut Rng, count: usize) -> Vec<Rule> {
    different(rng, count, |rng| Rule {
        matches: Match {
            source: Network::host(public_address(rng)),
            ..Match::ALL
        },
        target: Target::Verdict(Verdict::Drop),
    })
}
