//! `add NAME ELEMENT [options]` to what it does to a set.

use std::collections::HashMap;

use bstr::BString;

use super::code::{DUPLICATE_ENTRY, SET_FULL};
use super::element;
use super::kind::SetType;
use super::options::{self, AddOption, Given};
use super::set::{Entry, Part, Set, SkbInfo};
use super::value;
use crate::databases::Names;
use crate::diagnostic::{Diagnostic, code};
use crate::extension::Problem;
use crate::ruleset::Counters;
use crate::span::{Span, Spanned};
use crate::words::Word;

/// `IPSET_MAX_COMMENT_SIZE`
const COMMENT_LIMIT: usize = 255;

/// Where a member of a list goes.
pub(super) enum Position {
    End,
    Before(Spanned<String>),
    After(Spanned<String>),
}

/// An `add` line for a known set.
pub(super) struct Addition<'a> {
    word: &'a Word,
    /// What all its entries have; without parts.
    entry: Entry,
    wildcard: bool,
    pub position: Position,
}

/// Reads the words behind the set's name.
pub(super) fn read<'a>(
    words: &'a [Word],
    whole: Span,
    set: &Set,
) -> Result<Addition<'a>, Diagnostic> {
    let Some((word, rest)) = words.split_first() else {
        let message = "add needs an element";
        return Err(Diagnostic::error(code::MISSING_OPTION, whole, message));
    };
    let keywords = options::add_keywords(&AddOption::of(set.kind));
    let given = options::scan(rest, &keywords, set.kind)?;
    let reader = Reader { set, given: &given };
    reader.check_extensions()?;
    let packets = reader.get(AddOption::Packets, count)?.unwrap_or(0);
    let bytes = reader.get(AddOption::Bytes, count)?.unwrap_or(0);
    let (mark, mark_mask) = reader
        .get(AddOption::SkbMark, value::skb_mark)?
        .unwrap_or_default();
    let skbinfo = SkbInfo {
        mark,
        mark_mask,
        priority: reader
            .get(AddOption::SkbPriority, value::skb_priority)?
            .unwrap_or(0),
        queue: reader
            .get(AddOption::SkbQueue, |word| {
                value::number(word, 0, u16::MAX.into()).map(|queue| queue as u16)
            })?
            .unwrap_or(0),
    };
    let timeout = reader.get(AddOption::Timeout, value::timeout)?;
    Ok(Addition {
        word,
        entry: Entry {
            parts: Vec::new(),
            nomatch: reader.find(AddOption::NoMatch).is_some(),
            timeout: timeout.or(set.options.timeout),
            counters: set.options.counters.then_some(Counters { packets, bytes }),
            comment: reader.get(AddOption::Comment, comment)?,
            skbinfo,
        },
        wildcard: reader.find(AddOption::Wildcard).is_some(),
        position: reader.position()?,
    })
}

struct Reader<'a> {
    set: &'a Set,
    given: &'a [Given<'a, AddOption>],
}

impl Reader<'_> {
    fn find(&self, option: AddOption) -> Option<&Given<'_, AddOption>> {
        self.given.iter().find(|given| given.option == option)
    }

    fn get<T>(
        &self,
        option: AddOption,
        read: fn(&[u8]) -> Result<T, Problem>,
    ) -> Result<Option<T>, Diagnostic> {
        let given = self.find(option);
        given
            .map(|given| {
                read(given.value.as_bytes()).map_err(|problem| problem.at(given.value.span))
            })
            .transpose()
    }

    /// An error for an option that the set was created without.
    fn check_extensions(&self) -> Result<(), Diagnostic> {
        let options = &self.set.options;
        for given in self.given {
            let missing = match given.option {
                AddOption::Timeout if options.timeout.is_none() => "timeout 0",
                AddOption::Packets | AddOption::Bytes if !options.counters => "counters",
                AddOption::Comment if !options.comment => "comment",
                AddOption::SkbMark | AddOption::SkbPriority | AddOption::SkbQueue
                    if !options.skbinfo =>
                {
                    "skbinfo"
                }
                _ => continue,
            };
            let message = format!("entries of {} have no {}", self.set.name.value, given.name);
            return Err(Diagnostic::error(code::MISPLACED, given.span, message)
                .with_help(format!("create the set with {missing}")));
        }
        Ok(())
    }

    fn position(&self) -> Result<Position, Diagnostic> {
        let name = |given: &Given<'_, AddOption>| {
            let name = value::set_name(given.value.as_bytes());
            Ok(Spanned {
                value: name.map_err(|problem| problem.at(given.value.span))?,
                span: given.value.span,
            })
        };
        match (self.find(AddOption::Before), self.find(AddOption::After)) {
            (None, None) => Ok(Position::End),
            (Some(before), None) => name(before).map(Position::Before),
            (None, Some(after)) => name(after).map(Position::After),
            (Some(_), Some(after)) => {
                let message = "before and after exclude each other";
                Err(Diagnostic::error(
                    code::REPEATED_OPTION,
                    after.span,
                    message,
                ))
            }
        }
    }
}

fn count(word: &[u8]) -> Result<u64, Problem> {
    value::number(word, 0, u64::MAX - 1)
}

fn comment(word: &[u8]) -> Result<BString, Problem> {
    if word.len() > COMMENT_LIMIT {
        let message = format!("the comment has {} bytes", word.len());
        return Err(Problem::new(message).with_help(format!("the limit is {COMMENT_LIMIT}")));
    }
    Ok(word.into())
}

