//! Texts that are put onto rulesets, held to `iptables-legacy-restore --noflush` itself. The tool runs
//! in a network namespace of its own; where it or root is missing, the tests say so and pass.

use std::path::Path;
use std::process::Command;

use ipt2bpf_parser::diagnostic::{Severity, code};
use ipt2bpf_parser::ruleset::{Family, Ruleset};
use ipt2bpf_parser::span::Sources;
use ipt2bpf_parser::{Counts, ParseOptions, Parsed, Style, parse, parse_onto, render};
use proptest::prelude::*;
use tempfile::TempDir;

const BASE: &str = "\
*filter
:INPUT DROP [5:300]
:FORWARD ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:a - [0:0]
:b - [0:0]
-A INPUT -s 10.0.0.1/32 -j a
-A INPUT -j b
-A a -j ACCEPT
-A b -p tcp -j DROP
COMMIT
*mangle
:m - [0:0]
-A INPUT -j m
COMMIT
";

fn put(rulesets: Vec<Ruleset>, text: &str) -> (Sources, Parsed) {
    let mut sources = Sources::default();
    let id = sources.add("more.v4", text);
    let options = ParseOptions::default();
    let parsed = parse_onto(rulesets, &sources, id, &options);
    (sources, parsed)
}

fn base(text: &str) -> Vec<Ruleset> {
    let mut sources = Sources::default();
    let id = sources.add("base.v4", text);
    let parsed = parse(&sources, id, &ParseOptions::default());
    assert_eq!(parsed.diagnostics, []);
    parsed.rulesets
}

fn print(rulesets: &[Ruleset]) -> String {
    let text: Vec<u8> = rulesets
        .iter()
        .flat_map(|ruleset| ruleset.print(Counts::Chains))
        .collect();
    String::from_utf8(text).expect("these texts are ASCII")
}

/// The texts one after the other, each with whether it is taken. One with an error changes nothing, as
/// the tool applies a table at its COMMIT. None if chains form a loop: the tool takes those that no
/// packet can enter.
fn ours(texts: &[String]) -> Option<(Vec<bool>, String)> {
    let mut rulesets = Vec::new();
    let mut taken = Vec::new();
    for text in texts {
        let (_, parsed) = put(rulesets.clone(), text);
        let errors = parsed.diagnostics.iter();
        let mut errors = errors
            .filter(|it| it.severity == Severity::Error)
            .peekable();
        let is_taken = errors.peek().is_none();
        if is_taken {
            rulesets = parsed.rulesets;
        } else if errors.any(|it| it.code == code::LOOP) {
            return None;
        }
        taken.push(is_taken);
    }
    Some((taken, print(&rulesets)))
}

/// The same by iptables, or none where it cannot be run.
fn theirs(texts: &[String]) -> Option<(Vec<bool>, String)> {
    let desk = TempDir::new().expect("a directory");
    let mut script = String::new();
    for (at, text) in texts.iter().enumerate() {
        std::fs::write(desk.path().join(at.to_string()), text).expect("a file");
        script += &format!("iptables-legacy-restore -w --noflush {at} 2>/dev/null; echo $?\n");
    }
    script += "iptables-legacy-save -t filter\n";
    let output = Command::new("unshare")
        .args(["-n", "sh", "-c", &script])
        .current_dir(desk.path())
        .output()
        .ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let mut lines = text.lines();
    let codes: Vec<&str> = lines.by_ref().take(texts.len()).collect();
    // 127 is of a shell that finds no such program, and an empty save is one without root.
    let saved: Vec<&str> = lines.filter(|line| !line.starts_with('#')).collect();
    if codes.contains(&"127") || saved.is_empty() {
        return None;
    }
    let taken = codes.iter().map(|&code| code == "0").collect();
    Some((taken, saved.join("\n") + "\n"))
}

fn is_there() -> bool {
    let text = "*filter\nCOMMIT\n".to_owned();
    let is_there = Path::new("/proc/self/ns/net").exists() && theirs(&[text]).is_some();
    if !is_there {
        eprintln!("skipped: iptables-legacy-restore cannot be run in a network namespace");
    }
    is_there
}

