//! Whole files: every one that iptables loads, with its save, and every one that it refuses.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use bstr::ByteSlice;
use ipt2bpf_parser::Parsed;
use ipt2bpf_parser::diagnostic::code;
use ipt2bpf_parser::ruleset::Family;

use crate::support::{corpus, errors, print, read, read_any, read_onto, tables, text};

/// What the index of the corpus says of a file.
struct Row {
    /// Whether the tool refused the file as it is.
    is_refused: bool,
    /// What was done to the file before the tool took it.
    aid: Aid,
}

enum Aid {
    None,
    /// Carriage returns were taken away.
    Lines,
    /// A newline was put at the end.
    Newline,
    /// The tables and chains of this text were there, and the file was restored with `--noflush`.
    Before(String),
}

impl Aid {
    fn new(name: &str) -> Aid {
        match name {
            "" => Aid::None,
            "crlf-stripped" => Aid::Lines,
            "newline-appended" => Aid::Newline,
            _ => {
                let chains = name
                    .strip_prefix("prechains+noflush:")
                    .expect("a known aid");
                Aid::Before(chains.split(';').map(table).collect())
            }
        }
    }

    fn read(&self, mut text: Vec<u8>, family: Family) -> Parsed {
        match self {
            Aid::None => {}
            Aid::Lines => text.retain(|&byte| byte != b'\r'),
            Aid::Newline => text.push(b'\n'),
            Aid::Before(before) => {
                let before = read(before.as_str(), family);
                assert_eq!(errors(&before), Vec::<String>::new());
                return read_onto(before.rulesets, text, family);
            }
        }
        read(text, family)
    }
}

/// A table with empty chains, from `filter:one,two`.
fn table(chains: &str) -> String {
    let (table, chains) = chains.split_once(':').expect("a table and its chains");
    let chains: String = chains.split(',').map(|it| format!("-N {it}\n")).collect();
    format!("*{table}\n{chains}COMMIT\n")
}

/// The index of the real rulesets, by file.
fn index() -> Option<HashMap<String, Row>> {
    let index = text("rulesets.csv")?;
    let mut reader = csv::Reader::from_reader(index.as_bytes());
    let rows = reader.deserialize::<HashMap<String, String>>();
    let rows = rows.map(|row| {
        let row = row.expect("a row has all fields");
        let is_refused = row["legacy_load"] == "refused";
        let aid = Aid::new(&row["aid"]);
        (row["file"].clone(), Row { is_refused, aid })
    });
    Some(rows.collect())
}

fn family_of(path: &Path) -> Family {
    match path.extension().and_then(|it| it.to_str()) {
        Some("v6") => Family::V6,
        _ => Family::V4,
    }
}

fn files(directory: &Path, is_wanted: impl Fn(&str) -> bool) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).expect("the corpus can be listed");
    let files = entries.map(|it| it.expect("an entry").path());
    let mut files: Vec<PathBuf> = files
        .filter(|path| {
            path.extension()
                .and_then(|it| it.to_str())
                .is_some_and(&is_wanted)
        })
        .collect();
    files.sort();
    files
}

fn rulesets(directory: &Path) -> Vec<PathBuf> {
    files(directory, |it| it == "v4" || it == "v6")
}

fn name(path: &Path) -> &str {
    path.file_name()
        .and_then(|it| it.to_str())
        .unwrap_or_default()
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    PathBuf::from(format!("{}{suffix}", path.display()))
}

/// The lines where a print is not what the tool saved. The tool prints the tables that it has ever had;
/// those that the text does not name say nothing.
fn differences(parsed: &Parsed, saved: &[u8]) -> Vec<String> {
    let theirs = tables(saved);
    let mut differences = Vec::new();
    for table in print(parsed) {
        match theirs.iter().find(|it| it.first() == table.first()) {
            None => differences.push(format!("{:?} is not in the save", table.first())),
            Some(theirs) if theirs.len() != table.len() => {
                differences.push(format!("{} lines, not {}", table.len(), theirs.len()));
            }
            Some(theirs) => {
                let lines = table.iter().zip(theirs);
                let lines = lines.filter(|(ours, theirs)| ours != theirs);
                differences.extend(lines.map(|(ours, theirs)| format!("\n  {ours}\n  {theirs}")));
            }
        }
    }
    differences
}

/// Files that the tool refused for what its machine did not have.
const NOT_FOR_THE_TEXT: [(&str, &str); 1] = [(
    "handwritten__Distrotech-iptables__options-most.rules__65be8a.v6",
    "the kernel has no ipvs",
)];

/// What the resolver of the tool's machine said. Names of hosts are not looked up here.
const HOSTS: [(&str, &str); 2] = [
    ("pxe.ustc.edu.cn", "2001:db8::25"),
    ("lug.ustc.edu.cn", "2001:db8::20"),
];

fn without_host_names(text: Vec<u8>) -> Vec<u8> {
    HOSTS
        .into_iter()
        .fold(text, |text, (name, address)| text.replace(name, address))
}

