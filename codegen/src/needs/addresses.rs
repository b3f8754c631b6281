//! What to say of programs that look the types of addresses up in a map.

use crate::compile::Compiled;
use crate::module::ADDRESSES_MAP;
use crate::routine::Routine;
use ipt2bpf_parser::diagnostic::Diagnostic;
use ipt2bpf_parser::span::Span;

use super::Filled;

/// A warning at the first rule that needs the map, if there is such a map.
pub(super) fn warning(compiled: &Compiled, filled: Filled) -> Option<Diagnostic> {
    let mut maps = compiled.module.maps.iter();
    maps.find(|map| map.name == ADDRESSES_MAP)?;
    let (message, help) = match filled {
        Filled::Later => (
            format!(
                "rules that ask for the type of an address drop packets until the object's map \
                 `{ADDRESSES_MAP}` is filled"
            ),
            "`ipt2bpf load` and `ipt2bpf attach` fill the map",
        ),
        Filled::Now => (
            "the types of addresses are those of this moment and this network namespace".to_owned(),
            "run this again when addresses or routes of this host change",
        ),
    };
    Some(Diagnostic::warning("addresses", first_span(compiled)?, message).with_help(help))
}

/// The first rule that looks a type up.
fn first_span(compiled: &Compiled) -> Option<Span> {
    let families = compiled.filters.iter().flat_map(|it| &it.families);
    let chains = families.flat_map(|family| &family.chains);
    let rules = chains.flat_map(|chain| &chain.rules);
    let asking = rules.filter(|rule| {
        let mut asked = rule.routines();
        asked.any(|routine| matches!(routine, Routine::FindAddressType(_)))
    });
    asking.map(|rule| rule.span).min()
}
