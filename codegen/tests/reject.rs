//! REJECT at XDP: the bytecode sends the frames that the reference builds, and the kernel takes the
//! programs that do.

mod common;
mod support;

use common::loaders::{BpfFs, kernel_function, load_with_libbpf, loads};
use common::may_load;
use ipt2bpf_codegen::asm::Extern;
use ipt2bpf_codegen::compile::{Compiled, compile};
use ipt2bpf_codegen::evaluate::{Route, evaluate};
use ipt2bpf_codegen::field::Field;
use ipt2bpf_codegen::frame::ip_packet;
use ipt2bpf_codegen::meaning::reject::reply::{Arrival, reply};
use ipt2bpf_codegen::module::Hook;
use ipt2bpf_codegen::options::{DeviceNames, KernelVersion, Options, XdpPath};
use ipt2bpf_codegen::packet::{Devices, Packet};
use ipt2bpf_codegen::routine::World;
use ipt2bpf_parser::ruleset::Family;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use support::judges::check;
use support::texts::filter;
use support::universe::{Packet as Drawn, packets};

const TYPES4: [&str; 7] = [
    "icmp-net-unreachable",
    "icmp-host-unreachable",
    "icmp-proto-unreachable",
    "icmp-port-unreachable",
    "icmp-net-prohibited",
    "icmp-host-prohibited",
    "icmp-admin-prohibited",
];
const TYPES6: [&str; 6] = [
    "icmp6-no-route",
    "icmp6-adm-prohibited",
    "icmp6-addr-unreachable",
    "icmp6-port-unreachable",
    "icmp6-policy-fail",
    "icmp6-reject-route",
];

fn types(family: Family) -> &'static [&'static str] {
    match family {
        Family::V4 => &TYPES4,
        Family::V6 => &TYPES6,
    }
}

/// A rule that rejects some packets in some way.
fn rule(family: Family) -> impl Strategy<Value = String> {
    let icmp = select(types(family)).prop_map(String::from);
    let with = prop_oneof![
        icmp.clone().prop_map(|with| (String::new(), with)),
        icmp.prop_map(|with| (" -p udp".into(), with)),
        Just((" -p tcp".into(), "tcp-reset".into())),
        Just((" -p tcp -m tcp ! --dport 22".into(), "tcp-reset".into())),
    ];
    (select(&["INPUT", "FORWARD"]), with).prop_map(|(chain, (matches, with))| {
        format!("-A {chain}{matches} -j REJECT --reject-with {with}\n")
    })
}

/// Every rule of a family.
fn every_rule(family: Family) -> String {
    let mut rules = String::from(":user - [0:0]\n-A INPUT -p udp -j user\n-A FORWARD -j user\n");
    for chain in ["INPUT", "FORWARD", "OUTPUT", "user"] {
        rules +=
            &format!("-A {chain} -p tcp -m tcp --dport 22 -j REJECT --reject-with tcp-reset\n");
        for (port, with) in types(family).iter().enumerate() {
            rules += &format!(
                "-A {chain} -p udp -m udp --dport {port} -j REJECT --reject-with {with}\n"
            );
        }
    }
    rules + "-A INPUT -j REJECT\n-A FORWARD -j REJECT\n"
}

/// Makes the packet one that is answered, if its transport header allows: from host to host, whole,
/// without IPv4 options.
fn plain(mut drawn: Drawn) -> Drawn {
    let bytes = &mut drawn.bytes;
    match drawn.family {
        Family::V4 => {
            let header = 4 * usize::from(bytes[0] & 15);
            bytes.drain(20..header);
            bytes[0] = 0x45;
            bytes[6..8].fill(0);
            bytes[12..16].copy_from_slice(&[10, 0, 0, 1]);
            bytes[16..20].copy_from_slice(&[10, 9, 0, 1]);
        }
        Family::V6 => {
            for at in [8, 24] {
                bytes[at..at + 4].copy_from_slice(&[0x20, 1, 0x0d, 0xb8]);
            }
        }
    }
    drawn
}

/// Lengthens the packet and makes its checksums right.
fn whole(mut drawn: Drawn, payload: usize) -> Drawn {
    let bytes = &mut drawn.bytes;
    bytes.extend((0..payload).map(|byte| byte as u8));
    match drawn.family {
        Family::V4 => {
            let length = (bytes.len() as u16).to_be_bytes();
            bytes[2..4].copy_from_slice(&length);
            let header = 4 * usize::from(bytes[0] & 15);
            bytes[10..12].fill(0);
            let checksum = !sum(&bytes[..header]);
            bytes[10..12].copy_from_slice(&checksum.to_be_bytes());
        }
        Family::V6 => {
            let length = (bytes.len() as u16 - 40).to_be_bytes();
            bytes[4..6].copy_from_slice(&length);
        }
    }
    let Some(packet) = Packet::new(drawn.family, bytes, &Devices::default()) else {
        return drawn;
    };
    let protocol = packet.get(Field::Protocol) as u8;
    let (start, at) = (packet.transport(), checksum_offset(protocol));
    if packet.get(Field::TransportLength) < at as u128 + 2 || start == 0 {
        return drawn;
    }
    bytes[start + at..start + at + 2].fill(0);
    let transport = &bytes[start..];
    let addresses = match drawn.family {
        Family::V4 => &bytes[12..20],
        Family::V6 => &bytes[8..40],
    };
    let mut summed = match (drawn.family, protocol) {
        (Family::V4, 6 | 17) | (Family::V6, _) => {
            let length = (transport.len() as u32).to_be_bytes();
            [addresses, &length, &[0, protocol]].concat()
        }
        _ => Vec::new(),
    };
    summed.extend(transport);
    let checksum = !sum(&summed);
    bytes[start + at..start + at + 2].copy_from_slice(&checksum.to_be_bytes());
    drawn
}

