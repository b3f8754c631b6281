//! What to say of programs that ask for the time of day.

use crate::compile::Compiled;
use crate::module::CLOCK_MAP;
use crate::options::{KernelVersion, Options};
use crate::routine::Routine;
use crate::semantic::{Rule, Step};
use ipt2bpf_parser::diagnostic::Diagnostic;

use super::Filled;

/// A warning at the first rule that asks for the time, where the programs may not know it.
pub(super) fn warning(
    compiled: &Compiled,
    options: &Options,
    filled: Filled,
) -> Option<Diagnostic> {
    let families = compiled.filters.iter().flat_map(|filter| &filter.families);
    let chains = families.flat_map(|family| &family.chains);
    let rules = chains.flat_map(|chain| &chain.rules);
    let first = rules
        .filter(|rule| asks(rule))
        .map(|rule| rule.span)
        .min()?;
    let follows = options.target_kernel >= Some(KernelVersion::TAI);
    let (message, help) = match (filled, follows) {
        (Filled::Now, true) => return None,
        (Filled::Now, false) => (
            "rules that ask for the time do not notice when the clock is set from now on"
                .to_owned(),
            format!(
                "run this again when the clock was set; programs for Linux {} and later notice it",
                KernelVersion::TAI
            ),
        ),
        (Filled::Later, _) => (
            format!(
                "rules that ask for the time drop packets until the object's map `{CLOCK_MAP}` is filled"
            ),
            "`ipt2bpf load` and `ipt2bpf attach` fill the map".to_owned(),
        ),
    };
    Some(Diagnostic::warning("clock", first, message).with_help(help))
}

fn asks(rule: &Rule) -> bool {
    rule.steps
        .iter()
        .any(|step| matches!(step, Step::Ask(Routine::AskClock(_))))
}
