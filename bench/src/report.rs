//! Figures as Markdown.

use std::fmt::Write as _;

use crate::figures::{Figures, Outcome};
use crate::files::FileOutcome;
use crate::goals::{Bound, goals};
use crate::packets::Mix;
use crate::rules::Kind;
use crate::wire::Contestant;

/// Everything that was measured.
pub fn markdown(figures: &Figures) -> String {
    let parts = [
        circumstances(figures),
        packets(figures),
        frames(figures),
        connections(figures),
        files(figures),
        goal_table(figures),
    ];
    let parts = parts.into_iter().filter(|part| !part.is_empty());
    parts.collect::<Vec<String>>().join("\n")
}

/// What a reader of the README wants: ACLs of all sizes in one table, the plot, and the goals.
pub fn summary(figures: &Figures) -> String {
    let mut text = circumstances(figures);
    text += "\nRules as in an access control list, each packet drawn for some rule, counters on. A packet by \
             BPF_PROG_TEST_RUN, and how many times a program's that only reads the headers; a frame from a veth \
             device to its drop, in XDP or in raw PREROUTING, and how many times ours:\n\n\
             | rules | packet | compile, load | frame at XDP | iptables-legacy | iptables-nft | nft |\n\
             |---:|---:|---:|---:|---:|---:|---:|\n";
    for set in figures.sets.iter().filter(|set| set.kind == Kind::Acl) {
        let (packet, build) = match &set.outcome {
            Outcome::Measured { build, costs, .. } => {
                let random = costs.iter().find(|(mix, _)| *mix == Mix::Random);
                let packet =
                    random.map(|(_, it)| format!("{} ns ({:.1})", short(it.filter_ns), it.ratio));
                let compile = short(build.parse_ms + build.compile_ms);
                let build = format!("{compile} + {} ms", short(build.load_ms));
                (packet, Some(build))
            }
            Outcome::Failed { .. } => (None, None),
        };
        let frame = |contestant| {
            let cost = figures.frame(Kind::Acl, set.rules, contestant)?;
            Some(match contestant {
                Contestant::Ours => format!("{} ns", short(cost.ns)),
                _ => format!("{} ns ({})", short(cost.ns), short(cost.times_ours)),
            })
        };
        let cells = [
            packet,
            build,
            frame(Contestant::Ours),
            frame(Contestant::IptablesLegacy),
            frame(Contestant::IptablesNft),
            frame(Contestant::Nft),
        ];
        let cells = cells.map(|cell| cell.unwrap_or("–".into()));
        let rules = grouped(set.rules as i64);
        writeln!(text, "| {rules} | {} |", cells.join(" | ")).ok();
    }
    text += "\n![Nanoseconds for a frame over the number of rules](bench/frames.svg)\n\n";
    text + &goal_table(figures)
}

fn circumstances(figures: &Figures) -> String {
    let Figures {
        date,
        kernel,
        processor,
        ..
    } = figures;
    format!("{date}, Linux {kernel}, {processor}, one core.\n")
}

/// A figure with as many digits as it deserves.
fn short(figure: f64) -> String {
    match figure.abs() {
        0.0..10.0 => format!("{figure:.1}"),
        _ => grouped(figure.round() as i64),
    }
}

