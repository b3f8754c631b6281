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
        macs: [[2; 6]; 2],
        mark: 0,
        packet_type: 0,
        processor: 0,
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

/// A chain of IPv6 headers with the protocol of the first, cut anywhere or whole.
fn headers6() -> impl Strategy<Value = (u8, Vec<u8>)> {
    let kind = select(&[0u8, 60, 43, 43, 44, 51, 50, 59][..]);
    let byte = select(&[0u8, 0, 1, 2, 3, 4, 5, 6, 255][..]);
    let header = (
        kind,
        0..6u8,
        vec(byte, 256),
        select(&[0u8, 0, 0, 0, 8, 1, 255][..]),
    );
    let cut = prop_oneof![3 => Just(usize::MAX), 1 => 0..120usize];
    let last = select(&[6u8, 17, 59, 50][..]);
    (vec(header, 0..5), last, cut).prop_map(|(headers, last, cut)| {
        let mut bytes = Vec::new();
        let first = headers.first().map_or(last, |header| header.0);
        for (number, (kind, length, mut body, odd)) in headers.iter().cloned().enumerate() {
            let size = match kind {
                44 => 8,
                51 => 4 * (usize::from(length) + 2),
                _ => 8 * (usize::from(length) + 1),
            };
            body[0] = headers.get(number + 1).map_or(last, |header| header.0);
            body[1] = if odd == 255 { 255 } else { length };
            if kind == 44 {
                body[2..4].copy_from_slice(&[0, odd]);
            }
            body.truncate(size);
            bytes.extend(body);
        }
        bytes.extend([7; 12]);
        bytes.truncate(cut);
        (first, bytes)
    })
}

fn packets6(count: usize) -> impl Strategy<Value = Vec<Packet>> {
    let place = (any::<bool>(), select(&[0usize, 0, 7][..]));
    let packet = (headers6(), place).prop_map(|((first, bytes), (tag, padding))| {
        drawn(Family::V6, packet6(first, &bytes), tag, padding)
    });
    vec(packet, count)
}

/// One option of several, or none.
fn maybe(option: impl Strategy<Value = String>) -> impl Strategy<Value = String> {
    prop_oneof![2 => Just(String::new()), 1 => option]
}

fn numbers(option: &'static str, most: u32) -> impl Strategy<Value = String> {
    let numbers = prop_oneof![
        (0..most).prop_map(|n| n.to_string()),
        (0..most, 0..most).prop_map(|(low, high)| format!("{low}:{high}")),
        Just(format!("0:{}", u32::MAX)),
        Just(format!("{}:{}", 0x0100_0000, 0x0500_0000)),
    ];
    maybe(
        (inversion(), numbers)
            .prop_map(move |(not, numbers)| format!(" {not}--{option} {numbers}")),
    )
}

fn one(option: &'static str, numbers: &'static [u32]) -> impl Strategy<Value = String> {
    let given = (inversion(), select(numbers));
    maybe(given.prop_map(move |(not, number)| format!(" {not}--{option} {number}")))
}

fn flag(option: &'static str) -> impl Strategy<Value = String> {
    maybe(Just(format!(" --{option}")))
}

/// An address of bytes that headers are made of.
fn segment() -> impl Strategy<Value = String> {
    let word = select(&[0u16, 0, 0, 0x0100, 0x0001, 0x0203][..]);
    vec(word, 8).prop_map(|words| {
        let words: Vec<String> = words.iter().map(|word| format!("{word:x}")).collect();
        words.join(":")
    })
}

fn header_options() -> impl Strategy<Value = String> {
    let option = prop_oneof![
        Just("0".to_owned()),
        (1..7u8).prop_map(|kind| kind.to_string()),
        (1..7u8, 0..7u8).prop_map(|(kind, length)| format!("{kind}:{length}")),
    ];
    vec(option, 1..4).prop_map(|options| options.join(","))
}

