//! What we list, held to `iptables-legacy -L`. The tool runs in a network namespace of its own; where it or
//! root is missing, the tests say so and pass.

use std::collections::BTreeMap;
use std::fs;
use std::net::IpAddr;
use std::path::Path;
use std::process::Command;

use ipt2bpf_parser::ruleset::Family;
use ipt2bpf_parser::span::Sources;
use ipt2bpf_parser::{ListStyle, Names, ParseOptions, parse};

/// Rules with a word or more of each extension, by table.
const RULES_V4: [(&str, &str); 5] = [
    ("filter", include_str!("listing/filter.v4")),
    ("mangle", include_str!("listing/mangle.v4")),
    ("nat", include_str!("listing/nat.v4")),
    ("raw", include_str!("listing/raw.v4")),
    (
        "security",
        "-A INPUT -j CONNSECMARK --save\n-A INPUT -s 10.0.0.0/8 -j AUDIT --type drop\n",
    ),
];
const RULES_V6: [(&str, &str); 3] = [
    ("filter", include_str!("listing/filter.v6")),
    ("mangle", include_str!("listing/mangle.v6")),
    ("nat", include_str!("listing/nat.v6")),
];

/// A save of rules of one table, for a file.
fn save(table: &str, rules: &[String]) -> String {
    format!("*{table}\n{}\nCOMMIT\n", rules.join("\n"))
}

/// What the tool lists of a save with `-n` and without, or none when it does not take the rules.
fn theirs(desk: &Path, family: Family, table: &str, rules: &[String]) -> Option<[String; 2]> {
    let tool = match family {
        Family::V4 => "iptables-legacy",
        Family::V6 => "ip6tables-legacy",
    };
    fs::write(desk.join("rules"), save(table, rules)).expect("a file");
    let script = format!(
        "{tool}-restore <rules 2>/dev/null || exit 1; {tool} -t {table} -nvL; echo; echo ===; {tool} -t {table} -vL; echo"
    );
    let output = Command::new("unshare")
        .args(["-n", "sh", "-c", &script])
        .current_dir(desk)
        .output()
        .ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let (numbers, names) = text.split_once("\n===\n")?;
    output.status.success().then(|| {
        [
            numbers.to_owned(),
            names.trim_end_matches('\n').to_owned() + "\n",
        ]
    })
}

fn host_name(address: IpAddr) -> Option<String> {
    let hosts = fs::read_to_string("/etc/hosts").ok()?;
    let mut lines = hosts.lines();
    lines.find_map(|line| {
        let mut words = line.split_whitespace();
        let known: IpAddr = words.next()?.parse().ok()?;
        (known == address).then(|| words.next().map(str::to_owned))?
    })
}

fn ours(family: Family, table: &str, rules: &[String]) -> [String; 2] {
    let mut names = Names::default();
    names.add_users(b"tor:x:30002:30002::/var/lib/tor:/bin/false\n");
    let options = ParseOptions {
        family: Some(family),
        names: names.clone(),
    };
    let mut sources = Sources::default();
    let id = sources.add("rules", save(table, rules));
    let parsed = parse(&sources, id, &options);
    names.add_services(&fs::read("/etc/services").unwrap_or_default());
    names.add_users(&fs::read("/etc/passwd").unwrap_or_default());
    names.add_groups(&fs::read("/etc/group").unwrap_or_default());
    names.add_networks(&fs::read("/etc/networks").unwrap_or_default());
    [true, false].map(|numeric| {
        let style = ListStyle {
            verbose: true,
            numeric,
            exact: false,
            line_numbers: false,
            names: &names,
            host_name: &host_name,
        };
        let text = parsed.rulesets[0].tables[0].list(family, None, None, &style);
        String::from_utf8_lossy(&text).into_owned()
    })
}

/// How many lines are the same, how many rules the tool does not take here, and the lines that differ.
#[derive(Default)]
struct Tally {
    same: usize,
    unjudged: Vec<String>,
    different: Vec<String>,
}

