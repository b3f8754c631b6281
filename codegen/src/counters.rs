//! Which counter belongs to which rule and policy.
//!
//! Counters are numbered in the order in which iptables-save prints what they count: rulesets, tables,
//! chains; in a built-in chain the policy comes before the rules. Whoever has the text has the numbers.
//!
//! Rules that go on counting where others count keep their numbers instead, and new ones take those that
//! are free, so that programs of both rulesets can share the counters. Notes in the text then tell the
//! numbers, in that same order.

use std::collections::{HashMap, HashSet};

use ipt2bpf_parser::ruleset::{Chain, Family, Ruleset, TableKind};

use crate::notes;
use crate::semantic::CounterId;

/// What the notes with the numbers begin with.
const NOTE: &str = "# Counters:";

/// The numbers of all counters of some rulesets.
#[derive(Clone, Debug, Default)]
pub struct CounterLayout {
    chains: HashMap<(Family, TableKind, String), ChainCounters>,
    /// The number of each counted thing in the order of the text; none where they are in order, too.
    numbers: Option<Vec<u32>>,
    total: u32,
}

#[derive(Clone, Copy, Debug)]
struct ChainCounters {
    /// The place of the first in the order of the text.
    first: u32,
    rules: u32,
    builtin: bool,
    /// How many chains stand before it.
    number: u32,
}

impl CounterLayout {
    /// Numbers the counters of rulesets in their order.
    pub fn new(rulesets: &[Ruleset]) -> Self {
        let mut layout = CounterLayout::default();
        for ruleset in rulesets {
            for table in &ruleset.tables {
                for chain in &table.chains {
                    layout.push(ruleset.family, table.kind, chain);
                }
            }
        }
        layout
    }

    /// The numbers of the rulesets that a text has, as the text notes them.
    pub fn of_text(rulesets: &[Ruleset], text: &[u8]) -> Self {
        let layout = CounterLayout::new(rulesets);
        let numbers: Option<Vec<u32>> = notes::read(text, NOTE)
            .map(range)
            .collect::<Option<Vec<_>>>()
            .filter(|ranges| !ranges.is_empty())
            .map(|ranges| {
                ranges
                    .into_iter()
                    .flatten()
                    .take(layout.total as usize)
                    .collect()
            });
        match numbers {
            Some(numbers) => layout.numbered(numbers),
            None => layout,
        }
    }

    /// The same with these numbers in the order of the text. Those of other rulesets are none.
    #[must_use]
    pub fn numbered(self, numbers: Vec<u32>) -> Self {
        let different: HashSet<&u32> = numbers.iter().collect();
        let fits = numbers.len() == different.len() && numbers.len() == self.total as usize;
        CounterLayout {
            numbers: fits.then_some(numbers),
            ..self
        }
    }

    /// The numbers of rulesets that take the place of others. What `same` names, by its number there and its
    /// place in the order of the new text, keeps its number; the others take numbers that are free.
    pub fn onto(rulesets: &[Ruleset], before: &CounterLayout, same: &[(u32, u32)]) -> Self {
        let mut layout = CounterLayout::new(rulesets);
        let used: HashSet<u32> = before.numbers().collect();
        let mut free = (0..).filter(|number| !used.contains(number));
        let kept: HashMap<u32, u32> = same
            .iter()
            .map(|&(number, place)| (place, number))
            .collect();
        let number = |place| kept.get(&place).copied().or_else(|| free.next());
        layout.numbers = (0..layout.total).map(number).collect();
        layout
    }

    fn push(&mut self, family: Family, table: TableKind, chain: &Chain) {
        let builtin = chain.builtin.is_some();
        let numbers = ChainCounters {
            first: self.total,
            rules: chain.rules.len() as u32,
            builtin,
            number: self.chains.len() as u32,
        };
        self.chains
            .insert((family, table, chain.name.clone()), numbers);
        self.total += numbers.rules + u32::from(builtin);
    }

    /// How many there are.
    pub fn len(&self) -> u32 {
        self.total
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.total == 0
    }

    /// How many counters a map must have that holds them all.
    pub fn room(&self) -> u32 {
        self.numbers().max().map_or(0, |greatest| greatest + 1)
    }

    /// All numbers, in the order of the text.
    pub fn numbers(&self) -> impl Iterator<Item = u32> {
        (0..self.total).map(|place| self.number(place))
    }

    fn number(&self, place: u32) -> u32 {
        let numbers = self.numbers.as_ref();
        numbers
            .and_then(|numbers| numbers.get(place as usize))
            .copied()
            .unwrap_or(place)
    }

