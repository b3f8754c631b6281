//! Real rulesets in every scene: the reference and the compiled programs against netfilter.

use std::path::Path;

use ipt2bpf_difftest::trials::{self, Outcome};
use ipt2bpf_difftest::{netns, packets};
use ipt2bpf_parser::ruleset::Family;

/// Saved rulesets with their family at the end of the name.
const CORPUS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/corpus/rulesets");
/// One file of this many is tried; the command tries all that it is given.
const STRIDE: usize = 8;
const FRAMES: usize = 1000;

#[test]
fn real_rulesets_judge_and_count_as_netfilter_does() {
    if let Err(reason) = netns::prerequisites() {
        eprintln!("skipped: {reason:#}");
        return;
    }
    let Ok(entries) = Path::new(CORPUS).read_dir() else {
        eprintln!("skipped: there is no {CORPUS}");
        return;
    };
    let mut files: Vec<_> = entries
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| {
            path.extension()
                .is_some_and(|end| end == "v4" || end == "v6")
        })
        .collect();
    files.sort();
    let seed = packets::seed().expect("a seed");
    let (mut tried, mut failures) = (0, Vec::new());
    for path in files.iter().step_by(STRIDE) {
        let family = match path.extension().is_some_and(|end| end == "v6") {
            true => Family::V6,
            false => Family::V4,
        };
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let bytes = std::fs::read(path).expect("a readable file");
        let text = String::from_utf8_lossy(&bytes);
        match trials::run(&name, family, &text, FRAMES, seed) {
            Ok(Outcome::Skipped(_)) => {}
            Ok(Outcome::Tried(reports)) => {
                tried += 1;
                let differing = reports.into_iter().filter(|report| !report.is_clean());
                failures.extend(differing.map(|report| report.to_string()));
            }
            Err(error) => failures.push(format!("{name}: {error:#}")),
        }
    }
    assert!(tried > 0, "no ruleset of {CORPUS} could be tried");
    assert!(
        failures.is_empty(),
        "{}={seed}\n{}",
        packets::SEED_VARIABLE,
        failures.join("\n")
    );
}
