//! `explain`: what the rules do with packets, and which of them.

use std::fs;
use std::io::Read;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use clap::{ArgAction, Args};
use ipt2bpf_codegen::compile::translate;
use ipt2bpf_codegen::counters::CounterLayout;
use ipt2bpf_codegen::explain;
use ipt2bpf_codegen::explain::story::{Bench, Subject};
use ipt2bpf_codegen::explain::words::PacketWords;
use ipt2bpf_codegen::field::Field;
use ipt2bpf_codegen::log::book::Book;
use ipt2bpf_codegen::module::Hook;
use ipt2bpf_codegen::options::Options;
use ipt2bpf_codegen::packet::{Devices, Metadata};
use ipt2bpf_codegen::sets as codegen;
use ipt2bpf_parser::diagnostic::{Diagnostic, Severity};
use ipt2bpf_parser::input::Input;
use ipt2bpf_parser::ruleset::Family;

use crate::capture::{self, Content, IpPacket};
use crate::cli::{HookName, Leniency, Rules, Sets};
use crate::failure::Usage;
use crate::hits::Hits;
use crate::input;
use crate::live::Live;
use crate::messages::Reporter;
use crate::output;
use crate::show::Selection;

const PACKETS: &str = "\
Packets:
  tcp 10.0.0.5:40000 > 192.0.2.1:22 syn in eth0
  udp [2001:db8::5]:5353 > [2001:db8::1]:53 out eth1
  icmp 10.0.0.5 > 192.0.2.1 type 3 code 4
  proto 50 10.0.0.5 > 192.0.2.1
  udp 10.0.0.5 > 192.0.2.1 frag 1480
  tcp 10.0.0.5:40000 > 192.0.2.1:22 len 30
  tcp 10.0.0.5:40000 > 192.0.2.1:22 ttl 3 tos 0x10 mark 0x1 mac 02:00:00:00:00:01
  hex:4500002800010000...  in eth0

TCP flags: fin syn rst psh ack urg ece cwr, or none; syn unless given. `frag` is the offset in bytes of
a fragment, 0 for the first. `len` is the length from the IP header on. `hex:` starts with the IP header.

Captures: pcap and pcapng of Ethernet, raw IP or Linux cooked frames. All packets are at one hook, chosen
as for --packet by --hook, --in and --out. With --local, packets to this host are at cgroup_skb/ingress
and come in by --in, those from it are at cgroup_skb/egress and go out by --out, others are skipped; at
--hook xdp those to this host go through INPUT, those between others through FORWARD when --out is given.
Times are those of the capture. Bytes that the capture has left out count as zeros.

Packets meet the rules one after the other: limits, lists and connections know those before. Random
numbers are the same in each run.";

/// Says which rules packets meet and what becomes of them; needs no root
///
/// With --live, which does need root: what a running filter would do with them now. Its rules, the elements
/// of its sets and its connections are read, and nothing in it changes.
#[derive(Debug, Args)]
#[command(after_help = PACKETS)]
pub struct Arguments {
    #[command(flatten)]
    rules: Rules,
    #[command(flatten)]
    sets: Sets,
    /// The packet, in words or in hexadecimal; may be repeated
    #[arg(
        long = "packet",
        value_name = "PACKET",
        required_unless_present = "pcap",
        conflicts_with = "pcap"
    )]
    packets: Vec<PacketWords>,
    /// The packets of a capture, instead, counted by rule; - for standard input
    #[arg(long, value_name = "FILE")]
    pcap: Option<PathBuf>,
    /// The interface by which the packets of the capture come in
    #[arg(
        long = "in",
        value_name = "IFACE",
        requires = "pcap",
        conflicts_with = "packets"
    )]
    input: Option<String>,
    /// The interface by which they go out
    #[arg(
        long = "out",
        value_name = "IFACE",
        requires = "pcap",
        conflicts_with = "packets"
    )]
    output: Option<String>,
    /// The addresses of this host, separated by commas, which tell where the packets of the capture go
    #[arg(long, value_name = "ADDRESS", value_delimiter = ',', requires = "pcap")]
    local: Vec<IpAddr>,
    /// Where the packet is; without it cgroup_skb/ingress, cgroup_skb/egress for a packet with only an
    /// out interface, xdp for one with both
    #[arg(long, value_enum)]
    hook: Option<HookName>,
    #[command(flatten)]
    leniency: Leniency,
    /// Ask the filter that runs at a place, or the only one, instead of rules in files
    #[arg(long, conflicts_with_all = ["files", "ipset", "pcap", "approximate", "ignore_nat"])]
    live: bool,
    #[command(flatten)]
    selection: Selection,
    /// Show what matching rules saw, and the rules that did not match and why; for a capture, what became
    /// of each packet, and all that when given twice
    #[arg(short, long, action = ArgAction::Count)]
    verbose: u8,
}

pub fn run(arguments: &Arguments, reporter: &Reporter) -> Result<()> {
    match &arguments.pcap {
        Some(file) => explain_capture(arguments, file, reporter),
        None => explain_packets(arguments, reporter),
    }
}

