//! Lists of rules, each with what iptables saves for it or says against it.

use ipt2bpf_parser::ruleset::Family;

use crate::support::{errors, lack, read, rules, text};

/// What iptables answers to a rule.
enum Answer<'a> {
    /// The rule of the save, without its chain.
    Saved(&'a str),
    Refused(&'a str),
}

impl<'a> Answer<'a> {
    fn new(text: &'a str) -> Self {
        match text.strip_prefix("ERR ") {
            Some(message) => Answer::Refused(message),
            None => Answer::Saved(text),
        }
    }
}

/// How a list fares.
#[derive(Default)]
struct Tally {
    same: usize,
    unjudged: Vec<String>,
    different: Vec<String>,
}

impl Tally {
    /// Holds a rule to its answer. `ours` are the prints at the places where it may have been given.
    fn add(&mut self, rule: &str, ours: &[Result<Vec<String>, String>], answer: &Answer<'_>) {
        let taken = ours.iter().find_map(|it| it.as_ref().ok());
        match (answer, taken) {
            (Answer::Saved(saved), Some(printed)) if printed.as_slice() == [*saved] => {
                self.same += 1
            }
            (Answer::Refused(_), None) => self.same += 1,
            (Answer::Refused(message), Some(_)) if lack(rule, message).is_some() => {
                let reason = lack(rule, message).unwrap_or_default();
                self.unjudged.push(format!("{reason}: {rule}"));
            }
            (Answer::Saved(answer) | Answer::Refused(answer), _) => {
                self.different
                    .push(format!("{rule}\n  here {ours:?}\n  tool {answer}"));
            }
        }
    }

    fn conclude(&self, list: &str, least: usize, unjudged: usize) {
        println!("{list}: {} rules agree with iptables", self.same);
        println!(
            "{} are taken that iptables could not judge:",
            self.unjudged.len()
        );
        println!("  {}", self.unjudged.join("\n  "));
        assert!(
            self.different.is_empty(),
            "{} rules differ:\n{}",
            self.different.len(),
            self.different.join("\n")
        );
        assert!(self.same >= least, "only {} rules agree", self.same);
        assert!(self.unjudged.len() <= unjudged, "too many have no judge");
    }
}

/// The rules of the save without their chain, or the first error.
fn save(family: Family, table: &str, chain: &str, rule: &str) -> Result<Vec<String>, String> {
    let parsed = read(format!("*{table}\n-A {chain} {rule}\nCOMMIT\n"), family);
    if let Some(error) = errors(&parsed).into_iter().next() {
        return Err(error);
    }
    let head = format!("-A {chain}");
    let rules = rules(&parsed).into_iter();
    let rules = rules.map(|it| {
        it.strip_prefix(&head)
            .unwrap_or(&it)
            .trim_start()
            .to_owned()
    });
    Ok(rules.collect())
}

fn family(name: &str) -> Family {
    match name {
        "v4" => Family::V4,
        "v6" => Family::V6,
        other => panic!("{other} is no family"),
    }
}

/// Rules of the test suite of iptables with the place where they were given.
#[test]
fn placed_rules_have_the_answers_of_the_tool() {
    let Some(list) = text("canonical-save.tsv") else {
        return;
    };
    let mut tally = Tally::default();
    for row in list.lines() {
        let fields: Vec<&str> = row.split('\t').collect();
        let [version, _, place, _, rule, answer] = fields.as_slice() else {
            panic!("a bad row: {row}");
        };
        let (table, chain) = place.split_once('/').expect("a table and a chain");
        let ours = [save(family(version), table, chain, rule)];
        tally.add(rule, &ours, &Answer::new(answer));
    }
    tally.conclude("canonical-save.tsv", 1_380, 80);
}

/// Where a rule may have been given whose list does not say it.
const PLACES: [(&str, &str); 8] = [
    ("filter", "INPUT"),
    ("filter", "OUTPUT"),
    ("filter", "FORWARD"),
    ("mangle", "PREROUTING"),
    ("mangle", "POSTROUTING"),
    ("raw", "PREROUTING"),
    ("nat", "PREROUTING"),
    ("nat", "POSTROUTING"),
];

/// Rules without a place: one that the tool takes is taken somewhere, and one that it refuses nowhere.
#[test]
fn rules_have_the_answers_of_the_tool() {
    let Some(list) = text("canonical-pairs.txt") else {
        return;
    };
    let mut tally = Tally::default();
    for row in list.lines() {
        let (version, rest) = row.split_once(' ').expect("a family");
        let (rule, answer) = match (rest.split_once(" => "), rest.split_once(" ERR ")) {
            (Some((rule, answer)), _) => {
                let (saved, _) = answer.split_once("   [stderr: ").unwrap_or((answer, ""));
                (rule, Answer::Saved(saved.trim_end()))
            }
            (_, Some((rule, message))) => (rule, Answer::Refused(message)),
            _ => panic!("a bad row: {row}"),
        };
        let rule = rule.trim_end();
        let ours = PLACES.map(|(table, chain)| save(family(version), table, chain, rule));
        tally.add(rule, &ours, &answer);
    }
    tally.conclude("canonical-pairs.txt", 250, 3);
}
