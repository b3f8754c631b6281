//! What rules do with packets, one after the other, and how that is told.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use crate::evaluate::{Event, Outcome, Route, evaluate, value_seen};
use crate::field::{Field, NO_SEGMENT_SIZE};
use crate::log::book::Book;
use crate::log::line::{LinkHeader, Sight, line};
use crate::log::record::Record;
use crate::meaning::reject::Answer;
use crate::meaning::tell::Telling;
use crate::module::Hook;
use crate::options::Options;
use crate::packet::{Connected, Devices, Metadata, Packet};
use crate::routine::{Routine, World};
use crate::semantic::{ChainId, End, FamilyFilter, Filter, Path, Rule, Stage, Step, Test, Verdict};
use crate::track::{Flow, Key, state};
use ipt2bpf_parser::ruleset::{Family, NfHook, TableKind};
use ipt2bpf_parser::span::Sources;

use crate::messages::enumerate;

/// A packet at a hook.
pub struct Subject<'a> {
    /// What the user knows it by.
    pub title: String,
    /// What is to be known of how it was read.
    pub note: Option<String>,
    /// Where it is.
    pub hook: Hook,
    /// The family of its header.
    pub family: Family,
    /// Its bytes from the IP header on.
    pub bytes: &'a [u8],
    /// Its interfaces, also that which routing chooses for a packet at XDP.
    pub devices: &'a Devices,
    /// What else is known of it.
    pub metadata: &'a Metadata,
    /// The Ethernet header in front of it.
    pub link_header: Option<[u8; 14]>,
}

/// What became of a packet.
pub enum Judgement {
    /// No rule sees it, for this reason.
    Unfiltered(String),
    /// It went through the rules, which told this of it.
    Filtered(Box<Outcome>, Vec<Telling>),
}

impl Judgement {
    /// Whether it passed.
    pub fn verdict(&self) -> Verdict {
        match self {
            Judgement::Unfiltered(_) => Verdict::Accept,
            Judgement::Filtered(outcome, _) => outcome.verdict,
        }
    }
}

/// Rules with all that they remember from packet to packet.
pub struct Bench<'a> {
    filters: &'a [Filter],
    book: Book,
    sources: &'a Sources,
    world: World,
    /// Where the random numbers come from: the same in each run.
    chance: u64,
}

/// The latest second since 1970 that clocks are set to, 34,000 years on, whatever a capture says.
const LATEST: u64 = 1 << 40;
/// How many random numbers there are for the rules of one packet.
const RANDOM_NUMBERS: usize = 256;

impl<'a> Bench<'a> {
    /// Rules that have met no packet, with the clock and the times of these choices.
    pub fn new(filters: &'a [Filter], book: Book, sources: &'a Sources, options: &Options) -> Self {
        let mut world = World::default();
        world.tick_rate = options.tick_rate;
        world.timeouts = options.timeouts;
        Bench {
            filters,
            book,
            sources,
            world,
            chance: 1,
        }
    }

    /// Sets all clocks to a time since 1970. That of the kernel, which counts ticks, does not go back.
    pub fn set_clock(&mut self, time: Duration) {
        let World {
            seconds,
            jiffies,
            tick_rate,
            ..
        } = &mut self.world;
        *seconds = time.as_secs().min(LATEST).cast_signed();
        let rate = u64::from(*tick_rate);
        let part = u64::from(time.subsec_nanos()) * rate / 1_000_000_000;
        *jiffies = time
            .as_secs()
            .saturating_mul(rate)
            .saturating_add(part)
            .max(*jiffies);
    }

    /// Makes a connection known, which is forgotten so many seconds after the time that clocks have now.
    pub fn remember(&mut self, key: Key, flow: Flow, seconds_left: u32) {
        let left = seconds_left.saturating_mul(self.world.tick_rate);
        let expires = (self.world.jiffies as u32).wrapping_add(left);
        self.world.flows.insert(key, Flow { expires, ..flow });
    }

