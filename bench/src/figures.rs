//! All figures of a run.

use anyhow::{Context, Result};
use ipt2bpf_difftest::tool;
use serde::{Deserialize, Serialize};

use crate::connections::{self, ConnectionCost};
use crate::effort::Effort;
use crate::files::FileFigures;
use crate::oracle::{Header, Oracle};
use crate::packet_cost::{self, PacketCost, Yardsticks};
use crate::packets::{self, Mix};
use crate::rules::{Kind, RuleSet, Verdicts};
use crate::subject::{self, Build};
use crate::wire::{self, WireCost};

/// What everything is drawn from.
const SEED: u64 = 0x1b2b_0f5e_ed00;

/// Figures with the circumstances under which they were made.
#[derive(Debug, Serialize, Deserialize)]
pub struct Figures {
    /// The day, as 2026-11-21.
    pub date: String,
    /// The kernel's release.
    pub kernel: String,
    /// The processor's name.
    pub processor: String,
    /// Of the drawn sets.
    pub sets: Vec<SetFigures>,
    /// Of sets behind an interface.
    pub wire: Vec<WireFigures>,
    /// What connection tracking adds.
    pub connections: Option<ConnectionCost>,
    /// Of real files.
    pub files: Vec<FileFigures>,
}

/// Figures of one drawn set.
#[derive(Debug, Serialize, Deserialize)]
pub struct SetFigures {
    /// What it is like.
    pub kind: Kind,
    /// How many rules it has.
    pub rules: usize,
    /// What became of it.
    pub outcome: Outcome,
}

/// What became of a set.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// It runs.
    Measured {
        /// Before the first packet.
        build: Build,
        /// For each mix of packets.
        costs: Vec<(Mix, PacketCost)>,
        /// How many packets were held to the expectation.
        checked: usize,
    },
    /// It cannot be compiled or loaded.
    Failed {
        /// Why.
        reason: String,
    },
}

/// Figures of one set behind an interface.
#[derive(Debug, Serialize, Deserialize)]
pub struct WireFigures {
    /// What the set is like.
    pub kind: Kind,
    /// How many rules it has.
    pub rules: usize,
    /// One for each contestant.
    pub costs: Vec<WireCost>,
}

impl Figures {
    /// Measures drawn sets.
    ///
    /// # Errors
    /// When a verdict is wrong, or the system cannot measure.
    pub fn of_drawn_sets(effort: &Effort) -> Result<Figures> {
        let yardsticks = Yardsticks::load()?;
        let mut sets = Vec::new();
        for &kind in &effort.kinds {
            for &rules in &effort.rules {
                eprintln!("{rules} rules, {kind}");
                let outcome = measure_set(&yardsticks, kind, rules, effort)
                    .with_context(|| format!("{rules} rules, {kind}"))?;
                sets.push(SetFigures {
                    kind,
                    rules,
                    outcome,
                });
            }
        }
        let mut wire = Vec::new();
        for &kind in &effort.kinds {
            for &rules in &effort.wire_rules {
                eprintln!("{rules} rules, {kind}, behind an interface");
                match measure_wire(kind, rules, effort) {
                    Ok(costs) => wire.push(WireFigures { kind, rules, costs }),
                    Err(error) => eprintln!("left out: {error:#}"),
                }
            }
        }
        Ok(Figures {
            date: tool::run("date", &["-u", "+%F"], "")?.trim().to_owned(),
            kernel: rustix::system::uname().release().to_string_lossy().into(),
            processor: processor()?,
            sets,
            wire,
            connections: connections::measure(&yardsticks, effort)?,
            files: Vec::new(),
        })
    }

    /// The cost of a packet of a mix, where the set runs.
    pub fn packet(&self, kind: Kind, rules: usize, mix: Mix) -> Option<PacketCost> {
        let mut sets = self.sets.iter();
        let set = sets.find(|it| it.kind == kind && it.rules == rules)?;
        match &set.outcome {
            Outcome::Measured { costs, .. } => {
                let found = costs.iter().find(|(it, _)| *it == mix);
                found.map(|&(_, cost)| cost)
            }
            Outcome::Failed { .. } => None,
        }
    }

    /// The cost of a frame for a contestant, where it was measured.
    pub fn frame(
        &self,
        kind: Kind,
        rules: usize,
        contestant: wire::Contestant,
    ) -> Option<WireCost> {
        let mut sets = self.wire.iter();
        let set = sets.find(|it| it.kind == kind && it.rules == rules)?;
        let mut costs = set.costs.iter();
        costs.find(|it| it.contestant == contestant).copied()
    }
}

/// The rules that packets are measured with.
pub fn drawn_set(kind: Kind, rules: usize) -> RuleSet {
    RuleSet::draw(kind, rules, Verdicts::Mixed, SEED)
}

fn measure_set(
    yardsticks: &Yardsticks,
    kind: Kind,
    rules: usize,
    effort: &Effort,
) -> Result<Outcome> {
    let set = drawn_set(kind, rules);
    let (filter, build) = match subject::build(&set.to_string(), None, &effort.options) {
        Ok(built) => built,
        Err(error) => {
            let reason = format!("{error:#}");
            return Ok(Outcome::Failed {
                reason: reason.lines().next().unwrap_or_default().to_owned(),
            });
        }
    };
    let oracle = Oracle::new(&set);
    let (mut costs, mut checked) = (Vec::new(), 0);
    for mix in Mix::ALL {
        let packets = packets::mixed(mix, &set, &oracle, effort.different, SEED)?;
        let expected = packets.iter().take(effort.checked);
        let expected = expected.map(|&header| (header, oracle.verdict(&header)));
        checked += packet_cost::check(&filter, expected)?;
        let traffic = packet_cost::traffic(&packets)?;
        let frame = packets[0].frame();
        costs.push((mix, yardsticks.measure(&filter, &traffic, &frame, effort)?));
    }
    Ok(Outcome::Measured {
        build,
        costs,
        checked,
    })
}

fn measure_wire(kind: Kind, rules: usize, effort: &Effort) -> Result<Vec<WireCost>> {
    let set = RuleSet::draw(kind, rules, Verdicts::Drop, SEED);
    let packets = random_packets(&set, effort)?;
    wire::run(kind, &set, &packets, &effort.options, effort)
}

fn random_packets(set: &RuleSet, effort: &Effort) -> Result<Vec<Header>> {
    packets::mixed(Mix::Random, set, &Oracle::new(set), effort.different, SEED)
}

fn processor() -> Result<String> {
    let text = std::fs::read_to_string("/proc/cpuinfo").context("cannot ask for the processor")?;
    let mut lines = text.lines();
    let name = lines.find_map(|line| line.strip_prefix("model name"));
    let name = name
        .unwrap_or("unknown")
        .trim_start_matches(['\t', ' ', ':']);
    Ok(name.to_owned())
}
