//! Where the texts are, and how they are read and compared.

use std::path::{Path, PathBuf};

use ipt2bpf_parser::diagnostic::Severity;
use ipt2bpf_parser::ruleset::{Counters, Family, Ruleset};
use ipt2bpf_parser::span::Sources;
use ipt2bpf_parser::{Counts, Names, ParseOptions, Parsed, Place, parse, parse_onto};

/// A file or directory of the corpus.
pub fn corpus(part: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../shared/corpus")
        .join(part);
    if path.exists() {
        return Some(path);
    }
    eprintln!("skipped: there is no {}", path.display());
    None
}

/// The text of a file of the corpus.
pub fn text(part: &str) -> Option<String> {
    let path = corpus(part)?;
    Some(std::fs::read_to_string(path).expect("a corpus file can be read"))
}

/// A text for one family, on a machine with the users that the tool was run with.
pub fn read(text: impl Into<Vec<u8>>, family: Family) -> Parsed {
    let mut sources = Sources::default();
    let id = sources.add("corpus", text);
    parse(&sources, id, &options(Some(family)))
}

/// A text that tells its family.
pub fn read_any(text: impl Into<Vec<u8>>) -> Parsed {
    let mut sources = Sources::default();
    let id = sources.add("corpus", text);
    parse(&sources, id, &options(None))
}

/// A text put onto rulesets.
pub fn read_onto(before: Vec<Ruleset>, text: impl Into<Vec<u8>>, family: Family) -> Parsed {
    let mut sources = Sources::default();
    let id = sources.add("corpus", text);
    parse_onto(before, &sources, id, &options(Some(family)))
}

fn options(family: Option<Family>) -> ParseOptions {
    let mut names = Names::default();
    names.add_users(b"tor:x:30002:30002::/var/lib/tor:/bin/false\n");
    ParseOptions { family, names }
}

/// What makes iptables refuse a text.
pub fn errors(parsed: &Parsed) -> Vec<String> {
    let errors = parsed
        .diagnostics
        .iter()
        .filter(|it| it.severity == Severity::Error);
    errors
        .map(|it| format!("{}: {}", it.code, it.message))
        .collect()
}

/// The lines of a save, table by table in order of name, without comments.
pub fn tables(text: &[u8]) -> Vec<Vec<String>> {
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
pub fn print(parsed: &Parsed) -> Vec<Vec<String>> {
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

/// The rules of a print.
pub fn rules(parsed: &Parsed) -> Vec<String> {
    let lines = print(parsed).into_iter().flatten();
    lines.filter(|line| line.starts_with("-A")).collect()
}

/// What iptables says, of a rule with which words, when the machine lacks something that the rule
/// names; with what is lacking.
const LACKS: [(&str, &str, &str); 9] = [
    (
        "Extension ipvs revision 0 not supported",
        "-m ipvs",
        "the kernel has no ipvs",
    ),
    (
        "Extension LED revision 0 not supported",
        "-j LED",
        "the kernel has no LED",
    ),
    (
        "Extension CLUSTERIP revision 0 not supported",
        "-j CLUSTERIP",
        "the kernel has no CLUSTERIP",
    ),
    ("Set foo doesn't exist.", " foo ", "there was no such ipset"),
    (
        "The protocol family of set foo is IPv4",
        " foo ",
        "the ipset was of the other family",
    ),
    (
        "No chain/target/match by that name",
        "-m nfacct",
        "there was no such counter",
    ),
    (
        "No chain/target/match by that name",
        "-m rateest",
        "there was no such estimator",
    ),
    (
        "No chain/target/match by that name",
        "-j SECMARK",
        "the kernel has no SELinux",
    ),
    (
        "Invalid argument",
        "-m cgroup --path",
        "there was no such control group",
    ),
];

/// Why the tool's refusal of a rule says nothing about its text, if so.
pub fn lack(rule: &str, message: &str) -> Option<&'static str> {
    let mut lacks = LACKS.iter();
    let lack = lacks.find(|(said, word, _)| message.contains(said) && rule.contains(word));
    lack.map(|row| row.2)
}
