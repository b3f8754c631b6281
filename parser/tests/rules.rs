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
