//! One rule at a time: what iptables-legacy 1.8.9 prints for it, or that it refuses it. The answers
//! come from the tool itself, run in a network namespace of its own.

use ipt2bpf_parser::diagnostic::Severity;
use ipt2bpf_parser::ruleset::Family;
use ipt2bpf_parser::span::Sources;
use ipt2bpf_parser::{Counts, ParseOptions, parse};

/// The rules of a save with one line in it, as printed, or the code of the first error.
fn save(family: Family, table: &str, line: &str) -> Result<Vec<String>, &'static str> {
    let mut sources = Sources::default();
    let id = sources.add("<test>", format!("*{table}\n:c - [0:0]\n{line}\nCOMMIT\n"));
    let parsed = parse(
        &sources,
        id,
        &ParseOptions {
            family: Some(family),
            ..ParseOptions::default()
        },
    );
    if let Some(error) = parsed
        .diagnostics
        .iter()
        .find(|it| it.severity == Severity::Error)
    {
        return Err(error.code);
    }
    let text: Vec<u8> = parsed
        .rulesets
        .iter()
        .flat_map(|it| it.print(Counts::Chains))
        .collect();
    let text = String::from_utf8_lossy(&text).into_owned();
    Ok(text
        .lines()
        .filter(|line| line.starts_with("-A"))
        .map(str::to_owned)
        .collect())
}

/// Checks a list in testdata: a rule, then `   = RULE` for each rule of the save, or `   ERR CODE`.
fn check(family: Family, list: &str) {
    let mut lines = list.lines().peekable();
    let mut count = 0;
    while let Some(rule) = lines.next() {
        let mut expected: Result<Vec<String>, &str> = Ok(Vec::new());
        while let Some(answer) = lines.next_if(|line| line.starts_with("   ")) {
            match (
                answer.strip_prefix("   = "),
                answer.strip_prefix("   ERR "),
                &mut expected,
            ) {
                (Some(saved), _, Ok(rules)) => rules.push(saved.to_owned()),
                (_, Some(code), _) => expected = Err(code),
                _ => panic!("a bad line in the list: {answer}"),
            }
        }
        assert_eq!(save(family, "filter", rule), expected, "{rule}");
        count += 1;
    }
    assert!(count > 15, "only {count} rules");
}

#[test]
fn ipv4_rules() {
    check(Family::V4, include_str!("../testdata/rules.v4"));
}

#[test]
fn ipv6_rules() {
    check(Family::V6, include_str!("../testdata/rules.v6"));
}

#[test]
fn reject_stands_only_in_filter() {
    assert_eq!(
        save(Family::V4, "mangle", "-A INPUT -j REJECT"),
        Err("misplaced")
    );
}

#[test]
fn nat_does_not_drop() {
    assert_eq!(
        save(Family::V4, "nat", "-A INPUT -j DROP"),
        Err("misplaced")
    );
}

/// Whether a table of these lines is taken, and else the codes of its errors.
fn errors(family: Family, text: &str) -> Vec<&'static str> {
    let mut sources = Sources::default();
    let id = sources.add("<test>", format!("*filter\n:c - [0:0]\n{text}\nCOMMIT\n"));
    let options = ParseOptions {
        family: Some(family),
        ..ParseOptions::default()
    };
    let diagnostics = parse(&sources, id, &options).diagnostics;
    let errors = diagnostics
        .iter()
        .filter(|it| it.severity == Severity::Error);
    errors.map(|it| it.code).collect()
}

