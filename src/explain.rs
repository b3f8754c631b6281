//! `explain`: what the rules do with a packet, and which of them.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Result;
use clap::Args;
use ipt2bpf_codegen::compile::translate;
use ipt2bpf_codegen::evaluate::{Event, Outcome, Route, evaluate, value_seen};
use ipt2bpf_codegen::field::Field;
use ipt2bpf_codegen::module::Hook;
use ipt2bpf_codegen::options::Options;
use ipt2bpf_codegen::packet::{Devices, Packet};
use ipt2bpf_codegen::routine::World;
use ipt2bpf_codegen::semantic::{ChainId, End, FamilyFilter, Rule, Stage, Step, Test, Verdict};
use ipt2bpf_parser::ruleset::TableKind;
use ipt2bpf_parser::span::Sources;

use crate::cli::{HookName, Leniency, Rules, Sets};
use crate::failure::Usage;
use crate::input::Input;
use crate::messages::{Reporter, enumerate};
use crate::output;
use crate::words::PacketWords;

const PACKETS: &str = "\
Packets:
  tcp 10.0.0.5:40000 > 192.0.2.1:22 syn in eth0
  udp [2001:db8::5]:5353 > [2001:db8::1]:53 out eth1
  icmp 10.0.0.5 > 192.0.2.1 type 3 code 4
  proto 50 10.0.0.5 > 192.0.2.1
  udp 10.0.0.5 > 192.0.2.1 frag 1480
  tcp 10.0.0.5:40000 > 192.0.2.1:22 len 30
  hex:4500002800010000...  in eth0

TCP flags: fin syn rst psh ack urg ece cwr, or none; syn unless given. `frag` is the offset in bytes of
a fragment, 0 for the first. `len` is the length from the IP header on. `hex:` starts with the IP header.";

/// Says which rules a packet meets and what becomes of it; needs no root
#[derive(Debug, Args)]
#[command(after_help = PACKETS)]
pub struct Arguments {
    #[command(flatten)]
    rules: Rules,
    #[command(flatten)]
    sets: Sets,
    /// The packet, in words or in hexadecimal; may be repeated
    #[arg(long = "packet", value_name = "PACKET", required = true)]
    packets: Vec<PacketWords>,
    /// Where the packet is; without it cgroup_skb/ingress, cgroup_skb/egress for a packet with only an
    /// out interface, xdp for one with both
    #[arg(long, value_enum)]
    hook: Option<HookName>,
    #[command(flatten)]
    leniency: Leniency,
    /// Show the rules that did not match, too, and why
    #[arg(short, long)]
    verbose: bool,
}

pub fn run(arguments: &Arguments, reporter: &Reporter) -> Result<()> {
    let input = Input::read(&arguments.rules)?.with_sets(&arguments.sets)?;
    let known_sets = input.known_sets();
    let mut said = input.diagnostics.clone();
    let mut text = String::new();
    for packet in &arguments.packets {
        let hook = hook_of(packet, arguments.hook)?;
        let options = arguments.leniency.apply(Options {
            hooks: vec![hook],
            sets: known_sets.clone(),
            ..Options::default()
        });
        let (filters, _, more) = translate(&input.rulesets, &options);
        if !input.has_errors() {
            said.extend(more);
        }
        let mut families = filters.iter().flat_map(|filter| &filter.families);
        let filter = families.find(|filter| filter.family == packet.family);
        let story = Story {
            filter,
            packet,
            hook,
            sources: &input.sources,
            verbose: arguments.verbose,
        };
        if !text.is_empty() {
            text.push('\n');
        }
        text += &story.tell();
    }
    reporter.conclude(said, &input.sources, false)?;
    output::print(text.as_bytes())
}

/// Where the packet is.
fn hook_of(packet: &PacketWords, wanted: Option<HookName>) -> Result<Hook> {
    let has_input = !packet.devices.input.is_empty();
    let has_output = !packet.devices.output.is_empty();
    let hook = match (wanted, has_input, has_output) {
        (Some(name), ..) => name.into(),
        (None, true, true) => Hook::Xdp,
        (None, false, true) => Hook::CgroupEgress,
        (None, _, false) => Hook::CgroupIngress,
    };
    let misplaced = match hook {
        Hook::CgroupIngress if has_output => Some("out"),
        Hook::CgroupEgress if has_input => Some("in"),
        _ => None,
    };
    match misplaced {
        Some(word) => {
            let message = format!(
                "a packet at {hook} has no `{word}` interface: {}",
                packet.text
            );
            Err(Usage(message).into())
        }
        None => Ok(hook),
    }
}