/// Each text onto the base, and whether it is taken.
const TEXTS: &[(&str, bool)] = &[
    // Rules stay, and new ones come behind or before them.
    (
        "-A INPUT -p udp\n-I INPUT -i lo\n-I INPUT 3 -i eth0\n",
        true,
    ),
    // A user chain that is declared is flushed, each time that it is.
    (":a - [0:0]\n-A a -p tcp\n:a - [0:0]\n-A a -p udp\n", true),
    (":INPUT - [0:0]\n", true),
    (":INPUT ACCEPT [1:2]\n", true),
    (":a ACCEPT [0:0]\n", false),
    (":c - [0:0]\n-A c -j b\n-A OUTPUT -g c\n", true),
    ("-N c\n-A c -j b\n", true),
    ("-N a\n", false),
    ("-N INPUT\n", false),
    ("-F\n-X\n", true),
    ("-X a\n", false),
    ("-F a\n-X a\n", false),
    ("-D INPUT 1\n-F a\n-X a\n", true),
    ("-D INPUT -s 10.0.0.1 -j a\n", true),
    ("-D INPUT -s 10.0.0.2 -j a\n", false),
    ("-D INPUT -s 10.0.0.1 -g a\n", false),
    ("-D b -p 6 -j DROP\n", true),
    ("-D b -p tcp -m tcp -j DROP\n", false),
    ("-R INPUT 2 -j RETURN\n", true),
    ("-R INPUT 3 -j RETURN\n", false),
    ("-E a c\n-A c -p 4\n", true),
    ("-E a b\n", false),
    ("-E a a\n", false),
    ("-E a INPUT\n", false),
    ("-P INPUT ACCEPT\n-P FORWARD DROP\n", true),
    ("-Z\n-Z a\n", true),
    // The kernel looks at the whole table.
    ("-A b -m mac --mac-source 02:00:00:00:00:01\n", true),
    (
        "-A b -m mac --mac-source 02:00:00:00:00:01\n-A OUTPUT -j b\n",
        false,
    ),
    ("-A INPUT -j nowhere\n", false),
    // Twice in one text.
    (
        ":c - [0:0]\n-A c -p tcp\nCOMMIT\n*filter\n-A c -p udp\n",
        true,
    ),
];

#[test]
fn texts_change_what_is_there() {
    let is_there = is_there();
    for &(lines, is_taken) in TEXTS {
        let texts = [BASE.to_owned(), format!("*filter\n{lines}COMMIT\n")];
        let Some((taken, printed)) = ours(&texts) else {
            panic!("a loop: {lines}");
        };
        assert_eq!(taken, [true, is_taken], "{lines}");
        if is_there {
            let filter = printed.split_inclusive("COMMIT\n").next();
            let filter = without_counters(filter.unwrap_or_default());
            assert_eq!(Some((taken, filter)), theirs(&texts), "{lines}");
        }
    }
}

/// The tool is not asked to restore counters.
fn without_counters(text: &str) -> String {
    let lines = text.lines().map(|line| match line.split_once(" [") {
        Some((chain, _)) if line.starts_with(':') => format!("{chain} [0:0]\n"),
        _ => format!("{line}\n"),
    });
    lines.collect()
}

/// A rule that leads at most to a chain further down the alphabet, so that loops are rare.
fn rule(chain: &'static str) -> impl Strategy<Value = String> {
    let user = ["a", "b", "c"]
        .into_iter()
        .filter(move |&name| chain < name);
    let jumps = user.flat_map(|name| [format!("-j {name}"), format!("-g {name}")]);
    let verdicts = ["-j ACCEPT", "-j DROP", "-j RETURN"].map(str::to_owned);
    let action = prop::sample::select(jumps.chain(verdicts).collect::<Vec<_>>());
    let test = prop::sample::select(vec!["-p tcp ", "-s 10.0.0.1 ", "-f ", ""]);
    (test, action).prop_map(move |(test, action)| format!("{test}{action}"))
}

