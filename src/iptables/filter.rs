//! The filter that commands work on: its rules with what they have counted, read, changed and put back
//! under the lock.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Result, anyhow, bail};
use ipt2bpf_codegen::choices;
use ipt2bpf_codegen::counters::CounterLayout;
use ipt2bpf_codegen::module::Hook;
use ipt2bpf_codegen::options::Options;
use ipt2bpf_parser::diagnostic::Severity;
use ipt2bpf_parser::input::Input;
use ipt2bpf_parser::ruleset::{Family, Rule, Ruleset};
use ipt2bpf_parser::span::{SourceId, Sources};
use ipt2bpf_parser::{ParseOptions, parse};
use ipt2bpf_runtime::{
    Attachment, Counter, Loaded, Maps, Registry, Site, Turn, Wait, XdpWish, counters,
};
use ipt2bpf_umh::place::Place;

use super::failure::Failure;
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
    /// The counters of rules by where the rules begin in the text.
    places: HashMap<u32, u32>,
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
        let layout = CounterLayout::new(&rulesets);
        let counters = maps.counters()?;
        counters::into_text(&mut rulesets, &layout, &counters);
        let mut places = HashMap::new();
        for_each_rule(&rulesets, &layout, |index, rule| {
            places.insert(rule.span.0.start, index);
        });
        Ok(Filter {
            site,
            hooks,
            maps,
            rulesets,
            source,
            layout,
            places,
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
        let now = counters::of_text(&self.rulesets, &self.layout);
        let changed = (0..).zip(now.into_iter().zip(&self.counters));
        let changed: Vec<(u32, Counter)> = changed
            .filter(|(_, (now, before))| now != *before)
            .map(|(index, (now, _))| (index, now))
            .collect();
        Ok(self.maps.set_counters(&changed)?)
    }

    /// Puts the rules, as they are now, in the place of those in force. What rules have counted goes on.
    ///
    /// # Errors
    /// [`Told`](crate::failure::Told) when they cannot be translated, or what the kernel says.
    pub fn keep_rules(mut self, sources: Sources, reporter: &Reporter) -> Result<(), Failure> {
        self.rulesets.retain(|ruleset| !ruleset.tables.is_empty());
        check_text(&self.rulesets)?;
        let mut input = Input {
            sources,
            rulesets: std::mem::take(&mut self.rulesets),
            ..Input::default()
        };
        if sets::are_asked_for(&input.rulesets) {
            input::read_running_sets(&mut input, std::slice::from_ref(&self.maps))?;
        }
        let (loaded, compiled) = running::load(
            &input,
            self.hooks.clone(),
            self.choices.clone(),
            std::slice::from_ref(&self.maps),
            |mut said| {
                // Of the rules in force all has been said that is no reason to stop.
                said.retain(|it| it.severity == Severity::Error || it.span.source != self.source);
                reporter.conclude(said, &input.sources, false)
            },
        )?;
        let values = (0..).zip(counters::of_text(&input.rulesets, &compiled.counters));
        let values: Vec<(u32, Counter)> = values
            .filter(|(_, counter)| *counter != Counter::default())
            .collect();
        loaded.maps().set_counters(&values)?;
        loaded.maps().seed_connections()?;
        self.put(&loaded)?;
        self.add_late_counts(&loaded, &input.rulesets, &compiled.counters)
    }

    fn put(&self, loaded: &Loaded) -> Result<(), Failure> {
        match &self.site {
            // What is to be noted was noted when the filter was attached.
            Placed::At(place) => drop(place.put(&self.registry, loaded, XdpWish::Auto)?),
            Placed::Pinned(dir) => loaded.pin(dir)?,
        }
        Ok(())
    }

    /// Adds what rules have counted between the look at their counters and the end of the programs that
    /// counted. A rule that stayed is known by its place in the text of the rules.
    fn add_late_counts(
        &self,
        loaded: &Loaded,
        rulesets: &[Ruleset],
        layout: &CounterLayout,
    ) -> Result<(), Failure> {
        let after = self.maps.counters()?;
        let late = |index: u32| {
            let index = index as usize;
            let (before, after) = (self.counters.get(index)?, after.get(index)?);
            let more = after.since(*before);
            (more != Counter::default()).then_some(more)
        };
        if (0..self.layout.len()).all(|index| late(index).is_none()) {
            return Ok(());
        }
        let mut more = Vec::new();
        for_each_rule(rulesets, layout, |index, rule| {
            let span = rule.span.0;
            let is_old = span.source == self.source;
            let old = self.places.get(&span.start).filter(|_| is_old);
            more.extend(
                old.and_then(|&old| late(old))
                    .map(|counter| (index, counter)),
            );
        });
        for ruleset in rulesets {
            for table in &ruleset.tables {
                for chain in &table.chains {
                    let policy = |layout: &CounterLayout| {
                        layout.policy(ruleset.family, table.kind, &chain.name)
                    };
                    if let (Some(new), Some(old)) = (policy(layout), policy(&self.layout)) {
                        more.extend(late(old.0).map(|counter| (new.0, counter)));
                    }
                }
            }
        }
        Ok(loaded.maps().add_to_counters(&more)?)
    }
}

/// Refuses rules that the text does not bring back which a filter keeps of them: iptables-save prints some
/// tests that never match as nothing, and some names without the quotes that they need.
fn check_text(rulesets: &[Ruleset]) -> Result<()> {
    let mut sources = Sources::default();
    let text = sources.add("", output::save_text(rulesets, true));
    let back = parse(&sources, text, &ParseOptions::default()).rulesets;
    if back != rulesets {
        bail!(
            "iptables-save would print these rules so that they read as others; leave out tests that never match, and names with blanks"
        );
    }
    Ok(())
}

/// Visits every rule with the number of its counter.
fn for_each_rule(rulesets: &[Ruleset], layout: &CounterLayout, mut visit: impl FnMut(u32, &Rule)) {
    for ruleset in rulesets {
        for table in &ruleset.tables {
            for chain in &table.chains {
                let first = layout.first_rule(ruleset.family, table.kind, &chain.name);
                for (index, rule) in (first..).zip(&chain.rules) {
                    visit(index, rule);
                }
            }
        }
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
