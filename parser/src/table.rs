//! A table while it is read: its chains by name, and the commands that change it.

use std::cmp::Ordering;
use std::collections::HashSet;

use bstr::ByteSlice;
use foldhash::HashMap;

use crate::check;
use crate::command::{self, ChainKind, Command, Zeroed};
use crate::diagnostic::{Diagnostic, code};
use crate::lossy;
use crate::names;
use crate::placement;
use crate::ruleset::{
    Action, Builtin, Chain, ChainRef, Counters, Family, Policy, Rule, Table, TableKind,
};
use crate::span::Span;
use crate::targets;
use crate::words::Word;

/// `XT_EXTENSION_MAXNAMELEN` less the NUL.
pub(crate) const CHAIN_NAME_LIMIT: usize = 28;

// What iptables says of the errors of libiptc (libiptc.c, `iptc_strerror`).
const NO_CHAIN: &str = "No chain/target/match by that name.";
const NO_RULE: &str = "Bad rule (does a matching rule exist in that chain?).";
const NO_BUILTIN: &str = "Bad built-in chain name.";
const INVALID: &str = "Invalid argument. Run `dmesg' for more information.";
/// What it says of `-N` with a name that means something else.
const CLASH: &str = "chain name may not clash with target name";

/// What becomes of a table when a text names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Restore {
    /// It is emptied: `iptables-restore`.
    Flush,
    /// It stays: `iptables-restore --noflush`.
    NoFlush,
}

/// A table whose `COMMIT` has not come.
pub(crate) struct OpenTable {
    pub family: Family,
    pub table: Table,
    /// The line that names it.
    pub span: Span,
    restore: Restore,
    /// Where each chain is in `table.chains`.
    index: HashMap<String, usize>,
}

impl OpenTable {
    /// A table of which nothing but this line is known. `before` is the table as it was.
    pub fn new(
        family: Family,
        kind: TableKind,
        restore: Restore,
        before: Option<&Table>,
        span: Span,
    ) -> Self {
        let table = match (restore, before) {
            (Restore::NoFlush, Some(table)) => table.clone(),
            _ => flushed(kind, before, span),
        };
        let mut open = Self {
            family,
            table,
            span,
            restore,
            index: HashMap::default(),
        };
        open.reindex();
        open
    }

    /// A table that a command changes.
    pub fn resume(family: Family, table: Table, span: Span) -> Self {
        let mut open = Self {
            family,
            table,
            span,
            restore: Restore::NoFlush,
            index: HashMap::default(),
        };
        open.reindex();
        open
    }

    /// The table with its chains in order, and what only the whole of it can show.
    pub fn close(self, diagnostics: &mut Vec<Diagnostic>) -> Table {
        check::table(&self.table, diagnostics);
        placement::table(&self.table, diagnostics);
        lossy::chains(&self.table, diagnostics);
        let mut table = self.table;
        table.chains.sort_by(|a, b| match (&a.builtin, &b.builtin) {
            (Some(a), Some(b)) => a.hook.cmp(&b.hook),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (None, None) => a.name.cmp(&b.name),
        });
        table
    }

    pub fn chain_names(&self) -> Vec<String> {
        self.index.keys().cloned().collect()
    }

    pub fn chain_kind(&self, name: &str) -> ChainKind {
        match self
            .index
            .get(name)
            .and_then(|&at| self.table.chains.get(at))
        {
            None => ChainKind::Missing,
            Some(Chain {
                builtin: Some(builtin),
                ..
            }) => ChainKind::Builtin(builtin.hook),
            Some(_) => ChainKind::User,
        }
    }

