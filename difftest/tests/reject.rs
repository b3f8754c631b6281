//! The answers of REJECT: netfilter of a namespace and the program at XDP tell the senders of the same
//! packets the same, byte by byte.
//!
//! What differs by design is left out of the comparison, each with its reason, in [`differs_by_design`];
//! of an IPv4 error the identification, which is random on both sides. Rates are not compared: the
//! kernel's limits are lifted, the program's clock is told to tick once a second.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use ipt2bpf_codegen::compile::compile;
use ipt2bpf_codegen::frame::header_length;
use ipt2bpf_codegen::module::Hook;
use ipt2bpf_codegen::options::{DeviceNames, Options};
use ipt2bpf_difftest::checksum::checksum;
use ipt2bpf_difftest::constants::{Aim, Constants};
use ipt2bpf_difftest::frame::{Direction, Frame};
use ipt2bpf_difftest::host::{Host, Routing};
use ipt2bpf_difftest::netfilter::{self, Netfilter, Route};
use ipt2bpf_difftest::packets::{self, Packets};
use ipt2bpf_difftest::{exceptions, netns, subjects};
use ipt2bpf_parser::ruleset::{Family, Network};
use ipt2bpf_runtime::kernel::device_access;
use ipt2bpf_runtime::{Loaded, TestPacket, interfaces, load};

const INTERFACE: &str = "eth0";
const HOST4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const HOST6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 1);
const PEERS4: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 0);
const PEERS6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 2, 0, 0, 0, 0, 0);
const ELSEWHERE4: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 7);
const ELSEWHERE6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 3, 0, 0, 0, 0, 7);
/// `XDP_TX`
const SENT: u32 = 3;
/// A tick of the slowest clock that kernels have (`CONFIG_HZ=100`), and a little more.
const TICK: Duration = Duration::from_millis(12);
/// Drawn frames of one family.
const FRAMES: usize = 3000;

const TYPES4: [&str; 8] = [
    "tcp-reset",
    "icmp-net-unreachable",
    "icmp-host-unreachable",
    "icmp-proto-unreachable",
    "icmp-port-unreachable",
    "icmp-net-prohibited",
    "icmp-host-prohibited",
    "icmp-admin-prohibited",
];
const TYPES6: [&str; 7] = [
    "tcp-reset",
    "icmp6-no-route",
    "icmp6-adm-prohibited",
    "icmp6-addr-unreachable",
    "icmp6-port-unreachable",
    "icmp6-policy-fail",
    "icmp6-reject-route",
];

/// Settings under `/proc/sys/net`: errors without limit, flow labels of zero, and the usual answer of
/// routing to 127.0.0.1 on the wire.
const SYSCTLS: [(&str, &str); 7] = [
    ("ipv4/icmp_ratelimit", "0"),
    ("ipv4/icmp_ratemask", "0"),
    ("ipv6/icmp/ratelimit", "0"),
    ("ipv6/icmp/ratemask", "2"),
    ("ipv6/auto_flowlabels", "0"),
    ("ipv4/conf/all/route_localnet", "0"),
    ("ipv4/conf/eth0/route_localnet", "0"),
];

/// A packet by hand. Its number makes its source and its id unique.
struct ByHand {
    family: Family,
    to: IpAddr,
    protocol: u8,
    payload: Vec<u8>,
    change: fn(&mut Vec<u8>),
}

impl ByHand {
    fn frame(&self, number: u16) -> Frame {
        let mut packet = match self.to {
            IpAddr::V4(to) => {
                let mut packet = vec![0x45, 0x2b];
                packet.extend((20 + self.payload.len() as u16).to_be_bytes());
                packet.extend(number.to_be_bytes());
                packet.extend([0, 0, 64, self.protocol, 0, 0]);
                let [high, low] = number.to_be_bytes();
                packet.extend([10, 200, high, low]);
                packet.extend(to.octets());
                packet
            }
            IpAddr::V6(to) => {
                let mut packet = vec![0x62, 0xb0];
                packet.extend(number.to_be_bytes());
                packet.extend((self.payload.len() as u16).to_be_bytes());
                packet.extend([self.protocol, 64]);
                let from = u128::from(PEERS6) | u128::from(number) << 16;
                packet.extend(Ipv6Addr::from(from).octets());
                packet.extend(to.octets());
                packet
            }
        };
        packet.extend(&self.payload);
        self.finish(&mut packet);
        (self.change)(&mut packet);
        if self.family == Family::V4 {
            let header = 4 * usize::from(packet[0] & 15);
            packet[10..12].fill(0);
            let sum = checksum(&packet[..header]).to_be_bytes();
            packet[10..12].copy_from_slice(&sum);
        }
        Frame::received(self.family, INTERFACE, &packet)
    }