    /// The counter of a built-in chain's policy; none for a user chain.
    pub fn policy(&self, family: Family, table: TableKind, chain: &str) -> Option<CounterId> {
        let found = self.find(family, table, chain)?;
        found.builtin.then_some(CounterId(self.number(found.first)))
    }

    /// The counters of a chain's rules, in their order.
    pub fn rules(
        &self,
        family: Family,
        table: TableKind,
        chain: &str,
    ) -> impl Iterator<Item = u32> {
        let places = self.find(family, table, chain).map_or(0..0, |found| {
            let first = found.first + u32::from(found.builtin);
            first..first + found.rules
        });
        places.map(|place| self.number(place))
    }

    /// How many chains of all rulesets stand before a chain.
    pub fn chain_number(&self, family: Family, table: TableKind, chain: &str) -> u32 {
        self.find(family, table, chain)
            .map_or(0, |found| found.number)
    }

    /// The notes that tell the numbers; nothing where the order of the text does.
    pub fn note(&self) -> String {
        let Some(numbers) = &self.numbers else {
            return String::new();
        };
        let mut ranges: Vec<(u32, u32)> = Vec::new();
        for &number in numbers {
            match ranges.last_mut() {
                Some((_, last)) if last.checked_add(1) == Some(number) => *last = number,
                _ => ranges.push((number, number)),
            }
        }
        let words = ranges.iter().map(|(first, last)| match first == last {
            true => first.to_string(),
            false => format!("{first}-{last}"),
        });
        notes::write(NOTE, words)
    }

    fn find(&self, family: Family, table: TableKind, chain: &str) -> Option<ChainCounters> {
        self.chains.get(&(family, table, chain.to_owned())).copied()
    }
}

/// `4` or `4-7`
fn range(word: &str) -> Option<std::ops::RangeInclusive<u32>> {
    let (first, last) = word.split_once('-').unwrap_or((word, word));
    Some(first.parse().ok()?..=last.parse().ok()?)
}

#[cfg(test)]
mod tests {
    use ipt2bpf_parser::span::Sources;
    use ipt2bpf_parser::{ParseOptions, parse};

    use super::*;

    fn rulesets(text: &[u8]) -> Vec<Ruleset> {
        let mut sources = Sources::default();
        let id = sources.add("rules", text);
        parse(&sources, id, &ParseOptions::default()).rulesets
    }

    const BEFORE: &str = "*filter\n:INPUT DROP [0:0]\n:FORWARD ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n\
                          -A INPUT -p tcp -j DROP\n-A INPUT -p udp -j DROP\nCOMMIT\n";
    const AFTER: &str = "*filter\n:INPUT DROP [0:0]\n:FORWARD ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n\
                         -A INPUT -p icmp -j DROP\n-A INPUT -p udp -j DROP\nCOMMIT\n";

    #[test]
    fn what_stays_keeps_its_number_and_what_is_new_takes_a_free_one() {
        let (before, after) = (rulesets(BEFORE.as_bytes()), rulesets(AFTER.as_bytes()));
        let old = CounterLayout::new(&before);
        assert_eq!(old.note(), "");
        // All but the rule for tcp stay; its number is not free yet.
        let new = CounterLayout::onto(&after, &old, &[(0, 0), (2, 2), (3, 3), (4, 4)]);
        assert_eq!(new.numbers().collect::<Vec<u32>>(), [0, 5, 2, 3, 4]);
        assert_eq!(new.room(), 6);
        let input = new.rules(Family::V4, TableKind::Filter, "INPUT");
        assert_eq!(input.collect::<Vec<u32>>(), [5, 2]);
        assert_eq!(new.note(), "# Counters: 0 5 2-4\n");
        let text = new.note() + AFTER;
        let back = CounterLayout::of_text(&rulesets(text.as_bytes()), text.as_bytes());
        assert_eq!(back.note(), new.note());
        // And then it is.
        let again = CounterLayout::onto(&before, &new, &[(0, 0), (2, 2), (3, 3), (4, 4)]);
        assert_eq!(again.numbers().collect::<Vec<u32>>(), [0, 1, 2, 3, 4]);
    }

    #[test]
    fn notes_that_are_not_of_the_text_are_left_out() {
        for note in ["0-2", "0 0 1 2 3", "0-x", "0-4294967295", "7-3", "-"] {
            let text = format!("{NOTE} {note}\n{BEFORE}");
            let layout = CounterLayout::of_text(&rulesets(text.as_bytes()), text.as_bytes());
            assert_eq!(
                layout.numbers().collect::<Vec<u32>>(),
                [0, 1, 2, 3, 4],
                "{note}"
            );
        }
    }
}
