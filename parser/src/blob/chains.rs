//! The entries of a blob as chains and rules.

use std::collections::{HashMap, HashSet};

use super::codec::{Context, decode, spanned, unknown};
use super::entry::{Entry, RawExtension, RawTarget};
use super::error::{BlobError, Flaw};
use super::layout::{self, ERROR};
use super::{SIZE_LIMIT, SetNames, matches, targets};
use crate::check;
use crate::matches::Match;
use crate::placement;
use crate::ruleset::{
    Action, Builtin, Chain, Counters, Family, NfHook, Policy, Rule, RuleSpan, Table, TableKind,
    Verdict,
};
use crate::span::{Span, Spanned};
use crate::targets::Target;

/// What a header says of the entries. Offsets count from the first entry; those of hooks that the
/// table does not have mean nothing.
pub(super) struct Bounds {
    /// A bit for each hook.
    pub valid_hooks: u32,
    /// How many entries there are.
    pub number: u32,
    /// Their size in bytes.
    pub size: u32,
    /// Where each built-in chain starts.
    pub hook_entry: [u32; 5],
    /// Where each policy is.
    pub underflow: [u32; 5],
}

/// The bits of a table's hooks.
pub(super) fn hook_bits(kind: TableKind) -> u32 {
    kind.hooks().iter().map(|&hook| 1 << hook as u32).sum()
}

/// Reads the entries in `area`, which starts at the offset `start` of the blob.
pub(super) fn table(
    family: Family,
    kind: TableKind,
    bounds: &Bounds,
    area: &[u8],
    start: usize,
    sets: &SetNames,
) -> Result<Table, BlobError> {
    if bounds.valid_hooks != hook_bits(kind) {
        return Err(Flaw::Hooks(bounds.valid_hooks).at(0));
    }
    if area.len() > SIZE_LIMIT {
        return Err(Flaw::TooLarge(area.len()).at(0));
    }
    if usize::try_from(bounds.size) != Ok(area.len()) {
        return Err(Flaw::Size(bounds.size).at(0));
    }
    let entries = cut(family, area, start)?;
    if usize::try_from(bounds.number) != Ok(entries.len()) {
        return Err(Flaw::EntryNumber(bounds.number).at(0));
    }
    let drafts = divide(kind, bounds, &entries, start)?;
    // Where jumps may lead: the first entry behind the head of a user chain.
    let heads = drafts.iter().filter(|draft| draft.builtin.is_none());
    let starts: HashMap<usize, &str> = heads
        .map(|draft| (draft.start - start, draft.name.as_str()))
        .collect();
    let reader = Reader {
        family,
        kind,
        start,
        starts: &starts,
        sets,
    };
    let mut chains = drafts
        .iter()
        .map(|draft| {
            Ok(Chain {
                name: draft.name.clone(),
                builtin: draft.builtin,
                counters: draft.counters,
                rules: draft
                    .rules
                    .iter()
                    .map(|entry| reader.rule(entry))
                    .collect::<Result<_, _>>()?,
                span: Span::default(),
            })
        })
        .collect::<Result<Vec<Chain>, BlobError>>()?;
    chains.sort_by(|a, b| match (a.builtin, b.builtin) {
        (None, None) => a.name.cmp(&b.name),
        (a, b) => a.map_or(1, |_| 0).cmp(&b.map_or(1, |_| 0)),
    });
    let table = Table { kind, chains };
    let mut loops = Vec::new();
    check::table(&table, &mut loops);
    if let Some(diagnostic) = loops.into_iter().next() {
        return Err(Flaw::Loop(diagnostic.label).at(start));
    }
    let mut misplaced = Vec::new();
    placement::table(&table, &mut misplaced);
    match misplaced.into_iter().next() {
        Some(diagnostic) => Err(Flaw::Hook(diagnostic.message).at(start)),
        None => Ok(table),
    }
}

/// Cuts the area into entries. They fill it.
fn cut(family: Family, area: &[u8], start: usize) -> Result<Vec<Entry<'_>>, BlobError> {
    let mut entries = Vec::new();
    let mut rest = area;
    while !rest.is_empty() {
        let at = start + area.len() - rest.len();
        let entry = Entry::read(family, rest, at)?;
        rest = rest.get(entry.length..).unwrap_or_default();
        entries.push(entry);
    }
    Ok(entries)
}