impl Tally {
    fn judge(&mut self, desk: &Path, family: Family, table: &str, rules: &[String]) {
        let mut waiting: Vec<Vec<String>> = rules.chunks(64).map(<[String]>::to_vec).collect();
        while let Some(rules) = waiting.pop() {
            match theirs(desk, family, table, &rules) {
                Some(theirs) => self.compare(&ours(family, table, &rules), &theirs),
                // Rules that the kernel does not take together, or that it lacks a module for.
                None if rules.len() > 1 => {
                    let (head, tail) = rules.split_at(rules.len() / 2);
                    waiting.extend([head.to_vec(), tail.to_vec()]);
                }
                None => self.unjudged.extend(rules),
            }
        }
    }

    fn compare(&mut self, ours: &[String; 2], theirs: &[String; 2]) {
        let lines = |texts: &[String; 2]| -> Vec<String> {
            let lines = texts.iter().flat_map(|text| text.lines());
            lines.map(str::to_owned).collect()
        };
        let (ours, theirs) = (lines(ours), lines(theirs));
        assert_eq!(ours.len(), theirs.len(), "{ours:#?} {theirs:#?}");
        for (ours, theirs) in ours.iter().zip(&theirs) {
            match ours == theirs {
                true => self.same += 1,
                false => self
                    .different
                    .push(format!("  here {ours}\n  tool {theirs}")),
            }
        }
    }

    fn check(&self) {
        let Tally {
            same,
            unjudged,
            different,
        } = self;
        println!(
            "{same} lines are the same, {} differ; not judged:",
            different.len()
        );
        unjudged.iter().for_each(|rule| println!("  {rule}"));
        let number = different.len();
        assert!(
            different.is_empty(),
            "{number} lines differ:\n{}",
            different.join("\n")
        );
    }
}

/// A directory for the tool's files, unless it cannot be run.
fn desk() -> Option<tempfile::TempDir> {
    let desk = tempfile::tempdir().expect("a directory");
    if theirs(desk.path(), Family::V4, "filter", &[]).is_none() {
        println!("skipped: iptables-legacy cannot be run in a network namespace");
        return None;
    }
    Some(desk)
}

#[test]
fn each_extension_is_listed_as_the_tool_lists_it() {
    let Some(desk) = desk() else { return };
    let mut tally = Tally::default();
    let tables = RULES_V4.map(|row| (Family::V4, row));
    let tables = tables
        .into_iter()
        .chain(RULES_V6.map(|row| (Family::V6, row)));
    for (family, (table, rules)) in tables {
        let rules: Vec<String> = rules.lines().map(str::to_owned).collect();
        tally.judge(desk.path(), family, table, &rules);
    }
    tally.check();
    assert!(tally.same >= 300, "only {} lines", tally.same);
    assert!(tally.unjudged.len() <= 12, "too many have no judge");
}

#[test]
fn upstream_rules_are_listed_as_the_tool_lists_them() {
    let list = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../shared/corpus")
        .join("iptables-tests.jsonl");
    let Ok(list) = fs::read_to_string(&list) else {
        eprintln!("skipped: there is no {}", list.display());
        return;
    };
    let Some(desk) = desk() else { return };
    let mut groups: BTreeMap<(u8, String), Vec<String>> = BTreeMap::new();
    for row in list.lines() {
        let row: serde_json::Value = serde_json::from_str(row).expect("a row is JSON");
        let field = |name: &str| row[name].as_str().expect("a row has its fields");
        if row["accepted"] == true {
            let family = if field("family") == "ip" { 4 } else { 6 };
            let rule = format!("-A {} {}", field("chain"), field("args"));
            let table = field("table").to_owned();
            groups.entry((family, table)).or_default().push(rule);
        }
    }
    let mut tally = Tally::default();
    for ((family, table), rules) in groups {
        let family = if family == 4 { Family::V4 } else { Family::V6 };
        tally.judge(desk.path(), family, &table, &rules);
    }
    tally.check();
    assert!(tally.same >= 5_000, "only {} lines", tally.same);
}
