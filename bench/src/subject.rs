//! A ruleset on its way from text to the kernel, with what each step costs.

use anyhow::{Context, Result, anyhow, bail};
use ipt2bpf_codegen::compile::{Compiled, compile};
use ipt2bpf_codegen::options::Options;
use ipt2bpf_parser::diagnostic::{Diagnostic, Severity};
use ipt2bpf_parser::ruleset::{Family, Ruleset};
use ipt2bpf_parser::span::Sources;
use ipt2bpf_parser::{ParseOptions, parse};
use ipt2bpf_runtime::{Loaded, load};
use serde::{Deserialize, Serialize};

use crate::measure::timed;

/// How often each step is taken; the fastest counts, for what disturbs only adds.
const REPETITIONS: usize = 3;

/// What it costs before the first packet.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Build {
    /// Milliseconds from the text to rules.
    pub parse_ms: f64,
    /// Milliseconds from rules to the object.
    pub compile_ms: f64,
    /// Bytes of the object.
    pub object_bytes: usize,
    /// Milliseconds to load it, verification included.
    pub load_ms: f64,
    /// Bytes of the kernel's memory that its maps take.
    pub map_bytes: u64,
    /// How its rules are tried, each way once.
    pub strategies: Vec<String>,
}

/// Reads, compiles and loads a text.
///
/// # Errors
/// When one of them is impossible.
pub fn build(text: &str, family: Option<Family>, options: &Options) -> Result<(Loaded, Build)> {
    let (parse_ns, rulesets) = fastest(|| read(text, family))?;
    let (compile_ns, compiled) = fastest(|| translated(&rulesets, options))?;
    let (load_ns, loaded) = fastest(|| load(&compiled.object).context("it does not load"))?;
    loaded.maps().fill_devices()?;
    loaded.maps().fill_addresses()?;
    loaded.maps().fill_clock()?;
    let mut strategies = Vec::new();
    let stages = compiled.stats().stages;
    for segment in stages.iter().flat_map(|stage| &stage.segments) {
        let strategy = segment.strategy.to_string();
        if !strategies.contains(&strategy) {
            strategies.push(strategy);
        }
    }
    let build = Build {
        parse_ms: parse_ns / 1e6,
        compile_ms: compile_ns / 1e6,
        object_bytes: compiled.object.len(),
        load_ms: load_ns / 1e6,
        map_bytes: loaded.maps().memory()?,
        strategies,
    };
    Ok((loaded, build))
}

fn fastest<T>(mut work: impl FnMut() -> Result<T>) -> Result<(f64, T)> {
    let (mut best, mut result) = timed(&mut work)?;
    for _ in 1..REPETITIONS {
        let (time, again) = timed(&mut work)?;
        best = best.min(time);
        result = again;
    }
    Ok((best, result))
}

/// The rules of a text.
///
/// # Errors
/// When it has errors.
pub fn read(text: &str, family: Option<Family>) -> Result<Vec<Ruleset>> {
    let mut sources = Sources::default();
    let id = sources.add("rules", text);
    let options = ParseOptions {
        family,
        ..ParseOptions::default()
    };
    let parsed = parse(&sources, id, &options);
    match first_error(&parsed.diagnostics) {
        Some(error) => bail!("{error}"),
        None => Ok(parsed.rulesets),
    }
}

/// The object of rules.
///
/// # Errors
/// When they cannot be translated.
pub fn translated(rulesets: &[Ruleset], options: &Options) -> Result<Compiled> {
    compile(rulesets, options).map_err(|diagnostics| {
        let error = first_error(&diagnostics);
        anyhow!(error.unwrap_or_else(|| "refused without an error".into()))
    })
}

fn first_error(diagnostics: &[Diagnostic]) -> Option<String> {
    let mut diagnostics = diagnostics.iter();
    let error = diagnostics.find(|it| it.severity == Severity::Error)?;
    Some(error.message.clone())
}
