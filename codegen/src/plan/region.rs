//! The packets that a rule does something to, and how those of one rule lie to those of another.

use crate::field::Field;
use crate::semantic::{Otherwise, Rule, Step, Test};
use crate::simplify::{always, simplified};

/// The packets that a rule matches or drops, or a few more; none where that cannot be told by tests alone.
pub fn affected(rule: &Rule) -> Option<Test> {
    steps(&rule.steps).map(Test::All)
}

/// The tests of which all hold.
fn steps(steps: &[Step]) -> Option<Vec<Test>> {
    let mut tests = Vec::new();
    for (index, step) in steps.iter().enumerate() {
        match step {
            Step::Check {
                test,
                otherwise: Otherwise::NoMatch,
            } => tests.push(test.clone()),
            Step::Check {
                test,
                otherwise: Otherwise::HotDrop,
            } => {
                let dropped = Test::Not(Box::new(test.clone()));
                let goes_on = Test::All(self::steps(&steps[index + 1..])?);
                tests.push(Test::Any(vec![dropped, goes_on]));
                break;
            }
            Step::Ask(_) | Step::Doom(_) => return None,
        }
    }
    Some(tests)
}

/// Packets of which a test holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Region {
    test: Test,
    /// What they all have in common of single fields.
    parts: Vec<Part>,
}

/// What the packets of a rule have in common.
#[derive(Default)]
pub struct Parts(Vec<Part>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Masked {
        field: Field,
        mask: u128,
        value: u128,
    },
    Range {
        field: Field,
        low: u128,
        high: u128,
    },
}

impl Region {
    /// None for all packets.
    pub fn of(test: Test) -> Option<Self> {
        let test = simplified(test);
        if test == always() {
            return None;
        }
        let mut parts = Vec::new();
        collect(&test, &mut parts);
        Some(Region { test, parts })
    }

    /// Whether it is sure that nothing happens to its packets at a rule. `parts` is room to work in.
    pub fn is_apart_from_rule(&self, rule: &Rule, parts: &mut Parts) -> bool {
        parts.0.clear();
        for step in &rule.steps {
            match step {
                Step::Check {
                    test,
                    otherwise: Otherwise::NoMatch,
                } => collect(test, &mut parts.0),
                _ => break,
            }
        }
        self.excludes(&parts.0)
    }

    fn excludes(&self, parts: &[Part]) -> bool {
        self.parts
            .iter()
            .any(|own| parts.iter().any(|it| own.excludes(*it)))
    }

    /// The test.
    pub fn into_test(self) -> Test {
        self.test
    }

    /// Whether it is sure that all packets are in another, too.
    pub fn is_within(&self, other: &Region) -> bool {
        let demands = |test: &Test| match part(test) {
            Some(wanted) => self.parts.iter().any(|own| own.implies(wanted)),
            None => false,
        };
        self.test == other.test
            || match &other.test {
                Test::All(parts) => parts.iter().all(demands),
                only => demands(only),
            }
    }
}

fn collect(test: &Test, parts: &mut Vec<Part>) {
    match test {
        Test::All(tests) => tests.iter().for_each(|test| collect(test, parts)),
        other => parts.extend(part(other)),
    }
}

fn part(test: &Test) -> Option<Part> {
    match *test {
        Test::Masked { field, mask, value } => Some(Part::Masked { field, mask, value }),
        Test::Range { field, low, high } => Some(Part::Range { field, low, high }),
        _ => None,
    }
}

impl Part {
    fn excludes(self, other: Part) -> bool {
        match (self, other) {
            (
                Part::Masked { field, mask, value },
                Part::Masked {
                    field: of,
                    mask: bits,
                    value: wanted,
                },
            ) => field == of && (value ^ wanted) & mask & bits != 0,
            (
                Part::Range { field, low, high },
                Part::Range {
                    field: of,
                    low: least,
                    high: greatest,
                },
            ) => field == of && (high < least || greatest < low),
            (
                Part::Range { field, low, high },
                Part::Masked {
                    field: of,
                    mask,
                    value,
                },
            )
            | (
                Part::Masked {
                    field: of,
                    mask,
                    value,
                },
                Part::Range { field, low, high },
            ) => field == of && mask == field.max() && !(low..=high).contains(&value),
        }
    }

    /// Whether packets of this part are of another, too.
    fn implies(self, other: Part) -> bool {
        match (self, other) {
            (
                Part::Masked { field, mask, value },
                Part::Masked {
                    field: of,
                    mask: bits,
                    value: wanted,
                },
            ) => field == of && bits & !mask == 0 && value & bits == wanted,
            (
                Part::Range { field, low, high },
                Part::Range {
                    field: of,
                    low: least,
                    high: greatest,
                },
            ) => field == of && least <= low && high <= greatest,
            (
                Part::Masked { field, mask, value },
                Part::Range {
                    field: of,
                    low,
                    high,
                },
            ) => field == of && mask == field.max() && (low..=high).contains(&value),
            (
                Part::Range { field, low, high },
                Part::Masked {
                    field: of,
                    mask,
                    value,
                },
            ) => field == of && low == high && low & mask == value,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(value: u32, prefix: u32) -> Test {
        let mask = u32::MAX.checked_shl(32 - prefix).unwrap_or(0);
        Test::Masked {
            field: Field::Source4,
            mask: mask.into(),
            value: (value & mask).into(),
        }
    }

    fn region(tests: Vec<Test>) -> Region {
        Region::of(Test::All(tests)).unwrap()
    }

    #[test]
    fn regions_lie_apart_or_within_each_other() {
        let port = |low: u32, high: u32| Test::between(Field::DestinationPort, low, high);
        let host = region(vec![source(0x0a000001, 32), port(80, 80)]);
        let net = region(vec![source(0x0a000000, 8)]);
        let other = region(vec![source(0x0b000000, 8)]);
        let ports = region(vec![port(0, 79)]);
        assert!(host.is_within(&net) && !net.is_within(&host));
        assert!(host.excludes(&other.parts) && host.excludes(&ports.parts));
        assert!(!net.excludes(&ports.parts) && !net.is_within(&ports));
        // A whole that is no list of parts is only within itself.
        let either = region(vec![Test::Any(vec![port(1, 1), port(3, 3)])]);
        assert!(either.is_within(&either) && !host.is_within(&either));
        assert!(!host.excludes(&either.parts));
        assert!(Region::of(Test::All(Vec::new())).is_none());
    }

    #[test]
    fn what_a_rule_drops_concerns_it_too() {
        let tcp = Test::equal(Field::Protocol, 6);
        let long = Test::at_least(Field::Length, 40);
        let port = Test::equal(Field::DestinationPort, 22);
        let steps = [
            Step::require(tcp.clone()),
            Step::demand(long.clone()),
            Step::require(port.clone()),
        ];
        let expected = [
            tcp,
            Test::Any(vec![Test::Not(Box::new(long)), Test::All(vec![port])]),
        ];
        assert_eq!(super::steps(&steps).unwrap(), expected);
    }
}
