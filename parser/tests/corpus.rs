//! The parser against iptables itself: what iptables-legacy-restore takes must print back as
//! iptables-legacy-save printed it, and what it refuses must be refused. The texts live beside the
//! repository; without them the tests say so and pass.

use std::path::{Path, PathBuf};

use ipt2bpf_parser::diagnostic::Severity;
use ipt2bpf_parser::ruleset::{Counters, Family};
use ipt2bpf_parser::span::Sources;
use ipt2bpf_parser::{Counts, ParseOptions, Parsed, parse};

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

fn read(path: &Path) -> (Sources, Parsed) {
    let text = std::fs::read(path).expect("a corpus file can be read");
    let family = match path.extension().and_then(|it| it.to_str()) {
        Some("v6") => Family::V6,
        _ => Family::V4,
    };
    let mut sources = Sources::default();
    let id = sources.add(path.display().to_string(), text);
    let parsed = parse(
        &sources,
        id,
        &ParseOptions {
            family: Some(family),
        },
    );
    (sources, parsed)
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

/// The tables of a save without comments, each by itself and in order of name.
fn tables(text: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(text);
    let mut tables: Vec<String> = Vec::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        if line.starts_with('*') {
            tables.push(String::new());
        }
        if let Some(table) = tables.last_mut() {
            table.push_str(line);
            table.push('\n');
        }
    }
    tables.sort();
    tables
}

fn print(parsed: &Parsed) -> Vec<String> {
    let zero = |_: ipt2bpf_parser::Place<'_>| Counters::default();
    let text: Vec<u8> = parsed
        .rulesets
        .iter()
        .flat_map(|it| it.print(Counts::Live(&zero)))
        .collect();
    tables(&text)
        .iter()
        .map(|table| table.replace("\n[0:0] ", "\n"))
        .collect()
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(directory)
        .expect("the corpus can be listed")
        .map(|it| it.expect("an entry").path())
        .collect();
    files.retain(|path| path.extension().is_some_and(|it| it == "v4" || it == "v6"));
    files.sort();
    files
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    PathBuf::from(format!("{}{suffix}", path.display()))
}

fn compare(part: &str) {
    let Some(directory) = corpus(part) else {
        return;
    };
    let (mut same, mut failures) = (0, Vec::new());
    for path in files(&directory) {
        let saved = with_suffix(&path, ".saved");
        let Ok(saved) = std::fs::read(&saved) else {
            continue;
        };
        let (_, parsed) = read(&path);
        let errors = errors(&parsed);
        if !errors.is_empty() {
            failures.push(format!("{}: {errors:?}", path.display()));
            continue;
        }
        let (expected, printed) = (tables(&saved), print(&parsed));
        for table in &printed {
            let name = table.lines().next();
            let Some(expected) = expected.iter().find(|it| it.lines().next() == name) else {
                continue;
            };
            let (ours, theirs): (Vec<&str>, Vec<&str>) =
                (table.lines().collect(), expected.lines().collect());
            match ours.iter().zip(&theirs).find(|(a, b)| a != b) {
                None if ours.len() == theirs.len() => same += 1,
                None => failures.push(format!(
                    "{}: {} lines, not {}",
                    path.display(),
                    ours.len(),
                    theirs.len()
                )),
                Some((ours, theirs)) => {
                    failures.push(format!("{}:\n  {ours}\n  {theirs}", path.display()))
                }
            }
        }
    }
    println!("{same} tables are the same");
    for failure in &failures {
        println!("{failure}");
    }
    assert!(failures.is_empty(), "{} differ", failures.len());
}

#[test]
fn generated() {
    compare("generated");
}

#[test]
fn rulesets() {
    compare("rulesets");
}