fn checksum_offset(protocol: u8) -> usize {
    match protocol {
        6 => 16,
        17 => 6,
        1 | 58 => 2,
        _ => 0,
    }
}

fn sum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks(2);
    let sum: u32 = words
        .map(|word| u32::from(word[0]) << 8 | u32::from(*word.get(1).unwrap_or(&0)))
        .sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    ((folded & 0xffff) + (folded >> 16)) as u16
}

/// Mostly packets that are answered.
fn answered(count: usize) -> impl Strategy<Value = Vec<Drawn>> {
    let payloads = prop_oneof![4 => Just(0usize), 1 => 0usize..40, 1 => 400usize..3000];
    (packets(count), vec((payloads, 0..8u8), count)).prop_map(|(drawn, changes)| {
        let packets = drawn.into_iter().zip(changes);
        packets
            .map(|(drawn, (payload, change))| match change {
                0 => drawn,
                1 | 2 => whole(drawn, payload),
                _ => whole(plain(drawn), payload),
            })
            .collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn answers(
        rules4 in vec(rule(Family::V4), 1..4),
        rules6 in vec(rule(Family::V6), 1..4),
        drawn in answered(40),
        tick_rate in select(&[10u32, 250]),
        xdp_path in select(&[XdpPath::Auto, XdpPath::Input, XdpPath::Forward]),
    ) {
        let options = Options {
            hooks: vec![Hook::Xdp],
            tick_rate,
            xdp_path,
            ..Options::default()
        };
        let mut rulesets = filter(Family::V4, &rules4.concat());
        rulesets.extend(filter(Family::V6, &rules6.concat()));
        check(&rulesets, &drawn, &options)?;
    }
}

#[test]
fn the_verifier_takes_every_answer() {
    if !may_load() {
        return;
    }
    let mut rulesets = filter(Family::V4, &every_rule(Family::V4));
    rulesets.extend(filter(Family::V6, &every_rule(Family::V6)));
    for target_kernel in [
        None,
        Some(KernelVersion::BASELINE),
        Some(KernelVersion::GLOBAL_POINTERS),
    ] {
        let options = Options {
            target_kernel,
            ..Options::default()
        };
        let compiled = compile(&rulesets, &options).expect("compiles");
        let dump = loads(&compiled.module, Hook::Xdp);
        assert!(dump.contains("answer the sender"), "{dump}");
    }
}

#[test]
fn the_verifier_takes_the_look_at_the_interface() {
    if !may_load() || kernel_function(Extern::CastToKernCtx).is_none() {
        return;
    }
    let options = Options {
        hooks: vec![Hook::Xdp],
        device_names: DeviceNames::Relocated,
        ..Options::default()
    };
    let rulesets = filter(Family::V6, &every_rule(Family::V6));
    let compiled = compile(&rulesets, &options).expect("compiles");
    load_with_libbpf(&compiled.module, &BpfFs::mount());
}

#[test]
fn the_verifier_takes_each_answer_alone() {
    if !may_load() {
        return;
    }
    for (family, rule) in [
        (
            Family::V4,
            "-A INPUT -p tcp -j REJECT --reject-with tcp-reset",
        ),
        (
            Family::V6,
            "-A FORWARD -p tcp -j REJECT --reject-with tcp-reset",
        ),
        (Family::V4, "-A FORWARD -j REJECT"),
        (Family::V6, "-A INPUT -j REJECT"),
    ] {
        let compiled = compile(&filter(family, rule), &Options::default()).expect("compiles");
        loads(&compiled.module, Hook::Xdp);
    }
}

/// A filter for frames at INPUT, with the reference's state.
struct Judge {
    compiled: Compiled,
    world: World,
}

impl Judge {
    fn new(lines: &str) -> Self {
        let options = Options {
            hooks: vec![Hook::Xdp],
            ..Options::default()
        };
        let mut world = World::default();
        world.jiffies = 1 << 32;
        Judge {
            compiled: compile(&filter(Family::V4, lines), &options).expect("compiles"),
            world,
        }
    }

    /// The answer to a frame.
    fn answer(&mut self, frame: &[u8]) -> Option<Vec<u8>> {
        let (family, bytes) = ip_packet(frame, 2)?;
        let packet = Packet::new(family, bytes, &Devices::default())?;
        self.world.random = vec![0x1234];
        let rules = &self.compiled.filters[0].families[0];
        let outcome = evaluate(rules, &packet, Route::Local, &mut self.world);
        let (hook, answer) = outcome.rejected?;
        let arrival = Arrival {
            frame,
            hook,
            source: None,
            tick_rate: Options::default().tick_rate,
        };
        reply(answer, &outcome.packet, arrival, &mut self.world)
    }
}

fn answer(lines: &str, frame: &[u8]) -> Option<Vec<u8>> {
    Judge::new(lines).answer(frame)
}

/// A SYN from 10.0.0.1 port 4660 to 10.0.0.2 port 22, sequence number 100, padded.
fn syn() -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0];
    frame.extend([
        0x45, 0, 0, 40, 0, 0, 0x40, 0, 64, 6, 0x26, 0xce, 10, 0, 0, 1, 10, 0, 0, 2,
    ]);
    frame.extend([
        0x12, 0x34, 0, 22, 0, 0, 0, 100, 0, 0, 0, 0, 0x50, 2, 0, 0, 0x89, 0x32, 0, 0,
    ]);
    frame.extend([0xee; 6]);
    frame
}

