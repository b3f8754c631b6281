//! `-m socket`: programs ask for the same sockets as the reference.

mod common;
mod support;

use std::net::{IpAddr, SocketAddr};

use common::loaders::loads;
use common::may_load;
use ipt2bpf_codegen::compile::compile;
use ipt2bpf_codegen::meaning::socket::{HostSocket, NEW_SYN_RECEIVED, TIME_WAIT};
use ipt2bpf_codegen::module::Hook;
use ipt2bpf_codegen::options::{KernelVersion, Options};
use ipt2bpf_parser::ruleset::Family;
use proptest::collection::vec;
use proptest::option::weighted;
use proptest::prelude::*;
use proptest::sample::select;
use support::judges::check_with_sockets;
use support::texts::rulesets;
use support::universe::{Packet, packets};

const TCP: u8 = 6;
const UDP: u8 = 17;
const ESTABLISHED: u8 = 1;
const LISTEN: u8 = 10;

const OPTIONS: [&str; 4] = [
    "",
    "--nowildcard",
    "--restore-skmark",
    "--nowildcard --restore-skmark",
];

fn addresses(family: Family) -> &'static [&'static str] {
    match family {
        Family::V4 => &["10.0.0.1", "10.0.0.130", "0.0.0.0"],
        Family::V6 => &["2001:db8::1", "2001:db8::8000:1", "::"],
    }
}

fn end(family: Family) -> impl Strategy<Value = SocketAddr> {
    (select(addresses(family)), select(&[22, 53, 80][..])).prop_map(|(address, port)| {
        SocketAddr::new(address.parse::<IpAddr>().expect("an address"), port)
    })
}

fn socket(family: Family) -> impl Strategy<Value = HostSocket> {
    let states = select(&[ESTABLISHED, LISTEN, TIME_WAIT, NEW_SYN_RECEIVED][..]);
    let protocol = select(&[TCP, UDP][..]);
    let ends = (end(family), weighted(0.3, end(family)));
    (protocol, ends, states, select(&[0, 5, 7][..])).prop_map(
        |(protocol, (local, remote), state, mark)| HostSocket {
            protocol,
            local,
            remote,
            // Only TCP has others.
            state: if protocol == TCP { state } else { ESTABLISHED },
            mark,
        },
    )
}

fn rules() -> impl Strategy<Value = String> {
    let socket = (
        select(&["PREROUTING", "INPUT"][..]),
        select(&OPTIONS[..]),
        select(&["", "-j ACCEPT", "-j DROP"][..]),
    );
    let socket = socket.prop_map(|(chain, options, verdict)| {
        format!("-A {chain} -m socket {options} {verdict}\n")
    });
    let mark = select(
        &[
            "-A PREROUTING -m mark --mark 5 -j DROP\n",
            "-A INPUT -m mark --mark 7\n",
        ][..],
    );
    let rule = prop_oneof![2 => socket, 1 => mark.prop_map(str::to_owned)];
    vec(rule, 1..6).prop_map(|rules| {
        format!(
            "*mangle\n:PREROUTING ACCEPT\n:INPUT ACCEPT\n{}COMMIT\n",
            rules.concat()
        )
    })
}

/// A TCP or UDP header that may be cut off.
fn segment() -> impl Strategy<Value = (u8, Vec<u8>)> {
    let port = || select(&[22u16, 53, 80]);
    let length = prop_oneof![4 => Just(24usize), 1 => 0usize..24];
    (
        select(&[TCP, TCP, UDP, UDP, 47][..]),
        port(),
        port(),
        length,
    )
        .prop_map(|(protocol, source, destination, length)| {
            let mut bytes = [source.to_be_bytes(), destination.to_be_bytes()].concat();
            bytes.resize(24, 0x50);
            bytes.truncate(length);
            (protocol, bytes)
        })
}

