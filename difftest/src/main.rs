//! `ipt2bpf-difftest FRAMES FILE...`: tries save files, named `.v4` or `.v6` at their end, with
//! the sets that they ask for in a file of the same name and `.ipset`, on this
//! many generated frames each, and tells at the end what all showed together. Exits with 1 when anything
//! differs.

use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use ipt2bpf_difftest::ipsets::Ipsets;
use ipt2bpf_difftest::packets;
use ipt2bpf_difftest::tally::Tally;
use ipt2bpf_difftest::trials::{self, Outcome};
use ipt2bpf_parser::ruleset::Family;

fn main() -> Result<ExitCode> {
    let mut arguments = std::env::args().skip(1);
    let frames = arguments
        .next()
        .and_then(|frames| frames.parse().ok())
        .context("usage: ipt2bpf-difftest FRAMES FILE...")?;
    let seed = packets::seed()?;
    println!("{}={seed}", packets::SEED_VARIABLE);
    let (mut tally, mut failed) = (Tally::default(), false);
    for file in arguments {
        let family = match file.rsplit('.').next() {
            Some("v4") => Family::V4,
            Some("v6") => Family::V6,
            _ => bail!("{file} is named neither .v4 nor .v6"),
        };
        let bytes = std::fs::read(&file).with_context(|| format!("cannot read {file}"))?;
        let text = String::from_utf8_lossy(&bytes);
        let sets = match std::fs::read_to_string(format!("{file}.ipset")) {
            Ok(text) => Ipsets::read(&text).with_context(|| format!("{file}.ipset"))?,
            Err(_) => Ipsets::default(),
        };
        match trials::run(&file, family, &text, &sets, frames, seed) {
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
    Ok(ExitCode::from(u8::from(failed)))
}