    fn get(&mut self, name: &Word) -> Result<&mut Chain, Diagnostic> {
        let text = name.as_bytes().to_str().unwrap_or_default();
        let at = self.index.get(text).copied();
        match at.and_then(|at| self.table.chains.get_mut(at)) {
            Some(chain) => Ok(chain),
            None => {
                let message = format!(
                    "there is no chain {:?} in the {} table",
                    name.show(),
                    self.table.kind
                );
                let diagnostic =
                    Diagnostic::error(code::UNKNOWN_CHAIN, name.span, message).refusal(NO_CHAIN);
                Err(
                    match names::closest(name.as_bytes(), self.index.keys().map(String::as_str)) {
                        Some(close) => diagnostic.with_help(format!("did you mean {close}?")),
                        None => diagnostic.with_help(format!(
                            "declare it above this line: :{} - [0:0]",
                            name.show()
                        )),
                    },
                )
            }
        }
    }

    /// A `:` line: declares a chain. A built-in one exists already.
    pub fn declare(&mut self, name: &Word, span: Span) -> Result<(), Diagnostic> {
        let bad = |message: String| Diagnostic::error(code::BAD_CHAIN, name.span, message);
        let Ok(text) = name.as_bytes().to_str() else {
            return Err(bad("a chain name is valid UTF-8".to_owned()));
        };
        match self.chain_kind(text) {
            ChainKind::Builtin(_) => {
                self.get(name)?.span = span;
                return Ok(());
            }
            ChainKind::User if self.restore == Restore::NoFlush => {
                let chain = self.get(name)?;
                chain.rules.clear();
                chain.span = span;
                return Ok(());
            }
            ChainKind::User => {
                let message = format!("the chain {text} is declared twice");
                return Err(Diagnostic::error(code::DUPLICATE_CHAIN, name.span, message));
            }
            ChainKind::Missing => {}
        }
        if text.len() > CHAIN_NAME_LIMIT {
            let message = format!("the chain name is {} bytes long", text.len());
            return Err(bad(message).with_help(format!("keep it to {CHAIN_NAME_LIMIT} bytes")));
        }
        if let "ACCEPT" | "DROP" | "RETURN" | "QUEUE" = text {
            let message = format!("{text} is a verdict and cannot name a chain");
            return Err(bad(message).usage(CLASH));
        }
        self.index.insert(text.to_owned(), self.table.chains.len());
        self.table.chains.push(Chain {
            name: text.to_owned(),
            builtin: None,
            counters: Counters::default(),
            rules: Vec::new(),
            span,
        });
        Ok(())
    }

    pub fn set_policy(
        &mut self,
        name: &Word,
        policy: &Word,
        counters: Counters,
    ) -> Result<(), Diagnostic> {
        let value = match policy.as_bytes() {
            b"ACCEPT" => Policy::Accept,
            b"DROP" => Policy::Drop,
            _ => {
                let message = format!("{:?} is no policy", policy.show());
                return Err(Diagnostic::error(code::BAD_POLICY, policy.span, message)
                    .with_help("a policy is ACCEPT or DROP; a chain of your own has -")
                    .refusal("Bad policy name. Run `dmesg' for more information."));
            }
        };
        let chain = self
            .get(name)
            .map_err(|diagnostic| diagnostic.refusal(NO_BUILTIN))?;
        match &mut chain.builtin {
            Some(builtin) => {
                builtin.policy = value;
                chain.counters = counters;
                Ok(())
            }
            None => Err(Diagnostic::error(
                code::BAD_POLICY,
                policy.span,
                format!("{} is not a built-in chain and has no policy", chain.name),
            )
            .with_help(format!(
                "write :{} - and end the chain with a rule",
                chain.name
            ))
            .refusal(NO_BUILTIN)),
        }
    }

