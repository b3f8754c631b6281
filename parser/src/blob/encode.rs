//! A table as entries, laid out as libiptc lays them (libiptc.c, `iptcc_compile_table`).

use std::collections::HashMap;

use zerocopy::IntoBytes;

use super::base::Base;
use super::chains::{Bounds, hook_bits};
use super::codec::{self, Context};
use super::entry::{Head, write_extension};
use super::error::EncodeError;
use super::layout::{self, ERROR, ErrorTarget, STANDARD, StandardTarget, with_nul};
use super::origin::Origins;
use super::{SIZE_LIMIT, SetNames, matches, targets};
use crate::matches::Match;
use crate::ruleset::{Action, Builtin, Counters, Family, Policy, Rule, Table, TableKind, Verdict};
use crate::targets::Target;

/// Whose form the entries have.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// That of a caller who replaces a table.
    Sent,
    /// That of the kernel.
    Kept,
}

/// Writes the entries of a table and what a header says of them.
pub(super) fn entries(
    family: Family,
    table: &Table,
    sets: &SetNames,
    form: Form,
) -> Result<(Bounds, Vec<u8>), EncodeError> {
    let absent = match form {
        Form::Sent => 0,
        Form::Kept => u32::MAX,
    };
    let mut writer = Writer {
        family,
        kind: table.kind,
        sets,
        area: Vec::new(),
        number: 0,
        jumps: Vec::new(),
    };
    let mut hook_entry = [absent; 5];
    let mut underflow = [absent; 5];
    let mut starts = HashMap::new();
    let origins = (form == Form::Kept).then(|| Origins::new(table));
    for (at, chain) in table.chains.iter().enumerate() {
        let origin = |rule| origins.as_ref().map_or(0, |it| it.of_rule(at, rule));
        if chain.builtin.is_none() {
            writer.error(&chain.name)?;
            starts.insert(chain.name.as_str(), writer.offset()?);
        } else if let Some(slot) = slot(&mut hook_entry, chain.builtin) {
            *slot = writer.offset()?;
        }
        for (number, rule) in chain.rules.iter().enumerate() {
            writer.rule(rule, origin(number))?;
        }
        if let Some(slot) = slot(&mut underflow, chain.builtin) {
            *slot = writer.offset()?;
        }
        let end = match chain.builtin.map(|builtin| builtin.policy) {
            None => layout::RETURN,
            Some(Policy::Accept) => layout::ACCEPT,
            Some(Policy::Drop) => layout::DROP,
        };
        let head = Head {
            base: Base::default(),
            comefrom: origin(chain.rules.len()),
            counters: chain.counters,
        };
        writer.entry(&head, &[], &standard(end)?)?;
    }
    writer.error(ERROR)?;
    writer.lead_jumps(&starts)?;
    let bounds = Bounds {
        valid_hooks: hook_bits(table.kind),
        number: writer.number,
        size: writer.offset()?,
        hook_entry,
        underflow,
    };
    Ok((bounds, writer.area))
}

fn slot(offsets: &mut [u32; 5], builtin: Option<Builtin>) -> Option<&mut u32> {
    offsets.get_mut(builtin?.hook as usize)
}

/// The entries so far.
struct Writer<'a> {
    family: Family,
    kind: TableKind,
    sets: &'a SetNames,
    area: Vec<u8>,
    number: u32,
    /// Where in the area the verdicts of jumps are, and where they lead.
    jumps: Vec<(usize, &'a str)>,
}

impl<'a> Writer<'a> {
    /// Where the next entry comes.
    fn offset(&self) -> Result<u32, EncodeError> {
        match u32::try_from(self.area.len()) {
            Ok(offset) if self.area.len() <= SIZE_LIMIT => Ok(offset),
            _ => Err(EncodeError::TooLarge),
        }
    }

    fn entry(&mut self, head: &Head, matches: &[u8], target: &[u8]) -> Result<(), EncodeError> {
        self.offset()?;
        self.area.extend(head.write(self.family, matches, target)?);
        self.number += 1;
        Ok(())
    }

    /// The head of a user chain, or the end of the table.
    fn error(&mut self, name: &str) -> Result<(), EncodeError> {
        let bad_name = || EncodeError::ChainName(name.to_owned());
        let target = ErrorTarget {
            name: with_nul(name.as_bytes()).ok_or_else(bad_name)?,
            padding: [0; 2],
        };
        let target = write_extension(ERROR, 0, target.as_bytes()).ok_or_else(bad_name)?;
        let head = Head {
            base: Base::default(),
            comefrom: 0,
            counters: Counters::default(),
        };
        self.entry(&head, &[], &target)
    }

    fn rule(&mut self, rule: &'a Rule, comefrom: u32) -> Result<(), EncodeError> {
        let context = Context {
            family: self.family,
            table: self.kind,
            base: &rule.base,
            sets: self.sets,
        };
        let mut matches = Vec::new();
        for extension in &rule.matches {
            matches.extend(match &extension.value {
                Match::Unknown(unknown) => codec::encode_unknown(unknown)?,
                typed => codec::encode(matches::CODECS, typed, typed.name(), &context)?,
            });
        }
        let target = match &rule.action {
            // The verdict is filled in when it is known where chains start.
            Action::Jump(_) | Action::Goto(_) | Action::Continue => standard(0)?,
            Action::Verdict(Verdict::Accept) => standard(layout::ACCEPT)?,
            Action::Verdict(Verdict::Drop) => standard(layout::DROP)?,
            Action::Verdict(Verdict::Queue) => standard(layout::QUEUE)?,
            Action::Verdict(Verdict::Return) => standard(layout::RETURN)?,
            Action::Target(target) => match &target.value {
                Target::Unknown(unknown) => codec::encode_unknown(unknown)?,
                typed => codec::encode(targets::CODECS, typed, typed.name(), &context)?,
            },
        };
        let head = Head {
            base: Base {
                tests: rule.base.clone(),
                goto: matches!(rule.action, Action::Goto(_)),
            },
            comefrom,
            counters: rule.counters,
        };
        self.entry(&head, &matches, &target)?;
        let verdict = self.area.len().saturating_sub(size_of::<StandardTarget>());
        match &rule.action {
            Action::Jump(to) | Action::Goto(to) => self.jumps.push((verdict, &to.value)),
            Action::Continue => {
                let next = self.offset()?;
                self.lead(verdict, next);
            }
            Action::Verdict(_) | Action::Target(_) => {}
        }
        Ok(())
    }

    /// Fills in the verdicts of all jumps.
    fn lead_jumps(&mut self, starts: &HashMap<&str, u32>) -> Result<(), EncodeError> {
        for (verdict, name) in std::mem::take(&mut self.jumps) {
            let missing = || EncodeError::MissingChain(name.to_owned());
            let start = *starts.get(name).ok_or_else(missing)?;
            self.lead(verdict, start);
        }
        Ok(())
    }

    fn lead(&mut self, verdict: usize, to: u32) {
        let field = self.area.get_mut(verdict..).unwrap_or_default();
        if let Some(field) = field.first_chunk_mut() {
            *field = to.to_le_bytes();
        }
    }
}

/// A standard target. [`EncodeError::RuleTooLong`] does not happen, as its size is fixed.
fn standard(verdict: i32) -> Result<Vec<u8>, EncodeError> {
    let target = StandardTarget {
        verdict: verdict.into(),
        padding: [0; 4],
    };
    write_extension(STANDARD, 0, target.as_bytes()).ok_or(EncodeError::RuleTooLong)
}
