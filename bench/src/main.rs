//! `ipt2bpf-bench` measures what rulesets cost that ipt2bpf compiles: to compile, to load, for each packet,
//! and for each frame beside iptables and nft with the same rules. The ratios are the result; figures in
//! nanoseconds are those of one machine on one day.

mod connections;
mod effort;
mod figures;
mod files;
mod goals;
mod measure;
mod nft;
mod oracle;
mod packet_cost;
mod packets;
mod plot;
mod readme;
mod report;
mod rules;
mod subject;
mod wire;
mod yardsticks;

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::{Parser, ValueEnum};
use ipt2bpf_codegen::classify::Strategy;

use crate::effort::Effort;
use crate::figures::Figures;
use crate::packet_cost::Yardsticks;
use crate::rules::Kind;

/// Measure what ipt2bpf compiles, beside iptables and nft; needs root
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// Only try whether everything works, in some seconds: the figures mean nothing
    #[arg(long)]
    quick: bool,
    /// Only sets of these kinds
    #[arg(long, value_enum, value_delimiter = ',')]
    kinds: Vec<Kind>,
    /// Only sets of so many rules
    #[arg(long, value_delimiter = ',', value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    rules: Vec<u32>,
    /// How often everything takes its turn
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    rounds: Option<u16>,
    /// No frames behind interfaces
    #[arg(long)]
    no_wire: bool,
    /// No packets by test runs
    #[arg(long)]
    only_wire: bool,
    /// Decide rules in this way, wherever that can be done
    #[arg(long, value_enum)]
    strategy: Option<StrategyName>,
    /// How many bytes the arrays of a run of rules may take
    #[arg(long)]
    max_memory: Option<usize>,
    /// Only print the rules of the first set, as iptables-save does
    #[arg(long)]
    print: bool,
    /// Also the largest rulesets (*.v4, *.v6) of this folder
    #[arg(long, value_name = "FOLDER")]
    files: Option<PathBuf>,
    /// Measure nothing; take the figures of an earlier run, as --json wrote them
    #[arg(long, value_name = "FILE")]
    from: Option<PathBuf>,
    /// Write all figures as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Draw the frames of ACLs as SVG
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,
    /// Put the tables between the marks of this file
    #[arg(long, value_name = "README")]
    update_readme: Option<PathBuf>,
}

/// How rules are decided.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum StrategyName {
    Straight,
    Tables,
    Lookup,
    Hybrid,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let effort = effort(&arguments);
    if arguments.print {
        if let (Some(&kind), Some(&rules)) = (effort.kinds.first(), effort.rules.first()) {
            print!("{}", figures::drawn_set(kind, rules));
        }
        return Ok(());
    }
    let figures = match &arguments.from {
        Some(path) => {
            let json = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
            serde_json::from_slice(&json).context("not what --json wrote")?
        }
        None => measured(&arguments, &effort)?,
    };
    print!("{}", report::markdown(&figures));
    if let Some(path) = &arguments.json {
        let json = serde_json::to_string_pretty(&figures)?;
        fs::write(path, json).with_context(|| format!("cannot write {}", path.display()))?;
    }
    if let Some(path) = &arguments.plot
        && let Some(svg) = plot::svg(&figures, Kind::Acl)?
    {
        fs::write(path, svg).with_context(|| format!("cannot write {}", path.display()))?;
    }
    if let Some(path) = &arguments.update_readme {
        readme::update(path, &report::summary(&figures))?;
    }
    Ok(())
}

fn measured(arguments: &Arguments, effort: &Effort) -> Result<Figures> {
    measure::stay_on_one_processor()?;
    let mut figures = Figures::of_drawn_sets(effort)?;
    if let Some(folder) = &arguments.files {
        figures.files = files::measure(folder, &Yardsticks::load()?, effort)?;
    }
    Ok(figures)
}

fn effort(arguments: &Arguments) -> Effort {
    let mut effort = match arguments.quick {
        true => Effort::quick(),
        false => Effort::full(),
    };
    if !arguments.kinds.is_empty() {
        effort.kinds.clone_from(&arguments.kinds);
    }
    if !arguments.rules.is_empty() {
        effort.rules = arguments.rules.iter().map(|&it| it as usize).collect();
        effort.wire_rules.clone_from(&effort.rules);
    }
    if let Some(rounds) = arguments.rounds {
        effort.rounds = rounds.into();
    }
    effort.options.strategy = arguments.strategy.map(|name| match name {
        StrategyName::Straight => Strategy::Straight,
        StrategyName::Tables => Strategy::Tables,
        StrategyName::Lookup => Strategy::Lookup,
        StrategyName::Hybrid => Strategy::Hybrid,
    });
    if let Some(memory) = arguments.max_memory {
        effort.options.max_memory = memory;
    }
    if arguments.no_wire {
        effort.wire_rules.clear();
    }
    if arguments.only_wire {
        effort.rules.clear();
    }
    effort
}
