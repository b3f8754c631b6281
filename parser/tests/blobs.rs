//! The binary form against iptables and the kernel: a blob decodes to the text that
//! iptables-legacy-save prints for it, and encodes back to the same bytes.
//!
//! The blobs in testdata/blobs were recorded there; testdata/blobs/README.md tells how. More of them
//! lie beside the repository; without those their test says so and passes.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use ipt2bpf_parser::arbitrary::ruleset;
use ipt2bpf_parser::blob::{
    Listing, OldCounters, Replace, SetNames, decode_entries, decode_replace, encode_entries,
    encode_replace,
};
use ipt2bpf_parser::matches::Match;
use ipt2bpf_parser::ruleset::{Action, Counters, Family, Table};
use ipt2bpf_parser::targets::Target;
use ipt2bpf_parser::{Counts, Place};
use proptest::prelude::*;

/// What `getsockopt` gave, from a file that has the same facts under the header of a replace.
fn listing(recorded: &[u8]) -> Listing {
    let name = &recorded[..32];
    let (valid_hooks, number) = (&recorded[32..36], &recorded[36..40]);
    let (size, offsets) = (&recorded[40..44], &recorded[44..84]);
    Listing {
        info: [name, valid_hooks, offsets, number, size].concat(),
        entries: [name, size, &[0; 4], &recorded[96..]].concat(),
    }
}

/// The names of the extensions that have no type.
fn unknown(table: &Table) -> Vec<&str> {
    let mut names = Vec::new();
    for rule in table.chains.iter().flat_map(|chain| &chain.rules) {
        for extension in &rule.matches {
            if let Match::Unknown(unknown) = &extension.value {
                names.push(unknown.name.as_str());
            }
        }
        if let Action::Target(target) = &rule.action
            && let Target::Unknown(unknown) = &target.value
        {
            names.push(unknown.name.as_str());
        }
    }
    names.sort_unstable();
    names.dedup();
    names
}

fn print(table: &Table) -> String {
    String::from_utf8(table.print(Counts::All)).expect("the recorded texts are UTF-8")
}

/// The text with all counters zero, as a restore sends the table before it sets counters.
fn print_zero(table: &Table) -> String {
    let zero = |_: Place<'_>| Counters::default();
    String::from_utf8(table.print(Counts::Live(&zero))).expect("the recorded texts are UTF-8")
}

fn files(directory: &Path, suffix: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).expect("the directory can be listed");
    let mut files: Vec<PathBuf> = entries
        .map(|it| it.expect("an entry").path())
        .filter(|path| path.to_string_lossy().ends_with(suffix))
        .collect();
    files.sort();
    files
}

/// What was recorded of one table.
struct Recorded {
    name: String,
    family: Family,
    sent: Vec<u8>,
    /// None if the kernel lacks an extension.
    kept: Option<Listing>,
    save: String,
}

/// All that was recorded in a directory.
fn recorded(directory: &Path) -> Vec<Recorded> {
    let blobs = files(directory, ".replace.bin").into_iter();
    blobs
        .map(|path| {
            let path = path.to_string_lossy();
            let beside = |suffix: &str| path.replace(".replace.bin", suffix);
            let read =
                |path: &str| std::fs::read(path).unwrap_or_else(|error| panic!("{path}: {error}"));
            let kept = beside(".kernel-entries.bin");
            Recorded {
                name: path.rsplit('/').next().unwrap_or_default().to_owned(),
                family: match path.contains("-v6-") {
                    true => Family::V6,
                    false => Family::V4,
                },
                sent: read(&path),
                kept: Path::new(&kept).exists().then(|| listing(&read(&kept))),
                save: String::from_utf8(read(&beside(".save"))).expect("the texts are UTF-8"),
            }
        })
        .collect()
}

/// How the table differs from the text that iptables printed for it.
fn differences(recorded: &Recorded, table: &Table) -> Vec<String> {
    let Recorded { name, save, .. } = recorded;
    let mut differences = Vec::new();
    let untyped = unknown(table);
    if !untyped.is_empty() {
        differences.push(format!("{name}: without a type: {}", untyped.join(" ")));
    }
    let printed = print(table);
    for (ours, theirs) in printed.lines().zip(save.lines()) {
        if ours != theirs {
            differences.push(format!("{name}:\n  {ours}\n  {theirs}"));
        }
    }
    if printed.lines().count() != save.lines().count() {
        differences.push(format!("{name}: the text has another length"));
    }
    differences
}

