//! Reading rules and sets: files or standard input to rulesets, at most one per family, and the sets
//! that they ask for.

use std::fs;
use std::io::{self, IsTerminal, Read};
use std::path::Path;

use anyhow::{Context, Result};
use ipt2bpf_parser::ParseOptions;
use ipt2bpf_parser::input::Input;
use ipt2bpf_runtime::{Maps, system_names};

use crate::cli::{Rules, Sets};
use crate::failure::Usage;
use crate::sets;

/// How many files of rules there may be, and how many of sets; both together can be told apart (the
/// range of [`SourceId`]).
const MAX_FILES: usize = 1 << 15;

/// Reads all files of rules, or standard input.
///
/// # Errors
/// When a file cannot be read, and [`Usage`] when nobody gives rules.
pub fn read(rules: &Rules) -> Result<Input> {
    if rules.files.len() > MAX_FILES {
        return Err(Usage(format!("more than {MAX_FILES} files")).into());
    }
    if let Some(name) = rules.late_subcommand() {
        let message = format!("the subcommand `{name}` must come before all options");
        return Err(Usage(message).into());
    }
    let options = ParseOptions {
        family: rules.family(),
        names: system_names(),
    };
    let mut input = Input::default();
    let mut add = |name: String, text: Vec<u8>| match rules.noflush {
        false => input.add(name, text, &options),
        true => input.add_onto(name, text, &options),
    };
    if rules.files.is_empty() {
        if io::stdin().is_terminal() {
            let message = "no RULES are given and standard input is a terminal";
            return Err(Usage(message.into()).into());
        }
        add("<stdin>".into(), standard_input()?);
    }
    for file in &rules.files {
        if file == Path::new("-") {
            add("<stdin>".into(), standard_input()?);
        } else {
            let name = file.display().to_string();
            let text = fs::read(file).with_context(|| name.clone())?;
            add(name, text);
        }
    }
    input.warn_of_nothing();
    Ok(input)
}

/// Reads the files of sets, too.
///
/// # Errors
/// When a file cannot be read.
pub fn read_sets(input: &mut Input, sets: &Sets) -> Result<()> {
    if sets.ipset.len() > MAX_FILES {
        return Err(Usage(format!("more than {MAX_FILES} files of sets")).into());
    }
    let mut texts = Vec::new();
    for file in &sets.ipset {
        let name = file.display().to_string();
        let text = fs::read(file).with_context(|| name.clone())?;
        texts.push((name, text));
    }
    input.add_sets(texts, &system_names());
    Ok(())
}

/// Takes the sets that the programs of some maps ask as they are now, and for others those of the running
/// kernel, as `ipset save` prints them for the network namespace of the calling thread.
///
/// # Errors
/// When a set is not among the first and the tool is not there or fails.
pub fn read_running_sets(input: &mut Input, running: &[Maps]) -> Result<()> {
    let mut live = Vec::new();
    for maps in running {
        for set in maps.live_sets()? {
            live.push(set.with_entries()?);
        }
    }
    let is_live = |name: &str| live.iter().any(|set| set.name.value == name);
    if !sets::names(&input.rulesets).into_iter().all(is_live) {
        let text = sets::of_kernel()?;
        input.add_sets([("<ipset save>".to_owned(), text)], &system_names());
        input.sets.retain(|set| !is_live(&set.name.value));
    }
    // Lists stand behind their members.
    input.sets.splice(..0, live);
    Ok(())
}

/// Reads the rules and the sets that arguments name.
///
/// # Errors
/// As [`read`] and [`read_sets`].
pub fn read_all(rules: &Rules, sets: &Sets) -> Result<Input> {
    let mut input = read(rules)?;
    read_sets(&mut input, sets)?;
    Ok(input)
}

fn standard_input() -> Result<Vec<u8>> {
    let mut text = Vec::new();
    io::stdin()
        .read_to_end(&mut text)
        .context("standard input")?;
    Ok(text)
}
