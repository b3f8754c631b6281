//! Properties of reading sets, on random texts and on damaged ones.

use ipt2bpf_parser::diagnostic::Diagnostic;
use ipt2bpf_parser::ipset::{self, Parsed, SetType, parse};
use ipt2bpf_parser::span::Sources;
use ipt2bpf_parser::{Names, Style, render};
use proptest::prelude::*;
use proptest::sample::{Index, select};

fn read(text: impl Into<Vec<u8>>) -> (Sources, Parsed) {
    let mut sources = Sources::default();
    let id = sources.add("sets", text);
    let parsed = parse(&sources, &[id], &Names::default());
    (sources, parsed)
}

fn print(parsed: &Parsed) -> Vec<u8> {
    ipset::print(&parsed.sets)
}

/// Words of each kind that may stand in an element, most of them right somewhere.
fn part() -> impl Strategy<Value = String> {
    prop_oneof![
        (0..4_u8, 0..8_u8).prop_map(|(c, d)| format!("10.0.{c}.{d}")),
        (0..4_u8, 0..8_u8, 25..33_u8).prop_map(|(c, d, length)| format!("10.0.{c}.{d}/{length}")),
        (0..9_u8, 0..9_u8).prop_map(|(from, to)| format!("10.0.0.{from}-10.0.0.{to}")),
        (0..9_u16).prop_map(|last| format!("2001:db8::{last:x}")),
        (0..9_u16, 60..129_u8).prop_map(|(last, length)| format!("2001:db8::{last:x}/{length}")),
        (70..90_u16).prop_map(|port| format!("{port}")),
        (70..75_u16, 70..75_u16).prop_map(|(from, to)| format!("udp:{from}-{to}")),
        select(
            &[
                "icmp:ping",
                "icmp:3/77",
                "icmpv6:ping",
                "gre:0",
                "sctp:9",
                "tcp:http"
            ][..]
        )
        .prop_map(str::to_owned),
        (0..3_u8).prop_map(|last| format!("0:1:2:3:4:{last:x}")),
        (0..9_u32).prop_map(|mark| format!("{mark:#x}")),
        select(&["eth0", "physdev:br0", "lo"][..]).prop_map(str::to_owned),
        (0..4_usize).prop_map(|set| format!("s{set}")),
    ]
}

fn create_options() -> impl Strategy<Value = String> {
    let options = [
        "family inet6",
        "timeout 0",
        "timeout 1000",
        "counters",
        "comment",
        "skbinfo",
        "netmask 24",
        "bitmask 255.255.0.255",
        "maxelem 20",
        "hashsize 77",
        "bucketsize 5",
        "initval 0x77",
        "markmask 0xf",
        "range 10.0.0.0/22",
        "range 70-90",
        "size 9",
        "forceadd",
    ];
    proptest::collection::vec(select(options.to_vec()), 0..4).prop_map(|it| it.join(" "))
}

fn add_options() -> impl Strategy<Value = String> {
    let options = [
        "timeout 7",
        "nomatch",
        "wildcard",
        "packets 3 bytes 99",
        "comment \"a b\"",
        "skbmark 0x1/0x3 skbprio 1:2 skbqueue 3",
        "before s0",
        "after s1",
        "-exist",
    ];
    proptest::collection::vec(select(options.to_vec()), 0..2).prop_map(|it| it.join(" "))
}

fn line() -> impl Strategy<Value = String> {
    let create = (0..4_usize, select(SetType::ALL.to_vec()), create_options())
        .prop_map(|(set, kind, options)| format!("create s{set} {kind} {options}\n"));
    let parts = proptest::collection::vec(part(), 1..4).prop_map(|parts| parts.join(","));
    let add = (0..4_usize, parts, add_options())
        .prop_map(|(set, parts, options)| format!("add s{set} {parts} {options}\n"));
    prop_oneof![1 => create, 6 => add]
}

fn text() -> impl Strategy<Value = String> {
    // So many errors that reading stops would hide the rest.
    proptest::collection::vec(line(), 0..90).prop_map(|lines| lines.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_printed_parses_to_the_same(text in text()) {
        let (_, parsed) = read(text);
        let printed = print(&parsed);
        let (sources, again) = read(printed.clone());
        prop_assert_eq!(render(&again.diagnostics, &sources, Style::Plain), "");
        prop_assert_eq!(&again.sets, &parsed.sets);
        prop_assert_eq!(print(&again), printed);
    }

    /// Bytes are changed, moved and lost. Whatever comes of it is read without a panic, its
    /// diagnostics can be shown, and what it says prints to a text that says the same.
    #[test]
    fn damaged_texts_never_panic(
        text in text(),
        damages in proptest::collection::vec((any::<Index>(), any::<Index>(), 0..5_u8, any::<u8>()), 1..9),
    ) {
        let mut text = text.into_bytes();
        for (at, other, kind, byte) in damages {
            let at = at.index(text.len() + 1);
            let other = other.index(text.len() + 1);
            let (low, high) = (at.min(other), at.max(other));
            match kind {
                0 => text.insert(at, byte),
                1 => text.insert(at, b"\"!-, :/\\\n[]\0\r"[usize::from(byte) % 13]),
                2 if at < text.len() => text[at] = byte,
                3 if high - low < 40 => drop(text.drain(low..high)),
                _ => {
                    let tail = text.split_off(at);
                    text = [tail, text].concat();
                }
            }
        }
        let (sources, parsed) = read(text);
        let _ = render(&parsed.diagnostics, &sources, Style::Plain);
        let (sources, again) = read(print(&parsed));
        // Of a set with a mask, the kernel keeps the first element of a range that runs backwards
        // unmasked, and its own save of that cannot be restored when the mask leaves nothing of it.
        let is_lost = |it: &Diagnostic| it.message == "a hash cannot hold an element of zeros";
        let (lost, others): (Vec<_>, Vec<_>) = again.diagnostics.into_iter().partition(is_lost);
        prop_assert_eq!(render(&others, &sources, Style::Plain), "");
        if lost.is_empty() {
            prop_assert_eq!(again.sets, parsed.sets);
        }
    }

    #[test]
    fn bytes_never_panic(text in proptest::collection::vec(any::<u8>(), 0..300)) {
        let (sources, parsed) = read(text);
        let _ = render(&parsed.diagnostics, &sources, Style::Plain);
    }
}