    /// The rules for a subject.
    pub fn filter(&self, subject: &Subject<'_>) -> Option<&'a FamilyFilter> {
        let filter = self.filters.iter().find(|it| it.hook == subject.hook)?;
        let mut families = filter.families.iter();
        families.find(|it| it.family == subject.family)
    }

    /// Lets a packet meet the rules.
    pub fn judge(&mut self, subject: &Subject<'_>) -> Judgement {
        let Some(filter) = self.filter(subject) else {
            let reason = format!("there is no {} ruleset", subject.family);
            return Judgement::Unfiltered(reason);
        };
        let Some(packet) = subject.packet() else {
            let reason = "the packet is too short for an IP header";
            return Judgement::Unfiltered(reason.into());
        };
        self.draw();
        let outcome = evaluate(filter, &packet, subject.route(), &mut self.world);
        Judgement::Filtered(Box::new(outcome), std::mem::take(&mut self.world.told))
    }

    /// Random numbers for the next packet: xorshift (G. Marsaglia, 2003).
    fn draw(&mut self) {
        let chance = &mut self.chance;
        let random = &mut self.world.random;
        random.clear();
        random.resize_with(RANDOM_NUMBERS, || {
            *chance ^= *chance << 13;
            *chance ^= *chance >> 7;
            *chance ^= *chance << 17;
            (*chance >> 32) as u32
        });
    }

    /// Tells of a packet; with the rules that did not match, too, and what was seen.
    pub fn story(&self, subject: &Subject<'_>, judgement: &Judgement, verbose: bool) -> String {
        let mut out = format!(
            "{}\n{}, {} bytes, at {}\n",
            subject.title,
            subject.family,
            subject.bytes.len(),
            subject.hook
        );
        if let Some(note) = &subject.note {
            out += &format!("{note}\n");
        }
        let (outcome, told) = match judgement {
            Judgement::Unfiltered(reason) => return out + &format!("ACCEPT: {reason}\n"),
            Judgement::Filtered(outcome, told) => (outcome, told),
        };
        let (Some(filter), Some(packet)) = (self.filter(subject), subject.packet()) else {
            return out;
        };
        let mut way = Way {
            bench: self,
            subject,
            verbose,
            filter,
            packet,
            told: told.iter(),
            asked: Vec::new(),
            table: TableKind::Filter,
            chain: None,
        };
        for event in &outcome.trace {
            out += &way.tell(event);
        }
        out + &way.verdict(outcome)
    }
}

impl Subject<'_> {
    fn packet(&self) -> Option<Packet<'_>> {
        // A packet at XDP has not met routing, which decides its way out.
        let seen = match self.hook {
            Hook::Xdp => &Devices {
                output: String::new(),
                ..self.devices.clone()
            },
            _ => self.devices,
        };
        let packet = Packet::new(self.family, self.bytes, seen)?;
        Some(packet.with(self.metadata.clone()))
    }

    fn route(&self) -> Route<'_> {
        match self.devices.output.as_str() {
            "" => Route::Local,
            device => Route::Transit(device),
        }
    }
}

/// The way of a packet, as far as it is told.
struct Way<'a> {
    bench: &'a Bench<'a>,
    subject: &'a Subject<'a>,
    verbose: bool,
    filter: &'a FamilyFilter,
    /// The packet as rules see it by now.
    packet: Packet<'a>,
    /// What rules tell of it from now on.
    told: std::slice::Iter<'a, Telling>,
    /// What routines of the current rule have answered, in words.
    asked: Vec<String>,
    /// The table that it is in.
    table: TableKind,
    /// The chain whose name stands above the last rule told.
    chain: Option<ChainId>,
}

