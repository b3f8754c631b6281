//! Writing results.

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use anyhow::{Context, Result};
use ipt2bpf_parser::ruleset::Ruleset;
use ipt2bpf_parser::{Counts, heading};

/// Writes to standard output.
///
/// # Errors
/// Those of the write.
pub fn print(bytes: &[u8]) -> Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(bytes)?;
    out.flush()?;
    Ok(())
}

/// Writes to a file, or to standard output when there is none.
///
/// # Errors
/// Those of the write.
pub fn write(file: Option<&Path>, bytes: &[u8]) -> Result<()> {
    match file {
        Some(file) => fs::write(file, bytes).with_context(|| file.display().to_string()),
        None => print(bytes),
    }
}

/// The rulesets as iptables-save prints them, with its counters or without. A comment tells the family
/// of each, so that the text can be read again.
pub fn save_text(rulesets: &[Ruleset], with_counters: bool) -> Vec<u8> {
    let mut text = Vec::new();
    for ruleset in rulesets {
        text.extend_from_slice(heading(ruleset.family).as_bytes());
        text.extend_from_slice(&match with_counters {
            true => ruleset.print(Counts::All),
            false => ruleset.print(Counts::Chains),
        });
    }
    text
}
