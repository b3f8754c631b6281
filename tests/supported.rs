//! The README's table of matches and targets, made by translating an example of every option at every
//! hook. `UPDATE_README=1 cargo test --test supported` writes it.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;

use ipt2bpf_codegen::compile::compile;
use ipt2bpf_codegen::module::Hook;
use ipt2bpf_codegen::options::{ControlGroup, DeviceNames, KernelVersion, Options};
use ipt2bpf_codegen::sets::Sets;
use ipt2bpf_parser::diagnostic::Severity;
use ipt2bpf_parser::ruleset::{Family, Ruleset};
use ipt2bpf_parser::span::Sources;
use ipt2bpf_parser::{Names, ParseOptions, ipset, parse};

/// Every option of every extension, with what iptables saves for it.
const EXAMPLES: [(Family, &str); 4] = [
    (Family::V4, include_str!("../parser/testdata/rules.v4")),
    (Family::V6, include_str!("../parser/testdata/rules.v6")),
    (Family::V4, include_str!("../parser/testdata/targets.v4")),
    (Family::V6, include_str!("../parser/testdata/targets.v6")),
];
/// Between these lines of the README the table stands.
const MARKS: [&str; 2] = ["<!-- matches and targets -->", "<!-- end -->"];
/// The targets that every ruleset has.
const VERDICTS: [&str; 5] = ["ACCEPT", "DROP", "RETURN", "QUEUE", "c"];

/// What became of the examples of one extension at one hook.
#[derive(Default)]
struct Tally {
    exact: usize,
    noted: usize,
    refused: usize,
    kernel: Option<KernelVersion>,
}

impl Tally {
    fn cell(&self) -> String {
        let kernel = match self.kernel {
            Some(kernel) if kernel > KernelVersion::BASELINE => format!(" ({kernel})"),
            _ => String::new(),
        };
        let note = if self.noted > 0 { ", with a note" } else { "" };
        match (self.exact, self.refused) {
            (0, 0) => "–".to_owned(),
            (0, _) => "refused".to_owned(),
            (_, 0) => format!("exact{kernel}{note}"),
            (exact, refused) => format!("{exact} of {}{kernel}{note}", exact + refused),
        }
    }
}

/// A rule as iptables saves it, in its table.
struct Example {
    family: Family,
    table: String,
    rule: String,
}

fn examples() -> Vec<Example> {
    let mut examples = Vec::new();
    for (family, list) in EXAMPLES {
        let mut table = "filter";
        for line in list.lines() {
            if let Some(rule) = line.strip_prefix("   = ") {
                examples.push(Example {
                    family,
                    table: table.to_owned(),
                    rule: rule.to_owned(),
                });
            } else if !line.starts_with(' ') {
                table = line
                    .split_once(' ')
                    .map(|(word, _)| word)
                    .filter(|word| !word.starts_with('-'))
                    .unwrap_or("filter");
            }
        }
    }
    examples
}

/// The extension that an example is for: its target, else its last match.
fn extension(rule: &str) -> Option<String> {
    let behind = |option: &str| {
        let mut words = rule.split(' ').rev().peekable();
        while let Some(word) = words.next() {
            if words.peek() == Some(&option) {
                return Some(word);
            }
        }
        None
    };
    let target = behind("-j").filter(|target| !VERDICTS.contains(target));
    match (target, behind("-m")) {
        (Some(target), _) => Some(target.to_owned()),
        (None, found) => found.map(str::to_owned),
    }
}

/// The ruleset with the example in a chain that the hook runs, if iptables takes it there.
fn placed(example: &Example, hook: Hook) -> Option<Ruleset> {
    let chains: &[&str] = match hook {
        Hook::CgroupIngress => &["INPUT", "PREROUTING"],
        Hook::CgroupEgress => &["OUTPUT", "POSTROUTING"],
        Hook::Xdp => &["INPUT", "PREROUTING", "FORWARD"],
    };
    let (_, rest) = example.rule.strip_prefix("-A ")?.split_once(' ')?;
    chains.iter().find_map(|chain| {
        let text = format!(
            "*{}\n:c - [0:0]\n-A {chain} {rest}\nCOMMIT\n",
            example.table
        );
        let mut sources = Sources::default();
        let id = sources.add("example", text);
        let options = ParseOptions {
            family: Some(example.family),
            ..ParseOptions::default()
        };
        let parsed = parse(&sources, id, &options);
        let refused = parsed
            .diagnostics
            .iter()
            .any(|it| it.severity == Severity::Error);
        parsed.rulesets.into_iter().next().filter(|_| !refused)
    })
}

