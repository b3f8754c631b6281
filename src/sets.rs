//! The sets that rules ask for, held against those that are given. iptables refuses a set that is not
//! there or of the other family (libxt_set.h, `get_set_byname`); the kernel finds nothing in one whose
//! entries have more parts than the rule names sides (ip_set_core.c, `ip_set_test`, `ip_set_add`).

use std::collections::HashMap;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use ipt2bpf_parser::Names;
use ipt2bpf_parser::diagnostic::{self, Diagnostic};
use ipt2bpf_parser::ipset::{self, Set, code};
use ipt2bpf_parser::matches::Match;
use ipt2bpf_parser::matches::set::Lookup;
use ipt2bpf_parser::ruleset::{Action, Family, Rule, Ruleset};
use ipt2bpf_parser::span::{Sources, Span};
use ipt2bpf_parser::targets::Target;

use ipt2bpf_codegen::messages::enumerate;

/// How many names a message lists.
const LISTED: usize = 8;

/// What is wrong with the sets that rules ask for.
pub fn check(rulesets: &[Ruleset], sets: &[Set]) -> Vec<Diagnostic> {
    let known = Known::new(sets);
    let mut diagnostics = Vec::new();
    for ruleset in rulesets {
        let chains = ruleset.tables.iter().flat_map(|table| &table.chains);
        for rule in chains.flat_map(|chain| &chain.rules) {
            let said = uses(rule).filter_map(|it| known.judge(&it, ruleset.family));
            diagnostics.extend(said);
        }
    }
    diagnostics
}

/// Whether some rule asks for a set.
pub fn are_asked_for(rulesets: &[Ruleset]) -> bool {
    !names(rulesets).is_empty()
}

/// The names of the sets that rules ask for.
pub fn names(rulesets: &[Ruleset]) -> Vec<&str> {
    let tables = rulesets.iter().flat_map(|ruleset| &ruleset.tables);
    let chains = tables.flat_map(|table| &table.chains);
    let rules = chains.flat_map(|chain| &chain.rules);
    rules
        .flat_map(uses)
        .map(|it| it.lookup.name.as_str())
        .collect()
}

/// What `ipset save` prints: the sets of the network namespace of the calling thread.
///
/// # Errors
/// When the tool is not there or fails.
pub fn of_kernel() -> Result<Vec<u8>> {
    let help = "rules ask for sets, and the kernel's cannot be read with `ipset save`; give them with --ipset";
    let output = Command::new("ipset").arg("save").output().context(help)?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("{help}: {}", said.trim());
    }
    Ok(output.stdout)
}

/// The kernel's sets at one moment, to be compared with those of another.
pub struct Snapshot {
    /// The sets without counters and times.
    text: Vec<u8>,
    /// The second at which each element goes, where it goes.
    ends: Vec<Option<u64>>,
}

impl Snapshot {
    /// How many seconds the same end may seem to differ: the kernel rounds what is left.
    const ROUNDING: u64 = 2;

    /// The kernel's sets now.
    ///
    /// # Errors
    /// As [`of_kernel`].
    pub fn of_kernel() -> Result<Self> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = now.map_or(0, |since| since.as_secs());
        Ok(Self::new(of_kernel()?, now))
    }

    /// The same, when it is wanted.
    ///
    /// # Errors
    /// As [`of_kernel`].
    pub fn of_kernel_if(wanted: bool) -> Result<Option<Self>> {
        wanted.then(Self::of_kernel).transpose()
    }

    fn new(text: Vec<u8>, now: u64) -> Self {
        let mut sources = Sources::default();
        let id = sources.add("", text);
        let mut sets = ipset::parse(&sources, &[id], &Names::default()).sets;
        let mut ends = Vec::new();
        for entry in sets.iter_mut().flat_map(|set| &mut set.entries) {
            let left = entry.value.timeout.take().filter(|&left| left != 0);
            ends.push(left.map(|left| now + u64::from(left)));
            entry.value.counters = None;
        }
        Snapshot {
            text: ipset::print(&sets),
            ends,
        }
    }

    /// Whether elements came, went, or stay for another time.
    pub fn differs_from(&self, other: &Snapshot) -> bool {
        let moved = |(a, b): (&Option<u64>, &Option<u64>)| match (a, b) {
            (Some(a), Some(b)) => a.abs_diff(*b) > Self::ROUNDING,
            (a, b) => a != b,
        };
        self.text != other.text || self.ends.iter().zip(&other.ends).any(moved)
    }
}

/// A set where a rule asks for it.
struct Use<'a> {
    lookup: &'a Lookup,
    purpose: Purpose,
    span: Span,
}