    /// Makes the checksum of TCP, UDP and ICMP right, behind whatever headers.
    fn finish(&self, packet: &mut [u8]) {
        let (mut start, mut protocol) = match self.family {
            Family::V4 => (20, self.protocol),
            Family::V6 => (40, self.protocol),
        };
        while self.family == Family::V6 && matches!(protocol, 0 | 43 | 44 | 51 | 60) {
            let Some(&[next, length]) = packet.get(start..start + 2) else {
                return;
            };
            start += match protocol {
                44 => 8,
                51 => 4 * (usize::from(length) + 2),
                _ => 8 * (usize::from(length) + 1),
            };
            protocol = next;
        }
        let at = start
            + match protocol {
                6 => 16,
                17 => 6,
                1 | 58 | 2 | 103 => 2,
                _ => return,
            };
        if packet.len() < at + 2 {
            return;
        }
        let length = (packet.len() - start) as u32;
        let mut covered = match self.family {
            Family::V4 => packet[12..20].to_vec(),
            Family::V6 => packet[8..40].to_vec(),
        };
        covered.extend(length.to_be_bytes());
        covered.extend(u32::from(protocol).to_be_bytes());
        if self.family == Family::V4 && !matches!(protocol, 6 | 17) {
            covered.clear();
        }
        packet[at..at + 2].fill(0);
        covered.extend(&packet[start..]);
        let sum = checksum(&covered).to_be_bytes();
        packet[at..at + 2].copy_from_slice(&sum);
    }
}

/// A segment with these flags and header length in words, and so much data.
fn tcp(flags: u8, words: u8, data: usize) -> Vec<u8> {
    let mut segment = vec![0x12, 0x34, 0, 22, 0, 0, 0, 100, 0x89, 0xab, 0xcd, 0xef];
    segment.extend([words << 4, flags, 0x20, 0, 0, 0, 0, 0]);
    segment.extend((0..data).map(|byte| byte as u8));
    segment
}

fn udp(data: usize) -> Vec<u8> {
    let mut datagram = vec![0x12, 0x34, 0, 53];
    datagram.extend((8 + data as u16).to_be_bytes());
    datagram.extend([0, 0]);
    datagram.extend((0..data).map(|byte| byte as u8));
    datagram
}

/// Extension headers in front of something: options of 8 bytes each.
fn behind(headers: &[(u8, [u8; 7])], rest: Vec<u8>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (next, header) in headers {
        bytes.push(*next);
        bytes.extend(header);
    }
    bytes.extend(rest);
    bytes
}

/// Protocol, what is behind the header, and what is changed when the checksums are right.
type Case = (u8, Vec<u8>, fn(&mut Vec<u8>));