/// Tells of the packets that the user describes.
fn explain_packets(arguments: &Arguments, reporter: &Reporter) -> Result<()> {
    if !arguments.live && !arguments.selection.is_empty() {
        return Err(Usage("--cgroup, --xdp and --pin go with --live".into()).into());
    }
    let hooks = arguments.packets.iter().map(|packet| {
        let place = format!(": {}", packet.text);
        hook_of(&packet.devices, arguments.hook, &place)
    });
    let hooks: Vec<Hook> = hooks.collect::<Result<_>>()?;
    let live = match arguments.live {
        true => Some(Live::read(&arguments.selection)?),
        false => None,
    };
    let from_files;
    let (input, options) = match &live {
        Some(live) => (&live.input, live.options(hooks.clone())?),
        None => {
            from_files = input::read_all(&arguments.rules, &arguments.sets)?;
            let options = options(arguments, &from_files, hooks.clone());
            (&from_files, options)
        }
    };
    let (filters, _, mut said) = translate(&input.rulesets, &options);
    if live.is_some() {
        // When it was attached, all was said that is no reason to stop.
        said.retain(|it| it.severity == Severity::Error);
    }
    conclude(input, said, reporter)?;
    let book = Book::new(&input.rulesets, &CounterLayout::new(&input.rulesets));
    let mut bench = Bench::new(&filters, book, &input.sources, &options);
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH);
    bench.set_clock(since_1970.unwrap_or_default());
    if let Some(live) = &live {
        live.tell(&mut bench)?;
        for caveat in live.caveats()? {
            reporter.note(&caveat);
        }
    }
    let mut text = String::new();
    for (packet, hook) in arguments.packets.iter().zip(hooks) {
        let subject = Subject {
            title: packet.text.clone(),
            note: None,
            hook,
            family: packet.family,
            bytes: &packet.bytes,
            devices: &packet.devices,
            metadata: &packet.metadata,
            link_header: packet.link_header(),
        };
        let judgement = bench.judge(&subject);
        if !text.is_empty() {
            text.push('\n');
        }
        text += &bench.story(&subject, &judgement, arguments.verbose > 0);
    }
    output::print(text.as_bytes())
}

/// Counts what rules meet the packets of a capture, or tells of each.
fn explain_capture(arguments: &Arguments, file: &Path, reporter: &Reporter) -> Result<()> {
    let name = file.display().to_string();
    let bytes = read(arguments, file).with_context(|| name.clone())?;
    let placing = Placing::new(arguments)?;
    let input = input::read_all(&arguments.rules, &arguments.sets)?;
    let options = options(arguments, &input, placing.hooks());
    let (filters, layout, said) = translate(&input.rulesets, &options);
    conclude(&input, said, reporter)?;
    let captured = capture::read(&bytes).with_context(|| name.clone())?;
    let book = Book::new(&input.rulesets, &CounterLayout::new(&input.rulesets));
    let mut bench = Bench::new(&filters, book, &input.sources, &options);
    let mut hits = Hits::default();
    let mut end = Ok(());
    let mut start = None;
    for (index, captured) in captured.enumerate() {
        let captured = match captured {
            Ok(captured) => captured,
            Err(problem) => {
                end = Err(problem).with_context(|| name.clone());
                break;
            }
        };
        let since = captured
            .time
            .saturating_sub(*start.get_or_insert(captured.time));
        let packet = match captured.content {
            Content::Ip(packet) => packet,
            Content::NotIp => {
                hits.not_ip += 1;
                continue;
            }
            Content::Unseen => {
                hits.unseen += 1;
                continue;
            }
        };
        let Some((hook, devices)) = placing.of(&packet) else {
            hits.elsewhere += 1;
            continue;
        };
        let arrives = hook != Hook::CgroupEgress;
        let unknown = Metadata::default();
        let subject = Subject {
            title: title(index + 1, since, &packet),
            note: note(&packet),
            hook,
            family: packet.family,
            bytes: &packet.bytes,
            devices: &devices,
            metadata: if arrives { &packet.metadata } else { &unknown },
            link_header: packet.link_header.filter(|_| arrives),
        };
        bench.set_clock(captured.time);
        let judgement = bench.judge(&subject);
        hits.count(bench.filter(&subject), &packet, &judgement);
        if arguments.verbose > 0 {
            let story = bench.story(&subject, &judgement, arguments.verbose > 1);
            output::print(format!("{story}\n").as_bytes())?;
        }
    }
    let table = hits.table(&input.rulesets, &layout, &filters);
    output::print(table.as_bytes())?;
    end
}

fn options(arguments: &Arguments, input: &Input, hooks: Vec<Hook>) -> Options {
    arguments.leniency.apply(Options {
        hooks,
        sets: codegen::Sets::new(&input.sets),
        ..Options::default()
    })
}

/// Says what is to be said of rules and sets, and fails when something is wrong with them.
fn conclude(input: &Input, more: Vec<Diagnostic>, reporter: &Reporter) -> Result<()> {
    let mut said = input.diagnostics.clone();
    if !input.has_errors() {
        said.extend(more);
    }
    reporter.conclude(said, &input.sources, false)
}

