//! The test suite of iptables itself: one rule at a time, taken or refused, with the print of save.

use std::collections::BTreeMap;

use ipt2bpf_parser::ruleset::Family;

use crate::support::{errors, lack, read, rules, text};

/// A line of the suite and the answer of the tool.
struct Line {
    family: Family,
    table: String,
    chain: String,
    rule: String,
    source: String,
    message: String,
    /// The rules of the save, or none if the tool refused the line.
    saved: Option<Vec<String>>,
}

/// What became of a line.
enum Fate {
    /// Both take it and print the same, or both refuse it.
    Same,
    /// The tool could not judge it.
    Unjudged(&'static str),
    Different(String),
}

impl Line {
    fn new(row: &str) -> Line {
        let row: serde_json::Value = serde_json::from_str(row).expect("a row is JSON");
        let field = |name: &str| row[name].as_str().expect("a row has its fields").to_owned();
        let saved = row["real_save"].as_array().expect("a list").iter();
        let saved = saved.filter_map(|it| it.as_str()).map(str::to_owned);
        Line {
            family: match field("family").as_str() {
                "ip" => Family::V4,
                "ip6" => Family::V6,
                other => panic!("{other} is no family"),
            },
            table: field("table"),
            chain: field("chain"),
            rule: field("args"),
            source: field("source"),
            message: field("msg"),
            saved: (row["accepted"] == true).then(|| saved.collect()),
        }
    }

    fn fate(&self) -> Fate {
        let Line {
            table, chain, rule, ..
        } = self;
        let text = format!("*{table}\n-A {chain} {rule}\nCOMMIT\n");
        let parsed = read(text, self.family);
        let errors = errors(&parsed);
        let ours = errors.is_empty().then(|| rules(&parsed));
        if ours == self.saved {
            return Fate::Same;
        }
        match lack(rule, &self.message) {
            Some(lack) if self.saved.is_none() => Fate::Unjudged(lack),
            _ => Fate::Different(format!(
                "{}: {rule}\n  here {ours:?} {errors:?}\n  tool {:?} {}",
                self.source, self.saved, self.message
            )),
        }
    }
}

#[test]
fn upstream_rules_print_as_saved() {
    let Some(list) = text("iptables-tests.jsonl") else {
        return;
    };
    let lines: Vec<Line> = list.lines().map(Line::new).collect();
    let (mut same, mut unjudged, mut different) = (0, BTreeMap::new(), Vec::new());
    for line in &lines {
        match line.fate() {
            Fate::Same => same += 1,
            Fate::Unjudged(reason) => {
                let known: &mut Vec<&Line> = unjudged.entry(reason).or_default();
                known.push(line);
            }
            Fate::Different(story) => different.push(story),
        }
    }
    let judged = same + different.len();
    println!(
        "{same} of {} lines ({:.2} %) agree with iptables, {} differ, and {} are taken that iptables could \
         not judge:",
        lines.len(),
        100.0 * same as f64 / lines.len() as f64,
        different.len(),
        lines.len() - judged
    );
    for (reason, lines) in &unjudged {
        println!("  {reason}: {} lines", lines.len());
        for line in lines {
            println!("    {}: {:?} {}", line.source, line.family, line.rule);
        }
    }
    assert!(
        different.is_empty(),
        "{} lines differ:\n{}",
        different.len(),
        different.join("\n")
    );
    assert!(same >= 3_500, "only {same} lines");
    assert!(lines.len() - judged <= 110, "too many lines have no judge");
}

/// The suite expects of most ipvs rules that they print as given; nobody else can be asked.
#[test]
fn upstream_rules_of_ipvs_print_as_the_suite_says() {
    let Some(list) = text("iptables-tests.jsonl") else {
        return;
    };
    let lines = list.lines().map(Line::new);
    let mut taken = 0;
    for line in lines.filter(|line| line.source.ends_with("_ipvs.t")) {
        let Line {
            table,
            chain,
            rule,
            family,
            ..
        } = &line;
        let is_of_family = *family == Family::V4 || !rule.contains("1.2.3.4");
        let text = format!("*{table}\n-A {chain} {rule}\nCOMMIT\n");
        let parsed = read(text, *family);
        assert_eq!(errors(&parsed).is_empty(), is_of_family, "{rule}");
        if is_of_family {
            let numbers = [("tcp", "6"), ("TCP", "6"), ("http", "80"), ("ssh", "22")];
            let expected = numbers.iter().fold(rule.clone(), |rule, (name, number)| {
                rule.replace(name, number)
            });
            let expected = expected.replace("/255.255.255.0", "/24");
            assert_eq!(rules(&parsed), [format!("-A {chain} {expected}")]);
            taken += 1;
        }
    }
    assert!(taken >= 60, "only {taken} rules");
}
