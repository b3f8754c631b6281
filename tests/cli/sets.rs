//! Sets that rules ask for, in files as ipset save prints them.

use std::fs;
use std::process::Command;

use crate::desk::{Desk, code};

/// Rules that ask for sets.
const WITH_SETS: &str = "\
*filter
-A INPUT -m set --match-set web dst,dst -j ACCEPT
-A INPUT -m set ! --match-set lan src -j DROP
COMMIT
";

#[test]
fn check_tells_which_sets_are_missing() {
    let desk = Desk::new();
    fs::write(desk.path("sets.v4"), WITH_SETS).unwrap();
    fs::write(desk.path("web"), "create web hash:ip,port\n").unwrap();
    fs::write(desk.path("lan"), "create lan hash:net\n").unwrap();
    let missing = |files: &[&str]| -> Vec<String> {
        let mut arguments = vec!["check", "sets.v4"];
        for file in files {
            arguments.extend(["--ipset", file]);
        }
        let output = desk.run(&arguments);
        let text = String::from_utf8(output.stdout).unwrap();
        let lines = text.lines().filter(|line| line.contains("no set"));
        lines.map(str::to_owned).collect()
    };
    assert_eq!(missing(&["web", "lan"]), Vec::<String>::new());
    assert_eq!(
        missing(&["web"]),
        ["sets.v4:3: error: there is no set lan (the files of --ipset hold web)"]
    );
    // Who gives no sets is not told that there are none.
    assert_eq!(missing(&[]), Vec::<String>::new());
}

/// Rules and sets of both families, for the command and for iptables.
const SETS: &str = "\
create pairs hash:ip,port
create plain hash:ip
create six hash:net family inet6
create ports bitmap:port range 0-1023
create list list:set
";

#[test]
fn check_holds_sets_against_the_rules() {
    let desk = Desk::new();
    fs::write(desk.path("sets"), SETS).unwrap();
    let rules = "*mangle\n\
        -A INPUT -m set --match-set pairs src,dst -m set --match-set plain src,dst -j DROP\n\
        -A INPUT -m set --match-set ports dst -m set --match-set list src -j DROP\n\
        -A INPUT -m set --match-set pairs src -j DROP\n\
        -A INPUT -m set ! --match-set pairs src -j DROP\n\
        -A INPUT -m set --match-set six src -j DROP\n\
        -A INPUT -j SET --add-set plain src --del-set missing src\n\
        -A INPUT -j SET --add-set pairs src\n\
        -A INPUT -j SET --map-set pairs src --map-mark\n\
        -A INPUT -j SET --del-set six dst\n\
        COMMIT\n";
    let output = desk.feed(&["check", "--ipset", "sets", "--hook", "xdp"], rules);
    let text = String::from_utf8(output.stdout).unwrap();
    let lines = text.lines().filter(|line| line.starts_with("<stdin>:"));
    let about_sets: Vec<&str> = lines.filter(|line| !line.contains("at xdp")).collect();
    insta::assert_snapshot!(about_sets.join("\n"));
}

/// What the command says of sets is what iptables does.
#[test]
fn iptables_refuses_the_same_sets() {
    let desk = Desk::new();
    fs::write(desk.path("sets"), SETS).unwrap();
    let rules = [
        "-A INPUT -m set --match-set pairs src -j DROP",
        "-A INPUT -m set --match-set ports dst -j DROP",
        "-A INPUT -m set --match-set list src -j DROP",
        "-A INPUT -m set --match-set six src -j DROP",
        "-A INPUT -m set --match-set nowhere src -j DROP",
        "-A INPUT -j SET --add-set pairs src",
        "-A INPUT -j SET --add-set six src",
        "-A INPUT -j SET --del-set nowhere src",
    ];
    for (tool, option) in [("iptables", "-4"), ("ip6tables", "-6")] {
        for rule in rules {
            let text = format!("*filter\n{rule}\nCOMMIT\n");
            fs::write(desk.path("rules"), &text).unwrap();
            let script =
                format!("ipset restore < sets && {tool}-legacy-restore -w < rules; echo $?");
            let output = Command::new("unshare")
                .args(["-n", "sh", "-c", &script])
                .current_dir(desk.path("."))
                .output();
            let code = output.map(|it| String::from_utf8_lossy(&it.stdout).trim().to_owned());
            let is_taken = match code.as_deref() {
                Ok("0") => true,
                Ok("1" | "2") => false,
                _ => return eprintln!("skipped: ipset or iptables cannot be run in a namespace"),
            };
            let output = desk.run(&["check", option, "--ipset", "sets", "rules"]);
            let said = String::from_utf8(output.stdout).unwrap();
            let is_refused = said.contains("there is no set") || said.contains("and the rule is");
            assert_eq!(is_refused, !is_taken, "{tool}: {rule}\n{said}");
        }
    }
}

#[test]
fn mistakes_in_sets_are_shown_where_they_are() {
    let desk = Desk::new();
    fs::write(
        desk.path("sets"),
        "create web hash:ip,prot\nadd lan 10.0.0.1\n",
    )
    .unwrap();
    let packet = "tcp 10.0.0.5:40000 > 192.0.2.1:22";
    for arguments in [
        &["--ipset", "sets", "rules.v4"][..],
        &["check", "--ipset", "sets", "rules.v4"],
        &["explain", "--ipset", "sets", "rules.v4", "--packet", packet],
    ] {
        let output = desk.run(arguments);
        assert_eq!(code(&output), 1, "{arguments:?}");
        assert!(output.stdout.is_empty(), "{arguments:?}");
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(text.contains("did you mean hash:ip,port?"), "{text}");
        assert!(
            text.contains("there is no set lan\n --> sets:2:5"),
            "{text}"
        );
    }
    fs::write(desk.path("sets"), "create web hash:ip,port\n").unwrap();
    let output = desk.run(&["--ipset", "sets", "rules.v4"]);
    assert_eq!(code(&output), 0);
    // The same set in a second file is there twice.
    let output = desk.run(&["--ipset", "sets", "--ipset", "sets", "rules.v4"]);
    assert_eq!(code(&output), 1);
}

/// What a rule does to a set, a later packet of the same run sees.
#[test]
fn explain_tells_of_sets_that_rules_change() {
    let desk = Desk::new();
    fs::write(desk.path("sets"), "create seen hash:ip timeout 60\n").unwrap();
    let rules = "*filter\n-A INPUT -m set --match-set seen src -j DROP\n\
                 -A INPUT -p tcp -j SET --add-set seen src --exist --timeout 5\nCOMMIT\n";
    fs::write(desk.path("rules"), rules).unwrap();
    let packet = "tcp 10.0.0.5:40000 > 192.0.2.1:22 syn in eth0";
    let output = desk.run(&[
        "explain", "--ipset", "sets", "rules", "--packet", packet, "--packet", packet,
    ]);
    let told = String::from_utf8(output.stdout).unwrap();
    let first = "wants to add to set seen src for 5 s anew\n  policy ACCEPT";
    assert!(told.contains(first), "{told}");
    assert!(told.contains("DROP: rule 1 of filter INPUT"), "{told}");
}
