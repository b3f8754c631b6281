//! `set`: the elements of sets that running programs ask, changed at once.

use std::collections::HashSet;
use std::io::Read;

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};
use ipt2bpf_parser::ipset::{self, Entry, Part};
use ipt2bpf_parser::span::Sources;
use ipt2bpf_runtime::{Changed, LiveSet, Registry, system_names};

use crate::failure::Usage;
use crate::messages::Reporter;
use crate::show::{InForce, Selection};
use crate::{census, output, sets};

const EXAMPLES: &str = "\
Examples:
  ipt2bpf attach --live-sets --ipset sets --cgroup /sys/fs/cgroup/system.slice rules.v4
  ipt2bpf set add blocked 192.0.2.7 timeout 600
  curl https://example.org/blocklist | ipt2bpf set add blocked - --exist
  ipset save blocked | ipt2bpf set add blocked - --exist
  ipt2bpf set refresh blocked
  ipt2bpf set list blocked";

/// Changes and lists the sets of running programs, as ipset does those of the kernel
///
/// A change takes effect with the next packet, without loading anything. It concerns all programs attached by
/// ipt2bpf that ask a set of that name, unless places are named. Only sets of rules that were attached or
/// loaded with --live-sets can be changed. Comments and counters of elements are not kept.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Adds an element, or those of standard input
    Add(Change),
    /// Deletes an element, or those of standard input
    Del(Change),
    /// Says by its exit status whether an element is in a set
    Test(Change),
    /// Deletes all elements of a set
    Flush(Whole),
    /// Gives sets the elements that the kernel's sets of their names have now
    Refresh(Listing),
    /// Prints sets with their elements, as ipset save does
    List(Listing),
}

#[derive(Debug, Args)]
struct Change {
    /// The set
    name: String,
    /// The element and its options, as ipset takes them; - for standard input, with an element on each line
    /// or lines as ipset save prints them
    #[arg(required = true, value_name = "ELEMENT")]
    words: Vec<String>,
    /// Take it as done when an element to add is there already, or one to delete is not
    #[arg(long)]
    exist: bool,
    #[command(flatten)]
    selection: Selection,
}

#[derive(Debug, Args)]
struct Whole {
    /// The set
    name: String,
    #[command(flatten)]
    selection: Selection,
}

#[derive(Debug, Args)]
struct Listing {
    /// The set; all when it is not given
    name: Option<String>,
    #[command(flatten)]
    selection: Selection,
}

/// What is done to elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verb {
    Add,
    Delete,
    Test,
}

pub fn run(arguments: &Arguments, reporter: &Reporter) -> Result<()> {
    match &arguments.action {
        Action::Add(change) => run_change(change, Verb::Add, reporter),
        Action::Del(change) => run_change(change, Verb::Delete, reporter),
        Action::Test(change) => run_change(change, Verb::Test, reporter),
        Action::Flush(Whole { name, selection }) => {
            let _turn = Registry::find()?.turn()?;
            let objects = selection.all_objects()?;
            for set in named(&live(&objects)?, name, &objects)? {
                set.flush()?;
            }
            Ok(())
        }
        Action::Refresh(Listing { name, selection }) => {
            let _turn = Registry::find()?.turn()?;
            let objects = selection.all_objects()?;
            let all = live(&objects)?;
            let wanted = match name {
                Some(name) => named(&all, name, &objects)?,
                None => all.iter().map(|(_, set)| set).collect(),
            };
            refresh(&wanted, reporter)
        }
        Action::List(Listing { name, selection }) => {
            let objects = selection.all_objects()?;
            let all = live(&objects)?;
            let several = objects.len() > 1;
            let wanted = match name {
                Some(name) => named(&all, name, &objects)?,
                None => all.iter().map(|(_, set)| set).collect(),
            };
            let mut text = Vec::new();
            for (place, set) in &all {
                if wanted.iter().any(|it| std::ptr::eq(*it, set)) {
                    if several {
                        text.extend_from_slice(format!("# {place}\n").as_bytes());
                    }
                    text.extend(set.with_entries()?.print());
                }
            }
            output::print(&text)
        }
    }
}

