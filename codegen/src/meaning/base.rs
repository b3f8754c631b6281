//! The base match: addresses, interfaces, protocol, fragment, in the order in which
//! `ip_packet_match` and `ip6_packet_match` test them.

use ipt2bpf_parser::ruleset::{BaseMatch, Family, InterfacePattern, Network};

use super::require;
use crate::field::Field;
use crate::packet::device_number;
use crate::semantic::{Step, Test};

/// The steps of a rule's base match.
pub fn base_steps(base: &BaseMatch, family: Family) -> Vec<Step> {
    let (source, destination) = match family {
        Family::V4 => (Field::Source4, Field::Destination4),
        Family::V6 => (Field::Source6, Field::Destination6),
    };
    let mut steps = Vec::new();
    for (field, network) in [(source, &base.source), (destination, &base.destination)] {
        steps.extend(
            network
                .as_ref()
                .map(|network| require(network, |value| network_test(field, value))),
        );
    }
    for (field, pattern) in [
        (Field::InDevice, &base.in_interface),
        (Field::OutDevice, &base.out_interface),
    ] {
        steps.extend(
            pattern
                .as_ref()
                .map(|pattern| require(pattern, |value| device_test(field, value))),
        );
    }
    if let Some(protocol) = &base.protocol {
        if family == Family::V6 {
            // `-p` walks the extension headers, and drops a packet where that fails, even `! -p`.
            steps.push(Step::demand(Test::equal(Field::BrokenHeaders, 0)));
        }
        // `-p all` is always true; `! -p all` does not exist.
        if protocol.value.value != 0 {
            steps.push(require(protocol, |&number| {
                Test::equal(Field::Protocol, number.into())
            }));
        }
    }
    if let Some(fragment) = &base.fragment {
        steps.push(require(fragment, |()| {
            Test::Not(Box::new(Test::equal(Field::FragmentOffset, 0)))
        }));
    }
    steps
}

fn network_test(field: Field, network: &Network) -> Test {
    let (mask, value) = match network {
        Network::V4 { address, mask } => {
            (u128::from(mask.to_bits()), u128::from(address.to_bits()))
        }
        Network::V6 { address, mask } => (mask.to_bits(), address.to_bits()),
    };
    Test::Masked { field, mask, value }
}

/// `ifname_compare_aligned`: the name with its NUL, or only the prefix.
fn device_test(field: Field, pattern: &InterfacePattern) -> Test {
    let compared = pattern.name.len() + usize::from(!pattern.prefix);
    let mask = match compared.min(16) {
        0 => 0,
        bytes => u128::MAX << (8 * (16 - bytes)),
    };
    Test::Masked {
        field,
        mask,
        value: device_number(&pattern.name) & mask,
    }
}
