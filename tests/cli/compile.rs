//! What is made of rules: objects, listings and the other forms.

use std::fs;

use crate::desk::{Desk, RULES, RULES6, code, shown};

#[test]
fn rules_are_printed_as_iptables_save_prints_them() {
    let desk = Desk::new();
    insta::assert_snapshot!(desk.seen(&["--emit", "rules", "rules.v4", "rules.v6"]));
    insta::assert_snapshot!(desk.seen(&["--emit", "rules", "-c", "rules.v4"]));
}

#[test]
fn printed_rules_are_read_as_the_same_rules() {
    let desk = Desk::new();
    let first = desk.run(&["--emit", "rules", "-c", "rules.v4", "rules.v6"]);
    let text = String::from_utf8(first.stdout.clone()).unwrap();
    let second = desk.feed(&["--emit", "rules", "-c"], &text);
    assert_eq!(text, String::from_utf8(second.stdout).unwrap());
}

#[test]
fn the_other_forms_are_printed() {
    let desk = Desk::new();
    insta::assert_snapshot!(desk.seen(&[
        "--emit",
        "ir",
        "--hook",
        "cgroup_skb/ingress",
        "rules.v4"
    ]));
    let statistics = desk.run(&["--emit", "stats", "rules.v4", "rules.v6"]);
    let text = String::from_utf8(statistics.stdout).unwrap();
    for family in ["IPv4", "IPv6"] {
        for hook in ["cgroup_skb/ingress", "cgroup_skb/egress", "xdp"] {
            assert!(text.contains(&format!("{hook} {family} filter:")), "{text}");
        }
    }
    let listing = desk.run(&["--emit", "asm", "rules.v4"]);
    let text = String::from_utf8(listing.stdout).unwrap();
    assert!(
        text.contains("; -A SSH -s 10.0.0.0/8 -j ACCEPT\n    "),
        "{text}"
    );
}

#[test]
fn json_holds_the_rules() {
    let desk = Desk::new();
    let output = desk.run(&["--emit", "json", "rules.v4", "rules.v6"]);
    let rulesets: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(rulesets[0]["family"], "v4");
    assert_eq!(rulesets[1]["family"], "v6");
    let input = &rulesets[0]["tables"][0]["chains"][0];
    assert_eq!(input["name"], "INPUT");
    assert_eq!(input["rules"][0]["counters"]["packets"], 3);
}

#[test]
fn objects_go_to_a_file_or_to_standard_output_and_are_the_same() {
    let desk = Desk::new();
    let printed = desk.run(&["rules.v4", "rules.v6"]);
    assert_eq!(&printed.stdout[..4], b"\x7fELF");
    assert_eq!(
        shown(&desk.run(&["-o", "fw.o", "rules.v4", "rules.v6"])),
        "exit 0\n"
    );
    assert_eq!(fs::read(desk.path("fw.o")).unwrap(), printed.stdout);
    let fed = desk.feed(&[], &format!("{RULES}{RULES6}"));
    assert_eq!(fed.stdout, printed.stdout);
    let fed = desk.feed(&["-", "rules.v6"], RULES);
    assert_eq!(fed.stdout, printed.stdout);
}

#[test]
fn one_hook_makes_one_program() {
    let desk = Desk::new();
    let programs = |arguments: &[&str]| {
        let listing = desk
            .run(&[&["--emit", "asm", "rules.v4"], arguments].concat())
            .stdout;
        let listing = String::from_utf8(listing).unwrap();
        let lines = listing.lines().filter(|line| line.starts_with("program "));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(programs(&["--hook", "xdp"]), ["program ipt2bpf_xdp at xdp"]);
    assert_eq!(programs(&[]).len(), 3);
}

#[test]
fn approximations_are_made_only_when_asked_for() {
    let desk = Desk::new();
    let rules = "*filter\n:INPUT ACCEPT [0:0]\n-A INPUT -m rateest --rateest x --rateest-gt --rateest-pps 5 -j DROP\nCOMMIT\n";
    assert_eq!(code(&desk.feed(&["-o", "fw.o"], rules)), 1);
    assert!(!desk.path("fw.o").exists());
    insta::assert_snapshot!(shown(&desk.feed(&["--approximate", "-o", "fw.o"], rules)));
    assert!(desk.path("fw.o").exists());
}

#[test]
fn objects_for_newer_kernels_read_names_from_the_kernel() {
    let desk = Desk::new();
    let said = |arguments: &[&str]| {
        let output = desk.run(&[arguments, &["-o", "fw.o", "noted.v4"]].concat());
        assert_eq!(code(&output), 0, "{}", shown(&output));
        String::from_utf8(output.stderr).unwrap()
    };
    for version in ["6.1", "6.2"] {
        let text = said(&["--target-kernel", version, "--hook", "cgroup_skb/ingress"]);
        assert_eq!(text.contains("[devices]"), version == "6.1", "{text}");
    }
    // Where routing sends a packet is no structure of the kernel.
    let text = said(&["--target-kernel", "6.2"]);
    let expected = "warning[devices]: 1 rule asks for the names of interfaces and drops packets of \
                    interfaces that the object's map `devices` does not hold\n --> noted.v4:7:1\n";
    assert!(text.contains(expected), "{text}");
    assert!(!text.contains("--target-kernel"), "{text}");
}

#[test]
fn old_kernels_are_promised_only_what_they_take() {
    let desk = Desk::new();
    for version in ["5.10", "5.12", "6.18"] {
        let output = desk.run(&["--emit", "stats", "--target-kernel", version, "rules.v4"]);
        assert_eq!(code(&output), 0, "{}", shown(&output));
        let text = String::from_utf8(output.stdout).unwrap();
        let (_, made_for) = text.lines().next().unwrap().rsplit_once(' ').unwrap();
        let number = |version: &str| {
            let (major, minor) = version.split_once('.').unwrap();
            (major.parse::<u16>().unwrap(), minor.parse::<u16>().unwrap())
        };
        assert!(number(made_for) <= number(version), "{text}");
    }
}

#[test]
fn rates_count_in_the_ticks_of_the_kernel_that_is_named() {
    let desk = Desk::new();
    let rules = "*filter\n-A INPUT -m limit --limit 1/sec -j ACCEPT\nCOMMIT\n";
    let meaning = |arguments: &[&str]| {
        let hook = ["--hook", "xdp", "--emit", "ir"];
        let output = desk.feed(&[&hook, arguments].concat(), rules);
        assert_eq!(code(&output), 0, "{}", shown(&output));
        String::from_utf8(output.stdout).unwrap()
    };
    assert!(meaning(&["--hz", "250"]).contains("token for 32000 of 160000 credits"));
    assert!(meaning(&["--hz", "300"]).contains("token for 38400 of 192000 credits"));
    let here = ipt2bpf_runtime::kernel::tick_rate().to_string();
    assert_eq!(meaning(&[]), meaning(&["--hz", &here]));
    assert_eq!(code(&desk.run(&["--hz", "0"])), 2);
}

#[test]
fn an_object_that_asks_for_the_time_needs_a_loader_that_tells_it() {
    let desk = Desk::new();
    let rules = "*filter\n-A INPUT -m time --timestart 8:00 -j ACCEPT\nCOMMIT\n";
    insta::assert_snapshot!(shown(&desk.feed(&["-o", "fw.o", "--hz", "250"], rules)));
}
