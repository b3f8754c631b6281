//! `ipt2bpf-difftest FRAMES FILE...` tries save files, named `.v4` or `.v6` at their end, with the sets
//! that they ask for in a file of the same name and `.ipset`, on this many generated frames each; `ipt2bpf-difftest random RULESETS FRAMES` tries random rulesets;
//! `ipt2bpf-difftest stateful CONVERSATIONS FILE...` tries those of the files that track connections, each in
//! every setting on so many conversations; `ipt2bpf-difftest flood SOURCES ESTABLISHED ROOM` floods a table that
//! has room for so many connections with SYNs of so many sources. All tell at the end what showed together, and exit with 1 when
//! anything differs.

use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use ipt2bpf_difftest::ipsets::Ipsets;
use ipt2bpf_difftest::stateful::{self, Setting};
use ipt2bpf_difftest::tally::Tally;
use ipt2bpf_difftest::trials::{self, Outcome};
use ipt2bpf_difftest::{flood, packets, random};
use ipt2bpf_parser::ruleset::Family;

const USAGE: &str = "usage: ipt2bpf-difftest FRAMES FILE... | random RULESETS FRAMES | \
                     stateful CONVERSATIONS FILE... | flood SOURCES ESTABLISHED ROOM";

fn main() -> Result<ExitCode> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let seed = packets::seed()?;
    println!("{}={seed}", packets::SEED_VARIABLE);
    let clean = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["random", rulesets, frames] => try_random(
            rulesets.parse().context(USAGE)?,
            frames.parse().context(USAGE)?,
            seed,
        ),
        ["stateful", conversations, ref files @ ..] => {
            try_conversations(conversations.parse().context(USAGE)?, files, seed)?
        }
        ["flood", sources, established, room] => {
            let number = |text: &str| text.parse::<u32>().context(USAGE);
            let report = flood::run(number(room)?, number(established)?, number(sources)?)?;
            println!("{report}");
            report.survivors == report.established
        }
        [frames, ref files @ ..] => try_files(frames.parse().context(USAGE)?, files, seed)?,
        [] => bail!(USAGE),
    };
    Ok(ExitCode::from(u8::from(!clean)))
}

/// Whether nothing differs.
fn try_random(rulesets: usize, frames: usize, seed: u64) -> bool {
    let findings = random::run(rulesets, frames, seed);
    for reason in &findings.skipped {
        println!("skipped: {reason}");
    }
    for failure in &findings.failures {
        println!("{failure}");
    }
    print!("{}", findings.tally);
    for (name, hits) in findings.tally.extensions() {
        println!("{name}: {} of {} rules hit", hits.hit, hits.rules);
    }
    findings.failures.is_empty()
}

/// A save file with the family that its name tells.
fn read(file: &str) -> Result<(Family, String)> {
    let family = match file.rsplit('.').next() {
        Some("v4") => Family::V4,
        Some("v6") => Family::V6,
        _ => bail!("{file} is named neither .v4 nor .v6"),
    };
    let bytes = std::fs::read(file).with_context(|| format!("cannot read {file}"))?;
    Ok((family, String::from_utf8_lossy(&bytes).into_owned()))
}

/// Whether nothing differs and everything could be tried.
fn try_conversations(conversations: u8, files: &[&str], seed: u64) -> Result<bool> {
    let (mut tried, mut packets, mut rules, mut clean) = (0, 0, [0; 2], true);
    for (number, &file) in files.iter().enumerate() {
        let (family, text) = read(file)?;
        let seed = seed.wrapping_add(number as u64);
        for setting in Setting::ALL {
            match stateful::run(setting, family, &text, conversations, seed) {
                Ok(Ok(report)) => {
                    println!("{file} ({setting:?}): {report}");
                    tried += 1;
                    packets += report.packets;
                    rules = [0, 1].map(|it| rules[it] + report.rules[it]);
                    clean &= report.difference.is_none();
                }
                Ok(Err(reason)) => println!("skipped: {file} ({setting:?}): {reason}"),
                Err(error) => {
                    println!("{file} ({setting:?}): {error:#}");
                    clean = false;
                }
            }
        }
    }
    let [rules, hit] = rules;
    println!("{tried} trials: {packets} packets, {hit} of {rules} rules hit");
    Ok(clean)
}

/// Whether nothing differs and everything could be tried.
fn try_files(frames: usize, files: &[&str], seed: u64) -> Result<bool> {
    let (mut tally, mut failed) = (Tally::default(), false);
    for &file in files {
        let (family, text) = read(file)?;
        let sets = match std::fs::read_to_string(format!("{file}.ipset")) {
            Ok(text) => Ipsets::read(&text).with_context(|| format!("{file}.ipset"))?,
            Err(_) => Ipsets::default(),
        };
        match trials::run(file, family, &text, &sets, frames, seed) {
            Ok(outcomes) => {
                for outcome in &outcomes {
                    match outcome {
                        Outcome::Tried(_, report) => println!("{report}"),
                        Outcome::Skipped(reason) => println!("skipped: {reason}"),
                    }
                }
                tally.add(outcomes);
            }
            Err(error) => {
                println!("{file}: {error:#}");
                failed = true;
            }
        }
    }
    print!("{tally}");
    failed |= tally.differing().next().is_some();
    Ok(!failed)
}