/// IPv6 extension headers in front of a protocol: the first type, and the bytes.
fn extended(protocol: u8, kinds: &[u8]) -> (u8, Vec<u8>) {
    let nexts = kinds.iter().skip(1).copied().chain([protocol]);
    let headers = kinds.iter().zip(nexts);
    let bytes = headers.flat_map(|(kind, next)| match kind {
        51 => vec![next, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        // A fragment that is not the first, which is no type of its own.
        45 => vec![next, 0, 0, 8, 0, 0, 0, 0],
        44 => vec![next, 0, 0, 1, 0, 0, 0, 0],
        _ => [vec![next, 1], vec![0; 14]].concat(),
    });
    let bytes = bytes.collect();
    let number = |kind: u8| if kind == 45 { 44 } else { kind };
    (kinds.first().copied().map_or(protocol, number), bytes)
}

/// Puts an IP header in front.
fn packet(family: Family, ends: [&str; 2], protocol: u8, words: u8, payload: &[u8]) -> Vec<u8> {
    let addresses = ends.map(|it| match it.parse().expect("an address") {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    });
    let mut bytes = match family {
        Family::V4 => {
            let header = 4 * usize::from(words);
            let [high, low] = ((header + payload.len()) as u16).to_be_bytes();
            let mut bytes = vec![0x40 | words, 0, high, low, 0, 1, 0, 0, 64, protocol, 0, 0];
            bytes.extend(addresses.concat());
            bytes.resize(header, 1);
            let sum: u32 = bytes
                .chunks(2)
                .map(|word| u32::from(u16::from_be_bytes([word[0], word[1]])))
                .sum();
            let sum = (sum & 0xffff) + (sum >> 16);
            let sum = !((sum & 0xffff) + (sum >> 16)) as u16;
            bytes[10..12].copy_from_slice(&sum.to_be_bytes());
            bytes
        }
        Family::V6 => {
            let [high, low] = (payload.len() as u16).to_be_bytes();
            let mut bytes = vec![0x60, 0, 0, 0, high, low, protocol, 64];
            bytes.extend(addresses.concat());
            bytes
        }
    };
    bytes.extend(payload);
    bytes
}

/// A packet to a socket, or an ICMP error about one from it.
fn bytes(family: Family) -> impl Strategy<Value = Vec<u8>> {
    let hosts = &addresses(family)[..2];
    let error = match family {
        Family::V4 => select(&[3u8, 4, 5, 8, 11, 12][..]),
        Family::V6 => select(&[1u8, 2, 3, 4, 128, 135][..]),
    };
    let kinds = match family {
        Family::V4 => Just(Vec::new()).boxed(),
        Family::V6 => vec(select(&[0u8, 43, 44, 45, 51, 60][..]), 0..6).boxed(),
    };
    let whole = prop_oneof![3 => Just(500usize), 1 => 0usize..120];
    let ends = (select(hosts), select(hosts));
    (segment(), ends, weighted(0.6, error), kinds, 5..8u8, whole).prop_map(
        move |((protocol, segment), (source, destination), error, kinds, words, whole)| {
            let Some(error) = error else {
                return packet(family, [source, destination], protocol, words, &segment);
            };
            let (first, mut payload) = extended(protocol, &kinds);
            payload.extend(segment);
            let quoted = packet(family, [destination, source], first, words, &payload);
            let mut payload = [error, 0, 0, 0, 0, 0, 0, 0].to_vec();
            payload.extend(quoted);
            payload.truncate(whole);
            let icmp = match family {
                Family::V4 => 1,
                Family::V6 => 58,
            };
            packet(family, [source, destination], icmp, 5, &payload)
        },
    )
}

/// Some of the universe's packets, and some of ours in their place.
fn mixed(family: Family) -> impl Strategy<Value = Vec<Packet>> {
    (packets(60), vec(bytes(family), 45)).prop_map(move |(mut drawn, ours)| {
        for (drawn, bytes) in drawn.iter_mut().zip(ours) {
            (drawn.family, drawn.bytes) = (family, bytes);
        }
        drawn
    })
}

proptest! {
    #[test]
    fn bytecode_is_reference(
        four in (rules(), vec(socket(Family::V4), 0..12), mixed(Family::V4)),
        six in (rules(), vec(socket(Family::V6), 0..12), mixed(Family::V6)),
    ) {
        let options = Options {
            hooks: vec![Hook::Xdp],
            ..Options::default()
        };
        for (family, (rules, sockets, drawn)) in [(Family::V4, four), (Family::V6, six)] {
            check_with_sockets(&rulesets(family, &rules), &drawn, &options, &sockets)?;
        }
    }
}

#[test]
fn the_verifier_takes_it() {
    if !may_load() {
        return;
    }
    let rules: String = OPTIONS
        .iter()
        .map(|options| {
            format!("-A PREROUTING -m socket {options}\n-A INPUT -m socket {options} -j DROP\n")
        })
        .collect();
    let text = format!("*mangle\n:PREROUTING ACCEPT\n:INPUT ACCEPT\n{rules}COMMIT\n");
    let both = [Family::V4, Family::V6].map(|family| rulesets(family, &text));
    for target_kernel in [
        Some(KernelVersion::BASELINE),
        Some(KernelVersion::GLOBAL_POINTERS),
        None,
    ] {
        let options = Options {
            hooks: vec![Hook::Xdp],
            target_kernel,
            ..Options::default()
        };
        let compiled = compile(&both.concat(), &options).expect("compiles");
        loads(&compiled.module, Hook::Xdp);
    }
}

#[test]
fn what_programs_are_not_shown_is_refused() {
    for (rule, hook, reason) in [
        (
            "-A INPUT -m socket --transparent",
            Hook::Xdp,
            "--transparent",
        ),
        ("-A INPUT -m socket", Hook::CgroupIngress, "received it"),
    ] {
        let options = Options {
            hooks: vec![hook],
            ..Options::default()
        };
        let text = format!("*filter\n{rule}\nCOMMIT\n");
        let said = compile(&rulesets(Family::V4, &text), &options).expect_err("is refused");
        assert_eq!(said[0].code, "unseen", "{said:?}");
        assert!(said[0].message.contains(reason), "{said:?}");
    }
}

#[test]
fn frames_of_a_vlan_are_dropped_and_the_note_says_what_is_looked_up() {
    let options = Options {
        hooks: vec![Hook::Xdp],
        ..Options::default()
    };
    let text = "*mangle\n-A PREROUTING -m socket --restore-skmark\nCOMMIT\n";
    let compiled = compile(&rulesets(Family::V4, text), &options).expect("compiles");
    let codes: Vec<&str> = compiled.diagnostics.iter().map(|it| it.code).collect();
    assert!(codes.contains(&"vlan"), "{codes:?}");
    let notes = compiled.diagnostics.iter().filter(|it| it.code == "effect");
    let notes: String = notes.map(|it| it.message.as_str()).collect();
    assert!(notes.contains("before NAT"), "{notes}");
    assert!(notes.contains("later rules see the mark"), "{notes}");
}
