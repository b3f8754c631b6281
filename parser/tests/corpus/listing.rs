//! `iptables-legacy -L` of the rules of its own test suite, held to what we print. The tool runs in a
//! network namespace of its own; where it or root is missing, the test says so and passes.

use std::collections::BTreeMap;
use std::fs;
use std::net::IpAddr;
use std::path::Path;
use std::process::Command;

use ipt2bpf_parser::ruleset::Family;
use ipt2bpf_parser::{ListStyle, Names};

use crate::support::{read, text};

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
    let parsed = read(save(table, rules), family);
    let mut names = Names::default();
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

#[test]
fn upstream_rules_are_listed_as_the_tool_lists_them() {
    let Some(list) = text("iptables-tests.jsonl") else {
        return;
    };
    let desk = tempfile::tempdir().expect("a directory");
    if theirs(desk.path(), Family::V4, "filter", &[]).is_none() {
        println!("skipped: iptables-legacy cannot be run in a network namespace");
        return;
    }
    let mut groups: BTreeMap<(u8, String), Vec<String>> = BTreeMap::new();
    for row in list.lines() {
        let row: serde_json::Value = serde_json::from_str(row).expect("a row is JSON");
        let field = |name: &str| row[name].as_str().expect("a row has its fields");
        if row["accepted"] == true {
            let family = if field("family") == "ip" { 4 } else { 6 };
            let rule = format!("-A {} {}", field("chain"), field("args"));
            groups
                .entry((family, field("table").to_owned()))
                .or_default()
                .push(rule);
        }
    }
    let (mut same, mut unjudged, mut different) = (0, 0, Vec::new());
    for ((family, table), rules) in groups {
        let family = if family == 4 { Family::V4 } else { Family::V6 };
        let mut waiting: Vec<Vec<String>> = rules.chunks(64).map(<[String]>::to_vec).collect();
        while let Some(rules) = waiting.pop() {
            match theirs(desk.path(), family, &table, &rules) {
                Some(theirs) => {
                    let ours = ours(family, &table, &rules);
                    let lines = |texts: &[String; 2]| -> Vec<String> {
                        texts
                            .iter()
                            .flat_map(|text| text.lines())
                            .map(str::to_owned)
                            .collect()
                    };
                    let (ours, theirs) = (lines(&ours), lines(&theirs));
                    assert_eq!(ours.len(), theirs.len(), "{ours:#?} {theirs:#?}");
                    for (ours, theirs) in ours.iter().zip(&theirs) {
                        match ours == theirs {
                            true => same += 1,
                            false => different.push(format!("  here {ours}\n  tool {theirs}")),
                        }
                    }
                }
                // Rules that the kernel does not take together, or that it lacks a module for.
                None if rules.len() > 1 => {
                    let (head, tail) = rules.split_at(rules.len() / 2);
                    waiting.extend([head.to_vec(), tail.to_vec()]);
                }
                None => unjudged += 1,
            }
        }
    }
    println!(
        "{same} lines are the same, {} differ, {unjudged} rules are not judged",
        different.len()
    );
    assert!(
        different.is_empty(),
        "{} lines differ:\n{}",
        different.len(),
        different.join("\n")
    );
}
