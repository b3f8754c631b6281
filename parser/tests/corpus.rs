//! The parser against iptables itself: what iptables-legacy-restore takes must print back as
//! iptables-legacy-save printed it, and what it refuses must be refused. The texts lie beside the
//! repository; without them the tests say so and pass.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use ipt2bpf_parser::diagnostic::Severity;
use ipt2bpf_parser::matches::Match;
use ipt2bpf_parser::ruleset::{Action, Counters, Family, Rule};
use ipt2bpf_parser::span::Sources;
use ipt2bpf_parser::targets::Target;
use ipt2bpf_parser::{Counts, ParseOptions, Parsed, Place, parse};

fn corpus(part: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../shared/corpus")
        .join(part);
    if path.exists() {
        return Some(path);
    }
    eprintln!("skipped: there is no {}", path.display());
    None
}

fn read(text: impl Into<Vec<u8>>, family: Option<Family>) -> Parsed {
    let mut sources = Sources::default();
    let id = sources.add("corpus", text);
    parse(
        &sources,
        id,
        &ParseOptions {
            family,
            ..ParseOptions::default()
        },
    )
}

fn family_of(path: &Path) -> Family {
    match path.extension().and_then(|it| it.to_str()) {
        Some("v6") => Family::V6,
        _ => Family::V4,
    }
}

fn is_ruleset(path: &Path) -> bool {
    path.extension().is_some_and(|it| it == "v4" || it == "v6")
}

fn errors(parsed: &Parsed) -> Vec<String> {
    let errors = parsed
        .diagnostics
        .iter()
        .filter(|it| it.severity == Severity::Error);
    errors
        .map(|it| format!("{}: {}", it.code, it.message))
        .collect()
}

/// The lines of a save, table by table in order of name, without comments.
fn tables(text: &[u8]) -> Vec<Vec<String>> {
    let text = String::from_utf8_lossy(text);
    let mut tables: Vec<Vec<String>> = Vec::new();
    for line in text.lines().filter(|line| !line.starts_with("# ")) {
        if line.starts_with('*') {
            tables.push(Vec::new());
        }
        if let Some(table) = tables.last_mut() {
            table.push(line.to_owned());
        }
    }
    tables.sort();
    tables
}

/// The print with all counters zero, as after a restore without `-c`.
fn print(parsed: &Parsed) -> Vec<Vec<String>> {
    let zero = |_: Place<'_>| Counters::default();
    let text: Vec<u8> = parsed
        .rulesets
        .iter()
        .flat_map(|it| it.print(Counts::Live(&zero)))
        .collect();
    let mut tables = tables(&text);
    for line in tables.iter_mut().flatten() {
        *line = line.strip_prefix("[0:0] ").unwrap_or(line).to_owned();
    }
    tables
}

/// Whether a rule has only extensions with a type, so that its print is canonical.
fn is_typed(rule: &Rule) -> bool {
    let is_unknown_target = matches!(&rule.action, Action::Target(target) if matches!(target.value, Target::Unknown(_)));
    !is_unknown_target
        && !rule
            .matches
            .iter()
            .any(|it| matches!(it.value, Match::Unknown(_)))
}

fn untyped_rules(parsed: &Parsed) -> usize {
    let tables = parsed.rulesets.iter().flat_map(|ruleset| &ruleset.tables);
    tables
        .flat_map(|table| &table.chains)
        .flat_map(|chain| &chain.rules)
        .filter(|rule| !is_typed(rule))
        .count()
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).expect("the corpus can be listed");
    let mut files: Vec<PathBuf> = entries.map(|it| it.expect("an entry").path()).collect();
    files.sort();
    files
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    PathBuf::from(format!("{}{suffix}", path.display()))
}

/// Names of hosts and users are not looked up.
fn has_names_of_the_system(parsed: &Parsed) -> bool {
    let endings = ["is no address", "is no number or range of users or groups"];
    parsed
        .diagnostics
        .iter()
        .any(|it| endings.iter().any(|ending| it.message.ends_with(ending)))
}

/// What was done to a text before iptables took it, from the corpus' index.
fn needed_aid(index: &str, name: &str) -> bool {
    let row = index
        .lines()
        .find(|row| row.starts_with(&format!("{name},")))
        .unwrap_or_default();
    ["crlf-stripped", "newline-appended", "prechains+noflush"]
        .iter()
        .any(|aid| row.contains(aid))
}

