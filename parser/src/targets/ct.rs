//! `-j CT`: how connection tracking treats the packet; the packet goes on (libxt_CT, xt_CT.c).

use std::collections::BTreeSet;

use bstr::{BStr, BString, ByteSlice};
use serde::Serialize;

use crate::diagnostic::{Diagnostic, code};
use crate::extension::{Arguments, Extension, Opt, OptionSpec, Problem, Value, switch, text};
use crate::listing::Listing;
use crate::print::Line;
use crate::ruleset::TableKind;
use crate::span::Spanned;
use crate::value::number_of;

/// The `CT` target.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Ct {
    /// `--notrack`: the packet is not tracked at all, whatever else is given.
    pub notrack: bool,
    /// `--helper`, at most 15 bytes; empty for none. The running kernel must know it.
    pub helper: BString,
    /// `--timeout`, at most 31 bytes; empty for none. The running kernel must know it.
    pub timeout: BString,
    /// `--ctevents`: the only events of the connection that are told; empty for all.
    pub events: BTreeSet<Event>,
    /// `--expevents new`
    pub expectation_events: bool,
    /// `--zone`, `--zone-orig`, `--zone-reply`
    pub zone: Option<Zone>,
}

/// A connection tracking zone other than the default one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Zone {
    /// Its number.
    pub id: ZoneId,
    /// The packets of a connection that it is for; none for both directions.
    pub direction: Option<Direction>,
}

/// Where the number of a zone comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ZoneId {
    /// A number.
    Number(u16),
    /// The low 16 bits of the packet's mark.
    Mark,
}

/// A direction of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// That of its first packet.
    Original,
    /// The other.
    Reply,
}

/// What is told of a connection (`enum ip_conntrack_events`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Event {
    /// It is new.
    New,
    /// It is new and related to another.
    Related,
    /// It is gone.
    Destroy,
    /// A first reply was seen.
    Reply,
    /// It is assured.
    Assured,
    /// The state of its protocol has changed.
    Protoinfo,
    /// It has got a helper.
    Helper,
    /// Its mark has changed.
    Mark,
    /// Its sequence numbers are adjusted.
    Natseqinfo,
    /// Its security mark has changed.
    Secmark,
}

/// The bytes that `struct xt_ct_target_info_v1` holds of a helper's name.
const HELPER_LIMIT: usize = 15;
/// The bytes that it holds of the name of a timeout policy.
const TIMEOUT_LIMIT: usize = 31;
const EVENTS: [(&str, Event); 10] = [
    ("new", Event::New),
    ("related", Event::Related),
    ("destroy", Event::Destroy),
    ("reply", Event::Reply),
    ("assured", Event::Assured),
    ("protoinfo", Event::Protoinfo),
    ("helper", Event::Helper),
    ("mark", Event::Mark),
    ("natseqinfo", Event::Natseqinfo),
    ("secmark", Event::Secmark),
];

static NOTRACK: Opt<()> = switch(&["notrack"]);
static HELPER: Opt<BString> = text(&["helper"]);
static TIMEOUT: Opt<BString> = text(&["timeout"]);
static CTEVENTS: Opt<BTreeSet<Event>> = Opt::new(&["ctevents"], events);
static EXPEVENTS: Opt<()> = Opt::new(&["expevents"], expectation_events);
static ZONE: Opt<ZoneId> = Opt::new(&["zone"], zone_id);
static ZONE_ORIG: Opt<ZoneId> = Opt::new(&["zone-orig"], zone_id);
static ZONE_REPLY: Opt<ZoneId> = Opt::new(&["zone-reply"], zone_id);