/// What is to be told of one packet.
struct Story<'a> {
    filter: Option<&'a FamilyFilter>,
    packet: &'a PacketWords,
    hook: Hook,
    sources: &'a Sources,
    verbose: bool,
}

impl Story<'_> {
    fn tell(&self) -> String {
        let PacketWords {
            text,
            family,
            bytes,
            devices,
        } = self.packet;
        let mut out = format!(
            "{text}\n{family}, {} bytes, at {}\n",
            bytes.len(),
            self.hook
        );
        let Some(filter) = self.filter else {
            return out + &format!("ACCEPT: there is no {family} ruleset\n");
        };
        // A packet at XDP has not met routing, which decides its way out.
        let seen = match self.hook {
            Hook::Xdp => &Devices {
                output: String::new(),
                ..devices.clone()
            },
            _ => devices,
        };
        let Some(packet) = Packet::new(*family, bytes, seen) else {
            return out + "ACCEPT: the packet is too short for an IP header\n";
        };
        let route = match devices.output.as_str() {
            "" => Route::Local,
            device => Route::Transit(device),
        };
        let mut world = World::default();
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH);
        world.seconds = since_1970.map_or(0, |time| time.as_secs().cast_signed());
        let outcome = evaluate(filter, &packet, route, &mut world);
        let mut way = Way {
            story: self,
            filter,
            packet,
            table: TableKind::Filter,
            chain: None,
        };
        for event in &outcome.trace {
            out += &way.tell(event);
        }
        out + &way.verdict(&outcome)
    }
}

/// The way of a packet, as far as it is told.
struct Way<'a> {
    story: &'a Story<'a>,
    filter: &'a FamilyFilter,
    packet: Packet<'a>,
    /// The table that it is in.
    table: TableKind,
    /// The chain whose name stands above the last rule told.
    chain: Option<ChainId>,
}

impl Way<'_> {
    /// The lines for an event; none for one that is not told.
    fn tell(&mut self, event: &Event) -> String {
        match *event {
            Event::Entered(Stage { table, chain, .. }) => {
                self.table = table;
                self.chain = None;
                self.heading(chain)
            }
            Event::Matched(chain, rule) => {
                self.heading(chain) + &format!("  {}\n", self.rule(chain, rule))
            }
            Event::Asked(.., answer) => {
                self.packet.set_answer(answer);
                String::new()
            }
            Event::DroppedByEffect(chain, rule, _) => {
                let heading = self.heading(chain);
                format!(
                    "{heading}  {}\n        dropped by its target\n",
                    self.rule(chain, rule)
                )
            }
            Event::Missed(chain, rule, step) if self.story.verbose => {
                let heading = self.heading(chain);
                let why = self.why(chain, rule, step);
                format!("{heading}  {}\n        no: {why}\n", self.rule(chain, rule))
            }
            Event::HotDrop(chain, rule, step) => {
                let heading = self.heading(chain);
                let why = self.why(chain, rule, step);
                format!(
                    "{heading}  {}\n        dropped: {why}\n",
                    self.rule(chain, rule)
                )
            }
            Event::Policy(chain) => {
                let heading = self.heading(chain);
                match self.filter.chain(chain).end {
                    End::Policy(verdict, _) => format!("{heading}  policy {}\n", shout(verdict)),
                    End::Return => heading,
                }
            }
            Event::LaterFragment => {
                "INPUT sees fragments only when they are reassembled\n".to_owned()
            }
            Event::Missed(..) => String::new(),
        }
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
        let Some(Step::Check { test, .. }) = step else {
            return String::new();
        };
        let seen = value_seen(test, &self.packet).into_iter();
        let mut words: Vec<String> = seen
            .map(|(field, value)| value_in_words(field, value))
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
        let by = match outcome.trace.last() {
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
                    let line = self.story.sources.slice(rule.span).1;
                    format!(", {}:{line}", self.story.sources.get(rule.span.source).name)
                });
                format!("rule {} of {table} {}{place}", rule + 1, name(*chain))
            }
            Some(Event::Entered(stage)) => format!("{table} {}", name(stage.chain)),
        };
        format!("{}: {by}\n", shout(outcome.verdict))
    }
}

/// The verdict as iptables writes it.
fn shout(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Accept => "ACCEPT",
        Verdict::Drop => "DROP",
    }
}

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
        Field::TcpFlags => format!("{field} are {value:#04x}"),
        _ => format!("{field} is {value}"),
    }
}
