//! Names of protocols, services, users and groups that the caller brings along.

use ipt2bpf_parser::span::Sources;
use ipt2bpf_parser::{Counts, Names, ParseOptions, parse};

/// The rule of a filter table as printed, or the message of its first problem.
fn save(rule: &str, names: &Names) -> Result<String, String> {
    let mut sources = Sources::default();
    let id = sources.add(
        "<test>",
        format!("*filter\n:c - [0:0]\n-A c {rule}\nCOMMIT\n"),
    );
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
    let rule = text.lines().find_map(|line| line.strip_prefix("-A c "));
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

/// What is printed behind `-m owner`.
fn owner(rule: &str) -> Result<String, String> {
    let mut names = Names::default();
    names.add_users(
        b"root:x:0:0:root:/root:/bin/bash\ntor:x:107:115::/var/lib/tor:/bin/false\ntor:x:9:9::/:/\n\
        1000:x:7:7::/:/\na-b:x:8:8::/:/\n+nis::::::\n#no:x:5:5::/:/\nshort:x:6\n::6:6::/:/\n\
        nobody32:x:4294967295:1::/:/\nminus:x:-1:1::/:/\n\xff:x:11:11::/:/\n",
    );
    names.add_groups(b"tor:x:115:\nadm:x:4:syslog,me\n");
    let saved = save(&format!("-m owner {rule}"), &names)?;
    Ok(saved.trim_start_matches("-m owner ").to_owned())
}

#[test]
fn users_and_groups_have_names_of_their_own() {
    let saved = |rule: &str| Ok(rule.to_owned());
    assert_eq!(owner("--uid-owner tor"), saved("--uid-owner 107"));
    assert_eq!(owner("! --gid-owner tor"), saved("! --gid-owner 115"));
    assert_eq!(owner("--gid-owner adm"), saved("--gid-owner 4"));
    assert_eq!(owner("--uid-owner root"), saved("--uid-owner 0"));
    assert_eq!(owner("--gid-owner root"), saved("--gid-owner 0"));
    // A name goes before a number or range, as getpwnam is asked first.
    assert_eq!(owner("--uid-owner 1000"), saved("--uid-owner 7"));
    assert_eq!(owner("--gid-owner 1000"), saved("--gid-owner 1000"));
    assert_eq!(owner("--uid-owner a-b"), saved("--uid-owner 8"));
    assert_eq!(owner("--uid-owner 1-2"), saved("--uid-owner 1-2"));
    for missing in [
        "adm", "Tor", "tor-root", "+nis", "#no", "short", "nobody32", "minus", "\"\"",
    ] {
        let message = format!("--uid-owner {missing}");
        let said = owner(&message).expect_err(missing);
        assert!(
            said.ends_with("is no user of this machine and no number or range"),
            "{said}"
        );
    }
    let said = owner("--gid-owner syslog").expect_err("a member is no group");
    assert!(said.starts_with("\"syslog\" is no group"), "{said}");
}