/// A set that lines add to.
pub(super) struct OpenSet {
    pub set: Set,
    /// Where an element stands among the entries.
    places: HashMap<Vec<Part>, u32>,
    /// The entries of a list in its order.
    order: Vec<u32>,
}

impl OpenSet {
    pub fn new(set: Set) -> Self {
        Self {
            set,
            places: HashMap::new(),
            order: Vec::new(),
        }
    }

    /// The set with its entries in order.
    pub fn close(mut self) -> Set {
        if self.set.kind == SetType::ListSet {
            let mut entries: Vec<_> = self.set.entries.into_iter().map(Some).collect();
            let ordered = self
                .order
                .iter()
                .filter_map(|&at| entries[at as usize].take());
            self.set.entries = ordered.collect();
        }
        self.set
    }

    /// Adds what a line says. `budget` is how many elements ranges may still make. With `exist`, an
    /// entry that is there is replaced.
    pub fn add(
        &mut self,
        addition: &Addition<'_>,
        exist: bool,
        budget: &mut u32,
        names: &Names,
    ) -> Result<(), Diagnostic> {
        let Addition { word, entry, .. } = addition;
        let span = word.span;
        let values = element::read(word, self.set.kind, &self.set.options, names)?;
        let at = match &addition.position {
            Position::End => self.order.len(),
            Position::Before(name) => self.place_in_list(name)?,
            Position::After(name) => self.place_in_list(name)? + 1,
        };
        for (number, mut parts) in element::product(&values).enumerate() {
            if number > 0 {
                *budget = budget.checked_sub(1).ok_or_else(|| {
                    let message = "the ranges stand for too many elements";
                    Diagnostic::error(code::TOO_LONG, span, message)
                        .with_help("use a type with net, which keeps a range as few networks")
                })?;
            }
            if element::is_null(self.set.kind, &parts) {
                let message = "a hash cannot hold an element of zeros";
                return Err(Diagnostic::error(code::BAD_VALUE, span, message)
                    .with_help("use a type with net, or two rules"));
            }
            if addition.wildcard
                && let Some(Part::Interface { wildcard, .. }) = parts.last_mut()
            {
                *wildcard = true;
            }
            let entry = Entry {
                parts,
                ..entry.clone()
            };
            self.insert(entry, span, exist, at)?;
        }
        Ok(())
    }

    fn insert(
        &mut self,
        entry: Entry,
        span: Span,
        exist: bool,
        at: usize,
    ) -> Result<(), Diagnostic> {
        if let Some(place) = self.place(&entry.parts) {
            let known = &mut self.set.entries[place];
            let completes = known.value.parts.len() < entry.parts.len();
            if completes {
                // The timeout that waited counts, unless the line has another than the set's
                // (`bitmap_ipmac_activate_timeout`).
                let is_default = entry.timeout == self.set.options.timeout;
                let timeout = if is_default {
                    known.value.timeout
                } else {
                    entry.timeout
                };
                let value = Entry { timeout, ..entry };
                *known = Spanned { value, span };
            } else if exist {
                let parts = known.value.parts.clone();
                let value = Entry { parts, ..entry };
                *known = Spanned { value, span };
            } else {
                let message = format!("this is in {} already", self.set.name.value);
                return Err(Diagnostic::error(DUPLICATE_ENTRY, span, message)
                    .with_help("leave it out, or add -exist to the line"));
            }
            return Ok(());
        }
        let count = self.set.entries.len();
        let limit = self.set.options.max_entries();
        if self.set.kind.is_hash() && count >= limit as usize {
            let message = format!("{} is full with {count} entries", self.set.name.value);
            return Err(Diagnostic::error(SET_FULL, span, message)
                .with_help("create it with a larger maxelem"));
        }
        // Ranges and lines bound the number of entries far below.
        let place = count as u32;
        self.places.insert(self.key(&entry.parts), place);
        if self.set.kind == SetType::ListSet {
            self.order.insert(at.min(self.order.len()), place);
        }
        self.set.entries.push(Spanned { value: entry, span });
        Ok(())
    }

    /// What an element is known by.
    fn key(&self, parts: &[Part]) -> Vec<Part> {
        let mut key = parts.to_vec();
        if self.set.kind == SetType::BitmapIpMac {
            key.truncate(1);
        }
        if let Some(Part::Interface { wildcard, .. }) = key.last_mut() {
            *wildcard = false;
        }
        key
    }

    /// Where the element stands among the entries. A wildcard stands for every name that begins with
    /// it (`hash_netiface4_data_equal`).
    fn place(&self, parts: &[Part]) -> Option<usize> {
        let mut key = self.key(parts);
        if let Some(&place) = self.places.get(&key) {
            return Some(place as usize);
        }
        while let Some(Part::Interface { name, .. }) = key.last_mut() {
            name.pop()?;
            let place = self.places.get(&key).map(|&place| place as usize);
            if let Some(place) = place
                && let Some(Part::Interface { wildcard: true, .. }) =
                    self.set.entries[place].value.parts.last()
            {
                return Some(place);
            }
        }
        None
    }

    /// Where a member stands in the list.
    fn place_in_list(&self, name: &Spanned<String>) -> Result<usize, Diagnostic> {
        let place = self.place(&[Part::Set(name.value.clone())]);
        let found = place.and_then(|place| self.order.iter().position(|&at| at as usize == place));
        found.ok_or_else(|| {
            let message = format!("{} is not in {}", name.value, self.set.name.value);
            Diagnostic::error(super::code::UNKNOWN_SET, name.span, message)
                .with_help("add it before this line")
        })
    }
}
