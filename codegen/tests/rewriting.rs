//! Targets that change packets at XDP: the frames that the bytecode leaves are those of the reference, and
//! later rules see their bytes.

mod common;
mod support;

use common::loaders::loads;
use common::may_load;
use ipt2bpf_codegen::compile::compile;
use ipt2bpf_codegen::module::Hook;
use ipt2bpf_codegen::options::{KernelVersion, Options, XdpPath};
use ipt2bpf_parser::ruleset::Family;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use support::judges::check;
use support::texts::rulesets;
use support::universe::{Packet, packets};

/// What changes packets. HOPS stands for each family's name; ECN is IPv4's.
const CHANGES: [&str; 17] = [
    "-j HOPS-set 64",
    "-j HOPS-set 1",
    "-j HOPS-set 255",
    "-j HOPS-inc 200",
    "-j HOPS-dec 1",
    "-j HOPS-dec 100",
    "-j TOS --set-tos 0x12/0x3f",
    "-j TOS --set-tos 0xff/0xff",
    "-j DSCP --set-dscp 9",
    "-p tcp -m tcp --tcp-flags SYN,RST SYN -j TCPMSS --set-mss 1000",
    "-p tcp -m tcp --tcp-flags SYN SYN -j TCPMSS --set-mss 100",
    "-p tcp -j TCPOPTSTRIP --strip-options 2",
    "-p tcp -j TCPOPTSTRIP --strip-options 3,4,5,8,200,64,65,128",
    "-p tcp -j TCPOPTSTRIP",
    "-p tcp -j ECN --ecn-tcp-remove",
    "-p tcp -j ECN --ecn-tcp-ece 1 --ecn-ip-ect 2",
    "-j ECN --ecn-ip-ect 1",
];

/// What changes forwarded packets only.
const CLAMP: &str = "-p tcp -m tcp --tcp-flags SYN,RST SYN -j TCPMSS --clamp-mss-to-pmtu";

/// What sees them afterwards.
const READERS: [&str; 14] = [
    "",
    "-p tcp -m tcp --tcp-option 2",
    "-p tcp -m tcp --tcp-option 8",
    "-p tcp -m tcpmss --mss 500:1200",
    "-p tcp -m tcpmss ! --mss 0:1000",
    "-m length --length 64",
    "-m u32 --u32 0>>22&0x3C@16&0xffff=0:0x7fff",
    "-m u32 --u32 8&0xffff=0:0x7fff",
    "-m string --algo bm --hex-string |02040218|",
    "-m string --algo kmp --from 0 --to 30 --hex-string |40|",
    "-m HOPS-gt 60",
    "-m HOPS-lt 50",
    "-m tos --tos 0x2/0xf",
    "-p tcp -m ecn --ecn-tcp-ece",
];

fn rule(chain: &'static str) -> impl Strategy<Value = String> {
    let mut changes = CHANGES.to_vec();
    if matches!(chain, "FORWARD" | "POSTROUTING") {
        changes.extend([CLAMP; 2]);
    }
    let change = (select(changes), any::<bool>()).prop_map(move |(change, logs)| {
        let log = if logs { "-j LOG\n" } else { "" };
        format!(
            "-A {chain} {change}\n{}",
            log.replace("-j", &format!("-A {chain} -j"))
        )
    });
    let read = select(&READERS[..]).prop_map(move |matches| format!("-A {chain} {matches}\n"));
    prop_oneof![change, read]
}

/// A mangle table, and a filter table that rejects some.
fn text() -> impl Strategy<Value = String> {
    let chains = ["PREROUTING", "INPUT", "FORWARD", "POSTROUTING"];
    let rules: Vec<_> = chains.map(|chain| vec(rule(chain), 0..4)).into();
    (rules, any::<bool>()).prop_map(|(rules, rejects)| {
        let filter = match rejects {
            true => {
                "*filter\n-A INPUT -m tos --tos 0x2/0x2 -j REJECT\n\
                 -A FORWARD -m tos --tos 0x2/0x2 -j REJECT\nCOMMIT\n"
            }
            false => "",
        };
        format!("*mangle\n{}COMMIT\n{filter}", rules.concat().concat())
    })
}

fn of_family(family: Family, text: &str) -> String {
    let (target, matching, option) = match family {
        Family::V4 => ("TTL", "ttl", "ttl"),
        Family::V6 => ("HL", "hl", "hl"),
    };
    let text = text
        .replace("-j HOPS-", &format!("-j {target} --{option}-"))
        .replace("-m HOPS-", &format!("-m {matching} --{option}-"));
    let lines = text.lines().filter(|line| match family {
        Family::V4 => true,
        Family::V6 => !line.contains("-j ECN") && !line.contains("-m ecn"),
    });
    lines.map(|line| format!("{line}\n")).collect()
}

