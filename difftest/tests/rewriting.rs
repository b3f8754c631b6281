//! Targets that change packets: what netfilter forwards and what the program at XDP leaves to be forwarded
//! are the same, byte by byte.

use anyhow::{Context, Result, ensure};
use fastrand::Rng;
use ipt2bpf_codegen::compile::compile;
use ipt2bpf_codegen::frame::header_length;
use ipt2bpf_codegen::module::Hook;
use ipt2bpf_codegen::options::Options;
use ipt2bpf_difftest::checksum::checksum;
use ipt2bpf_difftest::frame::Frame;
use ipt2bpf_difftest::host::{Host, Routing};
use ipt2bpf_difftest::packets::seed;
use ipt2bpf_difftest::{netfilter, netns, subjects, tool};
use ipt2bpf_parser::ruleset::Family;
use ipt2bpf_runtime::{TestPacket, interfaces, load};

const INTERFACE: &str = "eth0";
/// `XDP_PASS`
const PASSED: u32 = 2;
/// Frames for each set of rules.
const FRAMES: usize = 60;

/// What changes packets, and what counts them afterwards.
const RULES4: [&str; 14] = [
    "-j TTL --ttl-set 9",
    "-j TTL --ttl-set 1",
    "-j TTL --ttl-inc 30",
    "-j TTL --ttl-dec 2",
    "-j TOS --set-tos 0x12/0x3f",
    "-j TOS --set-tos 0x00/0xff",
    "-j DSCP --set-dscp 46",
    "-p tcp -m tcp --tcp-flags SYN,RST SYN -j TCPMSS --set-mss 1000",
    "-p tcp -m tcp --tcp-flags SYN SYN -j TCPMSS --set-mss 0",
    "-p tcp -j TCPOPTSTRIP --strip-options 2",
    "-p tcp -j TCPOPTSTRIP --strip-options 3,4,5,8,19,200,255",
    "-p tcp -j ECN --ecn-tcp-remove",
    "-j ECN --ecn-ip-ect 1",
    "-p tcp -j ECN --ecn-tcp-cwr 1 --ecn-tcp-ece 0 --ecn-ip-ect 2",
];
const RULES6: [&str; 9] = [
    "-j HL --hl-set 9",
    "-j HL --hl-inc 30",
    "-j HL --hl-dec 2",
    "-j TOS --set-tos 0x12/0x3f",
    "-j DSCP --set-dscp 46",
    "-p tcp -m tcp --tcp-flags SYN,RST SYN -j TCPMSS --set-mss 1000",
    "-p tcp -m tcp --tcp-flags SYN SYN -j TCPMSS --set-mss 0",
    "-p tcp -j TCPOPTSTRIP --strip-options 2",
    "-p tcp -j TCPOPTSTRIP --strip-options 3,4,5,8,19,200,255",
];

/// What changes forwarded packets only.
const CLAMP: &str = "-p tcp -m tcp --tcp-flags SYN,RST SYN -j TCPMSS --clamp-mss-to-pmtu";
/// What the interface lets through.
const MTU: &str = "1300";

/// Matches of rules that see what the others have changed.
const READERS: [&str; 6] = [
    "-m length --length 60:64",
    "-p tcp -m tcpmss --mss 500:1000",
    "-p tcp -m tcp --tcp-option 2",
    "-p tcp -m tcp --tcp-option 8",
    "-m u32 --u32 8&0xffff=0:0x7fff",
    "-m string --algo bm --hex-string |020403e8|",
];

/// The rule before the readers and one more in POSTROUTING, for packets of the sender only: the kernel sends
/// errors of its own.
fn text(family: Family, chain: &str, rule: &str, other: &str) -> String {
    let source = match family {
        Family::V4 => "10.0.0.1",
        Family::V6 => "2001:db8:0:2::1",
    };
    let mut text = format!("*mangle\n-A {chain} -s {source} {rule}\n");
    for rule in [other].iter().chain(&READERS) {
        text += &format!("-A POSTROUTING -s {source} {rule}\n");
    }
    text + "COMMIT\n"
}