#[test]
fn an_extension_stands_only_where_its_hooks_lead() {
    let none: [&str; 0] = [];
    let v6 = |text| errors(Family::V6, text);
    assert_eq!(v6("-A INPUT -m eui64"), none);
    assert_eq!(v6("-A OUTPUT -m eui64"), ["misplaced"]);
    assert_eq!(v6("-A OUTPUT -s ::1,::2 -m eui64"), ["misplaced"]);
    // The way to a user chain counts, and a chain that no hook leads to may hold anything.
    assert_eq!(v6("-A c -m eui64"), none);
    assert_eq!(v6("-A INPUT -j c\n-A c -m eui64"), none);
    assert_eq!(
        v6("-A INPUT -j c\n-A OUTPUT -g c\n-A c -m eui64"),
        ["misplaced"]
    );
    // The kernel looks no further than a verdict about every packet.
    assert_eq!(v6("-A OUTPUT -j ACCEPT\n-A OUTPUT -m eui64"), none);
    assert_eq!(v6("-A OUTPUT -s ::/0 -j RETURN\n-A OUTPUT -m eui64"), none);
    assert_eq!(
        v6("-A OUTPUT -o + -j ACCEPT\n-A OUTPUT -m eui64"),
        ["misplaced"]
    );
    assert_eq!(
        v6("-A OUTPUT -p all -j ACCEPT\n-A OUTPUT -m eui64"),
        ["misplaced"]
    );
}

/// The codes of the warnings about a rule that is taken.
fn warnings(family: Family, rule: &str) -> Vec<&'static str> {
    let mut sources = Sources::default();
    let id = sources.add("<test>", format!("*filter\n{rule}\nCOMMIT\n"));
    let options = ParseOptions {
        family: Some(family),
        ..ParseOptions::default()
    };
    let diagnostics = parse(&sources, id, &options).diagnostics;
    assert!(
        diagnostics
            .iter()
            .all(|it| it.severity == Severity::Warning),
        "{rule}: {diagnostics:?}"
    );
    diagnostics.iter().map(|it| it.code).collect()
}

#[test]
fn tests_that_save_shows_as_something_else_are_warned_of() {
    for rule in [
        "-A INPUT -p esp -m esp ! --espspi :",
        "-A INPUT -p esp -m esp --espspi 4:3",
        "-A INPUT -p ah -m ah --ahspi 4:3",
        "-A INPUT -p ipcomp -m ipcomp ! --ipcompspi :",
        "-A INPUT -p dccp -m dccp --sport 4:3",
        "-A INPUT -m conntrack --ctexpire 4:3",
        "-A INPUT -m conntrack --ctorigsrcport 80:0",
        "-A INPUT -m connbytes --connbytes 0:0 --connbytes-mode bytes --connbytes-dir both",
    ] {
        assert_eq!(warnings(Family::V4, rule), ["never-matches"], "{rule}");
    }
    let one = "-A INPUT -m connbytes ! --connbytes 5:5 --connbytes-mode bytes --connbytes-dir both";
    assert_eq!(warnings(Family::V4, one), ["bad-negation"]);
    for rule in [
        "-A INPUT -p mh -m mh ! --mh-type :",
        "-A INPUT -m rt ! --rt-segsleft :",
        "-A INPUT -m rt --rt-segsleft 4:3",
    ] {
        assert_eq!(warnings(Family::V6, rule), ["never-matches"], "{rule}");
    }
    for rule in [
        "-A INPUT -m helper --helper 012345678901234567890123456789",
        "-A INPUT -m nfacct --nfacct-name 01234567890123456789012345678901",
        "-A INPUT -p tcp -m osf --genre 01234567890123456789012345678901",
        "-A INPUT -m rateest --rateest 0123456789012345 --rateest-lt --rateest-pps 5",
    ] {
        assert_eq!(warnings(Family::V4, rule), ["truncated"], "{rule}");
    }
    let usual = "-A INPUT -p esp -m esp ! --espspi 3:4";
    assert!(warnings(Family::V4, usual).is_empty());
}