/// A SYN, mostly, with options of every sort; its checksum may be right, or left to a device.
fn syn() -> impl Strategy<Value = Packet> {
    let option = prop_oneof![
        4 => (0..2000u16).prop_map(|size| [&[2, 4][..], &size.to_be_bytes()].concat()),
        2 => Just(vec![1]),
        1 => Just(vec![0]),
        2 => Just(vec![4, 2]),
        2 => Just(vec![3, 3, 7]),
        2 => Just(vec![8, 10, 1, 2, 3, 4, 5, 6, 7, 8]),
        1 => vec(any::<u8>(), 1..4),
    ];
    let options = vec(option, 0..9).prop_map(|options| {
        let mut options = options.concat();
        options.truncate(40);
        options.resize(options.len().next_multiple_of(4), 1);
        options
    });
    let header = (
        any::<bool>(),
        select(&[2u8, 2, 2, 0xc2, 0x42, 0x10]),
        select(&[1u8, 2, 64, 255]),
        any::<u8>(),
        select(&[0usize, 0, 0, 3]),
        select(&[0usize, 6, 40]),
    );
    (header, options, 0..3u8, any::<bool>(), any::<u16>()).prop_map(
        |((four, flags, hops, tos, data, padding), options, sum, local, id)| {
            let mut segment = vec![0x12, 0x34, 0, 22, 0, 0, 0, 100, 0, 0, 0, 0];
            segment.extend([
                ((20 + options.len()) as u8) << 2,
                flags,
                0x20,
                0,
                0,
                0,
                0,
                0,
            ]);
            segment.extend(&options);
            segment.extend(vec![0xab; data]);
            let length = segment.len() as u16;
            let (mut bytes, pseudo) = match four {
                true => {
                    let mut bytes = vec![0x45, tos];
                    bytes.extend((20 + length).to_be_bytes());
                    bytes.extend(id.to_be_bytes());
                    bytes.extend([0x40, 0, hops, 6, 0, 0, 10, 0, 0, 1, 10, 9, 0, 1]);
                    let checksum = !sum16(&bytes);
                    bytes[10..12].copy_from_slice(&checksum.to_be_bytes());
                    let pseudo = bytes[12..20].to_vec();
                    (bytes, pseudo)
                }
                false => {
                    let mut bytes = vec![0x60 | tos >> 4, tos << 4, 0, 1];
                    bytes.extend(length.to_be_bytes());
                    bytes.extend([6, hops]);
                    for last in [1, 2] {
                        bytes.extend([0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last]);
                    }
                    let pseudo = bytes[8..40].to_vec();
                    (bytes, pseudo)
                }
            };
            let mut covered = [&pseudo[..], &[0, 6], &length.to_be_bytes()].concat();
            let unfinished = sum16(&covered);
            covered.extend(&segment);
            let checksum = match sum {
                0 => !sum16(&covered),
                1 => unfinished,
                _ => id,
            };
            segment[16..18].copy_from_slice(&checksum.to_be_bytes());
            bytes.extend(segment);
            Packet {
                family: if four { Family::V4 } else { Family::V6 },
                bytes,
                interface: 0,
                local,
                tags: Vec::new(),
                padding,
                macs: [[2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]],
                mark: 0,
                packet_type: 0,
                processor: 0,
            }
        },
    )
}

fn sum16(bytes: &[u8]) -> u16 {
    let words = bytes.chunks(2);
    let words = words.map(|word| u32::from(word[0]) << 8 | u32::from(*word.get(1).unwrap_or(&0)));
    words.fold(0u32, |sum, word| {
        let sum = sum + word;
        (sum & 0xffff) + (sum >> 16)
    }) as u16
}

proptest! {
    #[test]
    fn frames(text in text(), mut drawn in packets(10), syns in vec(syn(), 20)) {
        drawn.extend(syns);
        for xdp_path in [XdpPath::Auto, XdpPath::Forward] {
            for family in [Family::V4, Family::V6] {
                let options = Options { xdp_path, hooks: vec![Hook::Xdp], ..Options::default() };
                check(&rulesets(family, &of_family(family, &text)), &drawn, &options)?;
            }
        }
    }
}

/// Every change, before routing and behind it.
fn every_change(family: Family) -> String {
    let chains = ["PREROUTING", "FORWARD"];
    let rules = chains.map(|chain| {
        let rules = CHANGES.iter().chain(&READERS);
        rules
            .map(|rule| format!("-A {chain} {rule}\n"))
            .collect::<String>()
    });
    let rules = rules.concat();
    of_family(
        family,
        &format!("*mangle\n{rules}-A FORWARD {CLAMP}\nCOMMIT\n"),
    )
}

#[test]
fn the_verifier_takes_it() {
    if !may_load() {
        return;
    }
    let both = [Family::V4, Family::V6].map(|family| rulesets(family, &every_change(family)));
    let few = [Family::V4, Family::V6].map(|family| {
        let rules = format!(
            "*mangle\n-A FORWARD {}\n-A PREROUTING {}\nCOMMIT\n",
            CHANGES[9], CHANGES[12]
        );
        rulesets(family, &rules)
    });
    for (rules, target_kernel) in [
        (both.concat(), None),
        (few.concat(), Some(KernelVersion::BASELINE)),
    ] {
        let options = Options {
            hooks: vec![Hook::Xdp],
            target_kernel,
            ..Options::default()
        };
        let compiled = compile(&rules, &options).expect("compiles");
        loads(&compiled.module, Hook::Xdp);
    }
}