/// What a rule wants of a set.
#[derive(Clone, Copy)]
enum Purpose {
    /// `--match-set`
    Test { negated: bool },
    /// `--add-set` and `--del-set`
    Change,
    /// `--map-set`
    Map,
}

impl Purpose {
    /// What comes of an element that has fewer parts than the entries.
    fn in_vain(self) -> (&'static str, &'static str) {
        use diagnostic::code::{NEVER_MATCHES, NO_EFFECT};
        match self {
            Purpose::Test { negated: false } => (NEVER_MATCHES, "this never matches"),
            Purpose::Test { negated: true } => (NO_EFFECT, "this always matches"),
            Purpose::Change => (NO_EFFECT, "this changes nothing"),
            Purpose::Map => (NO_EFFECT, "this finds nothing"),
        }
    }
}

fn uses(rule: &Rule) -> impl Iterator<Item = Use<'_>> {
    let tests = rule.matches.iter().filter_map(|extension| {
        let Match::Set(set) = &extension.value else {
            return None;
        };
        Some(Use {
            lookup: &set.lookup.value.value,
            purpose: Purpose::Test {
                negated: set.lookup.negated,
            },
            span: set.lookup.value.span,
        })
    });
    let target = match &rule.action {
        Action::Target(target) => Some(target),
        Action::Continue | Action::Verdict(_) | Action::Jump(_) | Action::Goto(_) => None,
    };
    let changes = target.into_iter().flat_map(|target| {
        let Target::Set(set) = &target.value else {
            return Vec::new();
        };
        let add = set.add.as_ref().map(|add| (&add.entry, Purpose::Change));
        let delete = set.delete.as_ref().map(|entry| (entry, Purpose::Change));
        let map = set.map.as_ref().map(|map| (&map.entry, Purpose::Map));
        let all = [add, delete, map].into_iter().flatten();
        all.map(|(lookup, purpose)| Use {
            lookup,
            purpose,
            span: target.span,
        })
        .collect()
    });
    tests.chain(changes)
}

/// The sets by name.
struct Known<'a> {
    sets: HashMap<&'a str, &'a Set>,
    /// What to say to who asks for another.
    others: String,
}

impl<'a> Known<'a> {
    fn new(sets: &'a [Set]) -> Self {
        let names: Vec<&str> = sets.iter().map(|set| set.name.value.as_str()).collect();
        let others = match names.len() {
            0 => "the files of --ipset hold no sets".to_owned(),
            1..=LISTED => format!("the files of --ipset hold {}", enumerate(&names)),
            number => format!("the {number} sets in the files of --ipset have other names"),
        };
        Known {
            sets: names.into_iter().zip(sets).collect(),
            others,
        }
    }

    fn judge(&self, wanted: &Use<'_>, family: Family) -> Option<Diagnostic> {
        let Use {
            lookup,
            purpose,
            span,
        } = wanted;
        let name = &lookup.name;
        let Some(set) = self.sets.get(name.as_str()) else {
            let message = format!("there is no set {name}");
            return Some(
                Diagnostic::error(code::UNKNOWN_SET, *span, message).with_help(&self.others),
            );
        };
        if let Some(other) = set.options.family.filter(|&other| other != family) {
            let message =
                format!("the set {name} holds {other} addresses, and the rule is {family}");
            return Some(
                Diagnostic::error(code::WRONG_FAMILY, *span, message)
                    .with_help("iptables refuses such a rule: ask for a set of the same family"),
            );
        }
        let (sides, parts) = (lookup.sides.len(), set.kind.dimension());
        if sides < parts {
            let (code, effect) = purpose.in_vain();
            let message = format!(
                "an entry of {name} has {parts} parts, and the rule names {sides} side{}, so {effect}",
                if sides == 1 { "" } else { "s" }
            );
            let help = format!(
                "{name} is {}: name a side, src or dst, for each part",
                set.kind
            );
            return Some(Diagnostic::warning(code, *span, message).with_help(help));
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_that_passes_is_no_change_and_time_that_is_given_is() {
        let at = |left: u32, packets: u32, now| {
            let text = format!(
                "create s hash:ip timeout 9 counters\nadd s 10.0.0.1 timeout {left} packets {packets} bytes 0\n"
            );
            Snapshot::new(text.into_bytes(), now)
        };
        let before = at(100, 0, 1000);
        assert!(!at(90, 7, 1010).differs_from(&before));
        assert!(!at(89, 7, 1010).differs_from(&before));
        assert!(at(100, 7, 1010).differs_from(&before));
        assert!(at(0, 7, 1010).differs_from(&before));
        let text = b"create s hash:ip timeout 9 counters\n".to_vec();
        assert!(Snapshot::new(text, 1010).differs_from(&before));
    }
}
