//! `conntrack_mt` of net/netfilter/xt_conntrack.c, of which `-m state` is a part: what is known of the
//! packet's connection.

use ipt2bpf_parser::matches::conntrack::{Conntrack, Direction, State, States, Statuses};

mod entry;
pub mod source;
pub mod tuple;

use self::tuple::LooksLike;
use super::{Context, MatchMeaning, Refusal};
use crate::field::Field;
use crate::options::{ConnectionTable, KernelVersion};
use crate::semantic::{Step, Test};
use crate::track::{NO_CONNECTION, state, status};

impl MatchMeaning for Conntrack {
    fn steps(&self, context: Context<'_>) -> Result<Vec<Step>, Refusal> {
        let mut steps = source::ask(context)?;
        source::conntrack_options(self, context)?;
        if let Some(states) = &self.states {
            let test = state_test(&states.value.value);
            steps.push(Step::require(test.negated_if(states.negated)));
        }
        // A packet without a connection is only asked for its state.
        let without = has_connection().negated_if(true);
        let mut more = Vec::new();
        if let Some(direction) = self.direction {
            let number = match direction {
                Direction::Original => 0,
                Direction::Reply => 1,
            };
            more.push(Test::equal(Field::CtDirection, number));
        }
        if let Some(statuses) = &self.statuses {
            let test = status_test(&statuses.value.value);
            more.push(test.negated_if(statuses.negated));
        }
        if let Some(question) = LooksLike::of(self, context) {
            if context.options.conntrack == ConnectionTable::Own {
                looked_up_once(context)?;
            }
            steps.push(Step::Ask(question.into()));
            more.push(Test::equal(Field::Answer, 1));
        }
        if !more.is_empty() {
            let known = Test::All(more);
            steps.push(Step::require(match self.states {
                Some(_) => Test::Any(vec![without, known]),
                None => Test::All(vec![without.negated_if(true), known]),
            }));
        }
        Ok(steps)
    }

    fn note(&self, context: Context<'_>) -> Option<String> {
        if context.options.conntrack == ConnectionTable::Kernel {
            return None;
        }
        let states = &self.states.as_ref()?.value.value;
        (states.snat || states.dnat).then(|| {
            "programs see addresses as they are on their side of NAT, so that no connection has the state \
             SNAT or DNAT for them"
                .into()
        })
    }
}

impl MatchMeaning for State {
    fn steps(&self, context: Context<'_>) -> Result<Vec<Step>, Refusal> {
        let mut steps = source::ask(context)?;
        let test = state_test(&self.states.value.value);
        steps.push(Step::require(test.negated_if(self.states.negated)));
        Ok(steps)
    }
}

/// Refuses what looks the connection up where the verifier walks that anew at each call.
pub(super) fn looked_up_once(context: Context<'_>) -> Result<(), Refusal> {
    let oldest = context.options.target_kernel;
    match oldest.is_some_and(|kernel| kernel < KernelVersion::GLOBAL_POINTERS) {
        false => Ok(()),
        true => Err(Refusal {
            code: "kernel",
            reason: format!(
                "looks the connection up, which takes a kernel from {} on",
                KernelVersion::GLOBAL_POINTERS
            ),
            help: "ask for states, the direction or the status only, or for a newer kernel".into(),
        }),
    }
}

/// The packet has a connection.
pub fn has_connection() -> Test {
    Test::Masked {
        field: Field::CtState,
        mask: NO_CONNECTION.into(),
        value: 0,
    }
}

/// One of the states. No connection of ours is translated: SNAT and DNAT are none's.
fn state_test(states: &States) -> Test {
    let bits = [
        (states.invalid, state::INVALID),
        (states.established, state::ESTABLISHED),
        (states.related, state::RELATED),
        (states.new, state::NEW),
        (states.untracked, state::UNTRACKED),
    ];
    some_bit(Field::CtState, wanted(&bits))
}

/// One of the flags. Of ours nothing is ever expected.
fn status_test(statuses: &Statuses) -> Test {
    let bits = [
        (statuses.expected, status::EXPECTED),
        (statuses.seen_reply, status::SEEN_REPLY),
        (statuses.assured, status::ASSURED),
        (statuses.confirmed, status::CONFIRMED),
    ];
    some_bit(Field::CtStatus, wanted(&bits))
}

fn wanted(bits: &[(bool, u8)]) -> u8 {
    let wanted = bits.iter().filter(|(wanted, _)| *wanted);
    wanted.fold(0, |set, (_, bit)| set | bit)
}

/// `field & bits != 0`
fn some_bit(field: Field, bits: u8) -> Test {
    match bits {
        0 => Test::Any(Vec::new()),
        bits => Test::Masked {
            field,
            mask: bits.into(),
            value: 0,
        }
        .negated_if(true),
    }
}