    /// Does what a line asks for; `span` is the line.
    pub fn carry_out(&mut self, line: command::Line, span: Span) -> Result<(), Diagnostic> {
        match line.command {
            Command::Append(chain) => self.get(&chain)?.rules.extend(line.rules),
            Command::Insert(chain, at) => {
                let rules = &mut self.get(&chain)?.rules;
                if at > rules.len() {
                    let diagnostic = no_rule(at, rules.len(), span);
                    return Err(diagnostic.refusal("Index of insertion too big."));
                }
                // Each rule of a list goes to the same place, so the last comes first.
                let reversed: Vec<Rule> = line.rules.into_iter().rev().collect();
                rules.splice(at..at, reversed);
            }
            Command::Replace(chain, at) => {
                let rules = &mut self.get(&chain)?.rules;
                let count = rules.len();
                let mut new = line.rules.into_iter();
                match (rules.get_mut(at), new.next(), new.next()) {
                    (None, ..) => {
                        let diagnostic = no_rule(at, count, span);
                        return Err(diagnostic.refusal("Index of replacement too big."));
                    }
                    (Some(old), Some(rule), None) => *old = rule,
                    _ => {
                        let message = "a rule cannot be replaced by several";
                        return Err(Diagnostic::error(code::BAD_COMMAND, span, message)
                            .usage("Replacement rule does not specify a unique address"));
                    }
                }
            }
            Command::DeleteAt(chain, at) => {
                let rules = &mut self.get(&chain)?.rules;
                if at >= rules.len() {
                    let diagnostic = no_rule(at, rules.len(), span);
                    return Err(diagnostic.refusal("Index of deletion too big."));
                }
                rules.remove(at);
            }
            Command::Delete(chain) => {
                let rules = &mut self.get(&chain)?.rules;
                for unwanted in &line.rules {
                    let at = position(rules, unwanted).ok_or_else(|| no_such_rule(span))?;
                    rules.remove(at);
                }
            }
            Command::Check(chain) => {
                let rules = match self.get(&chain) {
                    Ok(chain) => &chain.rules,
                    Err(diagnostic) => return Err(diagnostic.refusal(NO_RULE)),
                };
                if !line
                    .rules
                    .iter()
                    .all(|wanted| position(rules, wanted).is_some())
                {
                    return Err(no_such_rule(span));
                }
            }
            Command::List(listed) | Command::ListRules(listed) => {
                // What is shown is looked up elsewhere.
                if let Some(chain) = &listed.chain {
                    self.get(chain)?;
                }
                match (listed.zero, listed.chain, listed.rule) {
                    (Some(Zeroed::Chains), chain, _) => self.zero(chain.as_ref())?,
                    (Some(Zeroed::Rule), Some(chain), Some(at)) => {
                        self.zero_at(&chain, at, span)?
                    }
                    _ => {}
                }
            }
            Command::Flush(Some(chain)) => self.get(&chain)?.rules.clear(),
            Command::Flush(None) => self
                .table
                .chains
                .iter_mut()
                .for_each(|chain| chain.rules.clear()),
            Command::Zero(chain) => self.zero(chain.as_ref())?,
            Command::ZeroAt(chain, at) => self.zero_at(&chain, at, span)?,
            Command::NewChain(chain) => self.new_chain(&chain, span)?,
            Command::DeleteChain(Some(chain)) => self.delete_chain(&chain)?,
            Command::DeleteChain(None) => self.delete_chains(span)?,
            Command::Rename(old, new) => self.rename(&old, &new, span)?,
            Command::Policy(chain, policy) => {
                self.set_policy(&chain, &policy, line.call.counters.unwrap_or_default())?
            }
            Command::About(_) => {}
        }
        Ok(())
    }

    /// Sets the counters of a chain, or of all, to zero.
    fn zero(&mut self, chain: Option<&Word>) -> Result<(), Diagnostic> {
        match chain {
            Some(chain) => zero(self.get(chain)?),
            None => self.table.chains.iter_mut().for_each(zero),
        }
        Ok(())
    }

    fn zero_at(&mut self, chain: &Word, at: usize, span: Span) -> Result<(), Diagnostic> {
        let rules = &mut self.get(chain)?.rules;
        let count = rules.len();
        let rule = rules
            .get_mut(at)
            .ok_or_else(|| no_rule(at, count, span).refusal("Index of counter too big."))?;
        rule.counters = Counters::default();
        Ok(())
    }

