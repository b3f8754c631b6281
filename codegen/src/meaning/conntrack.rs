//! `conntrack_mt` of net/netfilter/xt_conntrack.c, of which `-m state` is a part: what is known of the
//! packet's connection.

use ipt2bpf_parser::matches::conntrack::{Conntrack, Direction, State, States, Statuses, Tuple};

use super::{Context, MatchMeaning, Refusal};
use crate::field::Field;
use crate::semantic::{Step, Test};
use crate::track::{state, status};

impl MatchMeaning for Conntrack {
    fn steps(&self, _: Context<'_>) -> Result<Vec<Step>, Refusal> {
        if self.asks_for_more() {
            return Err(Refusal {
                code: "connection-tuple",
                reason:
                    "looks at the connection's addresses, protocol or expiry, which this version \
                         does not show to rules"
                        .into(),
                help: "ask for states, the direction or the status only".into(),
            });
        }
        let mut steps = Vec::new();
        if let Some(states) = &self.states {
            let test = state_test(&states.value.value);
            steps.push(Step::require(test.negated_if(states.negated)));
        }
        // A packet without a connection is only asked for its state.
        let without = Test::Masked {
            field: Field::CtState,
            mask: u128::from(state::INVALID | state::UNTRACKED),
            value: 0,
        }
        .negated_if(true);
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
        if !more.is_empty() {
            let known = Test::All(more);
            steps.push(Step::require(match self.states {
                Some(_) => Test::Any(vec![without, known]),
                None => Test::All(vec![without.negated_if(true), known]),
            }));
        }
        Ok(steps)
    }
}

/// Options beyond states, direction and status.
trait AsksForMore {
    fn asks_for_more(&self) -> bool;
}

impl AsksForMore for Conntrack {
    fn asks_for_more(&self) -> bool {
        let none = Tuple::default();
        self.protocol.is_some()
            || self.expiry.is_some()
            || *self.original != none
            || *self.reply != none
    }
}

impl MatchMeaning for State {
    fn steps(&self, _: Context<'_>) -> Result<Vec<Step>, Refusal> {
        let test = state_test(&self.states.value.value);
        Ok(vec![Step::require(test.negated_if(self.states.negated))])
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

/// One of the flags. Nothing is ever expected.
fn status_test(statuses: &Statuses) -> Test {
    let bits = [
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