/// Every blob of a directory: same text, same bytes, in both forms. Tells how many.
fn compare(directory: &Path, sets: &SetNames) -> usize {
    let mut failures = Vec::new();
    let all = recorded(directory);
    for recorded in &all {
        let Recorded {
            name, family, sent, ..
        } = recorded;
        let replace = decode_replace(*family, sent, sets).expect(name);
        if encode_replace(*family, &replace, sets).expect(name) != *sent {
            failures.push(format!("{name}: the sent bytes differ"));
        }
        let Some(kept) = &recorded.kept else {
            failures.extend(differences(recorded, &replace.table));
            continue;
        };
        let table = decode_entries(*family, kept, sets).expect(name);
        if encode_entries(*family, &table, sets).expect(name) != *kept {
            failures.push(format!("{name}: the kernel's bytes differ"));
        }
        if print_zero(&replace.table) != print_zero(&table) {
            failures.push(format!("{name}: the two forms differ"));
        }
        failures.extend(differences(recorded, &table));
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    all.len()
}

#[test]
fn recorded_blobs_are_their_texts() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/blobs");
    assert!(compare(&directory, &SetNames::default()) >= 14);
}

/// Bytes that nobody looks at may change on the way, and nothing else.
#[test]
fn loose_blobs_are_their_texts() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/blobs/loose");
    let all = recorded(&directory);
    assert!(!all.is_empty());
    for recorded in all {
        let Recorded {
            name, family, sent, ..
        } = &recorded;
        let sets = SetNames::default();
        let replace = decode_replace(*family, sent, &sets).expect(name);
        assert_eq!(differences(&recorded, &replace.table), [""; 0]);
        let kept = recorded.kept.as_ref().expect(name);
        let table = decode_entries(*family, kept, &sets).expect(name);
        assert_eq!(differences(&recorded, &table), [""; 0]);
        let again = encode_replace(*family, &replace, &sets).expect(name);
        assert_ne!(&again, sent);
        assert_eq!(decode_replace(*family, &again, &sets), Ok(replace));
    }
}

#[test]
fn corpus_blobs_are_their_texts() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/corpus/blobs");
    if !directory.exists() {
        println!("skipped: there is no {}", directory.display());
        return;
    }
    let sets = [(0, "blk"), (1, "svc"), (2, "blk6")];
    let sets = sets.map(|(index, name)| (index, name.to_owned()));
    assert_eq!(compare(&directory, &sets.into_iter().collect()), 10);
}

/// The ipsets that a table names, numbered.
fn sets_of(table: &Table) -> SetNames {
    let rules = || table.chains.iter().flat_map(|chain| &chain.rules);
    let matches = rules()
        .flat_map(|rule| &rule.matches)
        .filter_map(|it| match &it.value {
            Match::Set(set) => Some(&set.lookup.value.value),
            _ => None,
        });
    let targets = rules().filter_map(|rule| match &rule.action {
        Action::Target(target) => match &target.value {
            Target::Set(set) => Some(set),
            _ => None,
        },
        _ => None,
    });
    let targets = targets.flat_map(|set| {
        let add = set.add.as_ref().map(|add| &add.entry);
        let map = set.map.as_ref().map(|map| &map.entry);
        add.into_iter().chain(&set.delete).chain(map)
    });
    let names: BTreeSet<&str> = matches
        .chain(targets)
        .map(|lookup| lookup.name.as_str())
        .collect();
    (0..).zip(names.into_iter().map(str::to_owned)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    /// Every table of the text has a binary form, in either hand, and comes back from it.
    #[test]
    fn random_tables_come_back(ruleset in ruleset()) {
        for table in ruleset.tables {
            let sets = sets_of(&table);
            let kept = encode_entries(ruleset.family, &table, &sets).expect("it has a binary form");
            prop_assert_eq!(decode_entries(ruleset.family, &kept, &sets), Ok(table.clone()));
            let replace = Replace {
                table,
                old_counters: OldCounters { number: 5, address: 7 },
            };
            let sent = encode_replace(ruleset.family, &replace, &sets).expect("it has a binary form");
            prop_assert_eq!(decode_replace(ruleset.family, &sent, &sets), Ok(replace));
        }
    }
}

#[test]
fn revisions_are_those_that_have_a_type() {
    use ipt2bpf_parser::blob::{Kind, Revision, revision};

    let of = |kind, name, number| revision(Family::V4, kind, name, number);
    assert_eq!(of(Kind::Match, "conntrack", 3), Revision::Known);
    assert_eq!(of(Kind::Match, "conntrack", 1), Revision::Other);
    assert_eq!(of(Kind::Match, "icmp6", 0), Revision::Unknown);
    assert_eq!(of(Kind::Target, "", 0), Revision::Known);
    assert_eq!(of(Kind::Target, "ERROR", 0), Revision::Known);
    assert_eq!(of(Kind::Target, "REJECT", 5), Revision::Other);
    assert_eq!(of(Kind::Target, "conntrack", 3), Revision::Unknown);
}