/// The sets that an example asks for or changes.
fn sets(example: &Example) -> Sets {
    let (family, element) = match example.family {
        Family::V4 => ("inet", "192.0.2.1"),
        Family::V6 => ("inet6", "::ffff:1"),
    };
    let kind = match example.rule.contains("-j SET") {
        true => "hash:ip",
        false => "hash:net",
    };
    let names = ["foo", "nn", "abcdefghijklmnopqrstuvwxyz12345"];
    let text: String = names
        .iter()
        .map(|name| format!("create {name} {kind} family {family}\nadd {name} {element}\n"))
        .collect();
    let mut sources = Sources::default();
    let id = sources.add("sets", text);
    Sets::new(&ipset::parse(&sources, &[id], &Names::default()).sets)
}

fn table() -> String {
    let mut tallies: BTreeMap<String, BTreeMap<Hook, Tally>> = BTreeMap::new();
    for example in examples().iter().filter(|example| example.table != "nat") {
        let Some(name) = extension(&example.rule) else {
            continue;
        };
        for hook in Hook::ALL {
            let Some(ruleset) = placed(example, hook) else {
                continue;
            };
            // Connections need both directions: the other hook of a cgroup, or the companion at XDP.
            let hooks = match hook {
                Hook::Xdp => vec![Hook::Xdp],
                Hook::CgroupIngress | Hook::CgroupEgress => {
                    vec![Hook::CgroupIngress, Hook::CgroupEgress]
                }
            };
            let options = Options {
                hooks,
                companion: hook == Hook::Xdp,
                device_names: DeviceNames::Relocated,
                sets: sets(example),
                groups: [(Vec::new(), ControlGroup { id: 1, level: 0 })].into(),
                ..Options::default()
            };
            let tally = tallies
                .entry(name.clone())
                .or_default()
                .entry(hook)
                .or_default();
            match compile(&[ruleset], &options) {
                Ok(compiled) => {
                    tally.exact += 1;
                    tally.noted += usize::from(!compiled.diagnostics.is_empty());
                    tally.kernel = tally.kernel.max(Some(compiled.kernel));
                }
                Err(_) => tally.refused += 1,
            }
        }
    }
    let mut text =
        String::from("| | cgroup_skb/ingress | cgroup_skb/egress | xdp |\n|---|---|---|---|\n");
    let (targets, matches): (Vec<_>, Vec<_>) = tallies
        .iter()
        .partition(|(name, _)| name.starts_with(|first: char| first.is_ascii_uppercase()));
    for (name, hooks) in matches.into_iter().chain(targets) {
        let cells: Vec<String> = Hook::ALL
            .iter()
            .map(|hook| hooks.get(hook).map_or("–".to_owned(), Tally::cell))
            .collect();
        text += &format!("| `{name}` | {} |\n", cells.join(" | "));
    }
    text
}

#[test]
fn the_readme_says_what_is_translated() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let readme = std::fs::read_to_string(&path).expect("a README");
    let (before, rest) = readme.split_once(MARKS[0]).expect("the first mark");
    let (_, after) = rest.split_once(MARKS[1]).expect("the last mark");
    let updated = format!("{before}{}\n{}{}{after}", MARKS[0], table(), MARKS[1]);
    if std::env::var_os("UPDATE_README").is_some() {
        std::fs::write(&path, &updated).expect("writes");
    }
    let difference = difference(&readme, &updated);
    assert!(
        difference.is_empty(),
        "run UPDATE_README=1 cargo test --test supported\n{difference}"
    );
}

/// The lines that only one of two texts has.
fn difference(old: &str, new: &str) -> String {
    let only = |of: &str, not: &str, sign: &str| -> String {
        let others: HashSet<&str> = not.lines().collect();
        let lines = of.lines().filter(|line| !others.contains(line));
        lines.map(|line| format!("{sign} {line}\n")).collect()
    };
    only(old, new, "-") + &only(new, old, "+")
}