/// What iptables takes for something else: numbers beyond their field, masks with holes and words
/// that only start with a number.
#[test]
fn values_that_iptables_mistakes_are_refused() {
    for rule in [
        "-A INPUT -p dccp --sport 65536",
        "-A INPUT -m conntrack --ctorigsrc 10.1.2.3/255.0.255.0",
        "-A INPUT -m conntrack --ctorigsrc 1.2.3.4/33",
        "-A INPUT -m connlabel --label 65536",
        "-A INPUT -m connlimit --connlimit-above 5 --connlimit-mask 33",
        "-A INPUT -m mac --mac-source -a:b:c:d:e:f",
        "-A INPUT -m physdev --physdev-in \"\"",
        "-A INPUT -m policy --dir in --mode tunnel --tunnel-src 10.1.2.3/255.0.255.0",
        "-A INPUT -m policy --dir in --mode tunnel --tunnel-src 10.1.2.3/33",
        "-A INPUT -m rateest --rateest a --rateest-lt --rateest-bps 1tbit",
        "-A OUTPUT -m owner --uid-owner nobody",
        "-A INPUT -m bpf --bytecode \"1,6 0 300 1\"",
        "-A INPUT -m bpf --bytecode \"1,6 0 0 1x\"",
        "-A INPUT -m hashlimit --hashlimit-upto 1mb/s --hashlimit-burst 5000mb --hashlimit-name a",
    ] {
        assert_eq!(save(Family::V4, "filter", rule), Err("bad-value"), "{rule}");
    }
    let rule = "-A INPUT -m hbh --hbh-opts 256";
    assert_eq!(save(Family::V6, "filter", rule), Err("bad-value"));
}

/// What iptables looks up on the machine, and so refuses on some.
#[test]
fn what_the_machine_must_have_is_taken() {
    for rule in [
        "-A INPUT -m bpf --object-pinned /sys/fs/bpf/port",
        "-A INPUT -m cgroup ! --path \"/system.slice\"",
        // iptables-save prints this for node 7, and iptables-restore does not take it.
        "-A INPUT -m cluster --cluster-local-nodemask 0x00000040 --cluster-total-nodes 8 --cluster-hash-seed 0x00000001",
    ] {
        assert_eq!(
            save(Family::V4, "filter", rule),
            Ok(vec![rule.to_owned()]),
            "{rule}"
        );
    }
}

#[test]
fn socket_stands_where_packets_come_in() {
    assert_eq!(errors(Family::V4, "-A OUTPUT -m socket"), ["misplaced"]);
    assert_eq!(errors(Family::V4, "-A FORWARD -m socket"), ["misplaced"]);
    let table = "-A INPUT -m socket -j c\n-A c -m socket --transparent";
    assert_eq!(errors(Family::V4, table), [""; 0]);
}

#[test]
fn tests_of_one_direction_stand_on_its_way() {
    let misplaced = Err("misplaced");
    let taken = |line: &str| Ok(vec![line.to_owned()]);
    let v4 = |table, line| save(Family::V4, table, line);
    let line = "-A PREROUTING -m rpfilter --loose --validmark --accept-local --invert";
    assert_eq!(v4("raw", line), taken(line));
    assert_eq!(v4("mangle", line), taken(line));
    assert_eq!(v4("nat", line), misplaced);
    assert_eq!(v4("mangle", "-A INPUT -m rpfilter"), misplaced);
    assert_eq!(
        v4("mangle", "-A PREROUTING -m realm --realm 0x1"),
        misplaced
    );
    let line = "-A POSTROUTING -m realm --realm 0x1";
    assert_eq!(v4("mangle", line), taken(line));
    let line = "-A PREROUTING -m mac --mac-source aa:bb:cc:dd:ee:ff";
    assert_eq!(v4("nat", line), taken(line));
    let line = "-A POSTROUTING -m mac --mac-source aa:bb:cc:dd:ee:ff";
    assert_eq!(v4("nat", line), misplaced);
    let line = "-A POSTROUTING -m owner --uid-owner 5";
    assert_eq!(v4("nat", line), taken(line));
    assert_eq!(
        v4("mangle", "-A PREROUTING -m owner --uid-owner 5"),
        misplaced
    );
    let line = "-A PREROUTING -m policy --dir in --pol ipsec";
    assert_eq!(v4("mangle", line), taken(line));
    assert_eq!(v4("mangle", "-A POSTROUTING -m policy --dir in"), misplaced);
    let line = "-A POSTROUTING -m physdev --physdev-is-out";
    assert_eq!(v4("mangle", line), taken(line));
    assert_eq!(
        v4("mangle", "-A OUTPUT -m physdev --physdev-is-out"),
        misplaced
    );
}
