//! What a matching packet meets.

use proptest::prelude::*;
use proptest::sample::select;

use crate::arbitrary::targets::connmark::connmark;
use crate::arbitrary::targets::log::log;
use crate::arbitrary::targets::mark::mark;
use crate::arbitrary::targets::nfqueue::nfqueue;
use crate::arbitrary::values::spanned;
use crate::ruleset::{Action, Family, TableKind, Verdict};
use crate::targets::Target;
use crate::targets::notrack::Notrack;
use crate::targets::reject::{Reject, RejectWith};

const TCP: u8 = 6;

pub(super) fn action(
    family: Family,
    kind: TableKind,
    protocol: Option<u8>,
    targets: Vec<String>,
) -> BoxedStrategy<Action> {
    let mut verdicts = vec![Verdict::Accept, Verdict::Return, Verdict::Queue];
    if kind != TableKind::Nat {
        verdicts.push(Verdict::Drop);
    }
    let mut actions = vec![
        (1, Just(Action::Continue).boxed()),
        (4, select(verdicts).prop_map(Action::Verdict).boxed()),
        (
            1,
            log()
                .prop_map(|log| Action::Target(spanned(Target::Log(log))))
                .boxed(),
        ),
    ];
    for target in [mark().boxed(), connmark().boxed(), nfqueue().boxed()] {
        let action = target.prop_map(|target| Action::Target(spanned(target)));
        actions.push((1, action.boxed()));
    }
    if kind == TableKind::Raw {
        let notrack = Action::Target(spanned(Target::Notrack(Notrack)));
        actions.push((1, Just(notrack).boxed()));
    }
    if !targets.is_empty() {
        actions.push((
            2,
            select(targets.clone())
                .prop_map(|chain| Action::Jump(spanned(chain)))
                .boxed(),
        ));
        actions.push((
            1,
            select(targets)
                .prop_map(|chain| Action::Goto(spanned(chain)))
                .boxed(),
        ));
    }
    if kind == TableKind::Filter {
        let mut answers = match family {
            Family::V4 => vec![
                RejectWith::IcmpNetUnreachable,
                RejectWith::IcmpHostUnreachable,
                RejectWith::IcmpProtoUnreachable,
                RejectWith::IcmpPortUnreachable,
                RejectWith::IcmpNetProhibited,
                RejectWith::IcmpHostProhibited,
                RejectWith::IcmpAdminProhibited,
            ],
            Family::V6 => vec![
                RejectWith::Icmp6NoRoute,
                RejectWith::Icmp6AdmProhibited,
                RejectWith::Icmp6AddrUnreachable,
                RejectWith::Icmp6PortUnreachable,
                RejectWith::Icmp6PolicyFail,
                RejectWith::Icmp6RejectRoute,
            ],
        };
        if protocol == Some(TCP) {
            answers.push(RejectWith::TcpReset);
        }
        let reject = select(answers)
            .prop_map(|with| Action::Target(spanned(Target::Reject(Reject { with }))));
        actions.push((1, reject.boxed()));
    }
    proptest::strategy::Union::new_weighted(actions).boxed()
}