fn header_rule() -> impl Strategy<Value = String> {
    const LENGTHS: &[u32] = &[8, 16, 24, 32, 40, 48];
    let ah = (
        numbers("ahspi", 5),
        one("ahlen", &[0, 8, 12, 16, 20]),
        flag("ahres"),
    )
        .prop_map(|(spi, length, reserved)| format!("ah{spi}{length}{reserved}"));
    let place = prop_oneof![Just(""), Just(" --fragmore"), Just(" --fraglast")];
    let frag = (
        numbers("fragid", 5),
        flag("fragres"),
        flag("fragfirst"),
        place,
    )
        .prop_map(|(id, reserved, first, place)| format!("frag{id}{reserved}{first}{place}"));
    let type0 = (
        flag("rt-0-res"),
        vec(segment(), 1..3),
        flag("rt-0-not-strict"),
    )
        .prop_map(|(reserved, list, loose)| {
            format!(
                " --rt-type 0{reserved} --rt-0-addrs {}{loose}",
                list.join(",")
            )
        });
    let kind = prop_oneof![2 => one("rt-type", &[0, 2, 4, 300]), 1 => type0];
    let rt = (kind, numbers("rt-segsleft", 5), one("rt-len", LENGTHS))
        .prop_map(|(kind, left, length)| format!("rt{kind}{left}{length}"));
    let options = (
        select(&["hbh", "dst"][..]),
        inversion(),
        select(LENGTHS),
        header_options(),
        0..4u8,
    )
        .prop_map(|(name, not, length, options, which)| {
            let length = format!(" {not}--{name}-len {length}");
            let options = format!(" --{name}-opts {options}");
            match which {
                0 => name.to_owned(),
                1 => format!("{name}{length}"),
                2 => format!("{name}{options}"),
                _ => format!("{name}{length}{options}"),
            }
        });
    let names = vec(
        select(&["hop", "dst", "route", "frag", "auth", "esp", "none", "prot"][..]),
        1..4,
    );
    let headers = (inversion(), names, any::<bool>()).prop_map(|(not, names, soft)| {
        let soft = if soft { " --soft" } else { "" };
        format!("ipv6header {not}--header {}{soft}", names.join(","))
    });
    const SMALL: &[u32] = &[0, 1, 2, 3, 255];
    let fields = (
        one("srh-next-hdr", &[6, 17, 43, 59]),
        one("srh-hdr-len-gt", SMALL),
        one("srh-segs-left-eq", SMALL),
        one("srh-segs-left-lt", SMALL),
        one("srh-last-entry-lt", SMALL),
        one("srh-tag", &[0, 1, 256, 0x0102]),
    );
    let sid =
        |option: &'static str| {
            let given = (
                inversion(),
                segment(),
                select(&[0u8, 1, 8, 16, 33, 64, 128][..]),
            );
            maybe(given.prop_map(move |(not, segment, length)| {
                format!(" {not}--{option} {segment}/{length}")
            }))
        };
    let srh = (fields, sid("srh-psid"), sid("srh-nsid"), sid("srh-lsid")).prop_map(
        |((next, length, equal, less, last, tag), psid, nsid, lsid)| {
            format!("srh{next}{length}{equal}{less}{last}{tag}{psid}{nsid}{lsid}")
        },
    );
    let rule = prop_oneof![ah, frag, rt, options, headers, srh];
    (rule, verdict()).prop_map(|(rule, verdict)| format!("-A INPUT -m {rule} -j {verdict}\n"))
}

/// A program that the kernel takes: cells 0 to 3 are filled first, jumps stay inside, and the end returns.
fn classic() -> impl Strategy<Value = String> {
    let plain = select(
        &[
            0x00u16, 0x01, 0x02, 0x03, 0x04, 0x0c, 0x14, 0x1c, 0x24, 0x2c, 0x34, 0x3c, 0x44, 0x4c,
            0x54, 0x5c, 0x60, 0x61, 0x64, 0x6c, 0x74, 0x7c, 0x80, 0x81, 0x84, 0x07, 0x87, 0x94,
            0x9c, 0xa4, 0xac, 0x16, 0x06,
        ][..],
    );
    let packet = select(&[0x20u16, 0x28, 0x30, 0x40, 0x48, 0x50, 0xb1][..]);
    let branch = select(&[0x05u16, 0x15, 0x1d, 0x25, 0x2d, 0x35, 0x3d, 0x45, 0x4d][..]);
    let code = prop_oneof![3 => plain, 3 => packet, 2 => branch];
    let k = prop_oneof![8 => 0..48u32, 1 => any::<u32>().prop_map(|k| k & 0x7fff_ffff)];
    vec((code, k, 0..12u8, 0..12u8), 0..30).prop_map(|drawn| {
        let mut program: Vec<(u16, u8, u8, u32)> = (0..4).map(|cell| (0x02, 0, 0, cell)).collect();
        let length = drawn.len();
        for (at, (code, k, yes, no)) in drawn.into_iter().enumerate() {
            let left = (length - at) as u8;
            let k = match code {
                0x02 | 0x03 | 0x60 | 0x61 => k & 3,
                0x64 | 0x74 => k & 31,
                0x34 | 0x94 => k | 1,
                0x05 => k % u32::from(left),
                // The protocol, A xor X, a random number.
                0x20 if k == 5 => 0xffff_f000,
                0x20 if k == 6 => 0xffff_f028,
                0x20 if k == 7 => 0xffff_f038,
                _ => k,
            };
            program.push((code, yes % left, no % left, k));
        }
        program.push((0x16, 0, 0, 0));
        let instructions: Vec<String> = program
            .iter()
            .map(|(code, yes, no, k)| format!("{code} {yes} {no} {k}"))
            .collect();
        format!("{},{}", program.len(), instructions.join(","))
    })
}