fn run_change(change: &Change, verb: Verb, reporter: &Reporter) -> Result<()> {
    let lines = match &change.words[..] {
        [word] if word == "-" => {
            let mut text = String::new();
            std::io::stdin()
                .read_to_string(&mut text)
                .context("standard input")?;
            lines_of(&text, &change.name, verb)?
        }
        words => vec![(verb, words.join(" "))],
    };
    let _turn = Registry::find()?.turn()?;
    let objects = change.selection.all_objects()?;
    let all = live(&objects)?;
    for set in named(&all, &change.name, &objects)? {
        // All is understood before anything is done.
        let mut batches = Vec::new();
        for batch in lines.chunk_by(|(a, _), (b, _)| a == b) {
            let elements: Vec<&str> = batch.iter().map(|(_, text)| text.as_str()).collect();
            batches.extend(
                batch
                    .first()
                    .map(|(verb, _)| anyhow::Ok((*verb, parse(set, &elements, reporter)?)))
                    .transpose()?,
            );
        }
        for (verb, entries) in batches {
            for entry in &entries {
                apply(set, entry, verb, change.exist)?;
            }
        }
    }
    Ok(())
}

/// Makes the elements of sets those of the kernel's sets.
fn refresh(wanted: &[&LiveSet<'_>], reporter: &Reporter) -> Result<()> {
    let mut sources = Sources::default();
    let id = sources.add("<ipset save>", sets::of_kernel()?);
    let parsed = ipset::parse(&sources, &[id], &system_names());
    reporter.conclude(parsed.diagnostics, &sources, false)?;
    for set in wanted {
        let name = set.name();
        let mut kernel = parsed.sets.iter();
        let Some(now) = kernel.find(|it| it.name.value == name) else {
            bail!("the kernel has no set {name}");
        };
        if now.kind != set.set.kind || now.options.family != set.set.options.family {
            bail!("the kernel's set {name} is of another type: load the rules again");
        }
        // First what is new: no element that is in both is missing at any time.
        set.fill(&now.entries)?;
        let stays: HashSet<&[Part]> = now.entries.iter().map(|it| &it.value.parts[..]).collect();
        let before = set.with_entries()?.entries;
        for gone in before
            .iter()
            .filter(|it| !stays.contains(&it.value.parts[..]))
        {
            set.delete(&gone.value)?;
        }
    }
    Ok(())
}

/// What the lines of a text do, one by one: `add`, `del` and `create` lines of ipset, or elements alone.
/// `create` lines do nothing, because the set is there.
fn lines_of(text: &str, name: &str, verb: Verb) -> Result<Vec<(Verb, String)>> {
    let mut lines = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') || line == "COMMIT" {
            continue;
        }
        let mut words = line.splitn(3, char::is_whitespace);
        let said = match words.next() {
            Some("add" | "-A") => Some(Verb::Add),
            Some("del" | "-D") => Some(Verb::Delete),
            Some("create" | "-N") => None,
            _ => {
                lines.push((verb, line.to_owned()));
                continue;
            }
        };
        let (set, rest) = (words.next(), words.next());
        if set != Some(name) {
            let message = format!(
                "line {number} of standard input is about the set {}, not {name}",
                set.unwrap_or_default()
            );
            return Err(Usage(message).into());
        }
        if verb == Verb::Test && said.is_some() {
            return Err(Usage("what is tested stands alone on its line".into()).into());
        }
        lines.extend(said.map(|said| (said, rest.unwrap_or_default().to_owned())));
    }
    Ok(lines)
}

