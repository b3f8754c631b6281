//! `-m conntrack --ctstate` and `-m state` (libxt_conntrack, xt_conntrack.c, xt_state.c).

use serde::Serialize;

use crate::diagnostic::Diagnostic;
use crate::extension::{Arguments, Extension, Opt, OptionSpec, Problem};
use crate::print::Line;
use crate::ruleset::Negatable;
use crate::value::is_prefix_of;
use bstr::{BStr, ByteSlice};

/// A set of connection states.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize)]
pub struct States {
    /// `INVALID`
    pub invalid: bool,
    /// `NEW`
    pub new: bool,
    /// `RELATED`
    pub related: bool,
    /// `ESTABLISHED`
    pub established: bool,
    /// `UNTRACKED`
    pub untracked: bool,
    /// `SNAT`, only with `-m conntrack`
    pub snat: bool,
    /// `DNAT`, only with `-m conntrack`
    pub dnat: bool,
}

/// The `conntrack` match.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Conntrack {
    /// `--ctstate`
    pub states: Negatable<States>,
}

/// The `state` match.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct State {
    /// `--state`
    pub states: Negatable<States>,
}

static CTSTATE: Opt<States> =
    Opt::new(&["ctstate"], |value| states(value.word(0), true)).invertible();
static STATE: Opt<States> = Opt::new(&["state"], |value| states(value.word(0), false)).invertible();

/// The other options of `-m conntrack`.
static CTPROTO: OptionSpec = OptionSpec::passed_through(&["ctproto"]);
static CTORIGSRC: OptionSpec = OptionSpec::passed_through(&["ctorigsrc"]);
static CTORIGDST: OptionSpec = OptionSpec::passed_through(&["ctorigdst"]);
static CTREPLSRC: OptionSpec = OptionSpec::passed_through(&["ctreplsrc"]);
static CTREPLDST: OptionSpec = OptionSpec::passed_through(&["ctrepldst"]);
static CTORIGSRCPORT: OptionSpec = OptionSpec::passed_through(&["ctorigsrcport"]);
static CTORIGDSTPORT: OptionSpec = OptionSpec::passed_through(&["ctorigdstport"]);
static CTREPLSRCPORT: OptionSpec = OptionSpec::passed_through(&["ctreplsrcport"]);
static CTREPLDSTPORT: OptionSpec = OptionSpec::passed_through(&["ctrepldstport"]);
static CTSTATUS: OptionSpec = OptionSpec::passed_through(&["ctstatus"]);
static CTEXPIRE: OptionSpec = OptionSpec::passed_through(&["ctexpire"]);
static CTDIR: OptionSpec = OptionSpec::passed_through(&["ctdir"]);

impl Extension for Conntrack {
    const NAME: &'static str = "conntrack";
    const OPTIONS: &'static [&'static OptionSpec] = &[
        &CTSTATE.spec,
        &CTPROTO,
        &CTORIGSRC,
        &CTORIGDST,
        &CTREPLSRC,
        &CTREPLDST,
        &CTORIGSRCPORT,
        &CTORIGDSTPORT,
        &CTREPLSRCPORT,
        &CTREPLDSTPORT,
        &CTSTATUS,
        &CTEXPIRE,
        &CTDIR,
    ];

    fn build(arguments: &mut Arguments<'_>) -> Result<Self, Diagnostic> {
        let states = arguments.need(&CTSTATE)?;
        Ok(Self { states })
    }

    fn print(&self, line: &mut Line) {
        line.option(self.states.negated, "--ctstate");
        line.word(self.states.value.value.list());
    }
}

impl Extension for State {
    const NAME: &'static str = "state";
    const OPTIONS: &'static [&'static OptionSpec] = &[&STATE.spec];

    fn build(arguments: &mut Arguments<'_>) -> Result<Self, Diagnostic> {
        let states = arguments.need(&STATE)?;
        Ok(Self { states })
    }

    fn print(&self, line: &mut Line) {
        line.option(self.states.negated, "--state");
        line.word(self.states.value.value.list());
    }
}

impl States {
    /// The states by name, in the order in which save prints them.
    fn named(&self) -> [(&'static str, bool); 7] {
        [
            ("INVALID", self.invalid),
            ("NEW", self.new),
            ("RELATED", self.related),
            ("ESTABLISHED", self.established),
            ("UNTRACKED", self.untracked),
            ("SNAT", self.snat),
            ("DNAT", self.dnat),
        ]
    }

    fn list(&self) -> String {
        let names: Vec<&str> = self
            .named()
            .iter()
            .filter(|row| row.1)
            .map(|row| row.0)
            .collect();
        names.join(",")
    }
}

/// Names between commas, each by any leading part (libxt_conntrack, `conntrack_ps_state`).
fn states(word: &[u8], with_nat: bool) -> Result<States, Problem> {
    let mut states = States::default();
    for name in word.split_str(",") {
        let fields: [(&str, &mut bool); 7] = [
            ("INVALID", &mut states.invalid),
            ("NEW", &mut states.new),
            ("ESTABLISHED", &mut states.established),
            ("RELATED", &mut states.related),
            ("UNTRACKED", &mut states.untracked),
            ("SNAT", &mut states.snat),
            ("DNAT", &mut states.dnat),
        ];
        let known = if with_nat { 7 } else { 5 };
        match fields
            .into_iter()
            .take(known)
            .find(|row| is_prefix_of(name, row.0))
        {
            Some((_, field)) => *field = true,
            None => {
                let nat = if with_nat {
                    ", UNTRACKED, SNAT and DNAT"
                } else {
                    " and UNTRACKED"
                };
                return Err(
                    Problem::new(format!("{:?} is no connection state", BStr::new(name)))
                        .with_help(format!(
                            "the states are INVALID, NEW, ESTABLISHED, RELATED{nat}"
                        )),
                );
            }
        }
    }
    Ok(states)
}