fn chunk_rule() -> impl Strategy<Value = String> {
    let name = select(
        &[
            "DATA",
            "INIT",
            "INIT_ACK",
            "SACK",
            "ABORT",
            "PAD",
            "ASCONF",
            "SHUTDOWN_COMPLETE",
        ][..],
    );
    let flagged = select(
        &[
            "DATA:Be",
            "DATA:U",
            "ABORT:T",
            "ABORT:t",
            "SHUTDOWN_COMPLETE:T",
        ][..],
    );
    let list = prop_oneof![
        4 => vec(prop_oneof![3 => name, 1 => flagged], 1..4).prop_map(|names| names.join(",")),
        1 => Just("ALL".to_owned()),
        1 => Just("NONE".to_owned()),
    ];
    let relation = select(&["any", "all", "only"][..]);
    // A match behind it that may miss.
    let behind = select(&["", " -m string --string x --algo kmp"][..]);
    (inversion(), relation, list, behind, verdict()).prop_map(|(not, relation, list, behind, verdict)| {
        format!("-A INPUT -p sctp -m sctp {not}--chunk-types {relation} {list}{behind} -j {verdict}\n")
    })
}

/// A common header and chunks, of which the last may be cut.
fn chunks() -> impl Strategy<Value = Vec<u8>> {
    let kind = select(&[0u8, 0, 1, 2, 3, 6, 14, 132, 193, 200][..]);
    let chunk = (
        kind,
        0..8u8,
        prop_oneof![20 => 1..12u8, 1 => Just(0u8), 1 => Just(120)],
    );
    let cut = prop_oneof![3 => Just(usize::MAX), 1 => 0..60usize];
    (vec(chunk, 0..7), cut).prop_map(|(chunks, cut)| {
        let mut bytes = vec![b'x'; 12];
        bytes[0] = b'y';
        for (kind, flags, length) in chunks {
            bytes.extend([kind, flags, 0, length]);
            let rest = usize::from(length).next_multiple_of(4).clamp(4, 16) - 4;
            bytes.extend(vec![0; rest]);
        }
        bytes.truncate(cut);
        bytes
    })
}

fn dccp_rule() -> impl Strategy<Value = String> {
    (inversion(), select(&[1u8, 2, 3, 32, 255][..]), verdict()).prop_map(
        |(not, option, verdict)| {
            format!("-A INPUT -p dccp -m dccp {not}--dccp-option {option} -j {verdict}\n")
        },
    )
}

fn dccp() -> impl Strategy<Value = Vec<u8>> {
    let byte = select(&[0u8, 1, 2, 3, 4, 32, 255][..]);
    let length = prop_oneof![2 => 12..100usize, 1 => 0..40usize];
    (
        0..16u8,
        any::<bool>(),
        prop_oneof![4 => 3..16u8, 1 => any::<u8>()],
        vec(byte, 100),
        length,
    )
        .prop_map(|(kind, long, words, mut bytes, length)| {
            bytes[4] = words;
            bytes[8] = kind << 1 | u8::from(long);
            bytes.truncate(length);
            bytes
        })
}

proptest! {
    #[test]
    fn sctp_chunks(rules in vec(chunk_rule(), 1..5), drawn in packets(132, chunks(), 30)) {
        check_both(&rules.concat(), &drawn)?;
    }

    #[test]
    fn dccp_options(rules in vec(dccp_rule(), 1..5), drawn in packets(33, dccp(), 40)) {
        check_both(&rules.concat(), &drawn)?;
    }
}

/// Whether a rule compiles; a program may read where no hook can look.
fn compiles(line: &str) -> bool {
    compile(&filter(Family::V4, line), &Options::default()).is_ok()
}

