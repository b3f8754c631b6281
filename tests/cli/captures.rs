//! `explain --pcap`: what becomes of the packets of a capture.

use std::fs;

use crate::desk::{Desk, STATEFUL, code, shown};
use crate::pcap::{
    COOKED, COOKED_2, ETHERNET, HOST, Order, PEER, RAW_IP, cooked, cooked_2, dialogue, ethernet,
    pcap, pcapng, tcp,
};

/// What `explain` prints of a capture on its standard output, with success.
fn counted(desk: &Desk, capture: &[u8], arguments: &[&str]) -> String {
    fs::write(desk.path("stateful.v4"), STATEFUL).unwrap();
    fs::write(desk.path("capture"), capture).unwrap();
    let explain = ["explain", "stateful.v4", "--pcap", "capture"];
    let output = desk.run(&[&explain, arguments].concat());
    assert_eq!(code(&output), 0, "{}", shown(&output));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn captures_are_counted_by_rule() {
    let desk = Desk::new();
    let capture = pcap(Order::Little, 1_000_000, RAW_IP, &dialogue());
    let local = ["--local", "192.0.2.1", "--in", "eth0"];
    insta::assert_snapshot!(counted(&desk, &capture, &local));
    let told = [&local[..], &["-v"]].concat();
    insta::assert_snapshot!(counted(&desk, &capture, &told));
    // All at one hook: what the host sends is there, too.
    insta::assert_snapshot!(counted(&desk, &capture, &[]));
}

#[test]
fn addresses_tell_which_chains_a_capture_meets() {
    let desk = Desk::new();
    let capture = pcap(Order::Little, 1_000_000, RAW_IP, &dialogue());
    fs::write(desk.path("capture"), capture).unwrap();
    let places = |arguments: &[&str]| {
        let explain = ["explain", "noted.v4", "--pcap", "capture", "--in", "eth0"];
        let output = desk.run(&[&explain, arguments].concat());
        let text = String::from_utf8(output.stdout).unwrap();
        let lines = text.lines().skip(1).map(|line| {
            let words = line.split_whitespace().collect::<Vec<_>>();
            match words[..] {
                [packets, _, _, "filter", chain, rule, ..] => format!("{packets} {chain} {rule}"),
                _ => line.to_owned(),
            }
        });
        lines.collect::<Vec<_>>().join("; ")
    };
    let local = ["--local", "192.0.2.1"];
    let xdp = [&local[..], &["--hook", "xdp"]].concat();
    assert_eq!(
        places(&xdp),
        "5 INPUT 1; 4 INPUT 2; 1 INPUT policy; rules and policies that no packet met: 2; \
         7 packets: 1 accepted, 4 dropped, 0 not IP, 2 skipped that come to no hook here"
    );
    assert_eq!(
        places(&[&xdp[..], &["--out", "eth1"]].concat()),
        "5 INPUT 1; 4 INPUT 2; 1 INPUT policy; 1 FORWARD 1; rules and policies that no packet met: 1; \
         7 packets: 1 accepted, 5 dropped, 0 not IP, 1 skipped that come to no hook here"
    );
    assert_eq!(
        places(&[&local[..], &["--hook", "cgroup_skb/egress"]].concat()),
        "1 OUTPUT 1; rules and policies that no packet met: 1; \
         7 packets: 0 accepted, 1 dropped, 0 not IP, 6 skipped that come to no hook here"
    );
}

#[test]
fn captures_of_all_formats_say_the_same() {
    let desk = Desk::new();
    let local = ["--local", "192.0.2.1"];
    let frames = |link: fn(&[u8]) -> Vec<u8>| -> Vec<Vec<u8>> {
        dialogue().iter().map(|packet| link(packet)).collect()
    };
    let raw = frames(<[u8]>::to_vec);
    let wanted = counted(&desk, &pcap(Order::Little, 1_000_000, RAW_IP, &raw), &local);
    assert!(
        wanted.ends_with(
            "7 packets: 5 accepted, 1 dropped, 0 not IP, 1 skipped that come to no hook here\n"
        ),
        "{wanted}"
    );
    for (link_type, frames) in [
        (RAW_IP, raw),
        (228, frames(<[u8]>::to_vec)),
        (ETHERNET, frames(ethernet)),
        (COOKED, frames(cooked)),
        (COOKED_2, frames(cooked_2)),
    ] {
        for order in [Order::Little, Order::Big] {
            for units in [1_000_000, 1_000_000_000] {
                let capture = pcap(order, units, link_type, &frames);
                assert_eq!(counted(&desk, &capture, &local), wanted, "{link_type}");
            }
            let capture = pcapng(order, link_type, &frames);
            assert_eq!(counted(&desk, &capture, &local), wanted, "{link_type}");
        }
    }
}

#[test]
fn limits_follow_the_times_of_a_capture() {
    let desk = Desk::new();
    let attempts = vec![tcp([PEER, HOST], [40000, 22], [0, 0], 2); 30];
    // A tenth of a second apart: three seconds bring two tokens to the two that are there.
    let capture = pcap(Order::Little, 1_000_000, RAW_IP, &attempts);
    fs::write(desk.path("capture"), capture).unwrap();
    let rules = "*filter\n:INPUT DROP [0:0]\n\
                 -A INPUT -m limit --limit 1/sec --limit-burst 2 -j ACCEPT\nCOMMIT\n";
    let output = desk.feed(&["explain", "--pcap", "capture"], rules);
    insta::assert_snapshot!(shown(&output));
}

#[test]
fn what_a_capture_lacks_is_said() {
    let desk = Desk::new();
    let mut frames: Vec<Vec<u8>> = dialogue().iter().map(|it| ethernet(it)).collect();
    frames.truncate(2);
    let arp = [&[0xff; 6], &[2, 0, 0, 0, 0, 5, 0x08, 0x06][..], &[0; 28]].concat();
    frames.push(arp);
    // The checksum is wrong.
    let mut broken = frames[0].clone();
    broken[30] ^= 1;
    frames.push(broken);
    let mut capture = pcap(Order::Little, 1_000_000, ETHERNET, &frames);
    // Of the first only the IP header and the ports are there, of the second not even the header.
    let record = 16 + frames[0].len();
    for (start, captured) in [(24 + record, 18 + 10), (24, 18 + 24)] {
        capture[start + 8..start + 12].copy_from_slice(&(captured as u32).to_le_bytes());
        capture.drain(start + 16 + captured..start + record);
    }
    insta::assert_snapshot!(counted(&desk, &capture, &["-vv"]));
}

#[test]
fn captures_that_cannot_be_read_are_refused() {
    let desk = Desk::new();
    let whole = pcap(Order::Little, 1_000_000, RAW_IP, &dialogue());
    let mut endless = whole.clone();
    endless[32..36].copy_from_slice(&u32::MAX.to_le_bytes());
    let next = pcapng(Order::Big, RAW_IP, &dialogue());
    for (name, bytes) in [
        ("empty", &whole[..0]),
        ("text", b"*filter\nCOMMIT\n"),
        ("header", &whole[..20]),
        ("cut", &whole[..whole.len() - 1]),
        ("endless", &endless),
        ("cut-ng", &next[..next.len() - 4]),
        ("header-ng", &next[..20]),
        (
            "infrared",
            &pcap(Order::Little, 1_000_000, 144, &dialogue()),
        ),
    ] {
        fs::write(desk.path(name), bytes).unwrap();
    }
    let said = [
        "nothing",
        "empty",
        "text",
        "header",
        "cut",
        "endless",
        "cut-ng",
        "header-ng",
        "infrared",
    ]
    .map(|name| {
        let output = desk.run(&["explain", "rules.v4", "--pcap", name]);
        assert_eq!(code(&output), 1, "{name}");
        // What was read is counted, but for what is no capture.
        let counted = String::from_utf8(output.stdout).unwrap();
        let counted = counted.lines().last().unwrap_or("nothing").to_owned();
        format!("{}{counted}\n", String::from_utf8(output.stderr).unwrap())
    });
    insta::assert_snapshot!(said.concat());
}

#[test]
fn no_bytes_make_captures_fail_badly() {
    let desk = Desk::new();
    for capture in [
        pcap(Order::Little, 1_000_000, ETHERNET, &dialogue()),
        pcapng(Order::Little, COOKED, &dialogue()),
    ] {
        for at in (0..capture.len()).step_by(7) {
            let mut damaged = capture.clone();
            damaged[at] ^= 0xff;
            fs::write(desk.path("damaged"), &damaged).unwrap();
            let output = desk.run(&["explain", "rules.v4", "--pcap", "damaged", "-vv"]);
            assert!([0, 1].contains(&code(&output)), "{at}: {}", shown(&output));
        }
    }
}
