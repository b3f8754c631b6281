//! What rules do with packets, in words: packets are described ([`words`]), meet the rules one after the
//! other, and their way is told ([`story`]).

pub mod story;
pub mod words;

use crate::module::Hook;
use crate::packet::Devices;

/// The hook of a packet with these interfaces, unless it is given: a packet with both is at XDP, one that
/// only goes out at cgroup_skb/egress, others at cgroup_skb/ingress.
///
/// # Errors
/// The hook has no packets with such an interface; the text says so.
pub fn hook_of(devices: &Devices, wanted: Option<Hook>) -> Result<Hook, String> {
    let has_input = !devices.input.is_empty();
    let has_output = !devices.output.is_empty();
    let hook = match (wanted, has_input, has_output) {
        (Some(hook), ..) => hook,
        (None, true, true) => Hook::Xdp,
        (None, false, true) => Hook::CgroupEgress,
        (None, _, false) => Hook::CgroupIngress,
    };
    let misplaced = match hook {
        Hook::CgroupIngress if has_output => Some("out"),
        Hook::CgroupEgress if has_input => Some("in"),
        _ => None,
    };
    match misplaced {
        Some(word) => Err(format!("a packet at {hook} has no `{word}` interface")),
        None => Ok(hook),
    }
}