proptest! {
    #[test]
    fn classic_programs(
        program in classic(),
        drawn in packets(17, vec(prop_oneof![0..80u8, any::<u8>()], 0..60), 20),
    ) {
        let line = format!("-A INPUT -m bpf --bytecode \"{program}\" -j DROP\n");
        prop_assume!(compiles(&line));
        check_both(&line, &drawn)?;
    }

    #[test]
    fn headers(rules in vec(header_rule(), 1..6), drawn in packets6(40)) {
        check(&filter(Family::V6, &rules.concat()), &drawn, &Options::default())?;
    }

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
-A INPUT -p sctp -m sctp --chunk-types any DATA:Be,INIT -j DROP
-A INPUT -p sctp -m sctp ! --chunk-types all DATA:Be,INIT,ABORT:T -m string --string x --algo kmp -j LOG
-A INPUT -p sctp -m sctp ! --chunk-types only ALL -j DROP
-A INPUT -p sctp -m sctp --chunk-types all ALL -j DROP
-A INPUT -p sctp -m sctp --chunk-types any ALL -j DROP
-A INPUT -p sctp -m sctp --chunk-types any NONE -j DROP
-A INPUT -p sctp -m sctp --chunk-types only NONE -j DROP
-A INPUT -p dccp -m dccp --dccp-option 3 -j DROP
-A INPUT -p dccp -m dccp ! --dccp-option 255 -j DROP
-A INPUT -p ipcomp -m ipcomp --ipcompspi 1:2 -j DROP
-A INPUT -m bpf --bytecode \"4,48 0 0 9,21 0 1 6,6 0 0 1,6 0 0 0\" -j DROP
-A INPUT -m bpf --bytecode \"12,177 0 0 0,80 0 0 13,84 0 0 48,2 0 0 3,7 0 0 0,64 0 0 4,28 0 0 0,97 0 0 3,60 0 0 0,37 1 0 4294967295,6 0 0 0,22 0 0 0\" -j DROP
-A INPUT -m string --string short --algo bm -j DROP
-A INPUT -m string --string short --algo bm --from 40 --to 100 -j DROP
-A FORWARD -m string --string short --algo kmp --icase -j DROP
-A OUTPUT -m string --hex-string \"|00|\" --algo kmp -j DROP
-A OUTPUT -m string --string 0123456789012345678901234567890123456789012345678901234567890123 --algo kmp -j DROP
-A OUTPUT -m string ! --string 01234567890123456789012345678901234567890123456789012345678901234 --algo kmp -j DROP
";

/// The same for IPv6 alone.
const HEADERS: &str = "\
-A INPUT -m ah --ahspi 1:5 ! --ahlen 16 --ahres -j DROP
-A INPUT -m ah ! --ahspi 5:1 -j DROP
-A INPUT -m ah --ahspi 5:1 -j DROP
-A INPUT -m frag --fragid 1:5 --fragres --fragfirst --fragmore -j DROP
-A INPUT -m frag --fraglast -j DROP
-A INPUT -m rt --rt-type 0 --rt-segsleft 1:3 ! --rt-len 16 --rt-0-res --rt-0-addrs 2001:db8::1,2001:db8::2 -j DROP
-A INPUT -m rt --rt-type 0 --rt-0-addrs ::1,::2,::3,::4,::5,::6,::7,::8,::9,::a,::b,::c,::d,::e,::f,::10 --rt-0-not-strict -j DROP
-A INPUT -m hbh --hbh-len 16 --hbh-opts 0,1:2,5,3:4 -j DROP
-A INPUT -m dst ! --dst-len 16 --dst-opts 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15 -j DROP
-A INPUT -m ipv6header --header hop,prot -j DROP
-A INPUT -m ipv6header ! --header hop,prot --soft -j DROP
-A INPUT -m srh --srh-next-hdr 6 --srh-hdr-len-gt 3 --srh-segs-left-lt 0 ! --srh-segs-left-gt 255 --srh-last-entry-eq 3 --srh-tag 5 --srh-psid ::/0 ! --srh-nsid 2001:db8::/33 --srh-lsid ::1 -j DROP
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
        rulesets.extend(filter(Family::V6, &(lines + HEADERS)));
        let options = Options {
            target_kernel,
            ..Options::default()
        };
        let compiled = compile(&rulesets, &options).expect("compiles");
        loads(&compiled.module, Hook::Xdp);
    }
}
