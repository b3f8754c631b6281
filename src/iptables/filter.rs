//! The filter that commands work on: its rules with what they have counted, read, changed and put back
//! under the lock.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, anyhow, bail};
use ipt2bpf_codegen::before::Before;
use ipt2bpf_codegen::choices;
use ipt2bpf_codegen::counters::CounterLayout;
use ipt2bpf_codegen::emit::states::States;
use ipt2bpf_codegen::module::Hook;
use ipt2bpf_codegen::options::Options;
use ipt2bpf_parser::diagnostic::Severity;
use ipt2bpf_parser::input::Input;
use ipt2bpf_parser::ruleset::{Chain, Family, Ruleset, Table};
use ipt2bpf_parser::span::{SourceId, Sources};
use ipt2bpf_parser::{ParseOptions, parse};
use ipt2bpf_runtime::{
    Attachment, Counter, Loaded, Maps, Registry, Site, Turn, Wait, XdpWish, counters,
};
use ipt2bpf_umh::place::Place;

use super::failure::Failure;
use super::old::OldRules;
use crate::messages::Reporter;
use crate::show::Selection;
use crate::{attachments, input, output, running, sets};

/// The environment variable that says which filter is meant.
const VARIABLE: &str = "IPT2BPF_FILTER";

/// A filter in force, which nobody else changes as long as the value lives.
pub struct Filter {
    site: Placed,
    hooks: Vec<Hook>,
    maps: Maps,
    /// The rules, with what they had counted when the filter was opened.
    pub rulesets: Vec<Ruleset>,
    /// The text of the rules among the sources.
    source: SourceId,
    layout: CounterLayout,
    old: OldRules,
    /// What had been counted, by the layout.
    counters: Vec<Counter>,
    choices: Options,
    registry: Registry,
    _turn: Option<Turn>,
}

/// Where a filter is.
enum Placed {
    At(Place),
    /// Pinned, for others to attach.
    Pinned(PathBuf),
}

/// Whether a filter is to be changed, for which one at a time must do it.
pub enum For {
    Looking,
    /// How long to wait for others: not at all, so many seconds, or as long as it takes.
    Changing(Option<Option<u32>>),
}

impl Filter {
    /// Finds and reads the filter that is meant.
    ///
    /// # Errors
    /// [`Failure::NoFilter`] when there is none or it is not clear which; [`Failure::Busy`].
    pub fn open(
        selection: &Selection,
        purpose: &For,
        sources: &mut Sources,
    ) -> Result<Filter, Failure> {
        let registry = Registry::find().map_err(|error| Failure::NoFilter(error.into()))?;
        let turn = match purpose {
            For::Looking => None,
            For::Changing(wait) => {
                let time = match wait {
                    None => Wait::No,
                    Some(None) => Wait::Forever,
                    Some(Some(seconds)) => Wait::For(Duration::from_secs((*seconds).into())),
                };
                let turn = registry.turn_within(time)?;
                Some(turn.ok_or(Failure::Busy(wait.flatten()))?)
            }
        };
        let (site, hooks, maps) = find(selection, &registry).map_err(Failure::NoFilter)?;
        let text = maps.rules_text()?;
        let choices = choices::of_text(&text);
        let source = sources.add("the rules in force", text);
        let parsed = parse(sources, source, &ParseOptions::default());
        if let Some(error) = parsed
            .diagnostics
            .iter()
            .find(|it| it.severity == Severity::Error)
        {
            let text = String::from_utf8_lossy(sources.slice(error.span).0).into_owned();
            let reason = &error.message;
            return Err(
                anyhow!("the rules in force cannot be read again: {reason}: {text}").into(),
            );
        }
        let mut rulesets = parsed.rulesets;
        let layout = CounterLayout::of_text(&rulesets, &sources.get(source).text);
        let counters = maps.counters()?;
        counters::into_text(&mut rulesets, &layout, &counters);
        let old = OldRules::new(&rulesets, &layout);
        Ok(Filter {
            site,
            hooks,
            maps,
            rulesets,
            source,
            layout,
            old,
            counters,
            choices,
            registry,
            _turn: turn,
        })
    }

    /// The ruleset of a family, made if need be.
    pub fn ruleset(&mut self, family: Family) -> &mut Ruleset {
        let known = self.rulesets.iter().position(|it| it.family == family);
        let at = known.unwrap_or_else(|| {
            self.rulesets.push(Ruleset {
                family,
                tables: Vec::new(),
            });
            self.rulesets.len() - 1
        });
        &mut self.rulesets[at]
    }

