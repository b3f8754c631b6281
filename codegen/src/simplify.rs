//! Takes from a filter what no packet can notice: tests that always hold, and what stands behind a test
//! that never does. No rule, counter or verdict goes.

use crate::semantic::{Filter, Otherwise, Rule, Step, Test};

/// Simplifies every rule. Afterwards a rule's steps hold no constant, but for one that never holds and
/// then is the last.
pub fn simplify(filter: &mut Filter) {
    let chains = filter
        .families
        .iter_mut()
        .flat_map(|family| &mut family.chains);
    for rule in chains.flat_map(|chain| &mut chain.rules) {
        let mut ended = false;
        rule.steps.retain_mut(|step| {
            if ended {
                return false;
            }
            let Step::Check { test, .. } = step else {
                return true;
            };
            *test = simplified(std::mem::replace(test, always()));
            ended = *test == never();
            *test != always()
        });
    }
}

impl Rule {
    /// Whether a packet can match, after [`simplify`].
    pub fn can_hit(&self) -> bool {
        {
            let last = self.steps.last();
            last.is_none_or(|step| !matches!(step, Step::Check { test, .. } if *test == never()))
        }
    }

    /// Whether a packet can go on to the next rule unmatched, after [`simplify`].
    pub fn can_miss(&self) -> bool {
        let mut steps = self.steps.iter();
        steps.any(|step| {
            matches!(
                step,
                Step::Check {
                    otherwise: Otherwise::NoMatch,
                    ..
                }
            )
        })
    }
}

/// The test that every packet passes.
pub fn always() -> Test {
    Test::All(Vec::new())
}

fn never() -> Test {
    Test::Any(Vec::new())
}

/// The same test without constants inside: [`always`], [`never`], or something that holds neither.
pub fn simplified(test: Test) -> Test {
    match test {
        Test::Masked { value, mask, .. } if value & !mask != 0 => never(),
        Test::Masked { mask: 0, .. } => always(),
        Test::Range { field, low, high } => {
            if low > high || low > field.max() {
                never()
            } else if low == 0 && high >= field.max() {
                always()
            } else {
                Test::Range { field, low, high }
            }
        }
        Test::Not(inner) => match simplified(*inner) {
            Test::All(parts) if parts.is_empty() => never(),
            Test::Any(parts) if parts.is_empty() => always(),
            Test::Not(inner) => *inner,
            inner => Test::Not(Box::new(inner)),
        },
        Test::All(parts) => join(parts, always(), never(), Test::All),
        Test::Any(parts) => join(parts, never(), always(), Test::Any),
        leaf => leaf,
    }
}

/// Drops the parts that change nothing; one part that decides all is all.
fn join(parts: Vec<Test>, neutral: Test, deciding: Test, all: fn(Vec<Test>) -> Test) -> Test {
    let mut kept = Vec::new();
    for part in parts.into_iter().map(simplified) {
        if part == deciding {
            return deciding;
        }
        if part != neutral {
            kept.push(part);
        }
    }
    match kept.len() {
        1 => kept.remove(0),
        _ => all(kept),
    }
}