/// A chain whose rules are not yet read.
struct Draft<'e, 'a> {
    name: String,
    builtin: Option<Builtin>,
    counters: Counters,
    rules: &'e [Entry<'a>],
    /// The offset in the blob of its first entry.
    start: usize,
}

/// Divides the entries into chains.
fn divide<'e, 'a>(
    kind: TableKind,
    bounds: &Bounds,
    entries: &'e [Entry<'a>],
    start: usize,
) -> Result<Vec<Draft<'e, 'a>>, BlobError> {
    let end = || Flaw::TableEnd.at(entries.last().map_or(start, |entry| entry.at));
    let (last, mut rest) = entries.split_last().ok_or_else(end)?;
    if !matches!(last.target, RawTarget::Error(name) if name == ERROR.as_bytes() && last.is_unconditional())
    {
        return Err(end());
    }
    let mut drafts = Vec::new();
    for &hook in kind.hooks() {
        let (draft, behind) = builtin(hook, bounds, rest, start)?;
        drafts.push(draft);
        rest = behind;
    }
    let mut names = HashSet::new();
    while let Some((head, behind)) = rest.split_first() {
        let (draft, behind) = user_chain(kind, head, behind)?;
        if !names.insert(draft.name.clone()) {
            return Err(Flaw::DuplicateChain(draft.name).at(head.at));
        }
        drafts.push(draft);
        rest = behind;
    }
    Ok(drafts)
}

type Divided<'e, 'a> = (Draft<'e, 'a>, &'e [Entry<'a>]);

/// The built-in chain at the start of these entries, and those behind it.
fn builtin<'e, 'a>(
    hook: NfHook,
    bounds: &Bounds,
    entries: &'e [Entry<'a>],
    start: usize,
) -> Result<Divided<'e, 'a>, BlobError> {
    let offset = |offsets: &[u32; 5]| {
        let offset = offsets.get(hook as usize).copied().unwrap_or(u32::MAX);
        usize::try_from(offset).map_or(usize::MAX, |offset| offset.saturating_add(start))
    };
    let first = offset(&bounds.hook_entry);
    if entries.first().map(|entry| entry.at) != Some(first) {
        return Err(Flaw::HookEntry(hook).at(entries.first().map_or(start, |entry| entry.at)));
    }
    let underflow = offset(&bounds.underflow);
    let length = entries.partition_point(|entry| entry.at < underflow);
    let (rules, behind) = entries.split_at_checked(length).unwrap_or_default();
    let (end, behind) = behind
        .split_first()
        .filter(|(end, _)| end.at == underflow)
        .ok_or(Flaw::Underflow(hook).at(first))?;
    let policy = match end.unconditional_verdict() {
        Some(layout::ACCEPT) => Policy::Accept,
        Some(layout::DROP) => Policy::Drop,
        _ => return Err(Flaw::Policy(hook).at(end.at)),
    };
    let draft = Draft {
        name: hook.to_string(),
        builtin: Some(Builtin { hook, policy }),
        counters: end.head.counters,
        rules,
        start: first,
    };
    Ok((draft, behind))
}

/// The user chain of this head, and the entries behind it.
fn user_chain<'e, 'a>(
    kind: TableKind,
    head: &Entry<'a>,
    entries: &'e [Entry<'a>],
) -> Result<Divided<'e, 'a>, BlobError> {
    let RawTarget::Error(name) = head.target else {
        return Err(Flaw::Stray.at(head.at));
    };
    if !head.is_unconditional() {
        return Err(Flaw::ErrorEntry.at(head.at));
    }
    let name = chain_name(kind, name).ok_or(Flaw::ChainName.at(head.at))?;
    let is_head = |entry: &Entry<'_>| matches!(entry.target, RawTarget::Error(_));
    let length = entries.iter().position(is_head).unwrap_or(entries.len());
    let (chain, behind) = entries.split_at_checked(length).unwrap_or_default();
    match chain.split_last() {
        Some((end, rules)) if end.unconditional_verdict() == Some(layout::RETURN) => {
            let draft = Draft {
                name,
                builtin: None,
                counters: Counters::default(),
                rules,
                start: chain.first().map_or(end.at, |entry| entry.at),
            };
            Ok((draft, behind))
        }
        _ => Err(Flaw::ChainEnd(name).at(head.at)),
    }
}