/// The elements that some words are in a set: a range is several.
fn parse(set: &LiveSet<'_>, elements: &[&str], reporter: &Reporter) -> Result<Vec<Entry>> {
    let mut sources = Sources::default();
    let created = sources.add("set", set.set.print());
    // What comes twice comes once.
    let lines = elements
        .iter()
        .map(|element| format!("add -exist {} {element}\n", set.name()));
    let added = sources.add("elements", lines.collect::<String>());
    let parsed = ipset::parse(&sources, &[created, added], &system_names());
    reporter.conclude(parsed.diagnostics, &sources, false)?;
    let entries = parsed.sets.into_iter().flat_map(|set| set.entries);
    Ok(entries.map(|entry| entry.value).collect())
}

fn apply(set: &LiveSet<'_>, entry: &Entry, verb: Verb, exist: bool) -> Result<()> {
    let name = set.name();
    let words = || {
        let mut one = set.set.clone();
        one.entries = vec![ipt2bpf_parser::span::Spanned {
            value: entry.clone(),
            span: Default::default(),
        }];
        let text = one.print();
        let text = String::from_utf8_lossy(&text);
        let line = text.lines().last().unwrap_or_default();
        let words = line.strip_prefix(&format!("add {name} "));
        words.unwrap_or_default().to_owned()
    };
    let changed = match verb {
        Verb::Add if !exist && set.has(entry)? => Changed::Already,
        Verb::Add => set.add(entry)?,
        Verb::Delete => set.delete(entry)?,
        Verb::Test => match set.has(entry)? {
            true => Changed::Done,
            false => bail!("{} is not in {name}", words()),
        },
    };
    match (changed, verb) {
        (Changed::Done, _) => Ok(()),
        (Changed::Already, _) if exist => Ok(()),
        (Changed::Already, Verb::Add) => bail!(
            "{} is in {name} already; --exist takes that as done",
            words()
        ),
        (Changed::Already, _) => {
            bail!("{} is not in {name}; --exist takes that as done", words())
        }
        (Changed::Full, _) => bail!(
            "{name} is full: it takes {} elements (its `maxelem`)",
            set.room()
        ),
        (Changed::Incomplete, _) => bail!("{} lacks a part", words()),
    }
}

/// The sets of objects that can be changed, each with its place.
fn live(objects: &[InForce]) -> Result<Vec<(&str, LiveSet<'_>)>> {
    let mut sets = Vec::new();
    for InForce { place, maps, .. } in objects {
        sets.extend(
            maps.live_sets()?
                .into_iter()
                .map(|set| (place.as_str(), set)),
        );
    }
    Ok(sets)
}

/// Those of a name.
fn named<'a, 'b>(
    sets: &'a [(&str, LiveSet<'b>)],
    name: &str,
    objects: &[InForce],
) -> Result<Vec<&'a LiveSet<'b>>> {
    let found: Vec<_> = sets
        .iter()
        .map(|(_, set)| set)
        .filter(|set| set.name() == name)
        .collect();
    if !found.is_empty() {
        return Ok(found);
    }
    for InForce { place, maps, .. } in objects {
        let (rulesets, _) = census::rulesets(maps)?;
        if sets::names(&rulesets).contains(&name) {
            bail!(
                "the rules at {place} have a copy of {name} from when they were loaded; attach rules with \
                 --live-sets to have sets that can be changed. Those whose elements have two networks or an \
                 interface, lists, and networks with timeouts are always copies: `attach --follow` makes new \
                 ones when the kernel's sets change"
            );
        }
    }
    bail!("no rule that ipt2bpf has attached asks a set {name}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_those_of_ipset_or_elements() {
        let text =
            "create a hash:ip\n# comment\nadd a 10.0.0.1 timeout 5\n\n del a 10.0.0.2\n10.0.0.3\n";
        let lines = lines_of(text, "a", Verb::Add).unwrap();
        let expected = [
            (Verb::Add, "10.0.0.1 timeout 5".to_owned()),
            (Verb::Delete, "10.0.0.2".to_owned()),
            (Verb::Add, "10.0.0.3".to_owned()),
        ];
        assert_eq!(lines, expected);
        let error = lines_of("add b 10.0.0.1\n", "a", Verb::Add).unwrap_err();
        assert_eq!(
            error.to_string(),
            "line 1 of standard input is about the set b, not a"
        );
    }
}