#[test]
fn a_syn_is_reset() {
    let rule = "-A INPUT -p tcp -j REJECT --reject-with tcp-reset";
    let mut expected = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0];
    expected.extend([
        0x45, 0, 0, 40, 0, 0, 0x40, 0, 64, 6, 0x26, 0xce, 10, 0, 0, 2, 10, 0, 0, 1,
    ]);
    expected.extend([
        0, 22, 0x12, 0x34, 0, 0, 0, 0, 0, 0, 0, 101, 0x50, 0x14, 0, 0, 0x89, 0x1f, 0, 0,
    ]);
    expected.extend([0; 6]);
    assert_eq!(answer(rule, &syn()), Some(expected));
}

#[test]
fn a_frame_for_a_group_is_not_answered() {
    let mut frame = syn();
    frame[..6].fill(0xff);
    for rule in [
        "-A INPUT -p tcp -j REJECT --reject-with tcp-reset",
        "-A INPUT -j REJECT",
    ] {
        assert!(answer(rule, &syn()).is_some());
        assert_eq!(answer(rule, &frame), None);
    }
}

#[test]
fn an_error_quotes_the_packet_without_its_padding() {
    let told = answer("-A INPUT -j REJECT", &syn()).expect("an answer");
    assert_eq!(told.len(), 14 + 28 + 40);
    // 4660 is the random identification.
    assert_eq!(told[14..24], [0x45, 0xc0, 0, 68, 0x34, 0x12, 0, 0, 64, 1]);
    assert_eq!(told[34..36], [3, 3]);
    assert_eq!(told[42..], syn()[14..54]);
}

/// A ping from 10.0.0.`host`.
fn ping(host: u8) -> Vec<u8> {
    let mut packet = vec![0x45, 0, 0, 28, 0, 0, 0, 0, 64, 1, 0, 0];
    packet.extend([10, 0, 0, host, 10, 9, 0, 1]);
    let checksum = !sum(&packet);
    packet[10..12].copy_from_slice(&checksum.to_be_bytes());
    packet.extend([8, 0, 0xf7, 0xff, 0, 0, 0, 0]);
    [&[2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0], &packet[..]].concat()
}

#[test]
fn a_receiver_gets_six_errors_and_one_more_each_second() {
    let mut judge = Judge::new("-A INPUT -j REJECT");
    let sent = |judge: &mut Judge| (0..20).filter(|_| judge.answer(&ping(1)).is_some()).count();
    assert_eq!(sent(&mut judge), 6);
    judge.world.jiffies += 249;
    assert_eq!(sent(&mut judge), 0);
    judge.world.jiffies += 1;
    assert_eq!(sent(&mut judge), 1);
    judge.world.jiffies += 250_000;
    assert_eq!(sent(&mut judge), 6);
}

#[test]
fn all_receivers_together_get_fifty_errors_at_once() {
    let mut judge = Judge::new("-A INPUT -j REJECT");
    let sent = |judge: &mut Judge| {
        (1..=200)
            .filter(|&host| judge.answer(&ping(host)).is_some())
            .count()
    };
    assert_eq!(sent(&mut judge), 50);
    // Four a tick.
    judge.world.jiffies += 2;
    assert_eq!(sent(&mut judge), 8);
}

#[test]
fn resets_are_not_limited() {
    let mut judge = Judge::new("-A INPUT -p tcp -j REJECT --reject-with tcp-reset");
    assert!((0..200).all(|_| judge.answer(&syn()).is_some()));
}
