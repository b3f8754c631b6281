//! `explain`: which way packets go.

use std::fs;

use crate::desk::{Desk, STATEFUL, code};

#[test]
fn explain_tells_the_way_of_a_packet() {
    let desk = Desk::new();
    let explained = |words: &[&str]| desk.seen(&[&["explain", "rules.v4"], words].concat());
    insta::assert_snapshot!(explained(&[
        "--packet",
        "tcp 10.0.0.5:40000 > 192.0.2.1:22 syn in eth0"
    ]));
    insta::assert_snapshot!(explained(&[
        "-v",
        "--packet",
        "tcp 11.0.0.5:40000 > 192.0.2.1:22 ack in eth0"
    ]));
    insta::assert_snapshot!(explained(&[
        "--packet",
        "udp 10.0.0.5:1 > 192.0.2.1:53 out eth0"
    ]));
    insta::assert_snapshot!(explained(&[
        "--packet",
        "tcp 10.0.0.5:1 > 192.0.2.1:22 len 30"
    ]));
    insta::assert_snapshot!(explained(&["--packet", "udp ::1 > ::2 frag 8"]));
    insta::assert_snapshot!(explained(&[
        "--packet",
        "tcp 10.0.0.5:1 > 192.0.2.1:22 in eth0 out eth1",
        "--packet",
        "tcp 10.0.0.5 > 192.0.2.1 frag 8",
        "--hook",
        "xdp",
    ]));
}

#[test]
fn explain_reads_interface_names_where_the_packet_has_them() {
    let desk = Desk::new();
    let last = |packet: &str| {
        let output = desk.run(&["explain", "noted.v4", "--packet", packet]);
        let text = String::from_utf8(output.stdout).unwrap();
        text.lines().last().unwrap_or_default().to_owned()
    };
    assert_eq!(
        last("tcp 10.0.0.5:1 > 192.0.2.1:22 in eth3"),
        "DROP: rule 2 of filter INPUT, noted.v4:6"
    );
    assert_eq!(
        last("tcp 10.0.0.5:1 > 192.0.2.1:22 in lo"),
        "ACCEPT: the policy of filter INPUT"
    );
    assert_eq!(
        last("udp 10.0.0.5:1 > 192.0.2.1:22 in eth0 out eth1"),
        "DROP: rule 1 of filter FORWARD, noted.v4:7"
    );
    assert_eq!(
        last("udp 10.0.0.5:1 > 192.0.2.1:22 in eth0 out eth0"),
        "ACCEPT: the policy of filter FORWARD"
    );
}

#[test]
fn explain_refuses_rules_that_it_would_have_to_guess() {
    let desk = Desk::new();
    let output = desk.run(&[
        "explain",
        "refused.v4",
        "--packet",
        "icmp 10.0.0.1 > 10.0.0.2",
    ]);
    assert_eq!(code(&output), 1);
    assert!(output.stdout.is_empty());
}

#[test]
fn explain_remembers_what_packets_leave_behind() {
    let desk = Desk::new();
    fs::write(desk.path("stateful.v4"), STATEFUL).unwrap();
    let words = [
        "tcp 10.0.0.5:40000 > 192.0.2.1:22 syn in eth0",
        "tcp 192.0.2.1:22 > 10.0.0.5:40000 syn ack out eth0",
        "tcp 10.0.0.5:40001 > 192.0.2.1:22 syn in eth0",
        "tcp 10.0.0.5:40002 > 192.0.2.1:22 syn in eth0 mac 02:00:00:00:00:05 ttl 3 tos 0x10",
        "icmp 10.0.0.5 > 192.0.2.1",
        "udp 10.0.0.5:1 > 192.0.2.1:2 mark 0x7",
    ];
    let packets = words.iter().flat_map(|words| ["--packet", words]);
    let arguments: Vec<&str> = ["explain", "stateful.v4", "-v"]
        .into_iter()
        .chain(packets)
        .collect();
    let output = desk.run(&arguments);
    insta::assert_snapshot!(String::from_utf8(output.stdout).unwrap());
}
