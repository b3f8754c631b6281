//! Matches that search packets: the bytecode finds what the reference finds.

mod common;
mod support;

use common::loaders::loads;
use common::may_load;
use ipt2bpf_codegen::compile::compile;
use ipt2bpf_codegen::module::Hook;
use ipt2bpf_codegen::options::{KernelVersion, Options};
use ipt2bpf_parser::ruleset::Family;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use support::judges::check;
use support::texts::filter;
use support::universe::{INTERFACES, Packet};

/// An IPv4 packet with an option or none.
fn packet4(protocol: u8, options: usize, payload: &[u8]) -> Vec<u8> {
    let header = 20 + 4 * options;
    let mut bytes = vec![1; header];
    bytes[0] = 0x40 | (header / 4) as u8;
    bytes[2..4].copy_from_slice(&((header + payload.len()) as u16).to_be_bytes());
    bytes[6..8].fill(0);
    bytes[9] = protocol;
    bytes[10..12].fill(0);
    let words = bytes.chunks(2);
    let sum: u32 = words
        .map(|word| u32::from(u16::from_be_bytes([word[0], word[1]])))
        .sum();
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    bytes[10..12].copy_from_slice(&(!(sum as u16)).to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// An IPv6 packet.
fn packet6(protocol: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; 40];
    bytes[0] = 0x60;
    bytes[4..6].copy_from_slice(&(payload.len() as u16).to_be_bytes());
    bytes[6] = protocol;
    bytes[8] = 0xfe;
    bytes[24] = 0x20;
    bytes.extend(payload);
    bytes
}

fn drawn(family: Family, bytes: Vec<u8>, tag: bool, padding: usize) -> Packet {
    Packet {
        family,
        bytes,
        interface: INTERFACES.len() - 1,
        local: true,
        tags: tag.then_some(0xe000).into_iter().collect(),
        padding,
    }
}

/// Packets with such payloads, in both families.
fn packets(
    protocol: u8,
    payload: impl Strategy<Value = Vec<u8>>,
    count: usize,
) -> impl Strategy<Value = Vec<Packet>> {
    let place = (any::<bool>(), select(&[0usize, 0, 7][..]), 0..3usize);
    let packet = (any::<bool>(), place, payload);
    let packet = packet.prop_map(move |(v6, (tag, padding, options), payload)| match v6 {
        true => drawn(Family::V6, packet6(protocol, &payload), tag, padding),
        false => drawn(
            Family::V4,
            packet4(protocol, options, &payload),
            tag,
            padding,
        ),
    });
    vec(packet, count)
}

/// Both families of the same rules.
fn check_both(lines: &str, packets: &[Packet]) -> Result<(), TestCaseError> {
    for family in [Family::V4, Family::V6] {
        check(&filter(family, lines), packets, &Options::default())?;
    }
    Ok(())
}

fn verdict() -> impl Strategy<Value = &'static str> {
    select(&["ACCEPT", "DROP", "RETURN"][..])
}

fn inversion() -> impl Strategy<Value = &'static str> {
    select(&["", "! "][..])
}

/// Numbers that lead from one word to another.
fn number() -> impl Strategy<Value = u32> {
    prop_oneof![
        6 => 0..80u32,
        1 => select(&[0xffu32, 0xffff, 0xffff_fffc, 0xffff_ffff, 0x8000_0000][..]),
    ]
}

fn u32_rule() -> impl Strategy<Value = String> {
    let step = prop_oneof![
        2 => select(&[0xffu32, 0xf, 0x3c, 0xffff, 0x1f, 0xffff_ffff][..]).prop_map(|n| format!("&{n:#x}")),
        1 => (0..32u32).prop_map(|n| format!("<<{n}")),
        3 => select(&[0u32, 8, 16, 22, 24, 28, 31][..]).prop_map(|n| format!(">>{n}")),
        3 => number().prop_map(|n| format!("@{n}")),
    ];
    let range = prop_oneof![
        number().prop_map(|n| n.to_string()),
        (number(), number()).prop_map(|(low, high)| format!("{low}:{high}")),
        Just("0:0xffffffff".to_owned()),
    ];
    let test = (number(), vec(step, 0..6), vec(range, 1..4)).prop_map(|(offset, steps, ranges)| {
        format!("{offset}{}={}", steps.concat(), ranges.join(","))
    });
    (inversion(), vec(test, 1..4), verdict()).prop_map(|(not, tests, verdict)| {
        format!(
            "-A INPUT -m u32 {not}--u32 \"{}\" -j {verdict}\n",
            tests.join("&&")
        )
    })
}

/// Few letters, so that patterns begin often and end seldom.
fn letter() -> impl Strategy<Value = u8> {
    prop_oneof![8 => Just(b'a'), 4 => Just(b'b'), 1 => Just(b'A'), 1 => select(&[0u8, 0xe9, 0xc9, 0xff][..])]
}

