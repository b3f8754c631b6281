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
    let options = ParseOptions {
        family: Some(family),
        ..ParseOptions::default()
    };
    let parsed = parse(&sources, id, &options);
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

/// Checks a list in testdata: a rule, behind its table unless that is filter, then `   = RULE` for each
/// rule of the save, or `   ERR CODE`.
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
        let (table, line) = match rule.split_once(' ') {
            Some((table, line)) if !table.starts_with('-') => (table, line),
            _ => ("filter", rule),
        };
        assert_eq!(save(family, table, line), expected, "{rule}");
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
fn ipv4_targets() {
    check(Family::V4, include_str!("../testdata/targets.v4"));
}

#[test]
fn ipv6_targets() {
    check(Family::V6, include_str!("../testdata/targets.v6"));
}

/// What today's kernels have no extension for, or what must exist when the rule is loaded, so that the
/// tool cannot be asked. The answers are those of its source.
#[test]
fn targets_that_the_tool_cannot_be_asked_about() {
    let cluster = "-j CLUSTERIP --new --hashmode sourceip --clustermac 01:AA:7B:47:F7:D7 --total-nodes 2 --local-node";
    let first = format!("{cluster} 1 --hash-init 0");
    let zeroth = format!("{cluster} 0");
    for (table, given, printed) in [
        ("filter", "-j CLUSTERIP", Ok("-j CLUSTERIP")),
        ("filter", &format!("{cluster} 1"), Ok(first.as_str())),
        ("filter", &zeroth, Err("bad-value")),
        ("filter", "-j CLUSTERIP --new", Err("missing-option")),
        (
            "filter",
            "-j LED --led-trigger-id a",
            Ok("-j LED --led-trigger-id \"a\""),
        ),
        (
            "filter",
            "-j LED --led-trigger-id \"a \\\"b\\\"\" --led-delay 5 --led-always",
            Ok("-j LED --led-trigger-id \"a \\\"b\\\"\" --led-delay 5 --led-always-blink"),
        ),
        (
            "filter",
            "-j LED --led-trigger-id a --led-delay INFINITE",
            Ok("-j LED --led-trigger-id \"a\" --led-delay -1"),
        ),
        (
            "filter",
            "-j LED --led-trigger-id 12345678901234567",
            Err("bad-value"),
        ),
        ("filter", "-j LED --led-delay 5", Err("missing-option")),
        (
            "mangle",
            "-j SECMARK --selctx a:b",
            Ok("-j SECMARK --selctx a:b"),
        ),
        (
            "security",
            "-j SECMARK --selctx a",
            Ok("-j SECMARK --selctx a"),
        ),
        ("filter", "-j SECMARK --selctx a", Err("misplaced")),
        ("security", "-j SECMARK", Err("missing-option")),
        ("filter", "-j ULOG", Ok("-j ULOG")),
        (
            "filter",
            "-j ULOG --ulog-nlgroup 32 --ulog-qth 50 --ulog-prefix \"a b\" --ulog-cprange 7",
            Ok(
                "-j ULOG --ulog-prefix \"a b\" --ulog-nlgroup 32 --ulog-cprange 7 --ulog-qthreshold 50",
            ),
        ),
        ("filter", "-j ULOG --ulog-nlgroup 0", Err("bad-value")),
        ("filter", "-j ULOG --ulog-qthreshold 51", Err("bad-value")),
    ] {
        let answer = save(Family::V4, table, &format!("-A INPUT {given}"));
        let printed = printed.map(|rule| vec![format!("-A INPUT {rule}")]);
        assert_eq!(answer, printed, "{given}");
    }
}

/// Whether a target may stand where packets of these hooks come, as the tool answered.
/// What `iptables -v -A` of 1.8.9 shows before a kernel without ipvs refuses it.
#[test]
fn ipvs_is_read_as_the_tool_shows_it() {
    let v4 = |options: &str| {
        let saved = save(Family::V4, "filter", &format!("-A INPUT -m ipvs {options}"))?;
        Ok(saved.join("").replacen("-A INPUT -m ipvs ", "", 1))
    };
    for (given, printed) in [
        ("--ipvs", "--ipvs"),
        ("! --ipvs", "! --ipvs"),
        ("--vproto tcp", "--vproto 6"),
        ("! --vproto TCP", "! --vproto 6"),
        ("--vproto 0", "--vproto 0"),
        ("--vaddr 1.2.3.4", "--vaddr 1.2.3.4"),
        ("! --vaddr 1.2.3.4/255.255.255.0", "! --vaddr 1.2.3.4/24"),
        ("--vaddr 10.1.2.3/0", "--vaddr 10.1.2.3/0"),
        ("--vport http", "--vport 80"),
        ("! --vport ssh", "! --vport 22"),
        ("--vport \"\"", "--vport 0"),
        ("--vdir ORIGINAL", "--vdir ORIGINAL"),
        ("--vdir reply", "--vdir REPLY"),
        ("--vmethod gate", "--vmethod GATE"),
        ("! --vmethod IPIP", "! --vmethod IPIP"),
        ("--vmethod Masq", "--vmethod MASQ"),
        ("! --vportctl ftp", "! --vportctl 21"),
        (
            "--ipvs --vportctl 21 --vmethod GATE --vdir ORIGINAL --vport 22 --vaddr 1.2.3.4/16 --vproto 6",
            "--vproto 6 --vaddr 1.2.3.4/16 --vport 22 --vdir ORIGINAL --vmethod GATE --vportctl 21",
        ),
    ] {
        assert_eq!(v4(given), Ok(printed.to_owned()), "{given}");
    }
    for (given, code) in [
        ("", "missing-option"),
        ("--vproto nonsense", "bad-value"),
        ("--vproto 256", "bad-value"),
        ("--vaddr 1.2.3.4,1.2.3.5", "bad-value"),
        ("--vaddr fe80::1/64", "bad-value"),
        ("--vport 22:23", "bad-value"),
        ("--vport 0x16", "bad-value"),
        ("--vdir rep", "bad-value"),
        ("! --vdir reply", "bad-negation"),
        ("--vmethod MAS", "bad-value"),
        ("! --ipvs --vport 22", "bad-negation"),
        ("--vport 22 --vport 23", "repeated-option"),
    ] {
        assert_eq!(v4(given), Err(code), "{given}");
    }
    let v6 = |options: &str| save(Family::V6, "filter", &format!("-A INPUT -m ipvs {options}"));
    assert_eq!(
        v6("--vaddr fe80::1/64"),
        Ok(vec!["-A INPUT -m ipvs --vaddr fe80::1/64".to_owned()])
    );
    assert_eq!(v6("--vaddr 1.2.3.4"), Err("bad-value"));
}