/// A number with commas between thousands.
fn grouped(number: i64) -> String {
    let digits = number.unsigned_abs().to_string();
    let mut text = String::from(if number < 0 { "-" } else { "" });
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn kilobytes(bytes: u64) -> String {
    grouped(bytes.div_ceil(1024) as i64)
}

fn packets(figures: &Figures) -> String {
    let mut text = String::from(
        "Nanoseconds for a packet (BPF_PROG_TEST_RUN), and how many times a program's that only reads the \
         headers:\n\n\
         | rules | kind | random rules | no rule | one packet | strategy | compile ms | load ms | object kB | \
         maps kB |\n\
         |---:|---|---:|---:|---:|---|---:|---:|---:|---:|\n",
    );
    for set in &figures.sets {
        write!(text, "| {} | {} ", grouped(set.rules as i64), set.kind).ok();
        match &set.outcome {
            Outcome::Measured { build, costs, .. } => {
                for mix in Mix::ALL {
                    let cost = costs.iter().find(|(it, _)| *it == mix);
                    let cell = cost.map_or("–".into(), |(_, cost)| {
                        format!("{} ({:.1})", short(cost.filter_ns), cost.ratio)
                    });
                    write!(text, "| {cell} ").ok();
                }
                writeln!(
                    text,
                    "| {} | {} | {} | {} | {} |",
                    build.strategies.join(", "),
                    short(build.parse_ms + build.compile_ms),
                    short(build.load_ms),
                    kilobytes(build.object_bytes as u64),
                    kilobytes(build.map_bytes),
                )
            }
            Outcome::Failed { reason } => {
                let reason = reason.replace('|', "\\|");
                writeln!(text, "| – | – | – | {reason} | – | – | – | – |")
            }
        }
        .ok();
    }
    let yardsticks = figures.sets.iter().find_map(|set| match &set.outcome {
        Outcome::Measured { costs, .. } => costs.first().map(|&(_, cost)| cost),
        Outcome::Failed { .. } => None,
    });
    if let Some(cost) = yardsticks {
        writeln!(
            text,
            "\nThe empty program takes {} ns, the one that reads the headers {} ns.",
            short(cost.empty_ns),
            short(cost.parse_ns)
        )
        .ok();
    }
    text
}

fn frames(figures: &Figures) -> String {
    const COLUMNS: [Contestant; 7] = [
        Contestant::EmptyXdp,
        Contestant::Ours,
        Contestant::IptablesLegacy,
        Contestant::IptablesNft,
        Contestant::Nft,
        Contestant::NftSet,
        Contestant::Ipset,
    ];
    let mut text = String::from(
        "Nanoseconds for a frame from a veth device to its drop, in XDP or in raw PREROUTING, and how many \
         times ours:\n\n| rules | kind |",
    );
    for contestant in COLUMNS {
        write!(text, " {contestant} |").ok();
    }
    text += "\n|---:|---|---:|---:|---:|---:|---:|---:|---:|\n";
    for set in &figures.wire {
        write!(text, "| {} | {} |", grouped(set.rules as i64), set.kind).ok();
        for contestant in COLUMNS {
            let cost = set.costs.iter().find(|it| it.contestant == contestant);
            let cell = match cost {
                Some(cost) if contestant == Contestant::Ours => short(cost.ns),
                Some(cost) => format!("{} ({})", short(cost.ns), short(cost.times_ours)),
                None => "–".into(),
            };
            write!(text, " {cell} |").ok();
        }
        text.push('\n');
    }
    text
}

fn connections(figures: &Figures) -> String {
    let Some(cost) = figures.connections else {
        return String::new();
    };
    format!(
        "{} rules of an ACL before packets of {} connections that none is for: {} ns. With \
         `-m conntrack --ctstate ESTABLISHED -j ACCEPT` in front: {} ns.\n",
        grouped(cost.rules as i64),
        grouped(cost.connections as i64),
        short(cost.stateless.filter_ns),
        short(cost.stateful.filter_ns),
    )
}

fn files(figures: &Figures) -> String {
    if figures.files.is_empty() {
        return String::new();
    }
    let mut text = String::from(
        "Real files, packets drawn around their constants:\n\n\
         | file | rules | ns (bare parse) | strategy | compile ms | load ms | maps kB |\n\
         |---|---:|---:|---|---:|---:|---:|\n",
    );
    for file in &figures.files {
        let rules = grouped(file.rules as i64);
        match &file.outcome {
            FileOutcome::Measured { build, cost } => writeln!(
                text,
                "| {} | {rules} | {} ({:.1}) | {} | {} | {} | {} |",
                file.name,
                short(cost.filter_ns),
                cost.ratio,
                build.strategies.join(", "),
                short(build.parse_ms + build.compile_ms),
                short(build.load_ms),
                kilobytes(build.map_bytes),
            ),
            FileOutcome::Failed { reason } => writeln!(
                text,
                "| {} | {rules} | – | {} | – | – | – |",
                file.name,
                reason.replace('|', "\\|")
            ),
        }
        .ok();
    }
    text
}

fn goal_table(figures: &Figures) -> String {
    let mut text = String::from(
        "Goals, random packets that match, counters on:\n\n\
         | rules | ratio | goal | measured | |\n|---|---|---:|---:|---|\n",
    );
    for goal in goals(figures) {
        let bound = match goal.bound {
            Bound::AtMost(bound) => format!("≤ {bound}"),
            Bound::AtLeast(bound) => format!("≥ {bound}"),
        };
        let measured = goal.measured.map_or("–".into(), short);
        let met = match goal.is_met() {
            Some(true) => "met",
            Some(false) => "not met",
            None => "not measured",
        };
        writeln!(
            text,
            "| {} | {} | {bound} | {measured} | {met} |",
            goal.set, goal.ratio
        )
        .ok();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short_and_grouped() {
        assert_eq!(short(2.34), "2.3");
        assert_eq!(short(1234.5), "1,235");
        assert_eq!(grouped(100), "100");
        assert_eq!(grouped(-1_000_000), "-1,000,000");
        assert_eq!(kilobytes(1), "1");
    }
}
