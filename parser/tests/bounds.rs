//! What a text or a blob costs at most, however it is made: memory within a constant factor of its
//! length and a fixed sum, and no time that grows with the square of its length.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ipt2bpf_parser::blob::{OldCounters, Replace, SetNames, decode_replace, encode_replace};
use ipt2bpf_parser::diagnostic::code;
use ipt2bpf_parser::matches::Match;
use ipt2bpf_parser::ruleset::Family;
use ipt2bpf_parser::span::Sources;
use ipt2bpf_parser::unknown::{Data, Unknown};
use ipt2bpf_parser::{Counts, Names, ParseOptions, Parsed, Style, ipset, parse, render};
use peak_alloc::PeakAlloc;

#[global_allocator]
static ALLOCATOR: PeakAlloc = PeakAlloc;

/// The allocator counts for all threads, so only one test runs at a time.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What comes of the work, and the most bytes that were allocated for it at one time.
fn peak_of<T>(work: impl FnOnce() -> T) -> (T, usize) {
    let before = ALLOCATOR.current_usage();
    ALLOCATOR.reset_peak_usage();
    let result = work();
    (result, ALLOCATOR.peak_usage().saturating_sub(before))
}

const MEBIBYTE: usize = 1 << 20;

/// Reads a text, shows what is wrong with it, and prints what it says.
fn read(text: &str) -> Parsed {
    let mut sources = Sources::default();
    let id = sources.add("text", text);
    let parsed = parse(&sources, id, &ParseOptions::default());
    render(&parsed.diagnostics, &sources, Style::Plain);
    for ruleset in &parsed.rulesets {
        ruleset.print(Counts::All);
    }
    parsed
}

fn filter(body: impl AsRef<str>) -> String {
    format!("*filter\n{}COMMIT\n", body.as_ref())
}

/// A rule takes half a kilobyte and can be written in nine bytes.
#[test]
fn texts_take_memory_in_proportion() {
    let _alone = alone();
    let n = 10_000;
    let chains: String = (0..n).map(|chain| format!(":{chain} -\n")).collect();
    let matches = |name: &str| format!("-A INPUT{}\n", format!(" -m {name}").repeat(120));
    let texts = [
        ("rules", filter("-A INPUT\n".repeat(n))),
        ("matches", filter(matches("socket").repeat(n / 100))),
        ("unknown", filter(matches("x").repeat(n / 100))),
        ("chains", filter(&chains)),
        ("tables", "*filter\nCOMMIT\n".repeat(n)),
        (
            "warnings",
            filter("-A INPUT -p 6 -m tcp ! --sport :\n".repeat(n)),
        ),
        ("errors", "x\n".repeat(n)),
        ("newlines", "\n".repeat(20 * n)),
        ("one line", "x".repeat(20 * n)),
        (
            "one name",
            filter(format!("-A INPUT -j {}\n", "x".repeat(900)).repeat(n / 100)),
        ),
    ];
    for (name, text) in texts {
        let (_, peak) = peak_of(|| read(&text));
        let limit = 200 * text.len() + MEBIBYTE;
        assert!(peak < limit, "{name}: {peak} of {limit} for {}", text.len());
    }
}

/// A kilobyte can stand for 65,536 rules; a text of many such lines must stop somewhere.
#[test]
fn lists_of_addresses_take_bounded_memory() {
    let _alone = alone();
    let list = |count: usize| vec!["0"; count].join(",");
    let is_too_long = |text: &str| {
        let (parsed, peak) = peak_of(|| read(text));
        assert!(peak < 512 * MEBIBYTE, "{peak}");
        parsed
            .diagnostics
            .iter()
            .any(|it| it.code == code::TOO_LONG)
    };
    let line = format!("-A INPUT -s {} -d {}\n", list(256), list(128));
    assert!(!is_too_long(&filter(line.repeat(8))));
    assert!(is_too_long(&filter(line.repeat(9))));
    let line = format!("-A INPUT -s {}{}\n", list(400), " -m socket".repeat(120));
    assert!(!is_too_long(&filter(line.repeat(5))));
    assert!(is_too_long(&filter(line.repeat(6))));
    let line = format!(
        "-A INPUT -s {} -d {}{}\n",
        list(40),
        list(40),
        " -m socket".repeat(120)
    );
    assert!(is_too_long(&filter(line)));
    // Lines that stand for one rule each are always welcome.
    let rest = "-A INPUT -j DROP\n".repeat(9);
    let line = format!("-A INPUT -s {} -d {}\n", list(256), list(255));
    let parsed = read(&filter(line.repeat(5) + &rest));
    assert_eq!(parsed.diagnostics.len(), 1);
}

#[test]
fn ranges_of_sets_take_bounded_memory() {
    let _alone = alone();
    let text = "create s hash:ip,port maxelem 9999999\n".to_owned()
        + &"add s 10.0.0.0/15,1\n".repeat(3)
        + &"add s 10.0.0.0/8,1-65535\n".repeat(50);
    let (parsed, peak) = peak_of(|| {
        let mut sources = Sources::default();
        let id = sources.add("sets", text.as_str());
        let parsed = ipset::parse(&sources, &[id], &Names::default());
        render(&parsed.diagnostics, &sources, Style::Plain);
        ipset::print(&parsed.sets);
        parsed
    });
    assert!(!parsed.diagnostics.is_empty());
    assert!(peak < 256 * MEBIBYTE, "{peak}");
}

/// The most costly blob is one of matches without data.
#[test]
fn blobs_take_memory_in_proportion() {
    let _alone = alone();
    let line = format!("-A INPUT{}\n", " -m socket".repeat(120));
    let mut ruleset = read(&filter(line.repeat(200))).rulesets.remove(0);
    let mut table = ruleset.tables.remove(0);
    let rules = table.chains.iter_mut().flat_map(|chain| &mut chain.rules);
    for extension in rules.flat_map(|rule| &mut rule.matches) {
        extension.value = Match::Unknown(Unknown {
            name: "x".to_owned(),
            words: Vec::new(),
            data: Some(Data {
                revision: 0,
                bytes: Vec::new(),
            }),
        });
    }
    let old_counters = OldCounters {
        number: 1,
        address: 0,
    };
    let replace = Replace {
        table,
        old_counters,
    };
    let sets = SetNames::default();
    let blob = encode_replace(Family::V4, &replace, &sets).expect("it has a binary form");
    let (decoded, peak) = peak_of(|| decode_replace(Family::V4, &blob, &sets));
    let rules = decoded.map(|it| it.table.chains.iter().map(|chain| chain.rules.len()).sum());
    assert_eq!(rules, Ok(200));
    let limit = 12 * blob.len();
    assert!(peak < limit, "{peak} of {limit} for {}", blob.len());
}

/// Many ways back into a deep path of chains.
#[test]
fn loops_are_found_in_time() {
    let _alone = alone();
    let n = 20_000;
    let chains: String = (0..n).map(|chain| format!(":{chain} -\n")).collect();
    let path: String = (1..n)
        .map(|to| format!("-A {} -j {to}\n", to - 1))
        .collect();
    let back = format!("-A {} -j 0\n", n - 1).repeat(n);
    let start = Instant::now();
    let parsed = read(&filter(chains + &path + &back));
    let loops: Vec<_> = parsed
        .diagnostics
        .iter()
        .filter(|it| it.code == code::LOOP)
        .collect();
    assert_eq!(loops.len(), n);
    assert!(loops.iter().all(|it| it.label == "0, 1, ..., 0"));
    assert!(start.elapsed() < Duration::from_secs(20));
}
