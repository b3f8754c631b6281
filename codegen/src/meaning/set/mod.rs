//! `set_match_v4` of net/netfilter/xt_set.c, and what it asks of ipset.

mod change;
mod code;
mod elements;
mod list;
mod live;
mod part;
mod ports;
mod target;

pub use change::ChangeElements;
pub use elements::TestElements;
pub use list::TestList;

use ipt2bpf_parser::matches::set::{Lookup, Set, Side};

use super::{Context, MatchMeaning, Refusal, constant, kernel_only};
use crate::field::Field;
use crate::module::Hook;
use crate::routine::Routine;
use crate::semantic::{Step, Test};
use crate::sets::key::Dimension;
use crate::sets::table::{Answer, Table};
use crate::sets::{Contents, Known};
use list::Member;

impl MatchMeaning for Set {
    fn steps(&self, context: Context<'_>) -> Result<Vec<Step>, Refusal> {
        let lookup = &self.lookup.value.value;
        let inverted = self.lookup.negated;
        let set = known(&lookup.name, context)?;
        // Without counters in the set, the kernel does not look at what the rule says of them.
        if set.counters && (self.packets.is_some() || self.bytes.is_some()) {
            return Err(Refusal {
                code: "set-counters",
                reason: format!(
                    "compares the counters of the elements of {}, which are kept in the kernel's set",
                    set.name
                ),
                help: "leave out --packets-... and --bytes-..., or keep the rule in iptables"
                    .into(),
            });
        }
        let Some(routine) = test(set, lookup, self.return_nomatch, context)? else {
            return Ok(vec![Step::require(constant(inverted))]);
        };
        let wanted = match routine {
            // A list has looked for the right answer itself.
            Routine::TestList(_) => Answer::Yes,
            _ => wanted(set, self.return_nomatch),
        };
        Ok(vec![
            Step::Ask(routine),
            Step::require(Test::equal(Field::Answer, wanted.number()).negated_if(inverted)),
        ])
    }
}

/// The set of a name.
fn known<'a>(name: &str, context: Context<'a>) -> Result<&'a Known, Refusal> {
    context.options.sets.get(name).ok_or_else(|| Refusal {
        code: "unknown-set",
        reason: format!("asks for the set {name}, and its contents are not given"),
        help: "give what `ipset save` prints with --ipset FILE; `load` and `attach` take the sets of the \
               running kernel"
            .into(),
    })
}

/// The routine that holds packets against a set; none when no packet can be in it.
fn test(
    set: &Known,
    lookup: &Lookup,
    return_nomatch: bool,
    context: Context<'_>,
) -> Result<Option<Routine>, Refusal> {
    if !set.takes(context.family, lookup.sides.len()) {
        return Ok(None);
    }
    let sides = lookup.sides.clone();
    match &set.contents {
        Contents::Elements(table) => {
            let live = is_live(set, context);
            check(set, table, live, &sides, context)?;
            // A set that may change is empty for now.
            if (table.masks.is_empty() && !live) || is_unseen(table, context) {
                return Ok(None);
            }
            let set = set.clone();
            Ok(Some(TestElements { set, sides, live }.into()))
        }
        Contents::Members(sets) => {
            let mut members = Vec::new();
            for (set, timeout) in sets {
                let routine = test(set, lookup, return_nomatch, context)?;
                if let Some(Routine::TestElements(test)) = routine {
                    members.push(Member {
                        test,
                        wanted: wanted(set, return_nomatch),
                        timeout: *timeout,
                    });
                }
            }
            let set = set.clone();
            Ok((!members.is_empty()).then(|| {
                TestList {
                    set,
                    sides,
                    members,
                }
                .into()
            }))
        }
    }
}

/// The answer that counts: with `--return-nomatch` that of exceptions, where a set can have them
/// (`IPSET_TYPE_NOMATCH`).
fn wanted(set: &Known, return_nomatch: bool) -> Answer {
    match return_nomatch && set.kind.has_nomatch() {
        true => Answer::NoMatch,
        false => Answer::Yes,
    }
}

/// Whether the elements of a set are kept where they can be changed.
fn is_live(set: &Known, context: Context<'_>) -> bool {
    let may_change = context.options.live_sets || context.shared.changes(&set.name);
    may_change && set.live.is_some()
}

/// Whether no packet here has what elements are made of: what this host sends has no Ethernet header yet.
fn is_unseen(table: &Table, context: Context<'_>) -> bool {
    table.dimensions.contains(&Dimension::Mac) && context.hook == Hook::CgroupEgress
}

/// What of a set cannot be done.
fn check(
    set: &Known,
    table: &Table,
    live: bool,
    sides: &[Side],
    context: Context<'_>,
) -> Result<(), Refusal> {
    let mac = table.dimensions.iter().position(|&it| it == Dimension::Mac);
    if let Some(mac) = mac.filter(|_| context.hook != Hook::CgroupEgress) {
        if sides.get(mac) == Some(&Side::Destination) {
            return Err(Refusal {
                code: "set-mac",
                reason: format!(
                    "holds the Ethernet destination against the set {}, and programs keep the source only",
                    set.name
                ),
                help: "write src for the Ethernet address".into(),
            });
        }
        if context.hook == Hook::CgroupIngress {
            kernel_only(context, "where the Ethernet header lies")?;
        }
    }
    if table.incomplete {
        return Err(Refusal {
            code: "set-incomplete",
            reason: format!(
                "asks for the set {}, in which addresses wait for their Ethernet address, which the first \
                 packet gives",
                set.name
            ),
            help: "save the set when all are known, or add the Ethernet addresses".into(),
        });
    }
    if table.image().is_none() && !live {
        return Err(Refusal {
            code: "set-too-large",
            reason: format!(
                "asks for the set {}, which has too many pairs of prefix lengths, or too many interfaces \
                 for one network",
                set.name
            ),
            help: "write its networks with fewer prefix lengths".into(),
        });
    }
    Ok(())
}
