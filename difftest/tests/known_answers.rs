//! The judge itself on trial: packets whose fate is known from the kernel's source.

use anyhow::Result;
use ipt2bpf_difftest::checksum::checksum;
use ipt2bpf_difftest::constants::{Constants, Route};
use ipt2bpf_difftest::exceptions;
use ipt2bpf_difftest::frame::{Direction, Frame};
use ipt2bpf_difftest::host::{Host, Routing};
use ipt2bpf_difftest::netfilter::{Judgement, Netfilter, Path, Verdict};
use ipt2bpf_difftest::netns;
use ipt2bpf_difftest::scene::Scene;
use ipt2bpf_difftest::subjects;
use ipt2bpf_parser::Counts;
use ipt2bpf_parser::ruleset::Family;

const ACCEPTED: Judgement = Judgement::Decided(Path::Input, Verdict::Accept);
const DROPPED: Judgement = Judgement::Decided(Path::Input, Verdict::Drop);
const FORWARDED: Judgement = Judgement::Decided(Path::Forward, Verdict::Accept);
const NOT_FORWARDED: Judgement = Judgement::Decided(Path::Forward, Verdict::Drop);
const SENT: Judgement = Judgement::Decided(Path::Output, Verdict::Accept);
const NOT_SENT: Judgement = Judgement::Decided(Path::Output, Verdict::Drop);

const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMP: u8 = 1;

/// From port 0 to port 0, nothing behind it, no checksum.
const UDP_HEADER: [u8; 8] = [0, 0, 0, 0, 0, 8, 0, 0];

/// A whole TCP header from port 1000 to this one.
fn tcp(port: u16) -> Vec<u8> {
    let mut header = vec![3, 232];
    header.extend(port.to_be_bytes());
    header.extend([0, 0, 0, 1, 0, 0, 0, 0, 0x50, 2, 0, 0, 0, 0, 0, 0]);
    header
}

/// An IPv4 packet from 10.0.0.1 to 192.0.2.1 with a fragment field.
fn fragment(id: u16, protocol: u8, field: u16, payload: &[u8]) -> Frame {
    let mut packet = vec![0x45, 0];
    packet.extend((20 + payload.len() as u16).to_be_bytes());
    packet.extend(id.to_be_bytes());
    packet.extend(field.to_be_bytes());
    packet.extend([64, protocol, 0, 0, 10, 0, 0, 1, 192, 0, 2, 1]);
    let sum = checksum(&packet).to_be_bytes();
    packet[10..12].copy_from_slice(&sum);
    packet.extend(payload);
    Frame::received(Family::V4, "eth0", &packet)
}

fn v4(id: u16, protocol: u8, payload: &[u8]) -> Frame {
    fragment(id, protocol, 0, payload)
}

/// The same with IP options, whose length is a multiple of 4.
fn with_options(id: u16, options: &[u8], payload: &[u8]) -> Frame {
    let mut packet = v4(id, UDP, &[options, payload].concat())
        .untrimmed()
        .to_vec();
    packet[0] = 0x45 + (options.len() / 4) as u8;
    packet[10..12].fill(0);
    let sum = checksum(&packet[..20 + options.len()]).to_be_bytes();
    packet[10..12].copy_from_slice(&sum);
    Frame::received(Family::V4, "eth0", &packet)
}

/// An IPv6 packet from 2001:db8::1 to 2001:db8::2.
fn v6(id: u16, next: u8, payload: &[u8]) -> Frame {
    let mut packet = vec![0x60, 0];
    packet.extend(id.to_be_bytes());
    packet.extend((payload.len() as u16).to_be_bytes());
    packet.extend([next, 64]);
    for host in [1, 2] {
        packet.extend([0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, host]);
    }
    packet.extend(payload);
    Frame::received(Family::V6, "eth0", &packet)
}

