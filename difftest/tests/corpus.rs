//! Rulesets in every scene: the reference and the compiled programs against netfilter.

use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::thread;

use ipt2bpf_difftest::ipsets::Ipsets;
use ipt2bpf_difftest::scene::Scene;
use ipt2bpf_difftest::tally::Tally;
use ipt2bpf_difftest::trials;
use ipt2bpf_difftest::{netns, packets};
use ipt2bpf_parser::ruleset::Family;

/// Rulesets that are tried at once, each in network namespaces of its own.
const WORKERS: usize = 2;

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

/// The saved rulesets in a folder, with their family at the end of the name; none when there is no such
/// folder.
fn rulesets(folder: &Path) -> Option<Vec<(PathBuf, Family)>> {
    let mut files: Vec<_> = folder
        .read_dir()
        .ok()?
        .filter_map(|entry| {
            let path = entry.ok()?.path();
            match path.extension()?.to_str()? {
                "v4" => Some((path, Family::V4)),
                "v6" => Some((path, Family::V6)),
                _ => None,
            }
        })
        .collect();
    files.sort();
    Some(files)
}

/// Tries every ruleset of a folder that can be tried, on so many frames each.
fn try_all(folder: &str, frames: usize) {
    if let Err(reason) = netns::prerequisites() {
        eprintln!("skipped: {reason:#}");
        return;
    }
    let folder = Path::new(ROOT).join(folder);
    let Some(files) = rulesets(&folder) else {
        eprintln!("skipped: there is no {}", folder.display());
        return;
    };
    let seed = packets::seed().expect("a seed");
    let try_one = |(path, family): &(PathBuf, Family)| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let bytes = std::fs::read(path).expect("a readable file");
        let text = String::from_utf8_lossy(&bytes);
        let tried = trials::run(&name, *family, &text, &Ipsets::default(), frames, seed);
        tried.map_err(|error| format!("{name}: {error:#}"))
    };
    let (mut tally, mut failures) = (Tally::default(), Vec::new());
    thread::scope(|scope| {
        let workers = (0..WORKERS).map(|worker| {
            let own = files.iter().skip(worker).step_by(WORKERS);
            scope.spawn(move || own.map(try_one).collect::<Vec<_>>())
        });
        for worker in workers.collect::<Vec<_>>() {
            for tried in worker.join().unwrap_or_else(|panic| resume_unwind(panic)) {
                match tried {
                    Ok(outcomes) => tally.add(outcomes),
                    Err(error) => failures.push(error),
                }
            }
        }
    });
    println!("{}\n{tally}", folder.display());
    for scene in Scene::ALL {
        assert!(
            tally.rulesets(scene) > 0,
            "no ruleset of {} could be tried as {scene:?}",
            folder.display()
        );
    }
    failures.extend(tally.differing().map(ToString::to_string));
    assert!(
        failures.is_empty(),
        "{}={seed}\n{}",
        packets::SEED_VARIABLE,
        failures.join("\n")
    );
}

#[test]
fn our_rulesets_judge_and_count_as_netfilter_does() {
    try_all("testdata", 2000);
}

#[test]
fn real_rulesets_judge_and_count_as_netfilter_does() {
    try_all("../shared/corpus/rulesets", 200);
}

#[test]
fn rulesets_of_every_form_judge_and_count_as_netfilter_does() {
    try_all("../shared/corpus/generated", 60);
}