    /// `-N`, which is stricter with names than a `:` line.
    fn new_chain(&mut self, chain: &Word, span: Span) -> Result<(), Diagnostic> {
        let name = chain.as_bytes();
        if name.starts_with(b"-") || name.starts_with(b"!") {
            let message = format!("{:?} cannot name a chain", chain.show());
            return Err(Diagnostic::error(code::BAD_CHAIN, chain.span, message)
                .with_help("chain names do not start with - or !"));
        }
        if targets::of_family(self.family).any(|target| target.name.as_bytes() == name) {
            let message = format!("{} is a target and cannot name a chain", chain.show());
            return Err(Diagnostic::error(code::BAD_CHAIN, chain.span, message).usage(CLASH));
        }
        let kind = self.chain_kind(name.to_str().unwrap_or_default());
        if kind != ChainKind::Missing {
            let message = format!("the chain {} exists already", chain.show());
            return Err(
                Diagnostic::error(code::DUPLICATE_CHAIN, chain.span, message)
                    .refusal("Chain already exists."),
            );
        }
        self.declare(chain, span)
    }

    /// Deletes a user chain that is empty and that no rule leads to.
    fn delete_chain(&mut self, name: &Word) -> Result<(), Diagnostic> {
        let chain = self.get(name)?;
        let is_builtin = chain.builtin.is_some();
        let name_text = chain.name.clone();
        let refuse = |reason: &str, refusal| {
            let message = format!("{} cannot be deleted: {reason}", name.show());
            Err(Diagnostic::error(code::BAD_COMMAND, name.span, message).refusal(refusal))
        };
        if is_builtin {
            return refuse("it is built in", INVALID);
        }
        match self.obstacle(&name_text) {
            Some(obstacle @ Obstacle::References) => refuse("rules lead to it", obstacle.refusal()),
            Some(obstacle @ Obstacle::Rules) => refuse("it has rules", obstacle.refusal()),
            None => {
                self.table.chains.retain(|chain| chain.name != name_text);
                self.reindex();
                Ok(())
            }
        }
    }

    /// Deletes all user chains, to which no rule may lead and which must be empty.
    fn delete_chains(&mut self, span: Span) -> Result<(), Diagnostic> {
        let is_user = |chain: &&Chain| chain.builtin.is_none();
        let mut names: Vec<&str> = self
            .table
            .chains
            .iter()
            .filter(is_user)
            .map(|chain| chain.name.as_str())
            .collect();
        names.sort_unstable();
        let referenced: HashSet<&str> = self.references().map(|to| to.value.as_str()).collect();
        // The tool tries every chain and tells of the last that stays.
        let obstacle = names
            .iter()
            .rev()
            .find_map(|name| match referenced.contains(name) {
                true => Some(Obstacle::References),
                false => self.obstacle_of_rules(name),
            });
        if let Some(obstacle) = obstacle {
            let message =
                "the chains cannot be deleted while they have rules or rules lead to them";
            return Err(Diagnostic::error(code::BAD_COMMAND, span, message)
                .with_help("flush them first: -F")
                .refusal(obstacle.refusal()));
        }
        self.table.chains.retain(|chain| chain.builtin.is_some());
        self.reindex();
        Ok(())
    }

    /// Why a user chain cannot be deleted.
    fn obstacle(&self, name: &str) -> Option<Obstacle> {
        match self.references().any(|to| to.value == name) {
            true => Some(Obstacle::References),
            false => self.obstacle_of_rules(name),
        }
    }

    fn obstacle_of_rules(&self, name: &str) -> Option<Obstacle> {
        let at = *self.index.get(name)?;
        let is_empty = self.table.chains.get(at)?.rules.is_empty();
        (!is_empty).then_some(Obstacle::Rules)
    }