    /// Takes over the counters of the rules where they are others than they were.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn keep_counters(&self) -> Result<(), Failure> {
        let changed = self.changed_counters(&self.rulesets, &self.layout, &self.layout);
        Ok(self.maps.set_counters(&changed)?)
    }

    /// The counters of rules that are others than they were, or new.
    fn changed_counters(
        &self,
        rulesets: &[Ruleset],
        layout: &CounterLayout,
        old: &CounterLayout,
    ) -> Vec<(u32, Counter)> {
        let known: HashSet<u32> = old.numbers().collect();
        let now = counters::of_text(rulesets, layout);
        let changed = layout.numbers().filter_map(|number| {
            let now = now.get(number as usize).copied().unwrap_or_default();
            let before = self.counters.get(number as usize);
            let stays = known.contains(&number) && before == Some(&now);
            (!stays).then_some((number, now))
        });
        changed.collect()
    }

    /// Puts the rules, as they are now, in the place of those in force. What rules have counted and remember
    /// goes on.
    ///
    /// # Errors
    /// [`Told`](crate::failure::Told) when they cannot be translated, or what the kernel says.
    pub fn keep_rules(mut self, sources: Sources, reporter: &Reporter) -> Result<(), Failure> {
        self.rulesets.retain(|ruleset| !ruleset.tables.is_empty());
        check_text(&self.rulesets, self.source)?;
        let same = self.same();
        let layout = CounterLayout::onto(&self.rulesets, &self.layout, &same);
        let text = &sources.get(self.source).text;
        let (gone, gone_layout) = self.old.gone(&same, text);
        let before = Before {
            layout: layout.clone(),
            counters: self.maps.room()?,
            states: States::of_text(text),
            gone,
            gone_layout,
            ..Before::default()
        };
        let before = before.with_constants(self.maps.reusable()?);
        let choices = Options {
            before: Some(Arc::new(before)),
            ..self.choices.clone()
        };
        let mut input = Input {
            sources,
            rulesets: std::mem::take(&mut self.rulesets),
            ..Input::default()
        };
        if sets::are_asked_for(&input.rulesets) {
            input::read_running_sets(&mut input, std::slice::from_ref(&self.maps))?;
        }
        let (loaded, _) = running::load(
            &input,
            self.hooks.clone(),
            choices,
            std::slice::from_ref(&self.maps),
            |mut said| {
                // Of the rules in force all has been said that is no reason to stop.
                said.retain(|it| it.severity == Severity::Error || it.span.source != self.source);
                reporter.conclude(said, &input.sources, false)
            },
        )?;
        let shared = match loaded.maps().count_with(&self.maps) {
            true => &self.layout,
            false => &CounterLayout::default(),
        };
        let changed = self.changed_counters(&input.rulesets, &layout, shared);
        loaded.maps().set_counters(&changed)?;
        loaded.maps().seed_connections()?;
        self.put(&loaded)?;
        self.add_late_counts(&loaded, &same)
    }

    /// The rules and policies that stay: the numbers of their counters, and their places in the order of the
    /// text. A rule that stays is known by its place in the text of the rules in force.
    fn same(&self) -> Vec<(u32, u32)> {
        let mut same = Vec::new();
        let mut place = 0..;
        let chains = self.rulesets.iter().flat_map(|ruleset| {
            let tables = ruleset.tables.iter();
            let chains = tables.flat_map(|table| table.chains.iter().map(|it| (table.kind, it)));
            chains.map(|(kind, chain)| (ruleset.family, kind, chain))
        });
        for (family, kind, chain) in chains {
            if chain.builtin.is_some() {
                let policy = self.layout.policy(family, kind, &chain.name);
                same.extend(policy.map(|it| it.0).into_iter().zip(&mut place));
                if policy.is_none() {
                    place.next();
                }
            }
            for (rule, place) in chain.rules.iter().zip(&mut place) {
                let is_old = rule.span.0.source == self.source;
                let number = self.old.number(rule.span.0.start).filter(|_| is_old);
                same.extend(number.map(|number| (number, place)));
            }
        }
        same
    }

    fn put(&self, loaded: &Loaded) -> Result<(), Failure> {
        match &self.site {
            // What is to be noted was noted when the filter was attached.
            Placed::At(place) => drop(place.put(&self.registry, loaded, XdpWish::Auto)?),
            Placed::Pinned(dir) => loaded.pin(dir)?,
        }
        Ok(())
    }

    /// Adds what rules have counted since the look at their counters, where the programs that counted have
    /// other counters than those in their place.
    fn add_late_counts(&self, loaded: &Loaded, same: &[(u32, u32)]) -> Result<(), Failure> {
        if loaded.maps().count_with(&self.maps) {
            return Ok(());
        }
        let after = self.maps.counters()?;
        let late = same.iter().filter_map(|&(number, _)| {
            let index = number as usize;
            let more = after.get(index)?.since(*self.counters.get(index)?);
            (more != Counter::default()).then_some((number, more))
        });
        let late: Vec<(u32, Counter)> = late.collect();
        Ok(loaded.maps().add_to_counters(&late)?)
    }
}

/// Refuses rules that the text does not bring back which a filter keeps of them: iptables-save prints some
/// tests that never match as nothing, and some names without the quotes that they need. Those that come from
/// such a text have come back.
fn check_text(rulesets: &[Ruleset], known: SourceId) -> Result<()> {
    let changed: Vec<Ruleset> = rulesets.iter().map(|it| changed_rules(it, known)).collect();
    let mut sources = Sources::default();
    let text = sources.add("", output::save_text(&changed, true));
    let back = parse(&sources, text, &ParseOptions::default()).rulesets;
    if back != changed {
        bail!(
            "iptables-save would print these rules so that they read as others; leave out tests that never match, and names with blanks"
        );
    }
    Ok(())
}

