//! The sets that a ruleset asks for, as `ipset save` prints them.

use anyhow::{Result, bail};
use ipt2bpf_codegen::sets::Sets;
use ipt2bpf_parser::Names;
use ipt2bpf_parser::diagnostic::Severity;
use ipt2bpf_parser::ipset::{self, Set};
use ipt2bpf_parser::span::Sources;

use crate::tool;

/// Sets, read and still to be restored.
#[derive(Debug, Default)]
pub struct Ipsets {
    text: String,
    /// What the text says.
    pub sets: Vec<Set>,
    /// The same for the compiler.
    pub known: Sets,
}

impl Ipsets {
    /// Reads the text of a save file.
    ///
    /// # Errors
    /// When it has errors.
    pub fn read(text: &str) -> Result<Self> {
        let mut sources = Sources::default();
        let id = sources.add("", text);
        let parsed = ipset::parse(&sources, &[id], &Names::default());
        let mut said = parsed.diagnostics.iter();
        if let Some(error) = said.find(|it| it.severity == Severity::Error) {
            bail!("{}: {}", error.code, error.message);
        }
        Ok(Ipsets {
            text: text.to_owned(),
            known: Sets::new(&parsed.sets),
            sets: parsed.sets,
        })
    }

    /// Makes the sets in the current network namespace, which must have none of these names.
    ///
    /// # Errors
    /// When the kernel or the tool refuses them.
    pub fn restore(&self) -> Result<()> {
        if !self.text.is_empty() {
            tool::run("ipset", &["restore"], &self.text)?;
        }
        Ok(())
    }
}
