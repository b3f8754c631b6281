//! `-m recent`: lists of addresses seen lately (libxt_recent, xt_recent.c).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use bstr::BString;
use serde::Serialize;

use crate::diagnostic::{Diagnostic, code};
use crate::extension::{Arguments, Extension, Opt, OptionSpec, Problem, Value, switch};
use crate::listing::Listing;
use crate::print::{Inet, Line};
use crate::ruleset::{Family, Negatable};
use crate::value::{host, integer, number_of};

/// The `recent` match.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Recent {
    /// What is done with the list.
    pub check: Negatable<Check>,
    /// `--seconds`: an entry counts when it was last seen so long ago at most. Never 0, and none
    /// with [`Check::Set`] and [`Check::Remove`].
    pub seconds: Option<u32>,
    /// `--reap`: older entries are purged. Only with seconds.
    pub reap: bool,
    /// `--hitcount`: an entry counts when it was seen so often at least. Never 0, and none with
    /// [`Check::Set`] and [`Check::Remove`].
    pub hit_count: Option<u16>,
    /// `--rttl`: the TTL must be that of the entry. Not with [`Check::Set`] and [`Check::Remove`].
    pub ttl: bool,
    /// `--name` of the list, shared by all rules of the network namespace; 1 to 199 bytes.
    pub name: BString,
    /// `--mask`: the bits of the address that count.
    pub mask: IpAddr,
    /// Which address is looked up.
    pub side: Side,
}

/// What a rule does with a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Check {
    /// `--set`: adds the address; always true.
    Set,
    /// `--rcheck`: whether the address is in it.
    Rcheck,
    /// `--update`: the same, and the entry is seen again.
    Update,
    /// `--remove`: the same, and the entry goes.
    Remove,
}

/// Which address of the packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    /// `--rsource`
    Source,
    /// `--rdest`
    Destination,
}

/// `XT_RECENT_NAME_LEN` less the NUL.
const NAME_LIMIT: usize = 199;
/// `XT_RECENT_MAX_NSTAMPS` less one.
const HIT_LIMIT: u32 = u16::MAX as u32;

static SET: Opt<()> = switch(&["set"]).invertible();
static RCHECK: Opt<()> = switch(&["rcheck"]).invertible();
static UPDATE: Opt<()> = switch(&["update"]).invertible();
static REMOVE: Opt<()> = switch(&["remove"]).invertible();
static SECONDS: Opt<u32> = Opt::new(&["seconds"], seconds);
static REAP: Opt<()> = switch(&["reap"]);
static HIT_COUNT: Opt<Option<u16>> = Opt::new(&["hitcount"], hit_count);
static TTL: Opt<()> = switch(&["rttl"]);
static NAME: Opt<BString> = Opt::new(&["name"], name);
static MASK: Opt<IpAddr> = Opt::new(&["mask"], |value| host(value.word(0), value.rule.family));
static SOURCE: Opt<()> = switch(&["rsource"]);
static DESTINATION: Opt<()> = switch(&["rdest"]);

/// The options that choose what is done.
const CHECKS: [(&Opt<()>, Check); 4] = [
    (&SET, Check::Set),
    (&RCHECK, Check::Rcheck),
    (&UPDATE, Check::Update),
    (&REMOVE, Check::Remove),
];

