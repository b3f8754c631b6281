//! Names of protocols and services that the caller brings along.

use ipt2bpf_parser::span::Sources;
use ipt2bpf_parser::{Counts, Names, ParseOptions, parse};

/// The rule of a filter table as printed, or the message of its first problem.
fn save(rule: &str, names: &Names) -> Result<String, String> {
    let mut sources = Sources::default();
    let id = sources.add("<test>", format!("*filter\n-A INPUT {rule}\nCOMMIT\n"));
    let options = ParseOptions {
        names: names.clone(),
        ..ParseOptions::default()
    };
    let parsed = parse(&sources, id, &options);
    if let Some(problem) = parsed.diagnostics.first() {
        return Err(problem.message.clone());
    }
    let text = parsed.rulesets[0].print(Counts::Chains);
    let text = String::from_utf8_lossy(&text).into_owned();
    let rule = text.lines().find_map(|line| line.strip_prefix("-A INPUT "));
    Ok(rule.unwrap_or_default().to_owned())
}

fn own() -> Names {
    let mut names = Names::default();
    names.add_protocols(b"# a comment\nhomemade 253 other # not this\nbad\nbig 256\nbad number\n");
    names.add_services(
        b"game\t4711/tcp play  toy # chess\ngame 4712/udp\nhttp 8000/tcp\ngame 4713/tcp\n\
        wide 70000/tcp\nbare 5\nodd 6/nothing\nhome 7/homemade\n\xff 8/tcp\nsecond 9/tcp",
    );
    names
}

#[test]
fn own_protocols_have_names() {
    let names = own();
    for name in ["homemade", "HomeMade", "other"] {
        assert_eq!(save(&format!("-p {name}"), &names), Ok("-p 253".to_owned()));
    }
    for name in ["bad", "big", "not", "this"] {
        assert!(save(&format!("-p {name}"), &names).is_err(), "{name}");
    }
    assert_eq!(save("-p udp", &names), Ok("-p udp".to_owned()));
}

#[test]
fn own_services_have_names_by_protocol() {
    let names = own();
    let port = |protocol: &str, name: &str| {
        let rule = format!("-p {protocol} -m multiport --dports {name}");
        let printed = save(&rule, &names).ok()?;
        printed.rsplit_once(' ').map(|(_, port)| port.to_owned())
    };
    let found = |port: &str| Some(port.to_owned());
    assert_eq!(port("tcp", "game"), found("4711"));
    assert_eq!(port("tcp", "toy"), found("4711"));
    assert_eq!(port("udp", "game"), found("4712"));
    assert_eq!(port("udp", "toy"), None);
    assert_eq!(port("tcp", "second"), found("9"));
    for bad in ["wide", "bare", "odd", "home", "chess"] {
        assert_eq!(port("tcp", bad), None, "{bad}");
    }
    // What the caller brings goes before what is built in, and the rest stays.
    assert_eq!(port("tcp", "http"), found("8000"));
    assert_eq!(port("tcp", "https"), found("443"));
}

#[test]
fn the_resolver_takes_a_service_of_any_protocol() {
    let saved = |port: u16| Ok(format!("-p udp -m udp --dport {port}"));
    assert_eq!(save("-p udp --dport game", &own()), saved(4711));
    assert_eq!(save("-p udp --dport toy", &own()), saved(4711));
    assert_eq!(save("-p udp --dport ssh", &own()), saved(22));
}
