//! `-m cgroup`: the control group of the packet's socket (libxt_cgroup, xt_cgroup.c).

use bstr::BString;
use serde::Serialize;

use crate::diagnostic::{Diagnostic, code};
use crate::extension::{Arguments, Extension, Opt, OptionSpec, Problem};
use crate::listing::Listing;
use crate::print::Line;
use crate::ruleset::{Negatable, NfHook};
use crate::value::word32;

/// The `cgroup` match. A packet without a socket never matches, inverted or not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Cgroup {
    /// `--path`: this group of the unified hierarchy or one below it, relative to its root. That the
    /// group exists is not checked here; the kernel does it when a rule is loaded.
    Path(Negatable<BString>),
    /// `--cgroup`: the class of the `net_cls` controller.
    Class(Negatable<u32>),
}

/// `XT_CGROUP_PATH_LEN` less the NUL.
const PATH_LIMIT: usize = 511;

static PATH: Opt<BString> = Opt::new(&["path"], |value| match value.word(0) {
    path if path.len() > PATH_LIMIT => Err(Problem::new(format!(
        "the path is longer than {PATH_LIMIT} bytes"
    ))),
    path => Ok(path.into()),
})
.invertible();
static CLASS: Opt<u32> = Opt::new(&["cgroup"], |value| {
    word32(value.word(0)).ok_or_else(|| {
        Problem::new("a class is a number of at most 32 bits").with_help("use --path with a path")
    })
})
.invertible();

impl Extension for Cgroup {
    const NAME: &'static str = "cgroup";
    const OPTIONS: &'static [&'static OptionSpec] = &[&PATH.spec, &CLASS.spec];

    fn build(arguments: &mut Arguments<'_>) -> Result<Self, Diagnostic> {
        arguments.at_most_one(Self::OPTIONS)?;
        let path = arguments.get(&PATH)?.map(Self::Path);
        let class = arguments.get(&CLASS)?.map(Self::Class);
        path.or(class).ok_or_else(|| {
            Diagnostic::error(code::MISSING_OPTION, arguments.span, "no group is given")
                .with_help("add --path or --cgroup")
        })
    }

    fn hooks(&self) -> &'static [NfHook] {
        &[NfHook::Input, NfHook::Output, NfHook::Postrouting]
    }

    fn print(&self, line: &mut Line) {
        match self {
            Self::Path(path) => {
                line.option(path.negated, "--path");
                line.string(&path.value.value);
            }
            Self::Class(class) => {
                line.option(class.negated, "--cgroup");
                line.word(class.value.value);
            }
        }
    }

    fn list(&self, line: &mut Listing<'_>) {
        line.word("cgroup");
        let (negated, shown) = match self {
            Self::Path(path) => (path.negated, path.value.value.to_string()),
            Self::Class(class) => (class.negated, class.value.value.to_string()),
        };
        if negated {
            line.word("!");
        }
        line.word(shown);
    }
}