/// A TCP segment with options of every sort; now and then cut short, or with a wrong length.
fn segment(random: &mut Rng) -> Vec<u8> {
    let mut options = Vec::new();
    while random.u8(..5) < 4 {
        match random.u8(..8) {
            0 | 1 => {
                options.extend([2, 4]);
                options.extend(random.u16(..2000).to_be_bytes());
            }
            2 => options.push(1),
            3 => options.extend([4, 2]),
            4 => options.extend([3, 3, 7]),
            5 => options.extend([8, 10, 1, 2, 3, 4, 5, 6, 7, 8]),
            6 => options.push(0),
            _ => options.extend([(); 3].map(|()| random.u8(..))),
        }
    }
    options.truncate(40);
    options.resize(options.len().next_multiple_of(4), 1);
    let mut words = 5 + options.len() as u8 / 4;
    if random.u8(..12) < 1 {
        words = random.u8(..16);
    }
    let flags = [0x02, 0x02, 0x02, 0x12, 0xc2, 0x42, 0x10][random.usize(..7)];
    let mut segment = vec![0x12, 0x34, 0, 22, 0, 0, 0, 100, 0, 0, 0, 0];
    segment.extend([words << 4, flags, 0x20, 0, 0, 0, 0, 0]);
    segment.extend(options);
    if random.u8(..6) < 1 {
        segment.extend([0xab; 5]);
    }
    if random.u8(..15) < 1 {
        segment.truncate(random.usize(..segment.len()));
    }
    segment
}

/// Now and then an IPv6 extension header: options, a first fragment or a later one. Gives what the IPv6 header
/// says of it, and the header.
fn extension(next: u8, random: &mut Rng) -> (u8, Vec<u8>) {
    match random.u8(..9) {
        0 => (60, vec![next, 0, 1, 4, 0, 0, 0, 0]),
        1 => (44, vec![next, 0, 0, 1, 0, 0, 0, 9]),
        2 => (44, vec![next, 0, 0, 24, 0, 0, 0, 9]),
        _ => (next, Vec::new()),
    }
}

/// A packet to be forwarded, of a number of its own.
fn frame(family: Family, number: u16, random: &mut Rng) -> Frame {
    let mut segment = segment(random);
    let protocol = if random.u8(..10) < 1 { 17 } else { 6 };
    let hops = [1, 2, 3, 64, 255][random.usize(..5)];
    let service = random.u8(..);
    let length = segment.len() as u16;
    let (mut packet, mut covered) = match family {
        Family::V4 => {
            let words = if random.u8(..4) < 1 { 6 } else { 5 };
            let mut packet = vec![0x40 | words, service];
            packet.extend((4 * u16::from(words) + length).to_be_bytes());
            packet.extend(number.to_be_bytes());
            let fragment: u16 = [0x4000, 0, 0x2000, 185][random.usize(..4)];
            packet.extend(fragment.to_be_bytes());
            packet.extend([hops, protocol, 0, 0, 10, 0, 0, 1, 198, 51, 100, 7]);
            packet.resize(4 * usize::from(words), 1);
            let sum = checksum(&packet).to_be_bytes();
            packet[10..12].copy_from_slice(&sum);
            let covered = packet[12..20].to_vec();
            (packet, covered)
        }
        Family::V6 => {
            let mut packet = vec![0x60 | service >> 4, service << 4];
            packet.extend(number.to_be_bytes());
            let (next, extension) = extension(protocol, random);
            packet.extend((length + extension.len() as u16).to_be_bytes());
            packet.extend([next, hops]);
            for (net, last) in [(2, 1), (3, 7)] {
                packet.extend([0x20, 1, 0xd, 0xb8, 0, net, 0, 0, 0, 0, 0, 0, 0, 0, 0, last]);
            }
            let covered = packet[8..40].to_vec();
            packet.extend(extension);
            (packet, covered)
        }
    };
    if segment.len() >= 20 && (random.u8(..5) < 4) {
        covered.extend([0, protocol]);
        covered.extend(length.to_be_bytes());
        covered.extend(&segment);
        let sum = checksum(&covered).to_be_bytes();
        segment[16..18].copy_from_slice(&sum);
    }
    packet.extend(segment);
    if random.u8(..3) < 1 {
        packet.extend([0xee; 20]);
    }
    Frame::received(family, INTERFACE, &packet)
}

/// The IP packet in a frame, without padding.
fn packet(family: Family, frame: &[u8]) -> Option<Vec<u8>> {
    let packet = frame.get(header_length(frame)?..)?;
    let word = |at: usize| Some(u16::from_be_bytes([*packet.get(at)?, *packet.get(at + 1)?]));
    let length = match (family, packet.first()? >> 4) {
        (Family::V4, 4) => word(2)?,
        (Family::V6, 6) => word(4)? + 40,
        _ => return None,
    };
    packet.get(..usize::from(length)).map(<[u8]>::to_vec)
}

fn hops(family: Family, packet: &[u8]) -> u8 {
    match family {
        Family::V4 => packet[8],
        Family::V6 => packet[7],
    }
}

