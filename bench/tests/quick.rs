//! The benchmark itself, in some seconds: it holds every set's verdicts to what is expected, and makes all
//! its figures. How large they are is not asked.

use std::process::Command;

use ipt2bpf_difftest::netns;

const TOOLS: [&str; 5] = [
    "iptables-nft-restore",
    "ipset",
    "ethtool",
    "sysctl",
    "iptables-legacy-restore",
];

#[test]
fn a_quick_run_makes_all_figures() {
    if let Err(error) = netns::prerequisites() {
        println!("skipped: {error:#}");
        return;
    }
    for tool in TOOLS {
        if Command::new(tool).arg("--version").output().is_err() {
            println!("skipped: needs {tool}");
            return;
        }
    }
    let folder = tempfile::tempdir().expect("a folder");
    let [json, svg, readme] = ["f.json", "f.svg", "README.md"].map(|it| folder.path().join(it));
    std::fs::write(
        &readme,
        "before\n<!-- speed -->\n<!-- end of speed -->\nbehind\n",
    )
    .expect("a file");
    let run = Command::new(env!("CARGO_BIN_EXE_ipt2bpf-bench"))
        .arg("--quick")
        .args(["--rules", "1,30", "--json"])
        .arg(&json)
        .arg("--plot")
        .arg(&svg)
        .arg("--update-readme")
        .arg(&readme)
        .arg("--files")
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/../testdata"))
        .output()
        .expect("the benchmark runs");
    let said = String::from_utf8_lossy(&run.stderr);
    assert!(run.status.success(), "{said}");

    let figures = std::fs::read(&json).expect("figures");
    let figures: serde_json::Value = serde_json::from_slice(&figures).expect("JSON");
    let sets = figures["sets"].as_array().expect("sets");
    assert_eq!(sets.len(), 4 * 2, "{figures:#}");
    for set in sets {
        let measured = &set["outcome"]["measured"];
        assert_eq!(measured["costs"].as_array().map(Vec::len), Some(3), "{set}");
        // 200 packets of each mix, of the last the only one.
        assert_eq!(measured["checked"], 401, "{set}");
    }
    let wire = figures["wire"].as_array().expect("sets");
    assert_eq!(wire.len(), 4 * 2, "{said}");
    let contestants = wire.iter().map(|set| {
        let costs = set["costs"].as_array().map_or(0, Vec::len);
        (set["kind"].as_str().unwrap_or_default(), costs)
    });
    for (kind, costs) in contestants {
        assert_eq!(costs, if kind == "blocklist" { 7 } else { 5 }, "{kind}");
    }
    assert!(figures["connections"]["stateful"]["filter_ns"].is_number());
    let files = figures["files"].as_array().expect("files");
    let measured = files
        .iter()
        .filter(|file| file["outcome"]["measured"].is_object());
    assert_eq!(measured.count(), files.len(), "{figures:#}");

    let svg = std::fs::read_to_string(&svg).expect("a plot");
    assert!(svg.starts_with("<svg") && svg.contains("iptables-legacy"));
    let readme = std::fs::read_to_string(&readme).expect("a file");
    assert!(readme.starts_with("before\n") && readme.ends_with("behind\n"));
    assert!(readme.contains("\n| 30 |"), "{readme}");
}
