//! What an object needs from whoever loads it: maps that hold what only the running system knows. Here is
//! what to say of them.

mod addresses;
mod clock;
mod devices;
mod sets;

use ipt2bpf_parser::diagnostic::Diagnostic;
use ipt2bpf_parser::span::Sources;

use crate::compile::Compiled;
use crate::options::Options;

/// When the maps get what they need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filled {
    /// Whoever loads the object must do it.
    Later,
    /// In this run.
    Now,
}

/// A warning for each thing that the object needs, at the first rule that needs it.
pub fn warnings(
    compiled: &Compiled,
    options: &Options,
    filled: Filled,
    sources: &Sources,
) -> Vec<Diagnostic> {
    let devices = devices::warning(compiled, options, filled, sources);
    let addresses = addresses::warning(compiled, filled);
    let clock = clock::warning(compiled, options, filled);
    let sets = sets::warning(compiled, filled);
    [devices, addresses, clock, sets]
        .into_iter()
        .flatten()
        .collect()
}