/// The bytes of a file, or of standard input where rules do not come from there.
fn read(arguments: &Arguments, file: &Path) -> Result<Vec<u8>> {
    if file != Path::new("-") {
        return Ok(fs::read(file)?);
    }
    let files = &arguments.rules.files;
    if files.is_empty() || files.iter().any(|file| file == Path::new("-")) {
        let message = "rules and packets cannot both come from standard input";
        return Err(Usage(message.into()).into());
    }
    let mut bytes = Vec::new();
    std::io::stdin().read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// A packet of a capture as a line, in the words that describe packets.
fn title(number: usize, since: Duration, captured: &IpPacket) -> String {
    let seconds = since.as_secs_f64();
    let words = words(captured).unwrap_or_default();
    format!("packet {number}, after {seconds:.6} s: {words}")
}

fn words(captured: &IpPacket) -> Option<String> {
    let packet = captured.packet()?;
    let (source, destination) = ends(captured)?;
    let port = |field| packet.get(field) as u16;
    let is_later = packet.is_later_fragment();
    let name = match packet.get(Field::Protocol) {
        6 if !is_later => "tcp",
        17 if !is_later => "udp",
        1 => return Some(format!("icmp {source} > {destination}")),
        58 => return Some(format!("icmpv6 {source} > {destination}")),
        number => return Some(format!("proto {number} {source} > {destination}")),
    };
    let source = SocketAddr::new(source, port(Field::SourcePort));
    let destination = SocketAddr::new(destination, port(Field::DestinationPort));
    Some(format!("{name} {source} > {destination}"))
}

fn note(packet: &IpPacket) -> Option<String> {
    let (captured, all) = (packet.captured, packet.bytes.len());
    (captured < all)
        .then(|| format!("only {captured} bytes were captured; zeros stand for the rest"))
}

/// Where a packet comes from and where it goes.
fn ends(captured: &IpPacket) -> Option<(IpAddr, IpAddr)> {
    let packet = captured.packet()?;
    let v4 = |field| Ipv4Addr::from_bits(packet.get(field) as u32).into();
    let v6 = |field| Ipv6Addr::from_bits(packet.get(field)).into();
    Some(match captured.family {
        Family::V4 => (v4(Field::Source4), v4(Field::Destination4)),
        Family::V6 => (v6(Field::Source6), v6(Field::Destination6)),
    })
}

/// At which hook the packets of a capture are.
enum Placing {
    /// All at one.
    One(Hook, Devices),
    /// As their addresses say.
    Local {
        addresses: Vec<IpAddr>,
        wanted: Option<Hook>,
        devices: Devices,
    },
}

impl Placing {
    fn new(arguments: &Arguments) -> Result<Self> {
        let name = |name: &Option<String>| name.clone().unwrap_or_default();
        let devices = Devices {
            input: name(&arguments.input),
            output: name(&arguments.output),
        };
        Ok(match arguments.local.is_empty() {
            true => Placing::One(hook_of(&devices, arguments.hook, "")?, devices),
            false => Placing::Local {
                addresses: arguments.local.clone(),
                wanted: arguments.hook.map(Hook::from),
                devices,
            },
        })
    }

    fn hooks(&self) -> Vec<Hook> {
        match self {
            Placing::One(hook, _) => vec![*hook],
            Placing::Local {
                wanted: Some(hook), ..
            } => vec![*hook],
            Placing::Local { wanted: None, .. } => vec![Hook::CgroupIngress, Hook::CgroupEgress],
        }
    }

    /// None for a packet that is at none of the hooks.
    fn of(&self, packet: &IpPacket) -> Option<(Hook, Devices)> {
        let (addresses, wanted, devices) = match self {
            Placing::One(hook, devices) => return Some((*hook, devices.clone())),
            Placing::Local {
                addresses,
                wanted,
                devices,
            } => (addresses, *wanted, devices.clone()),
        };
        let (source, destination) = ends(packet)?;
        let is_ours = |address| addresses.contains(&address);
        let arriving = Devices {
            output: String::new(),
            ..devices.clone()
        };
        let leaving = Devices {
            input: String::new(),
            ..devices.clone()
        };
        let at = |hook| wanted.is_none_or(|wanted| wanted == hook);
        match wanted {
            Some(Hook::Xdp) if is_ours(destination) => Some((Hook::Xdp, arriving)),
            Some(Hook::Xdp) if is_ours(source) || devices.output.is_empty() => None,
            Some(Hook::Xdp) => Some((Hook::Xdp, devices)),
            _ if is_ours(destination) && at(Hook::CgroupIngress) => {
                Some((Hook::CgroupIngress, arriving))
            }
            _ if is_ours(source) && at(Hook::CgroupEgress) => Some((Hook::CgroupEgress, leaving)),
            _ => None,
        }
    }
}

/// Where a packet with these interfaces is; what it is called stands behind a complaint.
fn hook_of(devices: &Devices, wanted: Option<HookName>, called: &str) -> Result<Hook> {
    let hook = explain::hook_of(devices, wanted.map(Hook::from));
    hook.map_err(|complaint| Usage(format!("{complaint}{called}")).into())
}