    /// Gives a user chain and all that leads to it a new name.
    fn rename(&mut self, old: &Word, new: &Word, span: Span) -> Result<(), Diagnostic> {
        let exists = |diagnostic: Diagnostic| match diagnostic.code {
            code::DUPLICATE_CHAIN => diagnostic.refusal("File exists."),
            _ => diagnostic,
        };
        self.new_chain(new, span).map_err(exists)?;
        if self.get(old)?.builtin.is_some() {
            let message = format!("{} is built in and cannot be renamed", old.show());
            return Err(Diagnostic::error(code::BAD_COMMAND, old.span, message).refusal(NO_CHAIN));
        }
        // The check of the new name has made a chain, whose name moves to the old one.
        let name = self
            .table
            .chains
            .pop()
            .map(|chain| chain.name)
            .unwrap_or_default();
        let chain = self.get(old)?;
        let old_name = std::mem::replace(&mut chain.name, name.clone());
        for rule in self
            .table
            .chains
            .iter_mut()
            .flat_map(|chain| &mut chain.rules)
        {
            if let Action::Jump(to) | Action::Goto(to) = &mut rule.action
                && to.value == old_name
            {
                to.value.clone_from(&name);
            }
        }
        self.reindex();
        Ok(())
    }

    fn references(&self) -> impl Iterator<Item = &ChainRef> {
        let rules = self.table.chains.iter().flat_map(|chain| &chain.rules);
        rules.filter_map(|rule| match &rule.action {
            Action::Jump(to) | Action::Goto(to) => Some(to),
            Action::Continue | Action::Verdict(_) | Action::Target(_) => None,
        })
    }

    fn reindex(&mut self) {
        let chains = self.table.chains.iter().enumerate();
        self.index = chains.map(|(at, chain)| (chain.name.clone(), at)).collect();
    }
}

/// Why a chain cannot be deleted.
#[derive(Clone, Copy)]
enum Obstacle {
    References,
    Rules,
}

impl Obstacle {
    fn refusal(self) -> &'static str {
        match self {
            Obstacle::References => "Too many links.",
            Obstacle::Rules => "Directory not empty.",
        }
    }
}

/// Where the first rule is that does the same, whatever it has counted.
fn position(rules: &[Rule], wanted: &Rule) -> Option<usize> {
    rules.iter().position(|rule| {
        (&rule.base, &rule.matches, &rule.action) == (&wanted.base, &wanted.matches, &wanted.action)
    })
}

fn no_such_rule(span: Span) -> Diagnostic {
    let message = "there is no such rule above this line";
    Diagnostic::error(code::BAD_COMMAND, span, message).refusal(NO_RULE)
}

impl Table {
    /// A table with its built-in chains, which accept everything.
    pub fn without_rules(kind: TableKind) -> Table {
        flushed(kind, None, Span::default())
    }
}

/// A table with its built-in chains, whose policies are those of the table before, or ACCEPT.
pub(crate) fn flushed(kind: TableKind, before: Option<&Table>, span: Span) -> Table {
    let chains = kind.hooks().iter().enumerate().map(|(at, &hook)| {
        let builtin = before.and_then(|table| table.chains.get(at)?.builtin);
        let policy = builtin.map_or(Policy::Accept, |builtin| builtin.policy);
        Chain {
            name: hook.to_string(),
            builtin: Some(Builtin { hook, policy }),
            counters: Counters::default(),
            rules: Vec::new(),
            span,
        }
    });
    Table {
        kind,
        chains: chains.collect(),
    }
}

fn no_rule(at: usize, count: usize, span: Span) -> Diagnostic {
    let message = format!("there is no rule {} in a chain of {count}", at + 1);
    Diagnostic::error(code::BAD_VALUE, span, message)
}

fn zero(chain: &mut Chain) {
    chain.counters = Counters::default();
    chain
        .rules
        .iter_mut()
        .for_each(|rule| rule.counters = Counters::default());
}
