//! `set_target_v3` of net/netfilter/xt_set.c. The set that a rule changes is a map of the programs, which
//! `-m set` asks at once. What finds no key changes nothing.

use ipt2bpf_parser::ipset::SetType;
use ipt2bpf_parser::matches::set::Lookup;
use ipt2bpf_parser::targets::set::Set;

use super::super::{Context, Refusal, TargetAction, TargetMeaning};
use super::change::{Change, ChangeElements, makes_room};
use crate::options::KernelVersion;
use crate::semantic::Action;
use crate::sets::live::LiveShape;
use crate::sets::{Contents, Known};

/// The most seconds that an element can stay (`IPSET_MAX_TIMEOUT`, include/linux/netfilter/ipset/ip_set.h).
const MAX_SECONDS: u32 = (u32::MAX >> 1) / 1000;

impl TargetMeaning for Set {
    fn action(&self, context: Context<'_>) -> Result<TargetAction, Refusal> {
        let mut effects = Vec::new();
        if let Some(add) = &self.add {
            let set = super::known(&add.entry.name, context)?;
            let seconds = add.timeout.or(set.timeout).unwrap_or(0);
            let change = Change::Add {
                renew: add.exist,
                seconds: seconds.min(MAX_SECONDS),
            };
            effects.extend(changed(set, &add.entry, change, context)?);
        }
        if let Some(delete) = &self.delete {
            let set = super::known(&delete.name, context)?;
            effects.extend(changed(set, delete, Change::Delete, context)?);
        }
        if let Some(map) = &self.map {
            let set = super::known(&map.entry.name, context)?;
            if set.takes(context.family, map.entry.sides.len()) {
                return Err(Refusal {
                    code: "set-map",
                    reason: format!(
                        "takes marks, priorities or queues from the elements of {}, which programs do not keep",
                        set.name
                    ),
                    help: "write a rule with -m set and -j MARK for each mark".into(),
                });
            }
        }
        let note = (!effects.is_empty()).then(|| {
            "it changes the set of the programs, which `ipt2bpf set list` prints, and not the kernel's"
                .to_owned()
        });
        Ok(TargetAction {
            effects: effects.into_iter().map(Into::into).collect(),
            action: Action::Continue,
            note,
        })
    }
}

/// What is done to a set; nothing when no packet here has an element of it.
fn changed(
    set: &Known,
    lookup: &Lookup,
    change: Change,
    context: Context<'_>,
) -> Result<Option<ChangeElements>, Refusal> {
    if !set.takes(context.family, lookup.sides.len()) {
        return Ok(None);
    }
    let refused = |reason: String, help: &str| Refusal {
        code: "set-change",
        reason: format!("changes the set {}, {reason}", set.name),
        help: help.into(),
    };
    let Contents::Elements(table) = &set.contents else {
        return Err(refused(
            "which stands for the first of its sets that takes the element".into(),
            "name the set that is to be changed",
        ));
    };
    if set.live.as_ref().is_none_or(|shape| shape.is_trie) {
        let (reason, help) = match set.kind {
            SetType::BitmapIpMac => (
                "in which addresses wait for their Ethernet address",
                "use a set of type hash:ip or hash:ip,mac",
            ),
            SetType::HashNetIface => (
                "whose elements are networks with interfaces",
                "use a set of type hash:ip",
            ),
            _ => (
                "which takes the prefix length of a new element from those that it has at the moment",
                "use a set of type hash:ip, hash:ip,port or hash:ip,port,ip, with the option netmask for networks of \
                 one length",
            ),
        };
        return Err(refused(reason.into(), help));
    }
    let is_added = matches!(change, Change::Add { .. });
    if is_added && set.live.as_ref().is_some_and(LiveShape::evicts) {
        return Err(refused(
            "where chance decides which element makes room for another (`forceadd`)".into(),
            "create the set without forceadd, and with a timeout or a larger maxelem",
        ));
    }
    let target = context.options.target_kernel;
    if makes_room(set, change) && target.is_some_and(|kernel| kernel < KernelVersion::FOR_EACH) {
        let reason = format!(
            "in which programs can look for elements that have had their time from Linux {} on",
            KernelVersion::FOR_EACH
        );
        return Err(refused(
            reason,
            "give a newer --target-kernel, or use a set without timeouts",
        ));
    }
    super::check(set, table, true, &lookup.sides, context)?;
    let element = ChangeElements {
        set: set.clone(),
        sides: lookup.sides.clone(),
        change,
    };
    Ok((!super::is_unseen(table, context)).then_some(element))
}