/// A line that means something in a table with some of the chains a, b and c.
fn line() -> impl Strategy<Value = String> {
    let user = || prop::sample::select(vec!["a", "b", "c"]);
    let chain = || prop::sample::select(vec!["INPUT", "OUTPUT", "a", "b", "c"]);
    let number = 1..3_u8;
    let with_rule = (
        prop::sample::select(vec!["-A", "-A", "-D", "-I", "-R"]),
        chain(),
        number.clone(),
    );
    let with_rule = with_rule.prop_flat_map(|(command, chain, number)| {
        rule(chain).prop_map(move |rule| match command {
            "-A" | "-D" => format!("{command} {chain} {rule}"),
            _ => format!("{command} {chain} {number} {rule}"),
        })
    });
    prop_oneof![
        12 => with_rule,
        4 => user().prop_map(|name| format!(":{name} - [0:0]")),
        2 => (chain(), number).prop_map(|(chain, at)| format!("-D {chain} {at}")),
        1 => chain().prop_map(|chain| format!("-F {chain}")),
        1 => Just("-F".to_owned()),
        2 => user().prop_map(|chain| format!("-N {chain}")),
        1 => user().prop_map(|chain| format!("-X {chain}")),
        1 => Just("-X".to_owned()),
        2 => (user(), user()).prop_map(|(old, new)| format!("-E {old} {new}")),
        1 => chain().prop_map(|chain| format!("-P {chain} DROP")),
        1 => chain().prop_map(|chain| format!(":{chain} ACCEPT [0:0]")),
        1 => chain().prop_map(|chain| format!("-Z {chain}")),
    ]
}

#[test]
fn random_texts_change_what_is_there() {
    if !is_there() {
        return;
    }
    let few = ProptestConfig {
        cases: 100,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    let text = prop::collection::vec(line(), 1..4)
        .prop_map(|lines| format!("*filter\n{}\nCOMMIT\n", lines.join("\n")));
    let texts = prop::collection::vec(text, 4..12);
    proptest!(few, |(texts in texts)| {
        let start = "*filter\n:a - [0:0]\n:b - [0:0]\n-A INPUT -p tcp -j a\n-A a -j DROP\nCOMMIT\n";
        let texts: Vec<String> = std::iter::once(start.to_owned()).chain(texts).collect();
        let ours = ours(&texts);
        prop_assume!(ours.is_some());
        prop_assert_eq!(ours, theirs(&texts));
    });
}

#[test]
fn tables_that_the_text_does_not_name_stay() {
    let (_, parsed) = put(base(BASE), "*raw\n-A PREROUTING -j ACCEPT\nCOMMIT\n");
    assert_eq!(parsed.diagnostics, []);
    let whole = format!(
        "{}*raw\n:PREROUTING ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n-A PREROUTING -j ACCEPT\nCOMMIT\n",
        print(&base(BASE))
    );
    assert_eq!(print(&parsed.rulesets), whole);
}

#[test]
fn counters_stay_with_rules_and_policies() {
    let counted = "*filter\n:INPUT DROP [5:300]\n[1:2] -A INPUT -p tcp\nCOMMIT\n";
    let (_, parsed) = put(base(counted), "*filter\n[3:4] -A INPUT -p udp\nCOMMIT\n");
    let text = parsed.rulesets[0].print(Counts::All);
    assert_eq!(
        String::from_utf8_lossy(&text),
        "*filter\n:INPUT DROP [5:300]\n:FORWARD ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n\
        [1:2] -A INPUT -p tcp\n[3:4] -A INPUT -p udp\nCOMMIT\n"
    );
}

#[test]
fn a_text_without_a_family_has_that_of_the_rulesets() {
    let plain = "*filter\n-A INPUT -i wg0 -j ACCEPT\nCOMMIT\n";
    let families = |before: &str| -> Vec<Family> {
        let (_, parsed) = put(base(before), plain);
        assert_eq!(parsed.diagnostics, []);
        let grown = parsed.rulesets.into_iter();
        let grown = grown.filter(|it| print(std::slice::from_ref(it)).contains("wg0"));
        grown.map(|it| it.family).collect()
    };
    let v6 = "*filter\n-A INPUT -s ::1\nCOMMIT\n";
    assert_eq!(families(""), [Family::V4]);
    assert_eq!(families(v6), [Family::V6]);
    assert_eq!(families(BASE), [Family::V4]);
    assert_eq!(families(&format!("{BASE}{v6}")), [Family::V4]);
    let (_, parsed) = put(base(BASE), v6);
    assert_eq!(parsed.rulesets.len(), 2);
}

#[test]
fn mistakes_are_told_where_they_are() {
    let (sources, parsed) = put(
        base("*filter\n:web - [0:0]\n-A INPUT -j web\nCOMMIT\n"),
        "*filter\n\
        -A wbe -j DROP\n\
        -N web\n\
        -X web\n\
        -D INPUT 2\n\
        -D INPUT -j DROP\n\
        :INPUT - [0:0]\n\
        :web ACCEPT [0:0]\n\
        COMMIT\n",
    );
    insta::assert_snapshot!(render(&parsed.diagnostics, &sources, Style::Plain));
}
