//! Where the states of matches lie in their maps.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::notes;
use crate::routine::Place;
use crate::semantic::CounterId;

/// What the notes with the places begin with.
const NOTE: &str = "# States:";

/// The indexes of the states of matches, by the names of their maps. The programs of an object share them: a
/// chain that INPUT and OUTPUT call has one bucket for both.
///
/// A match that stays where others take the place of its rules keeps its index, and notes in the text tell the
/// indexes to the next.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct States {
    indexes: BTreeMap<(String, Place), u32>,
    before: BTreeMap<(String, Place), u32>,
    /// By map.
    used: BTreeMap<String, Used>,
}

/// The indexes of one map that are taken.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Used {
    indexes: BTreeSet<u32>,
    /// No less one is free.
    free: u32,
}

impl States {
    /// Those of an object by the text of its rules.
    pub fn of_text(text: &[u8]) -> Self {
        States {
            indexes: notes::read(text, NOTE).filter_map(entry).collect(),
            ..States::default()
        }
    }

    /// The same where the rules that stay have other numbers, by those that they had. What the other rules have
    /// stays taken.
    #[must_use]
    pub fn renumbered(&self, numbers: &HashMap<u32, u32>) -> Self {
        let mut renumbered = States {
            used: States::onto(self).used,
            ..States::default()
        };
        for ((map, place), &index) in &self.indexes {
            if let Some(&rule) = numbers.get(&place.rule.0) {
                let rule = CounterId(rule);
                let place = Place { rule, ..*place };
                renumbered.indexes.insert((map.clone(), place), index);
            }
        }
        renumbered
    }

    /// Those of an object that goes on from another, as far as they are asked for.
    pub fn onto(before: &States) -> Self {
        let mut used = before.used.clone();
        for ((map, _), &index) in &before.indexes {
            used.entry(map.clone()).or_default().indexes.insert(index);
        }
        States {
            indexes: BTreeMap::new(),
            before: before.indexes.clone(),
            used,
        }
    }

    /// The index of a state in its map.
    pub fn index(&mut self, map: &str, place: Place) -> u32 {
        let key = (map.to_owned(), place);
        if let Some(&index) = self.indexes.get(&key) {
            return index;
        }
        let index = self.before.get(&key).copied().unwrap_or_else(|| {
            let used = self.used.entry(key.0.clone()).or_default();
            while !used.indexes.insert(used.free) {
                used.free += 1;
            }
            used.free
        });
        self.indexes.insert(key, index);
        index
    }

    /// Those that did not stand in what this goes on from: the map and the index.
    pub fn fresh(&self) -> impl Iterator<Item = (&str, u32)> {
        let indexes = self.indexes.iter();
        let fresh = indexes.filter(|(key, _)| !self.before.contains_key(*key));
        fresh.map(|((map, _), &index)| (map.as_str(), index))
    }

    /// The notes that tell the indexes.
    pub fn note(&self) -> String {
        let words = self.indexes.iter().map(|((map, place), index)| {
            let Place {
                rule,
                index: number,
            } = place;
            format!("{map}:{}/{number}={index}", rule.0)
        });
        notes::write(NOTE, words)
    }
}

/// `limits:4/0=1`: the state of match 0 of the rule with counter 4.
fn entry(word: &str) -> Option<((String, Place), u32)> {
    let (map, word) = word.split_once(':')?;
    let (place, index) = word.split_once('=')?;
    let (rule, number) = place.split_once('/')?;
    let place = Place {
        rule: CounterId(rule.parse().ok()?),
        index: number.parse().ok()?,
    };
    Some(((map.to_owned(), place), index.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(rule: u32) -> Place {
        Place {
            rule: CounterId(rule),
            index: 1,
        }
    }

    #[test]
    fn states_that_stay_keep_their_index_and_new_ones_take_a_free_one() {
        let mut states = States::default();
        assert_eq!(states.index("limits", place(7)), 0);
        assert_eq!(states.index("limits", place(8)), 1);
        assert_eq!(states.index("limits", place(7)), 0);
        assert_eq!(states.index("quotas", place(7)), 0);
        let text = format!("{}*filter\nCOMMIT\n", states.note());
        assert_eq!(
            text.lines().next(),
            Some("# States: limits:7/1=0 limits:8/1=1 quotas:7/1=0")
        );
        let before = States::of_text(text.as_bytes());
        let mut after = States::onto(&before);
        assert_eq!(after.index("limits", place(9)), 2);
        assert_eq!(after.index("limits", place(8)), 1);
        assert_eq!(after.fresh().collect::<Vec<_>>(), [("limits", 2)]);
        assert_eq!(after.note(), "# States: limits:8/1=1 limits:9/1=2\n");
        // Rule 8 is now rule 7, and rule 8 is new; what rule 7 had is taken until it is gone.
        let numbers = HashMap::from([(8, 7)]);
        let mut renumbered = States::onto(&before.renumbered(&numbers));
        assert_eq!(renumbered.index("limits", place(7)), 1);
        assert_eq!(renumbered.index("limits", place(8)), 2);
        assert_eq!(renumbered.fresh().collect::<Vec<_>>(), [("limits", 2)]);
        // What is gone left its place.
        let mut last = States::onto(&States::of_text(after.note().as_bytes()));
        assert_eq!(last.index("limits", place(7)), 0);
    }
}
