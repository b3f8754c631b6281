//! `-m realm`: the routing realm of a packet (libxt_realm, xt_realm.c).

use serde::Serialize;

use super::Masked;
use crate::diagnostic::Diagnostic;
use crate::extension::{Arguments, Extension, Opt, OptionSpec, Problem, Value};
use crate::listing::Listing;
use crate::print::Line;
use crate::ruleset::{Family, Negatable, NfHook};
use crate::value::masked;

/// The `realm` match: the class of the packet's route (`dst_entry.tclassid`, the source realm in its
/// upper half).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Realm(pub Negatable<Masked>);

/// The only realm with a name in the /etc/iproute2/rt_realms of distributions.
const COSMOS: Masked = Masked {
    value: 0,
    mask: u32::MAX,
};

static REALM: Opt<Masked> = Opt::new(&["realm"], realm).invertible();

impl Extension for Realm {
    const NAME: &'static str = "realm";
    const FAMILY: Option<Family> = Some(Family::V4);
    const OPTIONS: &'static [&'static OptionSpec] = &[&REALM.spec];

    fn build(arguments: &mut Arguments<'_>) -> Result<Self, Diagnostic> {
        arguments.need(&REALM).map(Self)
    }

    /// There is no route before routing.
    fn hooks(&self) -> &'static [NfHook] {
        &[
            NfHook::Input,
            NfHook::Forward,
            NfHook::Output,
            NfHook::Postrouting,
        ]
    }

    fn print(&self, line: &mut Line) {
        line.option(self.0.negated, "--realm");
        match self.0.value.value {
            COSMOS => line.word("cosmos"),
            other => line.word(other),
        }
    }

    fn list(&self, line: &mut Listing<'_>) {
        if self.0.negated {
            line.word("!");
        }
        line.word("realm");
        match self.0.value.value {
            COSMOS if !line.style.numeric => line.word("cosmos"),
            other => line.word(other),
        }
    }
}

fn realm(value: &Value<'_>) -> Result<Masked, Problem> {
    match value.word(0) {
        b"cosmos" => Ok(COSMOS),
        word => masked(word).map_err(|problem| {
            problem.with_help("names of realms are not looked up: write numbers")
        }),
    }
}