/// Each condition once, to the host and to another.
fn by_hand(family: Family) -> Vec<Frame> {
    let nothing: fn(&mut Vec<u8>) = |_| {};
    let wrong: fn(&mut Vec<u8>) = |packet| {
        let last = packet.len() - 1;
        packet[last] ^= 1;
    };
    let mut cases: Vec<Case> = Vec::new();
    for flags in [
        0x02, 0x12, 0x10, 0x11, 0x03, 0x04, 0x14, 0x00, 0x01, 0xff, 0x18,
    ] {
        cases.push((6, tcp(flags, 5, 0), nothing));
        cases.push((6, tcp(flags, 5, 5), nothing));
        cases.push((6, tcp(flags, 5, 5), wrong));
    }
    for words in [0, 4, 6, 15] {
        cases.push((6, tcp(2, words, 8), nothing));
    }
    for length in [0, 1, 12, 19] {
        cases.push((6, tcp(2, 5, 0)[..length].to_vec(), nothing));
    }
    for data in [
        0, 1, 2, 3, 30, 511, 512, 513, 519, 520, 521, 547, 548, 549, 1000, 1183, 1184, 1185, 1400,
    ] {
        cases.push((17, udp(data), nothing));
        cases.push((6, tcp(0x18, 5, data), nothing));
        cases.push((6, tcp(0x18, 5, data), wrong));
    }
    // A UDP checksum of zero, and what a short header says of it.
    cases.push((17, udp(9), |packet| {
        let at = packet.len() - 9 - 2;
        packet[at..at + 2].fill(0);
    }));
    for length in [0, 1, 6, 7] {
        cases.push((17, udp(0)[..length].to_vec(), nothing));
    }
    let icmp = if family == Family::V4 { 1 } else { 58 };
    for kind in (0..=42).chain(126..=160).chain([255]) {
        cases.push((icmp, vec![kind, 1, 0, 0, 0, 1, 0, 2, 9, 9, 9], nothing));
    }
    cases.push((icmp, vec![128, 0, 0, 0, 0, 0, 0, 0], wrong));
    cases.push((icmp, Vec::new(), nothing));
    cases.push((icmp, vec![8], nothing));
    // Protocols with and without a checksum over everything.
    for protocol in [2, 4, 33, 47, 50, 51, 89, 103, 115, 132, 136, 253, 255] {
        cases.push((
            protocol,
            vec![0x12, 0x34, 0, 53, 1, 2, 3, 4, 5, 6, 7, 8, 9],
            nothing,
        ));
        cases.push((protocol, vec![0; 12], nothing));
        cases.push((protocol, Vec::new(), nothing));
    }
    match family {
        Family::V4 => {
            for field in [0x20u8, 0x40, 0x80] {
                let change: fn(&mut Vec<u8>) = match field {
                    0x20 => |packet| packet[6] = 0x20,
                    0x40 => |packet| packet[6] = 0x40,
                    _ => |packet| packet[6] = 0x80,
                };
                cases.push((17, udp(16), change));
                cases.push((6, tcp(2, 5, 0), change));
                cases.push((47, vec![0; 24], change));
            }
            cases.push((17, udp(16), |packet| packet[7] = 2));
            cases.push((6, tcp(2, 5, 0), |packet| packet[7] = 1));
            cases.push((6, tcp(2, 5, 0), |packet| packet[8] = 1));
            cases.push((6, tcp(2, 5, 0), |packet| packet[8] = 0));
            cases.push((6, tcp(2, 5, 0), |packet| {
                packet[0] = 0x46;
                packet.splice(20..20, [1; 4]);
                packet[3] += 4;
            }));
        }
        Family::V6 => {
            let pad = [0, 1, 4, 0, 0, 0, 0];
            for rest in [
                (6, tcp(2, 5, 3)),
                (17, udp(700)),
                (58, vec![128, 0, 0, 0, 0, 0, 0, 0]),
                (58, vec![1, 0, 0, 0, 0, 0, 0, 0]),
                (59, vec![1, 2, 3]),
                (132, vec![7; 12]),
                (60, Vec::new()),
            ] {
                let (next, bytes) = rest;
                for header in [0, 60, 43] {
                    let content = if header == 43 {
                        [0, 0, 0, 0, 0, 0, 0]
                    } else {
                        pad
                    };
                    cases.push((header, behind(&[(next, content)], bytes.clone()), nothing));
                }
                cases.push((
                    60,
                    behind(&[(51, pad), (next, [0, 0, 0, 0, 0, 0, 1])], bytes.clone()),
                    nothing,
                ));
                // Fragments: an atomic one, a first, a later.
                for (high, low) in [(0, 0), (0, 1), (0, 8), (0, 9)] {
                    cases.push((
                        44,
                        behind(&[(next, [0, high, low, 0, 0, 0, 1])], bytes.clone()),
                        nothing,
                    ));
                }
                cases.push((next, bytes, nothing));
            }
            cases.push((6, tcp(2, 5, 0), |packet| packet[7] = 1));
            cases.push((60, vec![6], nothing));
            cases.push((43, vec![6, 0, 1], nothing));
            cases.push((44, vec![6, 0, 0], nothing));
        }
    }
    let mut frames = Vec::new();
    let mut number = 0;
    for (protocol, payload, change) in cases {
        let ends: [IpAddr; 2] = match family {
            Family::V4 => [HOST4.into(), ELSEWHERE4.into()],
            Family::V6 => [HOST6.into(), ELSEWHERE6.into()],
        };
        for to in ends {
            number += 1;
            let packet = ByHand {
                family,
                to,
                protocol,
                payload: payload.clone(),
                change,
            };
            frames.push(packet.frame(number));
        }
    }
    // A frame for all stations, padding, tags.
    let mut special = Vec::new();
    for (position, protocol, payload) in [
        (0, 6, tcp(2, 5, 0)),
        (1, 17, udp(3)),
        (2, 6, tcp(2, 5, 0)),
        (3, 17, udp(3)),
        (4, 6, tcp(2, 5, 1)),
        (5, 17, udp(3)),
    ] {
        number += 1;
        let to = match family {
            Family::V4 => HOST4.into(),
            Family::V6 => HOST6.into(),
        };
        let packet = ByHand {
            family,
            to,
            protocol,
            payload,
            change: nothing,
        };
        let mut frame = packet.frame(number);
        match position {
            0 | 1 => frame.bytes.extend([0xee; 9]),
            2 | 3 => frame = frame.with_priority_tag(3),
            _ => frame = frame.with_priority_tag(3).with_priority_tag(0),
        }
        special.push(frame);
    }
    frames.extend(special);
    frames
}