impl Extension for Recent {
    const NAME: &'static str = "recent";
    const OPTIONS: &'static [&'static OptionSpec] = &[
        &SET.spec,
        &RCHECK.spec,
        &UPDATE.spec,
        &REMOVE.spec,
        &SECONDS.spec,
        &REAP.spec,
        &HIT_COUNT.spec,
        &TTL.spec,
        &NAME.spec,
        &MASK.spec,
        &SOURCE.spec,
        &DESTINATION.spec,
    ];

    fn build(arguments: &mut Arguments<'_>) -> Result<Self, Diagnostic> {
        let check = check(arguments)?;
        let name = match arguments.get(&NAME)? {
            Some(given) => arguments.cut(given.value, NAME_LIMIT).value,
            None => BString::from("DEFAULT"),
        };
        let recent = Self {
            seconds: arguments.get(&SECONDS)?.map(|given| given.value.value),
            reap: arguments.has(&REAP),
            hit_count: arguments
                .get(&HIT_COUNT)?
                .and_then(|given| given.value.value),
            ttl: arguments.has(&TTL),
            name,
            mask: match (arguments.get(&MASK)?, arguments.rule.family) {
                (Some(given), _) => given.value.value,
                (None, Family::V4) => Ipv4Addr::BROADCAST.into(),
                (None, Family::V6) => Ipv6Addr::from_bits(u128::MAX).into(),
            },
            // The last word counts when both are given.
            side: if arguments.has(&DESTINATION)
                && !arguments.are_in_order(&DESTINATION.spec, &SOURCE.spec)
            {
                Side::Destination
            } else {
                Side::Source
            },
            check,
        };
        recent.check_combination(arguments)?;
        Ok(recent)
    }

    fn print(&self, line: &mut Line) {
        line.option(
            self.check.negated,
            match self.check.value.value {
                Check::Set => "--set",
                Check::Rcheck => "--rcheck",
                Check::Update => "--update",
                Check::Remove => "--remove",
            },
        );
        if let Some(seconds) = self.seconds {
            line.word("--seconds");
            // The tool prints it with a sign.
            line.word(seconds.cast_signed());
        }
        if self.reap {
            line.word("--reap");
        }
        if let Some(count) = self.hit_count {
            line.word("--hitcount");
            line.word(count);
        }
        if self.ttl {
            line.word("--rttl");
        }
        line.word("--name");
        line.raw(&self.name);
        line.word("--mask");
        line.word(Inet(self.mask));
        line.word(match self.side {
            Side::Source => "--rsource",
            Side::Destination => "--rdest",
        });
    }

    fn list(&self, line: &mut Listing<'_>) {
        if self.check.negated {
            line.word("!");
        }
        line.word(format_args!(
            "recent: {}",
            match self.check.value.value {
                Check::Set => "SET",
                Check::Rcheck => "CHECK",
                Check::Update => "UPDATE",
                Check::Remove => "REMOVE",
            }
        ));
        if let Some(seconds) = self.seconds {
            line.word(format_args!("seconds: {}", seconds.cast_signed()));
        }
        if self.reap {
            line.word("reap");
        }
        if let Some(count) = self.hit_count {
            line.word(format_args!("hit_count: {count}"));
        }
        if self.ttl {
            line.word("TTL-Match");
        }
        let side = match self.side {
            Side::Source => "source",
            Side::Destination => "dest",
        };
        let (name, mask) = (&self.name, Inet(self.mask));
        line.word(format_args!("name: {name} side: {side} mask: {mask}"));
    }
}

impl Recent {
    fn check_combination(&self, arguments: &Arguments<'_>) -> Result<(), Diagnostic> {
        let is_change = matches!(self.check.value.value, Check::Set | Check::Remove);
        let has_test = self.seconds.is_some() || self.hit_count.is_some() || self.ttl;
        if is_change && has_test {
            let message = "--seconds, --hitcount and --rttl do not go with --set and --remove";
            return Err(Diagnostic::error(code::BAD_VALUE, arguments.span, message)
                .with_help("test with --rcheck or --update in a rule of its own"));
        }
        if self.reap && self.seconds.is_none() {
            let message = "--reap needs --seconds";
            return Err(Diagnostic::error(
                code::MISSING_OPTION,
                arguments.span,
                message,
            ));
        }
        Ok(())
    }
}

fn check(arguments: &Arguments<'_>) -> Result<Negatable<Check>, Diagnostic> {
    arguments.at_most_one(&CHECKS.map(|row| &row.0.spec))?;
    for (option, check) in CHECKS {
        if let Some(given) = arguments.get(option)? {
            return Ok(Negatable {
                negated: given.negated,
                value: given.value.map(|()| check),
            });
        }
    }
    let message = "recent does nothing without an option";
    Err(
        Diagnostic::error(code::MISSING_OPTION, arguments.span, message)
            .usage("recent: you must specify one of `--set', `--rcheck' `--update' or `--remove'")
            .with_help("add --set, --rcheck, --update or --remove"),
    )
}

fn seconds(value: &Value<'_>) -> Result<u32, Problem> {
    match number_of(value.word(0))? {
        0 => Err(Problem::new("at least one second is needed")),
        seconds => Ok(seconds),
    }
}

/// Zero tests nothing.
fn hit_count(value: &Value<'_>) -> Result<Option<u16>, Problem> {
    let count = integer(value.word(0), HIT_LIMIT.into());
    match count.and_then(|count| u16::try_from(count).ok()) {
        Some(0) => Ok(None),
        Some(count) => Ok(Some(count)),
        None => Err(Problem::new(format!(
            "a hit count is a number up to {HIT_LIMIT}, which is the most that the kernel keeps"
        ))),
    }
}

/// A name that can be that of a file in /proc (x_tables.c, `xt_check_proc_name`).
fn name(value: &Value<'_>) -> Result<BString, Problem> {
    match value.word(0) {
        [] | b"." | b".." => Err(Problem::new("the kernel refuses this name for a list")),
        name if name.contains(&b'/') => Err(Problem::new("the name of a list holds no /")),
        name => Ok(name.into()),
    }
}