/// Judges frames that arrive on eth0 or eth1, or leave by these or lo, in a namespace of their own; gives back the judgements
/// and the counted rules in words.
fn judge(routing: Routing, rules: &str, frames: &[Frame]) -> Result<(Vec<Judgement>, Vec<String>)> {
    netns::isolated(|| {
        let host = Host::new(&["eth0", "eth1", "lo"].map(String::from), &routing)?;
        let netfilter = Netfilter::new(&host, frames[0].family)?;
        let frames: Vec<&Frame> = frames.iter().collect();
        let routes = netfilter.route(&frames)?;
        netfilter.load(rules)?;
        let judgements = netfilter.judge(&frames, &routes)?;
        let counted = netfilter
            .counters()?
            .iter()
            .filter(|rule| rule.counters.packets > 0)
            .map(|rule| {
                let counters = rule.counters;
                format!("[{}:{}] {rule}", counters.packets, counters.bytes)
            })
            .collect();
        Ok((judgements, counted))
    })
}

/// A frame's packet as the host sends it by this interface.
fn sent(frame: &Frame, interface: &str) -> Frame {
    Frame::sent(frame.family, interface, frame.untrimmed())
}

/// What becomes of an IPv4 save text in a scene.
fn staged(scene: Scene, rules: &str) -> String {
    let ruleset = subjects::ruleset(Family::V4, rules).expect("is a ruleset");
    let printed = scene.stage(&ruleset).print(Counts::Chains);
    String::from_utf8_lossy(&printed).into_owned()
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
fn ports_decide_and_a_short_segment_is_dropped_whatever_its_port() {
    if !can_run() {
        return;
    }
    let rules = "*filter\n:INPUT ACCEPT [5:5]\n:FORWARD ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n\
        -A INPUT -p tcp -m tcp --dport 22 -j DROP\nCOMMIT\n";
    let frames = [
        v4(1, TCP, &tcp(22)),
        v4(2, TCP, &tcp(80)),
        v4(3, TCP, &tcp(80)[..19]),
        v4(4, UDP, &tcp(22)),
    ];
    let (judgements, counted) = judge(Routing::AllLocal, rules, &frames).expect("judges");
    assert_eq!(judgements, [DROPPED, ACCEPTED, DROPPED, ACCEPTED]);
    // The hot drop counts nowhere.
    assert_eq!(
        counted,
        [
            "[2:80] filter :INPUT ACCEPT",
            "[1:40] filter -A INPUT -p tcp -m tcp --dport 22 -j DROP",
        ]
    );
}

#[test]
fn a_short_echo_request_is_dropped_by_a_rule_for_another_type() {
    if !can_run() {
        return;
    }
    let rules =
        "*filter\n:INPUT ACCEPT\n-A INPUT -p icmp -m icmp --icmp-type 3 -j ACCEPT\nCOMMIT\n";
    let echo = [8, 0, 0xf7, 0xff, 0, 0, 0, 0];
    let frames = [v4(1, ICMP, &echo), v4(2, ICMP, &echo[..4])];
    let (judgements, _) = judge(Routing::AllLocal, rules, &frames).expect("judges");
    assert_eq!(judgements, [ACCEPTED, DROPPED]);
}

#[test]
fn the_kernel_writes_into_options_before_input() {
    if !can_run() {
        return;
    }
    let rules = "*raw\n:PREROUTING ACCEPT\n-A PREROUTING -m u32 --u32 \"24=0\" -j DROP\nCOMMIT\n\
        *filter\n:INPUT ACCEPT\n-A INPUT -m u32 --u32 \"24=0\" -j DROP\n\
        -A INPUT -m u32 --u32 \"20&0xff=8\" -j DROP\nCOMMIT\n";
    let frames = [
        // Bytes behind the end of the list are cleared,
        with_options(1, &[0, 53, 255, 255, 27, 25, 188, 53], &UDP_HEADER),
        // an address is recorded, and the pointer behind it moved from 4 to 8,
        with_options(2, &[1, 7, 7, 4, 1, 1, 1, 1], &UDP_HEADER),
        // and other options stay as they are.
        with_options(3, &[1, 148, 4, 0, 0, 1, 1, 1], &UDP_HEADER),
    ];
    let (judgements, counted) = judge(Routing::AllLocal, rules, &frames).expect("judges");
    assert_eq!(judgements, [DROPPED, DROPPED, ACCEPTED], "{counted:?}");
    assert_eq!(
        frames.each_ref().map(exceptions::is_written_into),
        [true, true, false]
    );
}

#[test]
fn fragments_wait_for_input_and_are_forwarded_one_by_one() {
    if !can_run() {
        return;
    }
    let rules = "*filter\n:INPUT ACCEPT\n:FORWARD ACCEPT\n\
        -A FORWARD -p tcp -m tcp --dport 22 -j DROP\nCOMMIT\n";
    let frames = [
        fragment(1, TCP, 0x2000, &[&tcp(22)[..], &[0; 4]].concat()),
        fragment(2, TCP, 1, &tcp(80)),
        fragment(3, TCP, 2, &tcp(22)),
        v4(4, TCP, &tcp(22)),
    ];
    let (judgements, _) = judge(Routing::AllLocal, rules, &frames).expect("judges");
    assert_eq!(
        judgements,
        [Judgement::Held, Judgement::Held, Judgement::Held, ACCEPTED]
    );
    let router = Routing::transit();
    let (judgements, _) = judge(router, rules, &frames).expect("judges");
    assert_eq!(
        judgements,
        [NOT_FORWARDED, NOT_FORWARDED, FORWARDED, NOT_FORWARDED]
    );
}

#[test]
fn what_ip_and_routing_drop_is_not_held_against_the_rules() {
    if !can_run() {
        return;
    }
    let rules = "*raw\n:PREROUTING DROP\nCOMMIT\n";
    let mut bad_version = v4(1, TCP, &tcp(22));
    bad_version.bytes[14] = 0x55;
    // 255.255.255.255 is nobody's source address.
    let mut martian = v4(2, TCP, &tcp(22));
    martian.bytes[14 + 12..14 + 16].fill(255);
    martian.bytes[14 + 10..14 + 12].fill(0);
    let sum = checksum(&martian.bytes[14..34]).to_be_bytes();
    martian.bytes[24..26].copy_from_slice(&sum);
    let frames = [bad_version, martian, v4(3, TCP, &tcp(22))];
    let (judgements, _) = judge(Routing::AllLocal, rules, &frames).expect("judges");
    assert_eq!(
        judgements,
        [Judgement::Unseen, Judgement::Unrouted, DROPPED]
    );
}

#[test]
fn tags_that_carry_only_a_priority_are_looked_through() {
    if !can_run() {
        return;
    }
    let rules = "*filter\n:INPUT ACCEPT\n-A INPUT -p tcp -m tcp --dport 22 -j DROP\nCOMMIT\n";
    let frames = [
        v4(1, TCP, &tcp(22)).with_priority_tag(7),
        v4(2, TCP, &tcp(80))
            .with_priority_tag(0)
            .with_priority_tag(3),
    ];
    let (judgements, _) = judge(Routing::AllLocal, rules, &frames).expect("judges");
    assert_eq!(judgements, [DROPPED, ACCEPTED]);
}

#[test]
fn the_mirror_shows_raw_fragments_to_the_rules_of_input() {
    if !can_run() {
        return;
    }
    let rules = "*filter\n:INPUT ACCEPT\n:FORWARD DROP\n\
        -A INPUT -p tcp -m tcp --dport 22 -j DROP\nCOMMIT\n";
    let frames = [
        fragment(1, TCP, 1, &tcp(80)),
        fragment(2, TCP, 2, &tcp(22)),
        v4(3, TCP, &tcp(22)),
    ];
    let constants = Constants::none(Family::V4, Direction::Received);
    let run = |scene: Scene| {
        let staged = staged(scene, rules);
        scene
            .run("ssh", &staged, &constants, &frames, || Ok(Vec::new()))
            .map(|report| [report.accepted, report.dropped, report.held])
            .expect("runs")
    };
    assert_eq!(run(Scene::EndHost), [0, 1, 2]);
    assert_eq!(run(Scene::Router), [0, 3, 0]);
    assert_eq!(run(Scene::Mirror), [1, 2, 0]);
}

#[test]
fn a_router_keeps_its_own_and_forwards_by_interface() {
    if !can_run() {
        return;
    }
    // 192.0.2.1 begins with the bits 110, number 6: it leaves by the first interface of two.
    let rules =
        "*filter\n:INPUT DROP\n:FORWARD ACCEPT\n-A FORWARD -i eth1 -o eth0 -j DROP\nCOMMIT\n";
    let mut frames = [v4(1, UDP, &UDP_HEADER), v4(2, UDP, &UDP_HEADER)];
    frames[1].interface = "eth1".into();
    let router = Routing::transit();
    let (judgements, counted) = judge(router, rules, &frames).expect("judges");
    assert_eq!(judgements, [FORWARDED, NOT_FORWARDED]);
    assert_eq!(
        counted,
        [
            "[1:28] filter :FORWARD ACCEPT",
            "[1:28] filter -A FORWARD -i eth1 -o eth0 -j DROP"
        ]
    );
    let own = Routing::Router {
        local: vec!["192.0.2.1".parse().expect("an address")],
        routes: Vec::new(),
    };
    let (judgements, _) = judge(own, rules, &frames).expect("judges");
    assert_eq!(judgements, [DROPPED, DROPPED]);
    let elsewhere = Routing::Router {
        local: Vec::new(),
        routes: vec![Route {
            address: "192.0.2.0".parse().expect("an address"),
            length: 24,
            interface: "eth1".into(),
        }],
    };
    let (judgements, _) = judge(elsewhere, rules, &frames).expect("judges");
    assert_eq!(judgements, [FORWARDED, FORWARDED]);
}

#[test]
fn broken_ipv6_headers_are_dropped_by_any_rule_with_a_protocol() {
    if !can_run() {
        return;
    }
    let rules = "*filter\n:INPUT ACCEPT\n-A INPUT -p udp -j ACCEPT\nCOMMIT\n";
    let frames = [
        v6(1, TCP, &tcp(22)),
        // Destination options of one byte.
        v6(2, 60, &[6]),
        // A later fragment that says destination options come next.
        v6(3, 44, &[60, 0, 0, 0x10, 0, 0, 0, 1]),
        v6(4, 44, &[6, 0, 0, 0x10, 0, 0, 0, 1]),
        v6(5, 59, &[]),
    ];
    let (judgements, _) = judge(Routing::AllLocal, rules, &frames).expect("judges");
    assert_eq!(judgements, [ACCEPTED, DROPPED, DROPPED, ACCEPTED, ACCEPTED]);
    let router = Routing::transit();
    let (judgements, _) = judge(router, rules, &frames).expect("judges");
    assert!(judgements.iter().all(|&judgement| judgement == FORWARDED));
}

#[test]
fn connection_tracking_takes_fragments_and_nothing_else() {
    if !can_run() {
        return;
    }
    let rules = "*filter\n:FORWARD ACCEPT\n-A FORWARD -m conntrack --ctstate NEW -j DROP\nCOMMIT\n";
    let frames = [fragment(1, UDP, 0x2000, &[0; 16]), v4(2, UDP, &UDP_HEADER)];
    let router = Routing::transit();
    let (judgements, _) = judge(router, rules, &frames).expect("judges");
    assert_eq!(judgements, [Judgement::Unseen, NOT_FORWARDED]);
}

#[test]
fn what_the_host_sends_meets_output_and_postrouting_with_its_interface() {
    if !can_run() {
        return;
    }
    let rules = "*raw\n:OUTPUT ACCEPT\n-A OUTPUT -o eth1 -j DROP\nCOMMIT\n\
        *mangle\n:PREROUTING DROP\n:OUTPUT ACCEPT\n:POSTROUTING ACCEPT\n\
        -A POSTROUTING -o lo -j DROP\nCOMMIT\n\
        *filter\n:INPUT DROP\n:FORWARD DROP\n:OUTPUT ACCEPT\n-A OUTPUT -o eth+ -f -j DROP\nCOMMIT\n";
    let plain = v4(1, UDP, &UDP_HEADER);
    let frames = [
        sent(&plain, "eth0"),
        sent(&v4(2, UDP, &UDP_HEADER), "eth1"),
        sent(&v4(3, UDP, &UDP_HEADER), "lo"),
        sent(&fragment(4, UDP, 1, &[0; 8]), "eth0"),
        sent(&fragment(5, UDP, 1, &[0; 8]), "lo"),
    ];
    let (judgements, counted) = judge(Routing::OnLink, rules, &frames).expect("judges");
    assert_eq!(judgements, [SENT, NOT_SENT, NOT_SENT, NOT_SENT, NOT_SENT]);
    assert_eq!(
        counted,
        [
            "[3:84] filter :OUTPUT ACCEPT",
            "[1:28] filter -A OUTPUT -o eth+ -f -j DROP",
            "[4:112] mangle :OUTPUT ACCEPT",
            "[1:28] mangle :POSTROUTING ACCEPT",
            "[2:56] mangle -A POSTROUTING -o lo -j DROP",
            "[4:112] raw :OUTPUT ACCEPT",
            "[1:28] raw -A OUTPUT -o eth1 -j DROP",
        ]
    );
}

#[test]
fn a_raw_socket_completes_ipv4_headers_as_we_do_and_leaves_ipv6_alone() {
    if !can_run() {
        return;
    }
    // A wrong total length, no checksum, no source.
    let mut unfinished = v4(1, UDP, &UDP_HEADER);
    unfinished.bytes[14 + 2..14 + 4].fill(9);
    unfinished.bytes[14 + 10..14 + 16].fill(0);
    // A wrong payload length.
    let mut wrong = v6(1, UDP, &[]);
    wrong.bytes[14 + 5] = 99;
    for frame in [unfinished, wrong] {
        let expected = sent(&frame, "eth0");
        let words = expected
            .packet()
            .chunks(4)
            .enumerate()
            .map(|(index, word)| {
                let hex: String = word.iter().map(|byte| format!("{byte:02x}")).collect();
                format!("{}=0x{hex}", 4 * index)
            });
        let words = words.collect::<Vec<_>>().join("&&");
        let rules =
            format!("*filter\n:OUTPUT ACCEPT\n-A OUTPUT -m u32 --u32 {words} -j DROP\nCOMMIT\n");
        let unfinished = Frame {
            direction: Direction::Sent,
            ..frame
        };
        let (judgements, _) = judge(Routing::OnLink, &rules, &[unfinished]).expect("judges");
        assert_eq!(judgements, [NOT_SENT], "{words}");
    }
}

#[test]
fn what_the_kernel_does_not_send_is_not_held_against_the_rules() {
    if !can_run() {
        return;
    }
    let rules = "*raw\n:OUTPUT DROP\nCOMMIT\n";
    let to = |id: u16, destination: [u8; 4]| {
        let mut frame = v4(id, UDP, &UDP_HEADER);
        frame.bytes[14 + 16..14 + 20].copy_from_slice(&destination);
        frame
    };
    let mut short_header = v4(1, UDP, &UDP_HEADER);
    short_header.bytes[14] = 0x44;
    // Multicast that this host listens to, and that may not leave it.
    let mut staying = to(3, [224, 0, 0, 1]);
    staying.bytes[14 + 8] = 0;
    let frames = [
        sent(&short_header, "eth0"),
        sent(&to(2, [255; 4]), "eth0"),
        sent(&staying, "eth0"),
        sent(&to(4, [224, 0, 0, 1]), "eth0"),
        // Nobody is left to look at the version.
        sent(&to(5, [192, 0, 2, 1]), "eth0"),
    ];
    let (judgements, _) = judge(Routing::OnLink, rules, &frames).expect("judges");
    assert_eq!(
        judgements,
        [
            Judgement::Refused,
            Judgement::Refused,
            Judgement::Unrouted,
            NOT_SENT,
            NOT_SENT
        ]
    );
}

#[test]
fn multicast_is_counted_once_and_answers_of_reject_are_not() {
    if !can_run() {
        return;
    }
    let rules = "*filter\n:OUTPUT ACCEPT\n-A OUTPUT -s 127.0.0.1 -j REJECT\nCOMMIT\n\
        *mangle\n:POSTROUTING ACCEPT\n-A POSTROUTING -d 224.0.0.0/4\nCOMMIT\n";
    let mut multicast = v4(1, UDP, &UDP_HEADER);
    multicast.bytes[14 + 16..14 + 20].copy_from_slice(&[224, 0, 0, 1]);
    let mut rejected = v4(2, UDP, &UDP_HEADER);
    rejected.bytes[14 + 12..14 + 16].copy_from_slice(&[127, 0, 0, 1]);
    let frames = [sent(&multicast, "eth0"), sent(&rejected, "lo")];
    let (judgements, counted) = judge(Routing::OnLink, rules, &frames).expect("judges");
    assert_eq!(judgements, [SENT, NOT_SENT]);
    assert_eq!(
        counted,
        [
            "[2:56] mangle :OUTPUT ACCEPT",
            "[1:28] mangle :POSTROUTING ACCEPT",
            "[1:28] mangle -A POSTROUTING -d 224.0.0.0/4",
            "[1:28] filter :OUTPUT ACCEPT",
            "[1:28] filter -A OUTPUT -s 127.0.0.1/32 -j REJECT --reject-with icmp-port-unreachable",
        ]
    );
}

#[test]
fn the_mirror_of_what_is_sent_shows_it_to_the_rules_of_input() {
    if !can_run() {
        return;
    }
    let rules = "*filter\n:INPUT ACCEPT\n:OUTPUT DROP\n\
        -A INPUT -i eth0 -p tcp -m tcp --dport 22 -j DROP\nCOMMIT\n";
    let frames = [
        sent(&fragment(1, TCP, 1, &tcp(80)), "eth0"),
        sent(&v4(2, TCP, &tcp(22)), "eth0"),
        sent(&v4(3, TCP, &tcp(22)), "lo"),
    ];
    let ruleset = subjects::ruleset(Family::V4, rules).expect("is a ruleset");
    let run = |scene: Scene| {
        let constants = Constants::of(&scene.stage(&ruleset), Direction::Sent);
        scene
            .run("ssh", &staged(scene, rules), &constants, &frames, || {
                Ok(Vec::new())
            })
            .map(|report| [report.accepted, report.dropped])
            .expect("runs")
    };
    assert_eq!(run(Scene::Sender), [0, 3]);
    assert_eq!(run(Scene::SenderMirror), [1, 2]);
}

#[test]
fn a_refused_ruleset_is_an_error_that_tells_the_line() {
    if !can_run() {
        return;
    }
    let rules = "*filter\n-A INPUT -o eth0 -j DROP\nCOMMIT\n";
    let error = judge(Routing::AllLocal, rules, &[v4(1, UDP, &UDP_HEADER)]).expect_err("refused");
    assert!(format!("{error:#}").contains("line"), "{error:#}");
}
