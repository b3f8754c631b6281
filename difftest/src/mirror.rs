//! A ruleset with INPUT's rules in FORWARD.
//!
//! The kernel reassembles IPv4 fragments before INPUT. Packets that are forwarded stay as they are,
//! so INPUT's rules can be judged on raw fragments there.

/// Moves INPUT's rules and policies of a save text to FORWARD, whose own are left out, as is the nat
/// table, which has no FORWARD. INPUT accepts everything.
pub fn mirror(text: &str) -> String {
    let mut mirrored = String::new();
    let mut in_nat = false;
    for line in text.lines() {
        if line.starts_with('*') {
            in_nat = line == "*nat";
        }
        if in_nat || mentions(line, "FORWARD") {
            continue;
        }
        match mentions(line, "INPUT") {
            true => mirrored += &line.replacen("INPUT", "FORWARD", 1),
            false => mirrored += line,
        }
        mirrored.push('\n');
    }
    mirrored
}

/// Whether a line declares this chain or appends to it.
fn mentions(line: &str, chain: &str) -> bool {
    // Counters may stand before a rule: `[0:0] -A`.
    let rule = match line.starts_with('[') {
        true => line.split_once("] ").map_or(line, |(_, rule)| rule),
        false => line,
    };
    let rest = rule.strip_prefix("-A ").or(rule.strip_prefix(':'));
    rest.and_then(|rest| rest.split(' ').next()) == Some(chain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn input_takes_the_place_of_forward() {
        let text = "*filter\n:INPUT DROP [0:0]\n:FORWARD ACCEPT [0:0]\n:INPUTS - [0:0]\n\
            -A INPUT -j INPUTS\n[1:2] -A INPUT -m comment --comment \"-A FORWARD\" -j ACCEPT\n\
            -A FORWARD -o eth0 -j DROP\n-A INPUTS -s 10.0.0.1\nCOMMIT\n\
            *nat\n:INPUT ACCEPT [0:0]\nCOMMIT\n*raw\n:PREROUTING ACCEPT\nCOMMIT\n";
        assert_eq!(
            mirror(text),
            "*filter\n:FORWARD DROP [0:0]\n:INPUTS - [0:0]\n-A FORWARD -j INPUTS\n\
             [1:2] -A FORWARD -m comment --comment \"-A FORWARD\" -j ACCEPT\n\
             -A INPUTS -s 10.0.0.1\nCOMMIT\n*raw\n:PREROUTING ACCEPT\nCOMMIT\n"
        );
    }
}