impl Way<'_> {
    /// The lines for an event; none for one that is not told.
    fn tell(&mut self, event: &Event) -> String {
        match *event {
            Event::Entered(Stage {
                table, chain, path, ..
            }) => {
                self.table = table;
                self.chain = None;
                if let (Path::Transit, Route::Transit(device)) = (path, self.subject.route()) {
                    self.packet.leave_by(device);
                }
                self.heading(chain)
            }
            Event::Tracked(connection) => {
                self.packet.set_connection(connection);
                format!("connection state: {}\n", state_name(connection.state))
            }
            Event::Asked(chain, rule, step, answer) => {
                self.packet.set_answer(answer);
                let found = self.found(chain, rule);
                if let Some(Step::Ask(routine)) = found.and_then(|rule| rule.steps.get(step)) {
                    self.asked.push(answer_in_words(routine, answer));
                }
                String::new()
            }
            Event::Matched(chain, rule) => {
                let mut out = self.heading(chain) + &format!("  {}\n", self.rule(chain, rule));
                if let (true, Some(rule)) = (self.verbose, self.found(chain, rule)) {
                    let seen = self.seen(rule);
                    if !seen.is_empty() {
                        out += &detail(&format!("yes: {}", enumerate(&seen)));
                    }
                }
                for asked in std::mem::take(&mut self.asked) {
                    out += &detail(&asked);
                }
                let filter = self.filter;
                let rule = filter.chain(chain).rules.get(rule);
                for effect in rule.iter().flat_map(|rule| &rule.effects) {
                    out += &self.effect(effect);
                }
                out
            }
            Event::Changed(chain, _, field, value) => {
                change(&mut self.packet, field, value);
                let change = value_in_words(field, value).replacen(" is ", " becomes ", 1);
                self.heading(chain) + &detail(&change)
            }
            Event::DroppedByEffect(chain, ..) => {
                self.heading(chain) + &detail("dropped by its target")
            }
            Event::Missed(chain, rule, step) => {
                let why = self.why(chain, rule, step);
                self.asked.clear();
                if !self.verbose {
                    return String::new();
                }
                let rule = format!("  {}\n", self.rule(chain, rule));
                self.heading(chain) + &rule + &detail(&format!("no: {why}"))
            }
            Event::HotDrop(chain, rule, step) => {
                let why = self.why(chain, rule, step);
                self.asked.clear();
                let rule = format!("  {}\n", self.rule(chain, rule));
                self.heading(chain) + &rule + &detail(&format!("dropped: {why}"))
            }
            Event::Policy(chain) => {
                let mut out = self.heading(chain);
                let filter = self.filter;
                if let End::Policy(verdict, _) = filter.chain(chain).end {
                    out += &format!("  policy {}\n", shout(verdict));
                }
                for effect in &filter.chain(chain).effects {
                    out += &self.effect(effect);
                }
                out
            }
            Event::LaterFragment => {
                "INPUT sees fragments only when they are reassembled\n".to_owned()
            }
            Event::Remembered => "the new connection is remembered\n".to_owned(),
            Event::Exceeded => {
                "no hop is left: the kernel drops it and tells the sender\n".to_owned()
            }
            Event::KeptFromGroup => {
                "no hop is left: the kernel sends no such packet to a group\n".to_owned()
            }
        }
    }

    /// What an effect does beyond the packet; none for what only changes its fields.
    fn effect(&mut self, effect: &Routine) -> String {
        match effect {
            Routine::Tell(tell) => {
                let mut rest = self.told.clone();
                match rest.next() {
                    Some(told) if (told.occasion, told.number) == (tell.occasion, tell.number) => {
                        self.told = rest;
                        self.line(told).map_or(String::new(), |line| {
                            detail(&format!("logs: {}", line.trim_end()))
                        })
                    }
                    _ => String::new(),
                }
            }
            effect if effect.work().rewrites() => {
                effect
                    .work()
                    .perform(&mut self.packet, &mut World::default());
                String::new()
            }
            Routine::StartTrace(_) => detail("is traced from here on"),
            Routine::SetPriority(priority) => detail(&format!("sets {priority}")),
            Routine::ChangeElements(change) => detail(&format!("wants to {change}")),
            _ => String::new(),
        }
    }

    /// The line that the log gets.
    fn line(&self, told: &Telling) -> Option<String> {
        let Devices { input, output } = self.subject.devices;
        let out_device = match told.nf_hook {
            NfHook::Prerouting | NfHook::Input => "",
            NfHook::Forward | NfHook::Output | NfHook::Postrouting => output,
        };
        let record = Record {
            time: 0,
            occasion: told.occasion,
            number: told.number,
            nf_hook: told.nf_hook,
            hook: self.subject.hook,
            in_index: 0,
            out_index: 0,
            in_name: input.clone(),
            out_name: out_device.to_owned(),
            link_header: self.subject.link_header,
            owner: told.owner,
            mark: told.mark,
            length: told.length,
            bytes: Vec::new(),
        };
        let way = self.bench.book.told(&record)?;
        let sight = Sight {
            family: self.subject.family,
            bytes: &told.bytes,
            length: told.length,
            in_device: input,
            out_device,
            link: record
                .link_header
                .map_or(LinkHeader::None, LinkHeader::Ethernet),
            mark: told.mark,
            owner: told.owner,
        };
        let line = line(&way.prefix, &sight, way.details);
        Some(String::from_utf8_lossy(&line).into_owned())
    }

    /// What a rule's tests see in the packet.
    fn seen(&self, rule: &Rule) -> Vec<String> {
        let mut words = Vec::new();
        for step in &rule.steps {
            if let Step::Check { test, .. } = step {
                for (field, value) in value_seen(test, &self.packet) {
                    let seen = value_in_words(field, value);
                    // What routines answer is said for itself.
                    if field != Field::Answer && !words.contains(&seen) {
                        words.push(seen);
                    }
                }
            }
        }
        words
    }

    /// The name of a chain, unless the last line told was in it.
    fn heading(&mut self, chain: ChainId) -> String {
        if self.chain.replace(chain) == Some(chain) {
            return String::new();
        }
        format!("{} {}\n", self.table, self.filter.chain(chain).name)
    }

    /// A rule with its number, as `iptables -L --line-numbers` counts.
    fn rule(&self, chain: ChainId, rule: usize) -> String {
        let text = self.found(chain, rule).map_or("", |rule| &rule.text);
        format!("{:>4}  {text}", rule + 1)
    }

    /// What the packet has where a step looks.
    fn why(&self, chain: ChainId, rule: usize, step: usize) -> String {
        let step = self
            .found(chain, rule)
            .and_then(|rule| rule.steps.get(step));
        let Some(Step::Check { test, .. } | Step::Doom(test)) = step else {
            return String::new();
        };
        let seen = value_seen(test, &self.packet).into_iter();
        let mut words: Vec<String> = seen
            .map(|(field, value)| match (field, self.asked.last()) {
                (Field::Answer, Some(asked)) => asked.clone(),
                _ => value_in_words(field, value),
            })
            .collect();
        test.leaves(&mut |leaf| {
            if let Test::TcpOption(kind) = leaf {
                let is = if self.packet.has_tcp_option(*kind) {
                    "is there"
                } else {
                    "is not there"
                };
                words.push(format!("TCP option {kind} {is}"));
            }
        });
        match words.is_empty() {
            true => "it can never match".to_owned(),
            false => enumerate(&words),
        }
    }

    fn found(&self, chain: ChainId, rule: usize) -> Option<&Rule> {
        self.filter.chain(chain).rules.get(rule)
    }

    /// The last line: what became of the packet and who decided.
    fn verdict(&self, outcome: &Outcome) -> String {
        let name = |chain: ChainId| &self.filter.chain(chain).name;
        let table = self.table;
        let mut events = outcome.trace.iter().rev();
        let decisive = events.find(|event| {
            !matches!(
                event,
                Event::Tracked(_) | Event::Changed(..) | Event::Remembered
            )
        });
        let answer = match outcome.rejected {
            None => String::new(),
            Some((_, Answer::Reset)) => "the sender gets a TCP reset\n".to_owned(),
            Some((_, Answer::Unreachable(code))) => {
                format!("the sender gets an ICMP error: destination unreachable, code {code}\n")
            }
        };
        let by = match decisive {
            None => "no table has a rule or a policy that this packet meets".to_owned(),
            Some(Event::Policy(chain)) => format!("the policy of {table} {}", name(*chain)),
            Some(Event::LaterFragment) => "the fate of the first fragment decides".to_owned(),
            Some(
                Event::Matched(chain, rule)
                | Event::HotDrop(chain, rule, _)
                | Event::DroppedByEffect(chain, rule, _)
                | Event::Asked(chain, rule, ..)
                | Event::Missed(chain, rule, _),
            ) => {
                let place = self.found(*chain, *rule).map_or(String::new(), |rule| {
                    let line = self.bench.sources.slice(rule.span).1;
                    format!(", {}:{line}", self.bench.sources.get(rule.span.source).name)
                });
                format!("rule {} of {table} {}{place}", rule + 1, name(*chain))
            }
            Some(Event::Entered(stage)) => format!("{table} {}", name(stage.chain)),
            Some(Event::Exceeded | Event::KeptFromGroup) => {
                "the kernel drops it, which has no hop left".to_owned()
            }
            Some(Event::Tracked(_) | Event::Changed(..) | Event::Remembered) => String::new(),
        };
        format!("{answer}{}: {by}\n", shout(outcome.verdict))
    }
}

