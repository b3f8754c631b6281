//! What iptables-save prints so that iptables-restore reads something else. Most words with a blank
//! or a quote are printed in quotes; some are printed as they are.

use crate::diagnostic::{Diagnostic, code};
use crate::ruleset::Table;
use crate::span::Span;

/// Whether a word reads as itself without quotes (xshared.c, `add_param_to_argv`).
pub(crate) fn needs_no_quotes(word: &[u8]) -> bool {
    !word.is_empty() && !word.iter().any(|byte| b" \t\n\"".contains(byte))
}

/// What to say of words that are printed as they are and read as something else.
pub(crate) fn warning(span: Span) -> Diagnostic {
    let message = "iptables-save prints this as it is, and what it prints reads as something else";
    Diagnostic::warning(code::LOSSY_SAVE, span, message)
        .with_help("leave out blanks, quotes and newlines")
}

/// Finds chains whose names are printed so. The tool takes no blank in a name, but quotes.
pub(crate) fn chains(table: &Table, diagnostics: &mut Vec<Diagnostic>) {
    let names = table.chains.iter();
    let lossy = names.filter(|chain| !needs_no_quotes(chain.name.as_bytes()));
    diagnostics.extend(lossy.map(|chain| warning(chain.span)));
}