/// Files whose saves the tool cannot read back: a newline in a comment, and a blank in the name of a
/// hashlimit table, which is printed without quotes.
const LOSSY: [&str; 2] = ["9i-unterminated-quote.v4", "21-hashlimit.v4"];

/// How a part of the corpus fares.
#[derive(Default)]
struct Tally {
    taken: usize,
    refused: usize,
    lines: usize,
    failures: Vec<String>,
}

impl Tally {
    /// A file that the tool loads must have no errors and print as the tool's save.
    fn load(&mut self, name: &str, parsed: &Parsed, saved: &[u8]) {
        let mut said = parsed.diagnostics.iter();
        let is_lossy = said.any(|it| it.code == code::LOSSY_SAVE);
        assert_eq!(is_lossy, LOSSY.contains(&name), "{name}: a lossy save");
        let errors = errors(parsed);
        let differences = match errors.is_empty() {
            true => differences(parsed, saved),
            false => errors,
        };
        let failures = differences.into_iter().map(|it| format!("{name}: {it}"));
        self.failures.extend(failures);
        self.lines += print(parsed).iter().map(Vec::len).sum::<usize>();
        self.taken += 1;
    }

    /// A file that the tool refuses must have an error.
    fn refuse(&mut self, name: &str, parsed: &Parsed) {
        if errors(parsed).is_empty() {
            self.failures.push(format!("{name} is taken"));
        }
        self.refused += 1;
    }

    fn conclude(&self, part: &str, taken: usize, refused: usize) {
        println!(
            "{part}: {} files with {} lines print as saved, {} are refused",
            self.taken, self.lines, self.refused
        );
        let failures = &self.failures;
        assert!(
            failures.is_empty(),
            "{} differences:\n{}",
            failures.len(),
            failures.join("\n")
        );
        assert!(self.taken >= taken, "only {} files are taken", self.taken);
        assert!(self.refused >= refused, "only {} are refused", self.refused);
    }
}

#[test]
fn real_rulesets_are_taken_and_refused_as_by_the_tool() {
    let (Some(directory), Some(index)) = (corpus("rulesets"), index()) else {
        return;
    };
    let mut tally = Tally::default();
    for path in rulesets(&directory) {
        let (name, family) = (name(&path), family_of(&path));
        let row = index.get(name).expect("every file is in the index");
        let text = std::fs::read(&path).expect("a corpus file can be read");
        if let Some((_, reason)) = NOT_FOR_THE_TEXT.iter().find(|(file, _)| *file == name) {
            println!("{name} is refused by the tool alone: {reason}");
            assert_eq!(errors(&read(text, family)), Vec::<String>::new(), "{name}");
            continue;
        }
        if row.is_refused {
            tally.refuse(name, &read(text.clone(), family));
        }
        let saved = std::fs::read(with_suffix(&path, ".saved")).ok();
        assert_eq!(
            saved.is_none(),
            row.is_refused && matches!(row.aid, Aid::None),
            "{name}: a file that loads has a save"
        );
        if let Some(saved) = saved {
            let text = without_host_names(text);
            tally.load(name, &row.aid.read(text, family), &saved);
        }
    }
    tally.conclude("real", 250, 30);
}

#[test]
fn generated_rulesets_are_taken_and_refused_as_by_the_tool() {
    let Some(directory) = corpus("generated") else {
        return;
    };
    let mut tally = Tally::default();
    for path in rulesets(&directory) {
        let text = std::fs::read(&path).expect("a corpus file can be read");
        let saved = std::fs::read(with_suffix(&path, ".saved")).expect("it has a save");
        tally.load(name(&path), &read(text, family_of(&path)), &saved);
    }
    for path in files(&directory, |it| it == "refused") {
        let text = std::fs::read(&path).expect("a corpus file can be read");
        let family = family_of(&path.with_extension(""));
        tally.refuse(name(&path), &read(text, family));
    }
    tally.conclude("generated", 50, 25);
}

/// A saved text is canonical, and its first line tells the family: parsing and printing changes
/// nothing.
#[test]
fn saved_texts_are_fixed_points() {
    for part in ["generated", "rulesets"] {
        let Some(directory) = corpus(part) else {
            return;
        };
        for path in files(&directory, |it| it == "saved") {
            let origin = path.with_extension("");
            let name = name(&origin);
            let text = std::fs::read(&path).expect("a corpus file can be read");
            if text.is_empty() || LOSSY.contains(&name) || !rulesets(&directory).contains(&origin) {
                continue;
            }
            let parsed = read_any(text.clone());
            assert_eq!(errors(&parsed), Vec::<String>::new(), "{name}");
            let families: Vec<Family> = parsed.rulesets.iter().map(|it| it.family).collect();
            assert_eq!(families, [family_of(&origin)], "{name}");
            assert_eq!(print(&parsed), tables(&text), "{name}");
        }
    }
}