/// Frames around the addresses of the test.
fn drawn(family: Family, seed: u64) -> Vec<Frame> {
    let network4 = |address, length: u32| Network::V4 {
        address,
        mask: Ipv4Addr::from((u64::MAX << (32 - length)) as u32),
    };
    let network6 = |address, length: u32| Network::V6 {
        address,
        mask: Ipv6Addr::from(u128::MAX << (128 - length)),
    };
    let aim = |protocol| {
        let (sources, destinations) = match family {
            Family::V4 => (
                vec![network4(PEERS4, 8)],
                vec![
                    network4(HOST4, 32),
                    network4(HOST4, 32),
                    network4(ELSEWHERE4, 32),
                ],
            ),
            Family::V6 => (
                vec![network6(PEERS6, 48)],
                vec![
                    network6(HOST6, 128),
                    network6(HOST6, 128),
                    network6(ELSEWHERE6, 128),
                ],
            ),
        };
        Aim {
            sources,
            destinations,
            protocols: vec![protocol],
            ..Aim::default()
        }
    };
    let constants = Constants {
        aims: [6, 17, 1, 58, 132].map(aim).to_vec(),
        ..Constants::none(family, Direction::Received)
    };
    // Frames to a group of stations get no answer of ours, by design.
    let single = |frame: &Frame| frame.bytes[0] & 1 == 0;
    Packets::new(&constants, seed)
        .filter(single)
        .take(FRAMES)
        .collect()
}

/// The IP packets among frames that REJECT may have sent: resets, and errors of the wanted kind.
fn answers(family: Family, frames: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let packets = frames.iter().filter_map(|frame| ip_packet(family, frame));
    packets.filter(|packet| is_answer(family, packet)).collect()
}

/// The IP packet in a frame, without padding.
fn ip_packet(family: Family, frame: &[u8]) -> Option<Vec<u8>> {
    let start = header_length(frame)?;
    let ethertype = frame.get(start - 2..start)?;
    let packet = frame.get(start..)?;
    let word = |at: usize| {
        let bytes = packet.get(at..at + 2)?;
        Some(usize::from(u16::from_be_bytes([bytes[0], bytes[1]])))
    };
    let length = match (family, ethertype) {
        (Family::V4, [0x08, 0x00]) => word(2)?,
        (Family::V6, [0x86, 0xdd]) => word(4)? + 40,
        _ => return None,
    };
    packet.get(..length).map(<[u8]>::to_vec)
}

fn is_answer(family: Family, packet: &[u8]) -> bool {
    match family {
        Family::V4 => packet[9] == 6 || (packet[9] == 1 && packet[20] == 3),
        Family::V6 => packet[6] == 6 || (packet[6] == 58 && packet[40] == 1),
    }
}