/// The verdict as iptables writes it.
pub fn shout(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Accept => "ACCEPT",
        Verdict::Drop => "DROP",
    }
}

/// A line below a rule.
fn detail(text: &str) -> String {
    format!("        {text}\n")
}

/// Changes a field as an effect has done.
fn change(packet: &mut Packet<'_>, field: Field, value: u128) {
    match field {
        Field::Mark => packet.set_mark(value as u32),
        Field::TypeOfService => packet.set_type_of_service(value as u8),
        Field::TimeToLive => packet.set_time_to_live(value as u8),
        Field::CtState => packet.set_connection(Connected {
            state: value as u8,
            ..packet.connection()
        }),
        Field::CtMark => packet.set_connection(Connected {
            mark: value as u32,
            ..packet.connection()
        }),
        _ => {}
    }
}

/// The state as `--ctstate` names it.
fn state_name(state: u8) -> &'static str {
    match state {
        state::NEW => "NEW",
        state::ESTABLISHED => "ESTABLISHED",
        state::RELATED => "RELATED",
        state::UNTRACKED => "UNTRACKED",
        _ => "INVALID",
    }
}

/// What a routine says of the packet.
fn answer_in_words(routine: &Routine, answer: u32) -> String {
    let (name, yes, no) = match routine {
        Routine::TestElements(_) if answer == 2 => {
            return "set: an exception in it has the packet".to_owned();
        }
        Routine::FindSocket(_) => ("socket", "there is a socket", "there is no such socket"),
        Routine::TakeToken(_) => ("limit", "a token is taken", "no token is left"),
        Routine::TakeShare(_) => ("hashlimit", "within the rate", "above the rate"),
        Routine::Spend(_) => (
            "quota",
            "the packet takes its bytes",
            "too few bytes are left",
        ),
        Routine::Recall(_) => (
            "recent",
            "the list has the address as asked for",
            "the list does not have the address as asked for",
        ),
        Routine::Toss(_) => (
            "statistic",
            "chance takes the packet",
            "chance leaves the packet",
        ),
        Routine::Turn(_) => (
            "statistic",
            "it is the packet's turn",
            "it is not the packet's turn",
        ),
        Routine::AskClock(_) => ("time", "the time is right", "it is another time"),
        Routine::FindBytes(_) => ("string", "found", "not found"),
        Routine::CompareWords(_) => ("u32", "all tests hold", "a test does not hold"),
        Routine::Authentication(_) => ("ah", "the header fits", "no header fits"),
        Routine::Fragment(_) => ("frag", "the header fits", "no header fits"),
        Routine::OptionsHeader(_) => ("options", "the header fits", "no header fits"),
        Routine::Routing(_) => ("rt", "the header fits", "no header fits"),
        Routine::SegmentRouting(_) => ("srh", "the header fits", "no header fits"),
        Routine::FindOption(_) => ("dccp", "the option is there", "the option is not there"),
        Routine::FindChunks(_) => ("sctp", "the chunks fit", "the chunks do not fit"),
        Routine::HasCarried(_) => ("connbytes", "within the bounds", "outside the bounds"),
        Routine::LooksLike(_) => ("conntrack", "the addresses fit", "the addresses do not fit"),
        Routine::TestElements(_) | Routine::TestList(_) => {
            ("set", "it has the packet", "it does not have the packet")
        }
        _ => return format!("{routine}: {answer:#x}"),
    };
    match answer {
        0 => format!("{name}: {no}"),
        1 => format!("{name}: {yes}"),
        _ => format!("{name}: the packet is broken, or nothing can be said"),
    }
}

