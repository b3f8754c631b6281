//! What is to be reached, as ratios within one run.

use crate::figures::Figures;
use crate::packets::Mix;
use crate::rules::Kind;
use crate::wire::Contestant;

/// A ratio with its bound.
#[derive(Clone, Debug)]
pub struct Goal {
    /// The rules.
    pub set: String,
    /// What is compared.
    pub ratio: &'static str,
    /// How it must lie.
    pub bound: Bound,
    /// What was measured, if it was.
    pub measured: Option<f64>,
}

/// A bound of a ratio.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Bound {
    /// This or less.
    AtMost(f64),
    /// This or more.
    AtLeast(f64),
}

impl Goal {
    /// Whether the ratio is within its bound.
    pub fn is_met(&self) -> Option<bool> {
        Some(match self.bound {
            Bound::AtMost(bound) => self.measured? <= bound,
            Bound::AtLeast(bound) => self.measured? >= bound,
        })
    }
}

/// For ACLs of so many rules: the most to the bare parse, the least of iptables-legacy to us.
const ACL: [(usize, f64, f64); 5] = [
    (1, 1.5, 2.5),
    (100, 2.5, 3.5),
    (1000, 3.5, 15.0),
    (10_000, 6.5, 150.0),
    (100_000, 15.0, 1000.0),
];
/// For a blocklist of so many addresses: the most to the bare parse, the least of sets to us.
const BLOCKLIST: (usize, f64, f64) = (100_000, 5.0, 2.0);

const TO_PARSE: &str = "packet: ipt2bpf / bare parse";

/// All goals, with what was measured.
pub fn goals(figures: &Figures) -> Vec<Goal> {
    let to_parse = |kind, rules, bound| Goal {
        set: format!("{rules} rules, {kind}"),
        ratio: TO_PARSE,
        bound: Bound::AtMost(bound),
        measured: figures
            .packet(kind, rules, Mix::Random)
            .map(|cost| cost.ratio),
    };
    let times = |kind, rules, contestant, ratio, bound| Goal {
        set: format!("{rules} rules, {kind}"),
        ratio,
        bound: Bound::AtLeast(bound),
        measured: figures
            .frame(kind, rules, contestant)
            .map(|cost| cost.times_ours),
    };
    let mut goals = Vec::new();
    for (rules, most, least) in ACL {
        goals.push(to_parse(Kind::Acl, rules, most));
        goals.push(times(
            Kind::Acl,
            rules,
            Contestant::IptablesLegacy,
            "frame: iptables-legacy / ipt2bpf",
            least,
        ));
    }
    let (rules, most, least) = BLOCKLIST;
    goals.push(to_parse(Kind::Blocklist, rules, most));
    for (contestant, ratio) in [
        (Contestant::Ipset, "frame: ipset / ipt2bpf"),
        (Contestant::NftSet, "frame: nft set / ipt2bpf"),
    ] {
        goals.push(times(Kind::Blocklist, rules, contestant, ratio, least));
    }
    goals
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_met_from_their_side() {
        let met = |bound, measured| {
            let goal = Goal {
                set: String::new(),
                ratio: TO_PARSE,
                bound,
                measured,
            };
            goal.is_met()
        };
        assert_eq!(met(Bound::AtMost(2.0), Some(1.9)), Some(true));
        assert_eq!(met(Bound::AtMost(2.0), Some(2.1)), Some(false));
        assert_eq!(met(Bound::AtLeast(2.0), Some(1.9)), Some(false));
        assert_eq!(met(Bound::AtLeast(2.0), None), None);
    }
}