/// An IPv4 error without its identification and the checksum over it, which must be right.
fn comparable(family: Family, mut packet: Vec<u8>) -> Result<Vec<u8>> {
    if family == Family::V4 {
        ensure!(
            checksum(&packet[..20]) == 0,
            "a wrong header checksum: {packet:x?}"
        );
        if packet[9] == 1 {
            packet[4..6].fill(0);
            packet[10..12].fill(0);
        }
    }
    Ok(packet)
}

/// Why the program does not answer as netfilter does, where that is meant.
fn differs_by_design(frame: &Frame, route: &Route, reset: bool) -> Option<&'static str> {
    let packet = frame.packet();
    if matches!(
        route,
        Route::Unseen | Route::Refused | Route::Unrouted | Route::Held
    ) {
        return Some("no rule sees it");
    }
    if exceptions::is_unknowable(frame, route) || exceptions::may_be_counted_unseen(frame) {
        return Some("what the program cannot know");
    }
    if frame.family == Family::V4 && packet[0] != 0x45 && !reset {
        return Some("IPv4 options");
    }
    if frame.family == Family::V4 && exceptions::is_written_into(frame) {
        // `nf_ip_checksum` (net/netfilter/utils.c) sums the whole packet, and takes the header's sum for zero.
        return Some(
            "IPv4 options that the kernel has written into, so that it finds the checksum wrong",
        );
    }
    let from_link = packet[8] == 0xfe && packet[9] & 0xc0 == 0x80;
    if frame.family == Family::V6 && from_link && matches!(route, Route::Via(_)) && !reset {
        return Some("errors to link-local addresses for forwarded packets");
    }
    None
}

/// The program for some rules, with a clock that gives tokens in plenty.
fn program(family: Family, text: &str) -> Result<Loaded> {
    let ruleset = subjects::ruleset(family, text)?;
    let options = Options {
        hooks: vec![Hook::Xdp],
        tick_rate: 1,
        device_names: device_access().map_or(DeviceNames::Table, DeviceNames::Kernel),
        ..Options::default()
    };
    let compiled =
        compile(&[ruleset], &options).map_err(|diagnostics| anyhow::anyhow!("{diagnostics:?}"))?;
    load(&compiled.object).context("the kernel refuses the program")
}

/// Compares all types of a family on some frames; gives the numbers of answers and of silences that
/// were compared.
fn compare(family: Family, frames: &[Frame]) -> Result<[usize; 2]> {
    netns::isolated(|| {
        let routing = Routing::Router {
            local: Vec::new(),
            routes: Vec::new(),
        };
        let host = Host::new(&[INTERFACE.into()], &routing)?;
        for (path, value) in SYSCTLS {
            let path = format!("/proc/sys/net/{path}");
            std::fs::write(&path, value).with_context(|| format!("cannot set {path}"))?;
        }
        // Whoever is asked for is there: answers need no neighbours.
        run("ip", &["link", "set", INTERFACE, "arp", "off"])?;
        run(
            "ip",
            &["addr", "add", &format!("{HOST4}/24"), "dev", INTERFACE],
        )?;
        run(
            "ip",
            &[
                "addr",
                "add",
                &format!("{HOST6}/64"),
                "dev",
                INTERFACE,
                "nodad",
            ],
        )?;
        let taps = Netfilter::new(&host, family)?;
        let routes = taps.route(&frames.iter().collect::<Vec<_>>())?;
        let name = if family == Family::V4 { "ip" } else { "ip6" };
        run("nft", &["delete", "table", name, "tap"])?;
        let index = interfaces()?
            .into_iter()
            .find(|interface| interface.name == INTERFACE)
            .context("no interface")?
            .index;
        let types = match family {
            Family::V4 => &TYPES4[..],
            Family::V6 => &TYPES6[..],
        };
        let mut compared = [0, 0];
        for with in types {
            let reset = *with == "tcp-reset";
            let matches = if reset { " -p tcp" } else { "" };
            let rule = |chain| format!("-A {chain}{matches} -j REJECT --reject-with {with}\n");
            let text = format!(
                "*filter\n:INPUT DROP\n:FORWARD DROP\n:OUTPUT ACCEPT\n{}{}COMMIT\n",
                rule("INPUT"),
                rule("FORWARD")
            );
            netfilter::load(family, &text)?;
            let program = program(family, &text)?;
            host.sent(INTERFACE)?;
            for (frame, route) in frames.iter().zip(&routes) {
                host.inject(frame)?;
                let kernel = answers(family, &host.sent(INTERFACE)?);
                let test = TestPacket {
                    frame: &frame.bytes,
                    ifindex: Some(index),
                    repeat: 1,
                };
                let mut run = program.test_run(Hook::Xdp, &test)?;
                if run.retval != SENT && !kernel.is_empty() {
                    // It may have been out of tokens, of which each tick brings new ones.
                    std::thread::sleep(TICK);
                    run = program.test_run(Hook::Xdp, &test)?;
                }
                let ours: Vec<Vec<u8>> = match run.retval {
                    SENT => ip_packet(family, &run.frame).into_iter().collect(),
                    _ => Vec::new(),
                };
                ensure!(
                    run.retval != SENT || !ours.is_empty(),
                    "sent {:x?}",
                    run.frame
                );
                if differs_by_design(frame, route, reset).is_some() {
                    continue;
                }
                let both = [kernel, ours].map(|packets| {
                    let packets = packets.into_iter();
                    packets
                        .map(|packet| comparable(family, packet))
                        .collect::<Result<Vec<_>>>()
                });
                let [kernel, ours] = both;
                let (kernel, ours) = (kernel?, ours?);
                ensure!(
                    kernel == ours,
                    "{with}, {route}, to {:02x?}:\nnetfilter sent {kernel:02x?}\nthe program {ours:02x?}",
                    frame.bytes
                );
                compared[usize::from(kernel.is_empty())] += 1;
            }
        }
        Ok(compared)
    })
}