/// A field with its value.
fn value_in_words(field: Field, value: u128) -> String {
    match field {
        Field::Source4 | Field::Destination4 => {
            format!("{field} is {}", Ipv4Addr::from_bits(value as u32))
        }
        Field::Source6 | Field::Destination6 => {
            format!("{field} is {}", Ipv6Addr::from_bits(value))
        }
        Field::InDevice | Field::OutDevice if value == 0 => format!("{field} has no name"),
        Field::InDevice | Field::OutDevice => {
            let bytes = value.to_be_bytes();
            let name = bytes.split(|&byte| byte == 0).next().unwrap_or_default();
            format!("{field} is {}", String::from_utf8_lossy(name))
        }
        Field::SourceMac if value == 0 => format!("{field} is not known"),
        Field::SourceMac => {
            let bytes = value.to_be_bytes();
            let pairs: Vec<String> = bytes[10..].iter().map(|it| format!("{it:02x}")).collect();
            format!("{field} is {}", pairs.join(":"))
        }
        Field::Mark | Field::CtMark | Field::EspSpi | Field::AhSpi | Field::Realm => {
            format!("{field} is {value:#x}")
        }
        Field::TypeOfService | Field::CtStatus | Field::Link => format!("{field} is {value:#04x}"),
        Field::CtState => format!("{field} is {}", state_name(value as u8)),
        Field::CtDirection if value == 0 => format!("{field} is original"),
        Field::CtDirection => format!("{field} is reply"),
        Field::PacketType => {
            let names = ["unicast", "broadcast", "multicast", "for another host"];
            let name = names.get(value as usize).unwrap_or(&"unknown");
            format!("{field} is {name}")
        }
        Field::MaximumSegment if value == NO_SEGMENT_SIZE.into() => {
            format!("{field} is not there")
        }
        Field::TcpFlags => format!("{field} are {value:#04x}"),
        _ => format!("{field} is {value}"),
    }
}