/// A ruleset without the rules of a text.
fn changed_rules(ruleset: &Ruleset, known: SourceId) -> Ruleset {
    let chain = |chain: &Chain| Chain {
        name: chain.name.clone(),
        builtin: chain.builtin,
        counters: chain.counters,
        rules: chain
            .rules
            .iter()
            .filter(|rule| rule.span.0.source != known)
            .cloned()
            .collect(),
        span: chain.span,
    };
    let tables = ruleset.tables.iter().map(|table| Table {
        kind: table.kind,
        chains: table.chains.iter().map(chain).collect(),
    });
    Ruleset {
        family: ruleset.family,
        tables: tables.collect(),
    }
}

/// The filter that the user means: said before the command, or in the environment, or the only one.
fn find(selection: &Selection, registry: &Registry) -> Result<(Placed, Vec<Hook>, Maps)> {
    let of_environment = match selection.is_empty() {
        true => std::env::var(VARIABLE).ok(),
        false => None,
    };
    let of_environment = of_environment.as_deref().map(of_variable).transpose()?;
    let selection = of_environment.as_ref().unwrap_or(selection);
    if let Some(dir) = &selection.pin {
        return pinned(dir);
    }
    let all = registry.list()?;
    let attachments = match selection.is_empty() {
        true => all.iter().filter(|it| it.alive).cloned().collect(),
        false => attachments::at(&selection.place, registry)?,
    };
    let mut objects: Vec<(Attachment, Maps)> = Vec::new();
    for attachment in attachments.into_iter().filter(|it| it.alive) {
        let maps = attachment.maps()?;
        if !objects.iter().any(|(_, known)| known.same_as(&maps)) {
            objects.push((attachment, maps));
        }
    }
    let mut objects = objects.into_iter();
    let (attachment, maps) = match (objects.next(), objects.next()) {
        (None, _) => bail!(
            "no filter is attached; attach one with `ipt2bpf attach --cgroup PATH RULES` or `--xdp IFACE`"
        ),
        (Some(only), None) => only,
        (Some(first), Some(second)) => return Err(several(&first.0, &second.0)),
    };
    // One object may serve several hooks and interfaces.
    let mut together = Vec::new();
    for other in all.iter().filter(|it| it.alive) {
        if other.maps()?.same_as(&maps) {
            together.push(other);
        }
    }
    match &attachment.site {
        Site::Cgroup { path: None, id } => bail!("the cgroup {id} cannot be seen from here"),
        Site::Cgroup {
            path: Some(path), ..
        } => {
            let hooks = together.iter().map(|it| it.hook).collect();
            let place = Place::Cgroup(path.clone());
            Ok((Placed::At(place), hooks, maps))
        }
        Site::Interface { .. } => {
            let programs = together.iter().filter(|it| it.hook == Hook::Xdp);
            let names = programs.map(|it| match &it.site {
                Site::Interface {
                    name: Some(name), ..
                } => Ok(name.clone()),
                other => Err(anyhow!("{other} cannot be reached from here")),
            });
            let names = names.collect::<Result<Vec<String>>>()?;
            Ok((Placed::At(Place::Interfaces(names)), vec![Hook::Xdp], maps))
        }
    }
}

fn several(first: &Attachment, second: &Attachment) -> anyhow::Error {
    let (one, other) = (
        attachments::option(&first.site),
        attachments::option(&second.site),
    );
    match one == other {
        true => anyhow!(
            "the hooks of {one} have rules of their own each; attach both from one text to change them together"
        ),
        false => anyhow!(
            "several filters are attached: say which before the command, as in `{one}` or `{other}`, or set \
             {VARIABLE}"
        ),
    }
}

/// A selection as the environment says it.
fn of_variable(text: &str) -> Result<Selection> {
    let mut selection = Selection::default();
    match text.split_once(':') {
        Some(("cgroup", path)) => selection.place.cgroup = Some(path.into()),
        Some(("xdp", name)) => selection.place.xdp = vec![name.to_owned()],
        Some(("pin", dir)) => selection.pin = Some(dir.into()),
        _ => bail!("{VARIABLE} is {text:?}; write cgroup:PATH, xdp:IFACE or pin:DIR"),
    }
    Ok(selection)
}

fn pinned(dir: &Path) -> Result<(Placed, Vec<Hook>, Maps)> {
    let hooks = Hook::ALL.into_iter();
    let hooks: Vec<Hook> = hooks
        .filter(|hook| dir.join(hook.program_name()).exists())
        .collect();
    if hooks.is_empty() {
        bail!(
            "nothing is pinned in {}; pin a filter with `ipt2bpf load --pin`",
            dir.display()
        );
    }
    Ok((Placed::Pinned(dir.to_owned()), hooks, Maps::open(dir)?))
}