/// Every text with a saved print: no errors, and the lines of typed rules are the same. A rule with
/// an extension that has no type prints as given, so only its presence is compared.
fn compare(part: &str, least_lines: usize) {
    let Some(directory) = corpus(part) else {
        return;
    };
    let index = std::fs::read_to_string(with_suffix(&directory, ".csv")).unwrap_or_default();
    let (mut same, mut untyped, mut failures) = (0, 0, Vec::new());
    for path in files(&directory) {
        if !is_ruleset(&path) {
            continue;
        }
        let Ok(saved) = std::fs::read(with_suffix(&path, ".saved")) else {
            continue;
        };
        let name = path
            .file_name()
            .and_then(|it| it.to_str())
            .unwrap_or_default();
        if needed_aid(&index, name) {
            continue;
        }
        let text = std::fs::read(&path).expect("a corpus file can be read");
        let parsed = read(text, Some(family_of(&path)));
        let errors = errors(&parsed);
        if has_names_of_the_system(&parsed) {
            continue;
        }
        if !errors.is_empty() {
            failures.push(format!("{name}: {errors:?}"));
            continue;
        }
        untyped += untyped_rules(&parsed);
        let expected = tables(&saved);
        for table in print(&parsed) {
            let Some(expected) = expected.iter().find(|it| it.first() == table.first()) else {
                failures.push(format!(
                    "{name}: {:?} is not in the saved text",
                    table.first()
                ));
                continue;
            };
            let differing: Vec<_> = table
                .iter()
                .zip(expected)
                .filter(|(ours, theirs)| ours != theirs)
                .collect();
            same += table.len() - differing.len();
            if table.len() != expected.len() {
                failures.push(format!(
                    "{name}: {} lines, not {}",
                    table.len(),
                    expected.len()
                ));
            }
            for (ours, theirs) in differing {
                let line = read(
                    format!("{}\n{theirs}\nCOMMIT\n", chains_of(expected)),
                    Some(family_of(&path)),
                );
                if untyped_rules(&line) == 0 {
                    failures.push(format!("{name}:\n  {ours}\n  {theirs}"));
                }
            }
        }
    }
    println!("{same} lines are the same; {untyped} rules have extensions without a type");
    assert!(
        failures.is_empty(),
        "{} differ:\n{}",
        failures.len(),
        failures.join("\n")
    );
    assert!(same >= least_lines, "only {same} lines were compared");
}

/// The first line of a table and its chains.
fn chains_of(table: &[String]) -> String {
    let head: Vec<&str> = table
        .iter()
        .map(String::as_str)
        .filter(|it| it.starts_with(['*', ':']))
        .collect();
    head.join("\n")
}

#[test]
fn generated_rulesets_print_as_saved() {
    compare("generated", 1_000);
}

#[test]
fn real_rulesets_print_as_saved() {
    compare("rulesets", 10_000);
}

/// A saved text is canonical: parsing and printing changes nothing.
#[test]
fn saved_texts_are_fixed_points() {
    for part in ["generated", "rulesets"] {
        let Some(directory) = corpus(part) else {
            return;
        };
        for path in files(&directory)
            .iter()
            .filter(|path| path.extension().is_some_and(|it| it == "saved"))
        {
            let text = std::fs::read(path).expect("a corpus file can be read");
            // A newline in a comment and a blank in the name of a hashlimit table are printed as they
            // are, and iptables cannot read that back either.
            if text.is_empty()
                || !is_ruleset(&path.with_extension(""))
                || path.ends_with("9i-unterminated-quote.v4.saved")
                || path.ends_with("21-hashlimit.v4.saved")
            {
                continue;
            }
            let parsed = read(text.clone(), None);
            assert_eq!(errors(&parsed), Vec::<String>::new(), "{}", path.display());
            let family = family_of(&path.with_extension(""));
            assert!(
                parsed.rulesets.iter().all(|it| it.family == family),
                "{}",
                path.display()
            );
            for (ours, theirs) in print(&parsed)
                .iter()
                .flatten()
                .zip(tables(&text).iter().flatten())
            {
                assert_eq!(ours, theirs, "{}", path.display());
            }
        }
    }
}

#[test]
fn refused_files_are_refused() {
    let Some(directory) = corpus("generated") else {
        return;
    };
    let mut count = 0;
    for path in files(&directory)
        .iter()
        .filter(|path| path.extension().is_some_and(|it| it == "refused"))
    {
        let text = std::fs::read(path).expect("a corpus file can be read");
        let parsed = read(text, Some(family_of(&path.with_extension(""))));
        assert!(!errors(&parsed).is_empty(), "{} is taken", path.display());
        count += 1;
    }
    assert!(count >= 20, "only {count} files");
}

