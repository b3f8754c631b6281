//! `systemd`: units that put rules onto a service.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Args;

use crate::failure::Usage;
use crate::output;

/// Where programs for units are pinned.
const PINS: &str = "/sys/fs/bpf/ipt2bpf-units";

/// Prints units by which systemd puts rules onto a service
///
/// Two files stand one behind the other, each below a line with its path: a service that loads the rules
/// and pins the programs, and a drop-in by which the unit uses them (IPIngressFilterPath= and
/// IPEgressFilterPath=, systemd.resource-control(5)). After the rules have changed, reload the first and
/// restart the unit; `ipt2bpf attach` replaces rules without that.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The unit, such as nginx.service or user.slice
    unit: String,
    /// Files as iptables-save writes them
    #[arg(value_name = "RULES", required = true)]
    files: Vec<PathBuf>,
    /// Sets that the rules ask for, as ipset save prints them; may be repeated
    #[arg(long, value_name = "FILE")]
    ipset: Vec<PathBuf>,
}

/// The kinds of units that have a cgroup, which are sections as well (systemd.resource-control(5)).
const KINDS: [(&str, &str); 6] = [
    ("service", "Service"),
    ("slice", "Slice"),
    ("scope", "Scope"),
    ("socket", "Socket"),
    ("mount", "Mount"),
    ("swap", "Swap"),
];

pub fn run(arguments: &Arguments) -> Result<()> {
    let (name, kind) = match arguments.unit.rsplit_once('.') {
        Some((name, kind)) => (name, kind),
        None => (arguments.unit.as_str(), "service"),
    };
    let section = KINDS
        .iter()
        .find(|(known, _)| *known == kind)
        .map(|(_, section)| *section);
    let valid = |c: char| c.is_ascii_alphanumeric() || ":-_.\\@".contains(c);
    let (Some(section), false, true) = (section, name.is_empty(), name.chars().all(valid)) else {
        let message = format!(
            "`{}` is no unit that has a cgroup, such as nginx.service or user.slice",
            arguments.unit
        );
        return Err(Usage(message).into());
    };
    let program = env::current_exe().context("the path of this program")?;
    let absolute = |files: &[PathBuf]| -> Result<Vec<PathBuf>> {
        let paths = files
            .iter()
            .map(|file| fs::canonicalize(file).with_context(|| file.display().to_string()));
        paths.collect()
    };
    let units = Units {
        unit: format!("{name}.{kind}"),
        section,
        pins: format!("{PINS}/{}", pin_name(name)),
        loader: format!("ipt2bpf-{}.service", name.replace('@', "-")),
        program,
        rules: absolute(&arguments.files)?,
        sets: absolute(&arguments.ipset)?,
    };
    output::print(units.print().as_bytes())
}

/// What the units are made of.
struct Units {
    unit: String,
    section: &'static str,
    pins: String,
    loader: String,
    program: PathBuf,
    rules: Vec<PathBuf>,
    sets: Vec<PathBuf>,
}

impl Units {
    fn print(&self) -> String {
        let Units {
            unit,
            section,
            pins,
            loader,
            program,
            rules,
            sets,
        } = self;
        let mut load = format!(
            "{} load --hook cgroup_skb/ingress --hook cgroup_skb/egress --pin {}",
            word(program),
            word(Path::new(pins))
        );
        for set in sets {
            load += &format!(" --ipset {}", word(set));
        }
        for file in rules {
            load += &format!(" {}", word(file));
        }
        let files: Vec<String> = rules.iter().chain(sets).map(|file| word(file)).collect();
        let files = files.join(" ");
        format!(
            "# /etc/systemd/system/{loader}\n\
             [Unit]\n\
             Description=Rules of {unit} as BPF programs\n\
             Documentation=man:ipt2bpf(1)\n\
             RequiresMountsFor={PINS} {files}\n\
             Before={unit}\n\
             \n\
             [Service]\n\
             Type=oneshot\n\
             RemainAfterExit=yes\n\
             ExecStart={load}\n\
             ExecReload={load}\n\
             \n\
             # /etc/systemd/system/{unit}.d/50-ipt2bpf.conf\n\
             [Unit]\n\
             Requires={loader}\n\
             After={loader}\n\
             \n\
             [{section}]\n\
             IPIngressFilterPath={pins}/ipt2bpf_ingress\n\
             IPEgressFilterPath={pins}/ipt2bpf_egress\n"
        )
    }
}

/// A name without dots, which BPF file systems do not take, and without backslashes.
fn pin_name(unit: &str) -> String {
    unit.replace(['.', '\\'], "_")
}

/// A path as a word of a unit file (systemd.syntax(7), systemd.service(5)).
fn word(path: &Path) -> String {
    let text = path.display().to_string();
    let text = text.replace('%', "%%").replace('$', "$$");
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:@,=%$".contains(c);
    match text.chars().all(plain) {
        true => text,
        false => format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_where_systemd_wants_it() {
        for (path, text) in [
            ("/etc/rules.v4", "/etc/rules.v4"),
            ("/etc/my rules", "\"/etc/my rules\""),
            ("/etc/50%", "/etc/50%%"),
            ("/etc/a\"b\\", "\"/etc/a\\\"b\\\\\""),
        ] {
            assert_eq!(word(Path::new(path)), text);
        }
    }

    #[test]
    fn pins_have_no_dots() {
        assert_eq!(pin_name("user@1.0"), "user@1_0");
    }
}
