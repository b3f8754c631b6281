//! Rulesets as text.

use ipt2bpf_parser::diagnostic::Severity;
use ipt2bpf_parser::ruleset::{Family, Ruleset};
use ipt2bpf_parser::span::Sources;
use ipt2bpf_parser::{ParseOptions, parse};

/// The rulesets of a text without errors.
pub fn rulesets(family: Family, text: &str) -> Vec<Ruleset> {
    let mut sources = Sources::default();
    let id = sources.add("test", text);
    let parsed = parse(
        &sources,
        id,
        &ParseOptions {
            family: Some(family),
            ..ParseOptions::default()
        },
    );
    let error = parsed
        .diagnostics
        .iter()
        .find(|it| it.severity == Severity::Error);
    assert!(error.is_none(), "{error:?}");
    parsed.rulesets
}

/// The rulesets of a filter table with these lines.
pub fn filter(family: Family, lines: &str) -> Vec<Ruleset> {
    rulesets(family, &format!("*filter\n{lines}\nCOMMIT\n"))
}

/// Twenty levels of chains, each of which the one above enters from two rules: 2^19 paths to the last.
pub fn joining_chains() -> String {
    let mut lines: String = (0..20)
        .map(|level| format!(":level{level} - [0:0]\n"))
        .collect();
    lines += "-A INPUT -j level0\n-A INPUT -p udp -g level15\n-A OUTPUT -j level17\n";
    for level in 0..19 {
        let next = level + 1;
        lines += &format!("-A level{level} -p tcp -m tcp --dport {level} -j level{next}\n");
        lines += &format!(
            "-A level{level} -p udp -m udp --dport 22:{} -j level{next}\n",
            60 + level
        );
        lines += &format!("-A level{level} -s 10.0.0.{level} -j RETURN\n");
    }
    lines + "-A level19 -p tcp -j ACCEPT\n-A level19 -m comment --comment end\n"
}

/// Rules of many kinds in one chain.
pub fn different_rules(count: usize) -> String {
    let mut lines = String::new();
    for number in 0..count {
        let low = number % 256;
        lines += &match number % 4 {
            0 => format!("-A INPUT -s 10.0.{low}.0/24 -p tcp -m tcp --dport {number} -j ACCEPT\n"),
            1 => format!("-A INPUT -d 10.1.{low}.1 ! -p udp -j DROP\n"),
            2 => format!(
                "-A INPUT -p udp -m multiport --ports {number},53,{}:65535 -j DROP\n",
                60000 + low
            ),
            _ => format!(
                "-A INPUT -i eth{low} -p tcp -m tcp --tcp-flags SYN,ACK SYN --sport {number}\n"
            ),
        };
    }
    lines
}

/// Rules of many kinds, of which few packets match any, with jumps to the same chains.
pub fn many_rules(count: usize) -> String {
    let mut lines = String::from(":INPUT DROP [0:0]\n:odd - [0:0]\n:even - [0:0]\n");
    for number in 0..count {
        let (high, low) = (number / 256, number % 256);
        lines += &match number % 5 {
            0 => format!(
                "-A INPUT -s 10.{high}.{low}.0/24 -p tcp -m tcp --dport {number} -j ACCEPT\n"
            ),
            1 => format!("-A INPUT -d 10.{high}.{low}.1 ! -p udp -j DROP\n"),
            2 => format!(
                "-A INPUT -p udp -m multiport --ports {number},53,{}:65535 -j RETURN\n",
                60000 + low
            ),
            3 => format!("-A INPUT -i eth{low} -p tcp -m tcp --tcp-flags SYN,ACK SYN -j odd\n"),
            _ => format!("-A INPUT -p icmp -m icmp --icmp-type 8 -s 192.0.{low}.1 -g even\n"),
        };
    }
    for number in 0..12 {
        lines +=
            &format!("-A odd -s 10.0.0.{number} -j even\n-A even -d 10.0.0.{number} -j ACCEPT\n");
    }
    lines
}