impl Extension for Ct {
    const NAME: &'static str = "CT";
    const TABLES: &'static [TableKind] = &[TableKind::Raw];
    const OPTIONS: &'static [&'static OptionSpec] = &[
        &NOTRACK.spec,
        &HELPER.spec,
        &TIMEOUT.spec,
        &CTEVENTS.spec,
        &EXPEVENTS.spec,
        &ZONE.spec,
        &ZONE_ORIG.spec,
        &ZONE_REPLY.spec,
    ];

    fn build(arguments: &mut Arguments<'_>) -> Result<Self, Diagnostic> {
        let ct = Self {
            notrack: arguments.has(&NOTRACK),
            helper: arguments.text(&HELPER, HELPER_LIMIT)?.unwrap_or_default(),
            timeout: arguments.text(&TIMEOUT, TIMEOUT_LIMIT)?.unwrap_or_default(),
            events: arguments
                .get(&CTEVENTS)?
                .map(|given| given.value.value)
                .unwrap_or_default(),
            expectation_events: arguments.get(&EXPEVENTS)?.is_some(),
            zone: zone(arguments)?,
        };
        let is_for_protocol = !ct.helper.is_empty() || !ct.timeout.is_empty();
        if is_for_protocol && !ct.notrack && arguments.rule.protocol().unwrap_or(0) == 0 {
            return Err(arguments
                .error(
                    code::MISPLACED,
                    "a helper or timeout policy needs -p with one protocol",
                )
                .with_help("add -p tcp or -p udp, not inverted"));
        }
        Ok(ct)
    }

    fn print(&self, line: &mut Line) {
        if self.notrack {
            line.word("--notrack");
        }
        for (option, name) in [("--helper", &self.helper), ("--timeout", &self.timeout)] {
            if !name.is_empty() {
                line.word(option);
                line.raw(name);
            }
        }
        if !self.events.is_empty() {
            let names: Vec<&str> = EVENTS
                .iter()
                .filter(|row| self.events.contains(&row.1))
                .map(|row| row.0)
                .collect();
            line.word("--ctevents");
            line.word(names.join(","));
        }
        if self.expectation_events {
            line.word("--expevents new");
        }
        if let Some(zone) = &self.zone {
            line.word(match zone.direction {
                None => "--zone",
                Some(Direction::Original) => "--zone-orig",
                Some(Direction::Reply) => "--zone-reply",
            });
            match zone.id {
                ZoneId::Number(number) => line.word(number),
                ZoneId::Mark => line.word("mark"),
            }
        }
    }

    fn list(&self, line: &mut Listing<'_>) {
        line.word("CT");
        line.undashed(|line| self.print(line));
    }
}

/// Of several zones the tool takes the last number that is given, the mark if any names it, and all
/// directions together; both are none (libxt_CT, `ct_parse_zone_id`).
fn zone(arguments: &Arguments<'_>) -> Result<Option<Zone>, Diagnostic> {
    let mut given: Vec<Spanned<ZoneId>> = Vec::new();
    for option in [&ZONE, &ZONE_ORIG, &ZONE_REPLY] {
        given.extend(arguments.get(option)?.map(|given| given.value));
    }
    let is_original = arguments.get(&ZONE_ORIG)?.is_some();
    let is_reply = arguments.get(&ZONE_REPLY)?.is_some();
    let last = given.iter().max_by_key(|zone| zone.span.start);
    let is_mark = given.iter().any(|zone| zone.value == ZoneId::Mark);
    let id = match last.map(|zone| zone.value) {
        _ if is_mark => ZoneId::Mark,
        None | Some(ZoneId::Number(0)) => return Ok(None),
        Some(id) => id,
    };
    Ok(Some(Zone {
        id,
        direction: match (is_original, is_reply) {
            (true, false) => Some(Direction::Original),
            (false, true) => Some(Direction::Reply),
            _ => None,
        },
    }))
}

fn zone_id(value: &Value<'_>) -> Result<ZoneId, Problem> {
    match value.word(0) {
        word if word.eq_ignore_ascii_case(b"mark") => Ok(ZoneId::Mark),
        word => number_of(word).map(ZoneId::Number),
    }
}

fn events(value: &Value<'_>) -> Result<BTreeSet<Event>, Problem> {
    let events = value.word(0).split_str(",").map(|name| {
        let row = EVENTS.iter().find(|row| row.0.as_bytes() == name);
        row.map(|row| row.1).ok_or_else(|| {
            let names: Vec<&str> = EVENTS.iter().map(|row| row.0).collect();
            Problem::new(format!("{:?} is no connection event", BStr::new(name)))
                .with_help(format!("the events are {}", names.join(", ")))
        })
    });
    events.collect()
}

fn expectation_events(value: &Value<'_>) -> Result<(), Problem> {
    let mut names = value.word(0).split_str(",");
    match names.find(|name| *name != b"new") {
        Some(name) => Err(Problem::new(format!(
            "{:?} is no event of expected connections",
            BStr::new(name)
        ))
        .with_help("the only event is new")),
        None => Ok(()),
    }
}
