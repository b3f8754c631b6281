//! Single rules that iptables refused.

use ipt2bpf_parser::ruleset::Family;

use crate::support::{errors, read, text};

/// What the machine that refused them did not have: a control group, a set, a counter, an estimator,
/// a security module, ipvs, an old kernel.
const LACKS: [&str; 7] = [
    "-m cgroup --path /",
    "--match-set nosuch",
    "-m nfacct ",
    "-m rateest ",
    "-m ipvs ",
    "-j SECMARK ",
    "-j ULOG",
];

#[test]
fn refused_rules_are_refused() {
    let Some(list) = text("generated/refused.jsonl") else {
        return;
    };
    let (mut refused, mut taken) = (0, Vec::new());
    for row in list.lines() {
        let row: serde_json::Value = serde_json::from_str(row).expect("a row is JSON");
        if row["whole_file"] == true {
            // It lies beside the list as a file.
            continue;
        }
        let (Some(rule), Some(table)) = (row["rule"].as_str(), row["table"].as_str()) else {
            panic!("a row has a rule and a table: {row}");
        };
        let declarations = row["decl"].as_array().expect("declarations").iter();
        let declarations: Vec<&str> = declarations.filter_map(|it| it.as_str()).collect();
        let text = format!("*{table}\n{}\n{rule}\nCOMMIT\n", declarations.join("\n"));
        let family = match row["family"] == 6 {
            true => Family::V6,
            false => Family::V4,
        };
        if !errors(&read(text, family)).is_empty() {
            refused += 1;
        } else if !LACKS.iter().any(|it| rule.contains(it)) {
            taken.push(format!("{rule}: {}", row["error"]));
        }
    }
    println!("{refused} rules are refused");
    assert!(
        taken.is_empty(),
        "{} are taken:\n{}",
        taken.len(),
        taken.join("\n")
    );
    assert!(refused >= 70, "only {refused} rules");
}