#[test]
fn a_target_stands_only_where_its_hooks_lead() {
    let nat = |text: &str| save(Family::V4, "nat", text).err();
    let mangle = |text: &str| save(Family::V4, "mangle", text).err();
    let misplaced = Some("misplaced");
    assert_eq!(nat("-A POSTROUTING -j c\n-A c -j MASQUERADE"), None);
    assert_eq!(nat("-A PREROUTING -j c\n-A c -j MASQUERADE"), misplaced);
    assert_eq!(nat("-A PREROUTING -g c\n-A c -j MASQUERADE"), misplaced);
    assert_eq!(nat("-A c -j MASQUERADE"), None);
    assert_eq!(
        nat("-A PREROUTING -j ACCEPT\n-A PREROUTING -j MASQUERADE"),
        None
    );
    assert_eq!(
        nat("-A PREROUTING -i + -j ACCEPT\n-A PREROUTING -j MASQUERADE"),
        misplaced
    );
    assert_eq!(
        nat("-A PREROUTING -j c\n-A c -j ACCEPT\n-A PREROUTING -j MASQUERADE"),
        misplaced
    );
    let clamp = "-A c -p tcp --syn -j TCPMSS --clamp-mss-to-pmtu";
    assert_eq!(
        mangle(&format!("-A FORWARD -j c\n-A OUTPUT -j c\n{clamp}")),
        None
    );
    assert_eq!(
        mangle(&format!("-A FORWARD -j c\n-A INPUT -j c\n{clamp}")),
        misplaced
    );
}

#[test]
fn a_target_of_the_other_family_is_unknown() {
    for (family, target) in [(Family::V4, "HL"), (Family::V6, "TTL")] {
        let rule = format!("-A INPUT -j {target}");
        assert_eq!(save(family, "mangle", &rule), Err("unknown-target"));
    }
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
    for rule in [
        "-A INPUT -i \"a b\"",
        "-A FORWARD ! -o a\"b\\\"c\"",
        "-A INPUT -m hashlimit --hashlimit 1/s --hashlimit-name \"a b\"",
        "-A INPUT -m recent --set --name \"a\\\"b\"",
        "-A INPUT -p tcp -m osf --genre \"a b\"",
        "-A INPUT -p tcp -m osf --genre \"\"",
        "-A INPUT -m physdev --physdev-in \"a b\"",
        "-A INPUT -m set --match-set \"a b\" src",
        "-A INPUT -m rateest --rateest \"a b\" --rateest-lt --rateest-pps 5",
        "-A INPUT -j IDLETIMER --timeout 5 --label \"a b\"",
        "-A INPUT -j SET --add-set \"a\tb\" src",
        "-A INPUT -m comment --comment \"never closed",
        "-N a\"\\\"b\"",
    ] {
        assert_eq!(warnings(Family::V4, rule), ["lossy-save"], "{rule}");
    }
    for rule in [
        "-A INPUT -m comment --comment \"a b\\\"c\" -m recent --set --name ab",
        "-A INPUT -m helper --helper \"a b\"",
        "-A INPUT -m helper --helper \"\"",
        "-A INPUT -j LED --led-trigger-id \"a \\\"b\"",
        "-A INPUT -m recent --set --name \"plain\"",
        "-A INPUT -m recent --set --name a'b\\",
    ] {
        assert!(warnings(Family::V4, rule).is_empty(), "{rule}");
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
        "-A INPUT -j HMARK --hmark-src-prefix 255.0.255.0 --hmark-rnd 1 --hmark-mod 2",
        "-A INPUT -m bpf --bytecode \"1,6 0 300 1\"",
        "-A INPUT -m bpf --bytecode \"1,6 0 0 1x\"",
        "-A INPUT -m hashlimit --hashlimit-upto 1mb/s --hashlimit-burst 5000mb --hashlimit-name a",
    ] {
        assert_eq!(save(Family::V4, "filter", rule), Err("bad-value"), "{rule}");
    }
    let rule = "-A INPUT -m hbh --hbh-opts 256";
    assert_eq!(save(Family::V6, "filter", rule), Err("bad-value"));
    let rule = "-A PREROUTING -j NETMAP --to 1.2.3.4/255.0.255.0";
    assert_eq!(save(Family::V4, "nat", rule), Err("bad-value"));
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
