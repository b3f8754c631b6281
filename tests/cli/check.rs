//! `check`: which rules can be translated exactly.

use std::fs;
use std::path::Path;

use crate::desk::{Desk, code, shown};

#[test]
fn check_tells_what_is_exact() {
    let desk = Desk::new();
    insta::assert_snapshot!(desk.seen(&["check", "rules.v4", "rules.v6"]));
    insta::assert_snapshot!(desk.seen(&["check", "noted.v4"]));
    insta::assert_snapshot!(desk.seen(&["check", "refused.v4"]));
    insta::assert_snapshot!(desk.seen(&[
        "check",
        "--hook",
        "xdp",
        "--message-format",
        "json",
        "refused.v4"
    ]));
    assert_eq!(code(&desk.run(&["check", "wrong.v4"])), 1);
}

#[test]
fn check_counts_every_rule_of_a_list_of_addresses() {
    let desk = Desk::new();
    let rules = "*filter\n:INPUT DROP [0:0]\n:user - [0:0]\n\
                 -A INPUT -s 10.0.0.1,10.0.0.2 -m rateest --rateest x --rateest-gt --rateest-pps 5 -g user\n-A user -j ACCEPT\nCOMMIT\n";
    let output = desk.feed(
        &[
            "check",
            "--hook",
            "cgroup_skb/ingress",
            "--message-format",
            "json",
        ],
        rules,
    );
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["hooks"][0]["refused"], 2);
    assert_eq!(report["hooks"][0]["exact"], 1);
    assert_eq!(report["messages"].as_array().unwrap().len(), 1);
    assert_eq!(code(&output), 1);
}

#[test]
fn check_promises_what_compile_keeps() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let ours = fs::read_dir(root.join("testdata")).unwrap();
    // Real rulesets, where they are at hand.
    let real = fs::read_dir(root.join("../shared/corpus/rulesets"));
    if let Err(error) = &real {
        eprintln!("skipped: the real rulesets in ../shared/corpus: {error}");
    }
    let desk = Desk::new();
    let mut exact = 0;
    for file in ours.chain(real.into_iter().flatten()) {
        let path = file.unwrap().path();
        let family = match path.extension().and_then(|extension| extension.to_str()) {
            Some("v4") => "-4",
            Some("v6") => "-6",
            _ => continue,
        };
        let name = path.to_str().unwrap();
        let checked = desk.run(&["check", family, name]);
        let compiled = desk.run(&[family, "-o", "made.o", name]);
        assert_eq!(
            code(&checked),
            code(&compiled),
            "{name}: {}",
            shown(&checked)
        );
        assert_eq!(desk.path("made.o").exists(), code(&compiled) == 0, "{name}");
        if code(&compiled) == 0 {
            fs::remove_file(desk.path("made.o")).unwrap();
            exact += 1;
        }
    }
    assert!(exact > 0);
}