/// Single rules that iptables refused, in their table. Those with an extension without a type are
/// left out, as nobody reads their options, and those that name what the machine did not have: a
/// control group, a set, a counter, an estimator.
#[test]
fn refused_rules_are_refused() {
    let Some(list) = corpus("generated/refused.jsonl") else {
        return;
    };
    let list = std::fs::read_to_string(list).expect("the list can be read");
    let (mut refused, mut taken) = (0, Vec::new());
    for row in list.lines() {
        let row: serde_json::Value = serde_json::from_str(row).expect("a row is JSON");
        let (Some(rule), Some(table)) = (row["rule"].as_str(), row["table"].as_str()) else {
            continue;
        };
        let declarations = row["decl"].as_array().expect("declarations").iter();
        let declarations: Vec<&str> = declarations.filter_map(|it| it.as_str()).collect();
        let text = format!("*{table}\n{}\n{rule}\nCOMMIT\n", declarations.join("\n"));
        let family = if row["family"] == 6 {
            Family::V6
        } else {
            Family::V4
        };
        let parsed = read(text, Some(family));
        if !errors(&parsed).is_empty() {
            refused += 1;
        } else if untyped_rules(&parsed) == 0
            && ![
                "-m cgroup --path /",
                "--match-set nosuch",
                "-m nfacct ",
                "-m rateest ",
            ]
            .iter()
            .any(|it| rule.contains(it))
        {
            taken.push(format!("{rule}: {}", row["error"]));
        }
    }
    assert!(
        taken.is_empty(),
        "{} are taken:\n{}",
        taken.len(),
        taken.join("\n")
    );
    assert!(refused >= 70, "only {refused} rules");
}

/// What iptables says when only the kernel at hand cannot do it, or has no such ipset.
const KERNEL_LACKS: [&str; 3] = [
    "No chain/target/match by that name",
    "missing kernel module?",
    "Set foo doesn't exist.",
];

/// The upstream test suite: one rule at a time, taken or refused, with the print of save. A rule that
/// failed only for want of a kernel module or of a set may be taken.
#[test]
fn upstream_rules_print_as_saved() {
    let Some(list) = corpus("iptables-tests.jsonl") else {
        return;
    };
    let list = std::fs::read_to_string(list).expect("the list can be read");
    let mut sources: BTreeMap<String, Tally> = BTreeMap::new();
    for row in list.lines() {
        let row: serde_json::Value = serde_json::from_str(row).expect("a row is JSON");
        let (Some(family), Some(table)) = (row["family"].as_str(), row["table"].as_str()) else {
            continue;
        };
        let (Some(chain), Some(rule)) = (row["chain"].as_str(), row["args"].as_str()) else {
            continue;
        };
        let family = match family {
            "ip" => Family::V4,
            "ip6" => Family::V6,
            _ => continue,
        };
        let source = row["source"].as_str().unwrap_or_default().to_owned();
        let tally = sources.entry(source).or_default();
        tally.lines += 1;
        let text = format!("*{table}\n-A {chain} {rule}\nCOMMIT\n");
        let parsed = read(text, Some(family));
        let is_taken = errors(&parsed).is_empty();
        if is_taken && untyped_rules(&parsed) > 0 {
            tally.untyped += 1;
            continue;
        }
        let expected: Vec<&str> = row["real_save"]
            .as_array()
            .expect("a list")
            .iter()
            .filter_map(|it| it.as_str())
            .collect();
        let printed: Vec<String> = print(&parsed)
            .into_iter()
            .flatten()
            .filter(|line| line.starts_with("-A"))
            .collect();
        let message = row["msg"].as_str().unwrap_or_default();
        let is_accepted = row["accepted"].as_bool() == Some(true);
        let is_free = KERNEL_LACKS.iter().any(|it| message.contains(it));
        if is_accepted != is_taken && !is_free {
            let errors = errors(&parsed);
            tally
                .failures
                .push(format!("{rule}: {errors:?} but iptables says {message:?}"));
        } else if is_accepted && printed != expected {
            tally
                .failures
                .push(format!("{rule}: {printed:?}, not {expected:?}"));
        } else {
            tally.same += 1;
        }
    }
    let mut failures = Vec::new();
    for (source, tally) in &sources {
        let Tally {
            lines,
            same,
            untyped,
            ..
        } = tally;
        println!("{source}: {same} of {lines} the same, {untyped} without a type");
        failures.extend(tally.failures.iter().map(|it| format!("{source}: {it}")));
    }
    let same: usize = sources.values().map(|tally| tally.same).sum();
    assert!(
        failures.is_empty(),
        "{} of {} differ:\n{}",
        failures.len(),
        same + failures.len(),
        failures.join("\n")
    );
    assert!(same >= 1_500, "only {same} rules");
}

/// How the lines of one source fare.
#[derive(Default)]
struct Tally {
    lines: usize,
    same: usize,
    untyped: usize,
    failures: Vec<String>,
}
