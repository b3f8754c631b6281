//! Real rulesets: those with the most rules of a folder.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use ipt2bpf_codegen::options::{Options, XdpPath};
use ipt2bpf_codegen::sets::Sets;
use ipt2bpf_difftest::constants::Constants;
use ipt2bpf_difftest::frame::{Direction, Frame, HOST_MAC, PEER_MAC};
use ipt2bpf_difftest::ipsets::Ipsets;
use ipt2bpf_difftest::packets::Packets;
use ipt2bpf_parser::ruleset::Family;
use ipt2bpf_runtime::Traffic;
use serde::{Deserialize, Serialize};

use crate::effort::Effort;
use crate::packet_cost::{PacketCost, Yardsticks};
use crate::subject::{self, Build};

/// How many files are measured.
const LARGEST: usize = 10;
/// Bytes behind the Ethernet header of all frames: shorter ones are padded, longer ones left out.
const LENGTH: usize = 96;

/// Figures of one file.
#[derive(Debug, Serialize, Deserialize)]
pub struct FileFigures {
    /// Its name.
    pub name: String,
    /// How many rules it has outside nat.
    pub rules: usize,
    /// What became of it. Of INPUT and FORWARD, that is measured which runs more rules.
    pub outcome: FileOutcome,
}

/// What became of a file.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FileOutcome {
    /// It runs.
    Measured {
        /// Before the first packet.
        build: Build,
        /// For packets drawn around the constants of the rules.
        cost: PacketCost,
    },
    /// It cannot be compiled or loaded.
    Failed {
        /// Why.
        reason: String,
    },
}

/// Measures the largest files of a folder.
///
/// # Errors
/// When the folder cannot be read, or the system cannot measure.
pub fn measure(
    folder: &Path,
    yardsticks: &Yardsticks,
    effort: &Effort,
) -> Result<Vec<FileFigures>> {
    let mut files = Vec::new();
    let entries =
        fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    for entry in entries {
        let path = entry?.path();
        let family = match path.extension().and_then(OsStr::to_str) {
            Some("v4") => Family::V4,
            Some("v6") => Family::V6,
            _ => continue,
        };
        let text = fs::read(&path)?;
        let text = String::from_utf8_lossy(&text).into_owned();
        let rules = count_rules(&text);
        files.push((rules, path, family, text));
    }
    files.sort_by(|a, b| (b.0, &a.1).cmp(&(a.0, &b.1)));
    let largest = files.into_iter().take(LARGEST);
    let figures = largest.map(|(rules, path, family, text)| {
        eprintln!("{}", path.display());
        let outcome = measure_file(&path, family, &text, yardsticks, effort);
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        FileFigures {
            name: name.into_owned(),
            rules,
            outcome: outcome.unwrap_or_else(|error| FileOutcome::Failed {
                reason: format!("{error:#}").lines().next().unwrap_or("").to_owned(),
            }),
        }
    });
    Ok(figures.collect())
}

/// The rules that can drop a packet: all but those of nat.
fn count_rules(text: &str) -> usize {
    let mut in_nat = false;
    let counted = text.lines().filter(|line| {
        if let Some(table) = line.strip_prefix('*') {
            in_nat = table.trim_end() == "nat";
        }
        !in_nat && (line.starts_with("-A ") || line.starts_with('['))
    });
    counted.count()
}

fn measure_file(
    path: &Path,
    family: Family,
    text: &str,
    yardsticks: &Yardsticks,
    effort: &Effort,
) -> Result<FileOutcome> {
    let options = with_more_rules(text, family, path, effort)?;
    let (filter, build) = subject::build(text, Some(family), &options)?;
    let frames = frames(text, family, effort.different)?;
    let mut header = [0; 14];
    header[..6].copy_from_slice(&HOST_MAC);
    header[6..12].copy_from_slice(&PEER_MAC);
    header[12..].copy_from_slice(&match family {
        Family::V4 => [0x08, 0x00],
        Family::V6 => [0x86, 0xdd],
    });
    let traffic = Traffic::new(&header, &frames)?;
    let frame = [&header[..], &frames[0]].concat();
    let cost = yardsticks.measure(&filter, &traffic, &frame, effort)?;
    Ok(FileOutcome::Measured { build, cost })
}

/// Options for INPUT or FORWARD, whichever runs more rules.
fn with_more_rules(text: &str, family: Family, path: &Path, effort: &Effort) -> Result<Options> {
    let rulesets = subject::read(text, Some(family))?;
    let sets = sets(path)?;
    let mut best = None;
    for xdp_path in [XdpPath::Input, XdpPath::Forward] {
        let options = Options {
            xdp_path,
            companion: true,
            approximate: true,
            ignore_nat: true,
            sets: sets.clone(),
            ..effort.options.clone()
        };
        let stats = subject::translated(&rulesets, &options)?.stats();
        let nodes: usize = stats.stages.iter().map(|stage| stage.nodes).sum();
        if best.as_ref().is_none_or(|&(most, _)| nodes > most) {
            best = Some((nodes, options));
        }
    }
    Ok(best.context("there is no path")?.1)
}

/// The sets beside a file.
fn sets(path: &Path) -> Result<Sets> {
    let mut name = PathBuf::from(path).into_os_string();
    name.push(".ipset");
    match fs::read_to_string(&name) {
        Ok(text) => Ok(Ipsets::read(&text)?.known),
        Err(_) => Ok(Sets::default()),
    }
}

/// Packets around the constants of the rules, behind the Ethernet header.
fn frames(text: &str, family: Family, count: usize) -> Result<Vec<Vec<u8>>> {
    let rulesets = subject::read(text, Some(family))?;
    let ruleset = rulesets.first().context("it has no rules")?;
    let constants = Constants::of(ruleset, Direction::Received);
    let untagged = |frame: &Frame| frame.tags() == 0 && frame.untrimmed().len() <= LENGTH;
    let frames = Packets::new(&constants, 1).filter(untagged).take(count);
    Ok(frames
        .map(|frame| {
            let mut bytes = frame.untrimmed().to_vec();
            bytes.resize(LENGTH, 0);
            bytes
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_of_nat_do_not_count() {
        let text = "*nat\n-A POSTROUTING -j MASQUERADE\nCOMMIT\n*filter\n:INPUT DROP [0:0]\n\
                    -A INPUT -j DROP\n[1:2] -A INPUT -j DROP\nCOMMIT\n";
        assert_eq!(count_rules(text), 2);
    }
}