/// What the kernel forwards when it gets this.
fn forwarded(family: Family, mut packet: Vec<u8>) -> Option<Vec<u8>> {
    let hops = hops(family, &packet);
    if hops <= 1 {
        return None;
    }
    match family {
        Family::V4 => {
            packet[8] = hops - 1;
            let sum = u32::from(u16::from_be_bytes([packet[10], packet[11]])) + 0x100;
            let sum = (sum + u32::from(sum > 0xffff)) as u16;
            let sum = if sum == 0xffff { 0 } else { sum };
            packet[10..12].copy_from_slice(&sum.to_be_bytes());
        }
        Family::V6 => packet[7] = hops - 1,
    }
    Some(packet)
}

/// Compares the two for each rule in each chain; gives the numbers of packets that came through and that
/// did not.
fn compare(family: Family, rules: &[&str], seed: u64) -> Result<[usize; 2]> {
    netns::isolated(|| {
        let host = Host::new(&[INTERFACE.into()], &Routing::transit())?;
        let setting = ["link", "set", INTERFACE, "mtu", MTU, "arp", "off"];
        tool::run("ip", &setting, "")?;
        let index = interfaces()?
            .into_iter()
            .find(|interface| interface.name == INTERFACE)
            .context("no interface")?
            .index;
        let mut random = Rng::with_seed(seed);
        let mut compared = [0, 0];
        let chains = ["PREROUTING", "FORWARD", "POSTROUTING"].into_iter();
        let anywhere = chains.flat_map(|chain| rules.iter().map(move |rule| (chain, *rule)));
        let behind_routing = ["FORWARD", "POSTROUTING"].map(|chain| (chain, CLAMP));
        for (chain, rule) in anywhere.chain(behind_routing) {
            let other = rules[random.usize(..rules.len())];
            let text = text(family, chain, rule, other);
            netfilter::load(family, &text)?;
            let ruleset = subjects::ruleset(family, &text)?;
            let keys = subjects::counter_keys(&ruleset);
            let options = Options {
                hooks: vec![Hook::Xdp],
                ..Options::default()
            };
            let compiled = compile(&[ruleset], &options)
                .map_err(|diagnostics| anyhow::anyhow!("{diagnostics:?}"))?;
            let program = load(&compiled.object).context("the kernel refuses the program")?;
            host.sent(INTERFACE)?;
            for number in 0..FRAMES as u16 {
                let frame = frame(family, number, &mut random);
                host.inject(&frame)?;
                let sent = host.sent(INTERFACE)?;
                let sent = sent.iter().filter_map(|frame| packet(family, frame));
                // Not what the kernel tells the sender.
                let kernel = sent.into_iter().find(|packet| match family {
                    Family::V4 => packet[9] != 1,
                    Family::V6 => packet[6] != 58,
                });
                let test = TestPacket {
                    frame: &frame.bytes,
                    ifindex: Some(index),
                    repeat: 1,
                };
                let run = program.test_run(Hook::Xdp, &test)?;
                let ours = match run.retval {
                    PASSED => packet(family, &run.frame),
                    _ => None,
                };
                let ours = ours.and_then(|packet| forwarded(family, packet));
                // The kernel counts the hop behind the program.
                let at_end = kernel
                    .as_ref()
                    .is_some_and(|it| matches!(hops(family, it), 0 | 255));
                if at_end && (chain != "PREROUTING" || other.contains("-j TTL")) {
                    continue;
                }
                ensure!(
                    kernel == ours,
                    "{text}{:02x?} becomes\n{kernel:02x?} by netfilter,\n{ours:02x?} by the program",
                    frame.bytes
                );
                compared[usize::from(kernel.is_none())] += 1;
            }
            let ours = program.maps().counters()?;
            for counted in netfilter::counters(family)? {
                let number = keys.iter().position(|key| *key == counted.key);
                let Some(number) = number.filter(|_| counted.key.rule.is_some()) else {
                    continue;
                };
                let kernel = (counted.counters.packets, counted.counters.bytes);
                let ours = (ours[number].packets, ours[number].bytes);
                ensure!(
                    kernel == ours,
                    "{text}{}: netfilter counts {kernel:?}, the program {ours:?}",
                    counted.text
                );
            }
        }
        Ok(compared)
    })
}

#[test]
fn forwarded_packets() {
    if let Err(reason) = netns::prerequisites() {
        eprintln!("skipped: {reason:#}");
        return;
    }
    let seed = seed().expect("a seed");
    eprintln!("seed {seed}");
    for (family, rules) in [(Family::V4, &RULES4[..]), (Family::V6, &RULES6[..])] {
        let compared = compare(family, rules, seed).expect("the same packets");
        eprintln!("{family}: {} forwarded, {} not", compared[0], compared[1]);
        assert!(compared.iter().all(|&count| count > 50), "{compared:?}");
    }
}
