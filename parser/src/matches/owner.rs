//! `-m owner`: the user and group behind a packet that this host sends (libxt_owner, xt_owner.c).

use bstr::{BStr, ByteSlice};
use serde::Serialize;

use crate::diagnostic::{Diagnostic, code};
use crate::extension::{Arguments, Extension, Opt, OptionSpec, Problem, Value, switch};
use crate::listing::Listing;
use crate::print::Line;
use crate::range::Range;
use crate::ruleset::{Negatable, NfHook};
use crate::span::Spanned;
use crate::value::integer;

/// The `owner` match. At least one of its tests is there, and all must hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Owner {
    /// `--socket-exists`
    pub socket_exists: Option<Negatable<()>>,
    /// `--uid-owner`: the user who opened the socket.
    pub user: Option<Negatable<Range<u32>>>,
    /// `--gid-owner`: the group of who opened the socket.
    pub group: Option<Negatable<Range<u32>>>,
    /// `--suppl-groups`: supplementary groups count for `--gid-owner`, too.
    pub supplementary_groups: bool,
}

/// The greatest user or group, as the next stands for none.
const GREATEST: u64 = u32::MAX as u64 - 1;

static SOCKET_EXISTS: Opt<()> = switch(&["socket-exists"]).invertible();
static USER: Opt<Range<u32>> = Opt::new(&["uid-owner"], users).invertible();
static GROUP: Opt<Range<u32>> = Opt::new(&["gid-owner"], groups).invertible();
static SUPPLEMENTARY_GROUPS: Opt<()> = switch(&["suppl-groups"]);

fn list_ids(
    line: &mut Listing<'_>,
    name: &str,
    ids: &Option<Negatable<Range<u32>>>,
    account: &dyn Fn(u32) -> Option<String>,
) {
    let Some(ids) = ids else { return };
    if ids.negated {
        line.word("!");
    }
    line.word(name);
    let Range { low, high } = ids.value.value;
    if low != high {
        return line.word(format_args!("{low}-{high}"));
    }
    match account(low).filter(|_| !line.style.numeric) {
        Some(name) => line.word(name),
        None => line.word(low),
    }
}

impl Extension for Owner {
    const NAME: &'static str = "owner";
    const OPTIONS: &'static [&'static OptionSpec] = &[
        &SOCKET_EXISTS.spec,
        &USER.spec,
        &GROUP.spec,
        &SUPPLEMENTARY_GROUPS.spec,
    ];

    fn build(arguments: &mut Arguments<'_>) -> Result<Self, Diagnostic> {
        if arguments.has(&SUPPLEMENTARY_GROUPS)
            && !arguments.are_in_order(&GROUP.spec, &SUPPLEMENTARY_GROUPS.spec)
        {
            let message = "--suppl-groups needs a --gid-owner before it";
            return Err(Diagnostic::error(
                code::MISSING_OPTION,
                arguments.span,
                message,
            ));
        }
        let owner = Self {
            socket_exists: arguments.get(&SOCKET_EXISTS)?,
            user: arguments.get(&USER)?,
            group: arguments.get(&GROUP)?,
            supplementary_groups: arguments.has(&SUPPLEMENTARY_GROUPS),
        };
        if owner.socket_exists.is_none() && owner.user.is_none() && owner.group.is_none() {
            return Err(Diagnostic::error(
                code::MISSING_OPTION,
                arguments.span,
                "no owner is given",
            )
            .usage("owner: At least one of --uid-owner, --gid-owner or --socket-exists is required")
            .with_help("add --uid-owner, --gid-owner or --socket-exists"));
        }
        Ok(owner)
    }

    fn hooks(&self) -> &'static [NfHook] {
        &[NfHook::Output, NfHook::Postrouting]
    }

    fn print(&self, line: &mut Line) {
        if let Some(socket_exists) = &self.socket_exists {
            line.option(socket_exists.negated, "--socket-exists");
        }
        for (option, ids) in [("--uid-owner", &self.user), ("--gid-owner", &self.group)] {
            if let Some(Negatable {
                negated,
                value: Spanned { value: ids, .. },
            }) = ids
            {
                line.option(*negated, option);
                if ids.low == ids.high {
                    line.word(ids.low);
                } else {
                    line.word(format!("{}-{}", ids.low, ids.high));
                }
            }
        }
        if self.supplementary_groups {
            line.word("--suppl-groups");
        }
    }

    fn list(&self, line: &mut Listing<'_>) {
        if let Some(socket_exists) = &self.socket_exists {
            if socket_exists.negated {
                line.word("!");
            }
            line.word("owner socket exists");
        }
        let names = line.style.names;
        let user = |id| names.user_name(id);
        let group = |id| names.group_name(id);
        list_ids(line, "owner UID match", &self.user, &user);
        list_ids(line, "owner GID match", &self.group, &group);
        if self.supplementary_groups {
            line.word("incl. suppl. groups");
        }
    }
}

/// The name of a user, which goes before numbers, or numbers.
fn users(value: &Value<'_>) -> Result<Range<u32>, Problem> {
    let word = value.word(0);
    match value.rule.names.user(word) {
        Some(user) => Ok(Range::of(user)),
        None => numbers(word, "user", "id -u").map_err(|it| it.usage(bad_owner("uid", word))),
    }
}

fn bad_owner(kind: &str, word: &[u8]) -> String {
    let shown = BStr::new(word);
    format!("owner: Bad value for \"--{kind}-owner\" option: \"{shown}\"")
}

/// The same of groups.
fn groups(value: &Value<'_>) -> Result<Range<u32>, Problem> {
    let word = value.word(0);
    match value.rule.names.group(word) {
        Some(group) => Ok(Range::of(group)),
        None => {
            numbers(word, "group", "getent group").map_err(|it| it.usage(bad_owner("gid", word)))
        }
    }
}

/// `number`, `low-high` or `low:high`. Else the word is taken for the name of a user or group that
/// is not there, whose number a command shows.
fn numbers(word: &[u8], kind: &str, command: &str) -> Result<Range<u32>, Problem> {
    let id = |word| integer(word, GREATEST).and_then(|id| u32::try_from(id).ok());
    let range = match word.find_byteset(b"-:") {
        None => id(word).map(Range::of),
        Some(at) => id(&word[..at])
            .zip(id(&word[at + 1..]))
            .map(|(low, high)| Range { low, high }),
    };
    match range {
        Some(Range { low, high }) if low > high => Err(Problem::new(format!(
            "the kernel refuses {low}-{high}, which runs backwards"
        ))),
        Some(range) => Ok(range),
        None => Err(Problem::new(format!(
            "{:?} is no {kind} of this machine and no number or range",
            BStr::new(word)
        ))
        .with_help(format!(
            "write the number that `{command} {}` shows on the machine that has the {kind}",
            BStr::new(word)
        ))),
    }
}
