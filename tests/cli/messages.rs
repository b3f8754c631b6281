//! What is said of rules, to whom, and how much of it.

use std::process::Stdio;

use crate::desk::{Desk, code, ipt2bpf};

#[test]
fn mistakes_are_shown_and_nothing_is_written() {
    let desk = Desk::new();
    insta::assert_snapshot!(desk.seen(&["-o", "fw.o", "wrong.v4"]));
    assert!(!desk.path("fw.o").exists());
}

#[test]
fn what_cannot_be_translated_is_refused_once_for_all_hooks() {
    let desk = Desk::new();
    insta::assert_snapshot!(desk.seen(&["-o", "fw.o", "refused.v4"]));
    assert!(!desk.path("fw.o").exists());
    insta::assert_snapshot!(desk.seen(&["--message-format", "json", "refused.v4"]));
}

#[test]
fn warnings_are_shown_and_can_be_denied() {
    let desk = Desk::new();
    insta::assert_snapshot!(desk.seen(&["-o", "fw.o", "noted.v4"]));
    assert!(desk.path("fw.o").exists());
    let output = desk.run(&["--deny-warnings", "-o", "denied.o", "noted.v4"]);
    assert_eq!(code(&output), 1);
    assert!(!desk.path("denied.o").exists());
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(
        said.ends_with("\n5 warnings (denied by --deny-warnings): nothing is made\n"),
        "{said}"
    );
}

/// Runs with nobody reading what the command writes.
fn unread(desk: &Desk, arguments: &[&str]) -> i32 {
    let mut child = ipt2bpf(&desk.path("."))
        .args(arguments)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    drop(child.stderr.take());
    child.wait().unwrap().code().unwrap()
}

#[test]
fn readers_that_have_gone_change_nothing() {
    let desk = Desk::new();
    assert_eq!(unread(&desk, &["--emit", "asm", "rules.v4"]), 0);
    assert_eq!(unread(&desk, &["wrong.v4"]), 1);
    assert_eq!(
        unread(&desk, &["--message-format", "json", "-c", "wrong.v4"]),
        2
    );
}

#[test]
fn many_messages_are_cut_short_for_people_only() {
    let desk = Desk::new();
    let rules = "-A INPUT -j LOG\n".repeat(150)
        + "-A INPUT -m rateest --rateest x --rateest-gt --rateest-pps 5 -j RETURN\n";
    let text = format!("*filter\n:INPUT DROP [0:0]\n{rules}COMMIT\n");
    let lines = |arguments: &[&str], start: &str| {
        let output = desk.feed(arguments, &text);
        let said = String::from_utf8(output.stderr).unwrap();
        said.lines().filter(|line| line.starts_with(start)).count()
    };
    assert_eq!(lines(&["-o", "x"], "warning["), 100);
    assert_eq!(lines(&["-o", "x"], "50 more of this kind: "), 1);
    assert_eq!(lines(&["-o", "x"], "error["), 1);
    assert_eq!(lines(&["-o", "x"], "1 error and 150 warnings: "), 1);
    assert_eq!(lines(&["--message-format", "json"], "{"), 151);
}
