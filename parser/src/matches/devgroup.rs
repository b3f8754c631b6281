//! `-m devgroup`: the groups that the packet's devices are in (libxt_devgroup, xt_devgroup.c).

use serde::Serialize;

use super::Masked;
use crate::diagnostic::{Diagnostic, code};
use crate::extension::{Arguments, Extension, Opt, OptionSpec, Problem, Value};
use crate::listing::Listing;
use crate::print::Line;
use crate::ruleset::{Negatable, NfHook};
use crate::value::masked;

/// The `devgroup` match. An option that is absent does not test; one at least is there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Devgroup {
    /// `--src-group`: the group of the device that the packet came in by.
    pub source: Option<Negatable<Masked>>,
    /// `--dst-group`: the group of the device that it leaves by.
    pub destination: Option<Negatable<Masked>>,
}

/// The group of every new device, by the name that iproute2 gives it.
const DEFAULT: (&str, Masked) = (
    "default",
    Masked {
        value: 0,
        mask: u32::MAX,
    },
);

static SOURCE: Opt<Masked> = Opt::new(&["src-group"], group).invertible();
static DESTINATION: Opt<Masked> = Opt::new(&["dst-group"], group).invertible();

impl Extension for Devgroup {
    const NAME: &'static str = "devgroup";
    const OPTIONS: &'static [&'static OptionSpec] = &[&SOURCE.spec, &DESTINATION.spec];

    fn build(arguments: &mut Arguments<'_>) -> Result<Self, Diagnostic> {
        let source = arguments.get(&SOURCE)?;
        let destination = arguments.get(&DESTINATION)?;
        if source.is_none() && destination.is_none() {
            return Err(Diagnostic::error(
                code::MISSING_OPTION,
                arguments.span,
                "no group is given",
            )
            .with_help("add --src-group or --dst-group"));
        }
        Ok(Self {
            source,
            destination,
        })
    }

    fn hooks(&self) -> &'static [NfHook] {
        use NfHook::{Forward, Input, Output, Postrouting, Prerouting};
        match (&self.source, &self.destination) {
            (Some(_), Some(_)) => &[Forward],
            (Some(_), None) => &[Prerouting, Input, Forward],
            (None, Some(_)) => &[Forward, Output, Postrouting],
            (None, None) => &NfHook::ALL,
        }
    }

    fn print(&self, line: &mut Line) {
        for (option, group) in [
            ("--src-group", &self.source),
            ("--dst-group", &self.destination),
        ] {
            let Some(group) = group else { continue };
            line.option(group.negated, option);
            if group.value.value == DEFAULT.1 {
                line.word(DEFAULT.0);
            } else {
                line.word(group.value.value);
            }
        }
    }

    fn list(&self, line: &mut Listing<'_>) {
        for (name, group) in [
            ("src-group", &self.source),
            ("dst-group", &self.destination),
        ] {
            let Some(group) = group else { continue };
            if group.negated {
                line.word("!");
            }
            line.word(name);
            match group.value.value == DEFAULT.1 && !line.style.numeric {
                true => line.word(DEFAULT.0),
                false => line.word(group.value.value),
            }
        }
    }
}

/// A number with or without a mask, or the one name that every system has.
fn group(value: &Value<'_>) -> Result<Masked, Problem> {
    let word = value.word(0);
    if word == DEFAULT.0.as_bytes() {
        return Ok(DEFAULT.1);
    }
    masked(word).map_err(|problem| Problem {
        help: Some("names of /etc/iproute2/group are not looked up: write the number".into()),
        ..problem
    })
}