/// A name that a user chain of this table may have in a text.
fn chain_name(kind: TableKind, name: &[u8]) -> Option<String> {
    /// `XT_EXTENSION_MAXNAMELEN` less the NUL.
    const LIMIT: usize = 28;
    let name = str::from_utf8(name).ok()?;
    let is_written = !name.is_empty()
        && name.len() <= LIMIT
        && !name.starts_with(['-', '!'])
        && !name.contains(|c: char| c.is_whitespace() || c.is_control() || c == '"');
    let verdicts = [
        Verdict::Accept,
        Verdict::Drop,
        Verdict::Return,
        Verdict::Queue,
    ];
    let is_taken = verdicts.iter().any(|it| it.to_string() == name)
        || kind.hooks().iter().any(|it| it.to_string() == name);
    (is_written && !is_taken).then(|| name.to_owned())
}

/// What a rule is read with.
struct Reader<'r> {
    family: Family,
    kind: TableKind,
    start: usize,
    starts: &'r HashMap<usize, &'r str>,
    sets: &'r SetNames,
}

impl Reader<'_> {
    fn rule(&self, entry: &Entry<'_>) -> Result<Rule, BlobError> {
        let base = &entry.head.base;
        let context = Context {
            family: self.family,
            table: self.kind,
            base: &base.tests,
            sets: self.sets,
        };
        let matches = entry.matches.iter().map(|raw| read_match(raw, &context));
        let matches = matches.collect::<Result<Vec<_>, _>>()?;
        let action = match &entry.target {
            RawTarget::Error(_) => return Err(Flaw::ErrorEntry.at(entry.at)),
            RawTarget::Standard(verdict) => self.standard(*verdict, entry)?,
            RawTarget::Extension(raw) => {
                let target = decode(targets::CODECS, raw, &context)?;
                Action::Target(spanned(
                    target.unwrap_or_else(|| Target::Unknown(unknown(raw))),
                ))
            }
        };
        let is_goto = matches!(action, Action::Goto(_));
        if base.goto && !is_goto {
            return Err(Flaw::Goto.at(entry.at));
        }
        Ok(Rule {
            counters: entry.head.counters,
            base: base.tests.clone(),
            matches,
            action,
            span: RuleSpan::default(),
        })
    }

    /// What a standard target does.
    fn standard(&self, verdict: i32, entry: &Entry<'_>) -> Result<Action, BlobError> {
        let offset = match verdict {
            layout::ACCEPT => return Ok(Action::Verdict(Verdict::Accept)),
            layout::DROP => return Ok(Action::Verdict(Verdict::Drop)),
            layout::QUEUE => return Ok(Action::Verdict(Verdict::Queue)),
            layout::RETURN => return Ok(Action::Verdict(Verdict::Return)),
            _ => usize::try_from(verdict)
                .ok()
                .filter(|&offset| offset > 0)
                .ok_or(Flaw::Verdict(verdict).at(entry.at))?,
        };
        let goto = entry.head.base.goto;
        if offset == entry.at - self.start + entry.length && !goto {
            return Ok(Action::Continue);
        }
        let name = self
            .starts
            .get(&offset)
            .map(|&name| spanned(name.to_owned()));
        let name = name.ok_or(Flaw::Jump(verdict).at(entry.at))?;
        Ok(if goto {
            Action::Goto(name)
        } else {
            Action::Jump(name)
        })
    }
}

fn read_match(raw: &RawExtension<'_>, context: &Context<'_>) -> Result<Spanned<Match>, BlobError> {
    let found = decode(matches::CODECS, raw, context)?;
    Ok(spanned(
        found.unwrap_or_else(|| Match::Unknown(unknown(raw))),
    ))
}
