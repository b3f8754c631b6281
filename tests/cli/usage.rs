//! How the command is called.

use crate::desk::{Desk, code, shown};

#[test]
fn wrong_usage_has_its_exit_code() {
    let desk = Desk::new();
    for arguments in [
        &["--emit", "poetry", "rules.v4"][..],
        &["--hook", "tc", "rules.v4"],
        &["-4", "-6", "rules.v4"],
        &["-c", "rules.v4"],
        &["--target-kernel", "4.19", "rules.v4"],
        &["-o", "x", "check", "rules.v4"],
        &["explain", "rules.v4"],
        &["explain", "rules.v4", "--packet", "tcp 1.2.3.4"],
        &[
            "explain",
            "rules.v4",
            "--in",
            "eth0",
            "--packet",
            "icmp 1.1.1.1 > 2.2.2.2",
        ],
        &[
            "explain",
            "rules.v4",
            "--pcap",
            "x",
            "--packet",
            "icmp 1.1.1.1 > 2.2.2.2",
        ],
        &["explain", "rules.v4", "--pcap", "x", "--local", "here"],
        &["explain", "--pcap", "-"],
        &[
            "explain",
            "rules.v4",
            "--hook",
            "cgroup_skb/ingress",
            "--packet",
            "icmp 1.1.1.1 > 2.2.2.2 out a",
        ],
        &["attach", "rules.v4"],
        &["attach", "--cgroup", "/x", "--xdp", "lo", "rules.v4"],
        &["attach", "--cgroup", "/x", "--hook", "xdp", "rules.v4"],
        &["load", "rules.v4"],
        &["detach"],
    ] {
        let output = desk.run(arguments);
        assert_eq!(code(&output), 2, "{arguments:?}: {}", shown(&output));
        assert!(output.stdout.is_empty(), "{arguments:?}");
    }
}

#[test]
fn every_subcommand_has_help() {
    let desk = Desk::new();
    let names = [
        "check", "explain", "load", "attach", "detach", "list", "show", "zero",
    ];
    for name in names {
        let output = desk.run(&[name, "--help"]);
        assert_eq!(code(&output), 0);
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(text.contains(&format!("Usage: ipt2bpf {name}")), "{text}");
    }
    insta::assert_snapshot!(desk.seen(&["-h"]));
}