fn string_rule() -> impl Strategy<Value = String> {
    let length = prop_oneof![6 => 1..8usize, 2 => 60..69usize, 1 => 120..129usize];
    let pattern = length.prop_flat_map(|length| vec(letter(), length));
    let window = (
        prop_oneof![2 => Just(0u16), 1 => 0..120u16],
        prop_oneof![2 => Just(u16::MAX), 1 => 20..300u16],
    );
    let options = (inversion(), select(&["bm", "kmp"][..]), any::<bool>());
    (pattern, window, options, verdict()).prop_map(
        |(pattern, (from, to), (not, algorithm, ignore_case), verdict)| {
            let digits: String = pattern.iter().map(|byte| format!("{byte:02x}")).collect();
            let exact = algorithm == "kmp" || !pattern.contains(&0xff);
            let case = if ignore_case && exact { " --icase" } else { "" };
            let to = to.max(from);
            format!(
                "-A INPUT -m string {not}--hex-string \"|{digits}|\" --algo {algorithm} \
                 --from {from} --to {to}{case} -j {verdict}\n"
            )
        },
    )
}

proptest! {
    #[test]
    fn words(
        rules in vec(u32_rule(), 1..6),
        drawn in packets(17, vec(prop_oneof![0..80u8, any::<u8>()], 0..80), 30),
    ) {
        check_both(&rules.concat(), &drawn)?;
    }

    #[test]
    fn strings(
        rules in vec(string_rule(), 1..5),
        drawn in packets(17, vec(letter(), 0..250), 12),
    ) {
        check_both(&rules.concat(), &drawn)?;
    }
}

/// The longest packets there are, with the pattern in the last place.
#[test]
fn a_string_at_the_end_of_a_long_packet() {
    for (length, from) in [(10, 0), (70, 0), (10, 65_000)] {
        let pattern = "a".repeat(length - 1) + "b";
        let mut payload = vec![b'a'; 65_000 - 20];
        payload.extend(vec![b'a'; 500]);
        payload.extend(pattern.as_bytes());
        let packet = drawn(Family::V4, packet4(17, 0, &payload), false, 0);
        let line =
            format!("-A INPUT -m string --string {pattern} --algo kmp --from {from} -j DROP\n");
        let options = Options {
            hooks: vec![Hook::CgroupIngress],
            ..Options::default()
        };
        check(&filter(Family::V4, &line), &[packet], &options).expect("the same");
    }
}

/// Rules of each form, for the verifier.
const EVERYTHING: &str = "\
-A INPUT -m u32 --u32 \"6&0xFF=1&&0>>22&0x3C@0>>24=8,13:14&&0@0xffffffff=3:2\" -j DROP
-A INPUT -m u32 ! --u32 \"0&0x4000=0:0xffffffff&&0>>22&0x3C@12>>26&0x3C@0<<3=0x5353480a\" -j DROP
-A INPUT -m string --string short --algo bm -j DROP
-A INPUT -m string --string short --algo bm --from 40 --to 100 -j DROP
-A FORWARD -m string --string short --algo kmp --icase -j DROP
-A OUTPUT -m string --hex-string \"|00|\" --algo kmp -j DROP
-A OUTPUT -m string --string 0123456789012345678901234567890123456789012345678901234567890123 --algo kmp -j DROP
-A OUTPUT -m string ! --string 01234567890123456789012345678901234567890123456789012345678901234 --algo kmp -j DROP
";

/// So many different patterns.
fn blocklist(count: usize) -> String {
    let rule =
        |number| format!("-A INPUT -m string --string host{number}.example --algo bm -j DROP\n");
    (0..count).map(rule).collect()
}

#[test]
fn the_verifier_takes_every_search() {
    if !may_load() {
        return;
    }
    let jumps = ":deep - [0:0]\n-A INPUT -j deep\n-A INPUT -p tcp -j deep\n-A deep -m string --string x --algo bm\n";
    for (lines, target_kernel) in [
        (EVERYTHING.to_owned(), Some(KernelVersion::BASELINE)),
        (EVERYTHING.to_owned(), Some(KernelVersion::GLOBAL_POINTERS)),
        (EVERYTHING.to_owned() + jumps, None),
        (blocklist(150), Some(KernelVersion::BASELINE)),
    ] {
        let mut rulesets = filter(Family::V4, &lines);
        rulesets.extend(filter(Family::V6, &lines));
        let options = Options {
            target_kernel,
            ..Options::default()
        };
        let compiled = compile(&rulesets, &options).expect("compiles");
        loads(&compiled.module, Hook::Xdp);
    }
}
