//! What to say of programs that look the names of interfaces up in a map.

use crate::compile::Compiled;
use crate::field::Field;
use crate::module::{DEVICES_MAP, Hook};
use crate::options::{DeviceNames, Options};
use crate::semantic::{Rule, Step, Test};
use ipt2bpf_parser::diagnostic::Diagnostic;
use ipt2bpf_parser::span::{Sources, Span};

use super::Filled;

/// How many places a message lists.
const SHOWN: usize = 8;

/// A warning at the first rule that needs the map, if there is such a map.
pub(super) fn warning(
    compiled: &Compiled,
    options: &Options,
    filled: Filled,
    sources: &Sources,
) -> Option<Diagnostic> {
    if !compiled
        .module
        .maps
        .iter()
        .any(|map| map.name == DEVICES_MAP)
    {
        return None;
    }
    // Programs that read names from the kernel look up only what routing at XDP says.
    let (looked_up, hooks): (&[Field], &[Hook]) = match options.device_names {
        DeviceNames::Table => (&[Field::InDevice, Field::OutDevice], &Hook::ALL),
        DeviceNames::Kernel(_) | DeviceNames::Relocated => (&[Field::OutDevice], &[Hook::Xdp]),
    };
    let filters = compiled.filters.iter();
    let families = filters
        .filter(|filter| hooks.contains(&filter.hook))
        .flat_map(|filter| &filter.families);
    let chains = families.flat_map(|family| &family.chains);
    let rules = chains.flat_map(|chain| &chain.rules);
    let mut spans: Vec<Span> = rules
        .filter(|rule| asks_for(rule, looked_up))
        .map(|rule| rule.span)
        .collect();
    spans.sort();
    spans.dedup();
    let (&first, others) = spans.split_first()?;
    let asking = match spans.len() {
        1 => "1 rule asks for the names of interfaces and drops".to_owned(),
        number => format!("{number} rules ask for the names of interfaces and drop"),
    };
    let (message, help) = match filled {
        Filled::Later => (
            format!(
                "{asking} packets of interfaces that the object's map `{DEVICES_MAP}` does not hold"
            ),
            match options.device_names {
                DeviceNames::Table => {
                    "`ipt2bpf load` and `ipt2bpf attach` fill the map, or need none on this kernel; \
                     with `--target-kernel 6.2` only `-o` at XDP needs it"
                }
                DeviceNames::Kernel(_) | DeviceNames::Relocated => {
                    "`ipt2bpf load` and `ipt2bpf attach` fill the map"
                }
            },
        ),
        Filled::Now => (
            format!("{asking} packets of interfaces that come or change their name from now on"),
            "run this again when interfaces change",
        ),
    };
    let places: Vec<String> = others
        .iter()
        .take(SHOWN)
        .map(|&span| {
            format!(
                "{}:{}",
                sources.get(span.source).name,
                sources.slice(span).1
            )
        })
        .collect();
    let help = match (places.is_empty(), others.len().saturating_sub(SHOWN)) {
        (true, _) => help.to_owned(),
        (false, 0) => format!("{help}; the other rules: {}", places.join(", ")),
        (false, more) => format!(
            "{help}; the other rules: {} and {more} more",
            places.join(", ")
        ),
    };
    Some(Diagnostic::warning("devices", first, message).with_help(help))
}

fn asks_for(rule: &Rule, fields: &[Field]) -> bool {
    let mut found = false;
    for step in &rule.steps {
        match step {
            Step::Check { test, .. } | Step::Doom(test) => test.leaves(&mut |leaf| {
                if let Test::Masked { field, .. } | Test::Range { field, .. } = leaf {
                    found |= fields.contains(field);
                }
            }),
            Step::Ask(routine) => {
                let reads = routine.work().reads();
                found |= reads.iter().any(|field| fields.contains(field));
            }
        }
    }
    found
}