fn run(tool: &str, arguments: &[&str]) -> Result<()> {
    let status = std::process::Command::new(tool).args(arguments).status()?;
    ensure!(status.success(), "{tool} {arguments:?}: {status}");
    Ok(())
}

/// Whether the test can run here; says why when it cannot.
fn can_run() -> bool {
    match netns::prerequisites() {
        Ok(()) => true,
        Err(reason) => {
            eprintln!("skipped: {reason:#}");
            false
        }
    }
}

#[test]
fn every_condition_by_hand() {
    if !can_run() {
        return;
    }
    for family in [Family::V4, Family::V6] {
        let compared = compare(family, &by_hand(family)).expect("the same answers");
        eprintln!(
            "{family}: {} answers, {} silences",
            compared[0], compared[1]
        );
        assert!(compared.iter().all(|&count| count > 100), "{compared:?}");
    }
}

#[test]
fn a_frame_for_another_station_is_not_answered() {
    if !can_run() {
        return;
    }
    if device_access().is_none() {
        eprintln!("skipped: the kernel does not tell the addresses of interfaces");
        return;
    }
    let frame = &by_hand(Family::V4)[0];
    let mut other = frame.clone();
    other.bytes[5] ^= 4;
    let returned = netns::isolated(|| {
        let _host = Host::new(&[INTERFACE.into()], &Routing::transit())?;
        let interfaces = interfaces()?;
        let interface = interfaces.iter().find(|it| it.name == INTERFACE);
        let rule = "*filter\n-A INPUT -j REJECT\n-A FORWARD -j REJECT\nCOMMIT\n";
        let program = program(Family::V4, rule)?;
        [frame, &other]
            .map(|frame| {
                let test = TestPacket {
                    frame: &frame.bytes,
                    ifindex: interface.map(|it| it.index),
                    repeat: 1,
                };
                Ok(program.test_run(Hook::Xdp, &test)?.retval)
            })
            .into_iter()
            .collect::<Result<Vec<u32>>>()
    });
    assert_eq!(returned.expect("runs"), [SENT, 1]);
}

#[test]
fn drawn_frames() {
    if !can_run() {
        return;
    }
    let seed = packets::seed().expect("a seed");
    eprintln!("seed {seed}");
    for family in [Family::V4, Family::V6] {
        let compared = compare(family, &drawn(family, seed)).expect("the same answers");
        eprintln!(
            "{family}: {} answers, {} silences",
            compared[0], compared[1]
        );
        assert!(compared.iter().all(|&count| count > 100), "{compared:?}");
    }
}
