//! What only a whole table can show.

use std::collections::HashMap;

use crate::diagnostic::{Diagnostic, code};
use crate::ruleset::{Action, Chain, Table};
use crate::span::Spanned;

/// Finds chains that can reach themselves. The kernel refuses those that a packet can get to
/// (ip_tables.c, `mark_source_chains`); here every one is an error, so that what follows never meets
/// a loop.
pub(crate) fn table(table: &Table, diagnostics: &mut Vec<Diagnostic>) {
    let index: HashMap<&str, usize> = table
        .chains
        .iter()
        .enumerate()
        .map(|(at, chain)| (chain.name.as_str(), at))
        .collect();
    let edges: Vec<Vec<(&Spanned<String>, usize)>> = table
        .chains
        .iter()
        .map(|chain| {
            jumps(chain)
                .filter_map(|to| Some((to, *index.get(to.value.as_str())?)))
                .collect()
        })
        .collect();
    // A walk with its own stack, as chains may be thousands deep. A chain is entered once; an edge
    // into a chain that is still on the path closes a loop.
    #[derive(Clone, Copy, PartialEq)]
    enum Seen {
        No,
        /// At this place.
        OnPath(usize),
        Done,
    }
    let mut seen = vec![Seen::No; table.chains.len()];
    for root in 0..table.chains.len() {
        if seen[root] != Seen::No {
            continue;
        }
        seen[root] = Seen::OnPath(0);
        let mut path = vec![(root, edges[root].iter())];
        while let Some((at, rest)) = path.last_mut() {
            let at = *at;
            match rest.next() {
                None => {
                    seen[at] = Seen::Done;
                    path.pop();
                }
                Some(&(jump, to)) => match seen[to] {
                    Seen::No => {
                        seen[to] = Seen::OnPath(path.len());
                        path.push((to, edges[to].iter()));
                    }
                    Seen::OnPath(start) => {
                        let round = path[start..].iter().map(|(chain, _)| *chain);
                        diagnostics.push(
                            Diagnostic::error(
                                code::LOOP,
                                jump.span,
                                "this jump closes a loop of chains",
                            )
                            .with_label(way_round(table, round, to))
                            .refusal("Too many levels of symbolic links."),
                        );
                    }
                    Seen::Done => {}
                },
            }
        }
    }
}

fn jumps(chain: &Chain) -> impl Iterator<Item = &Spanned<String>> {
    chain.rules.iter().filter_map(|rule| match &rule.action {
        Action::Jump(to) | Action::Goto(to) => Some(to),
        Action::Continue | Action::Verdict(_) | Action::Target(_) => None,
    })
}

/// The names of the chains of a loop and of the one that it comes back to, with the middle left out
/// when it is long.
fn way_round(table: &Table, round: impl ExactSizeIterator<Item = usize>, back: usize) -> String {
    let name = |chain: usize| table.chains[chain].name.as_str();
    let is_long = round.len() > 5;
    let shown = if is_long { 2 } else { round.len() };
    let mut names: Vec<&str> = round.take(shown).map(name).collect();
    names.extend(is_long.then_some("..."));
    names.push(name(back));
    names.join(", ")
}
