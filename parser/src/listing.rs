//! What `iptables -L` prints (iptables.c, `list_entries` and `print_firewall`; ip6tables.c has the same
//! columns).
//!
//! An extension prints itself in the words of the `print` function of its libxtables plugin, which are
//! others than those of its `save` function.

use std::fmt::Display;
use std::net::IpAddr;

use bstr::ByteSlice;

use crate::databases::Names;
use crate::matches::PortRange;
use crate::names;
use crate::print::{Inet, Line};
use crate::range::{Number, Range};
use crate::ruleset::{
    Action, BaseMatch, Chain, Counters, Family, InterfacePattern, Negatable, Network, Rule, Table,
};

/// How a listing looks, and where its names are from.
#[derive(Clone, Copy)]
pub struct ListStyle<'a> {
    /// `-v`: counters, interfaces and fragments, too.
    pub verbose: bool,
    /// `-n`: numbers for names.
    pub numeric: bool,
    /// `-x`: counters in full.
    pub exact: bool,
    /// `--line-numbers`
    pub line_numbers: bool,
    /// The names of services and networks.
    pub names: &'a Names,
    /// The name of a host, as the resolver finds it.
    pub host_name: &'a dyn Fn(IpAddr) -> Option<String>,
}

impl Table {
    /// The chains as `-L` prints them, or one of them, or one rule of it by its index from 0. A chain that
    /// is not there is nothing.
    pub fn list(
        &self,
        family: Family,
        chain: Option<&str>,
        rule: Option<usize>,
        style: &ListStyle<'_>,
    ) -> Vec<u8> {
        let mut out = Vec::new();
        let chains = self.chains.iter();
        let chains = chains.filter(|it| chain.is_none_or(|name| name == it.name));
        for (number, chain) in chains.enumerate() {
            if number > 0 {
                out.push(b'\n');
            }
            if rule.is_none() {
                self.list_heading(chain, style, &mut out);
            }
            for (index, it) in chain.rules.iter().enumerate() {
                if rule.is_none_or(|only| only == index) {
                    out.extend(it.list(family, index, style));
                }
            }
        }
        out
    }

    /// The chains as `-S` prints them, or one of them, or one rule of it by its index from 0.
    pub fn list_rules(&self, chain: Option<&str>, rule: Option<usize>, counters: bool) -> Vec<u8> {
        let chains = || {
            let all = self.chains.iter();
            all.filter(|it| chain.is_none_or(|name| name == it.name))
        };
        let mut out = Vec::new();
        for chain in chains().filter(|_| rule.is_none()) {
            let name = &chain.name;
            let heading = match chain.builtin {
                None => format!("-N {name}\n"),
                Some(builtin) if counters => {
                    let Counters { packets, bytes } = chain.counters;
                    format!("-P {name} {} -c {packets} {bytes}\n", builtin.policy)
                }
                Some(builtin) => format!("-P {name} {}\n", builtin.policy),
            };
            out.extend_from_slice(heading.as_bytes());
        }
        for chain in chains() {
            for (index, it) in chain.rules.iter().enumerate() {
                if rule.is_none_or(|only| only == index) {
                    let counters = counters.then_some(it.counters);
                    out.extend(it.print_counting(chain, counters));
                    out.push(b'\n');
                }
            }
        }
        out
    }

    fn list_heading(&self, chain: &Chain, style: &ListStyle<'_>, out: &mut Vec<u8>) {
        let about = match chain.builtin {
            None => format!("{} references", self.references_to(&chain.name)),
            Some(builtin) if style.verbose => {
                let Counters { packets, bytes } = chain.counters;
                let (packets, bytes) = (shortened(packets, style), shortened(bytes, style));
                format!("policy {} {packets} packets, {bytes} bytes", builtin.policy)
            }
            Some(builtin) => format!("policy {}", builtin.policy),
        };
        let mut head = format!("Chain {} ({about})\n", chain.name);
        if style.line_numbers {
            head += &format!("{:<4} ", "num");
        }
        if style.verbose {
            head += &match style.exact {
                true => format!("{:>8} {:>10} ", "pkts", "bytes"),
                false => format!("{:>5} {:>5} ", "pkts", "bytes"),
            };
        }
        head += &format!("{:<9}  prot opt", "target");
        if style.verbose {
            head += &format!(" {:<6} {:<6} ", "in", "out");
        }
        head += &format!(" {:<19}  {:<19} \n", "source", "destination");
        out.extend_from_slice(head.as_bytes());
    }

    fn references_to(&self, name: &str) -> usize {
        let rules = self.chains.iter().flat_map(|chain| &chain.rules);
        let leads_there = |rule: &&Rule| match &rule.action {
            Action::Jump(to) | Action::Goto(to) => to.value == name,
            Action::Continue | Action::Verdict(_) | Action::Target(_) => false,
        };
        rules.filter(leads_there).count()
    }
}

impl Rule {
    /// A line of a listing.
    fn list(&self, family: Family, index: usize, style: &ListStyle<'_>) -> Vec<u8> {
        let mut line = Listing::new(&self.base, style);
        if style.line_numbers {
            line.put(format_args!("{:<4} ", index + 1));
        }
        if style.verbose {
            for count in [self.counters.packets, self.counters.bytes] {
                line.put(format_args!("{} ", padded(count, style)));
            }
        }
        line.put(format_args!("{:<9} ", self.target_name()));
        line.put_protocol(&self.base, 4);
        line.put(format_args!("{} ", fragment(&self.base)));
        if style.verbose {
            let any = if style.numeric { "*" } else { "any" };
            line.put(format_args!(
                " {:<6} {:<6} ",
                interface(&self.base.in_interface, any),
                interface(&self.base.out_interface, any)
            ));
        }
        for network in [&self.base.source, &self.base.destination] {
            let (negated, shown) = line.network(network, family);
            line.put(format_args!("{negated}{shown:<19} "));
        }
        self.list_extensions(&mut line);
        line.bytes.push(b'\n');
        line.bytes
    }

    /// What `-v` prints of a rule that a command is about.
    pub fn describe(&self, family: Family, names: &Names) -> Vec<u8> {
        let style = ListStyle {
            verbose: true,
            numeric: true,
            exact: false,
            line_numbers: false,
            names,
            host_name: &|_| None,
        };
        let mut line = Listing::new(&self.base, &style);
        line.put(format_args!("{} ", self.target_name()));
        // The protocol stands with its name, whatever the rest.
        line.style.numeric = false;
        line.put_protocol(&self.base, 0);
        line.style.numeric = true;
        line.put(format_args!(
            "opt {} in {} out {} ",
            fragment(&self.base),
            interface(&self.base.in_interface, "*"),
            interface(&self.base.out_interface, "*")
        ));
        let (negated, source) = line.network(&self.base.source, family);
        line.put(format_args!("{negated}{source} "));
        let (negated, destination) = line.network(&self.base.destination, family);
        line.put(format_args!("{negated}-> {destination} "));
        line.put(" ");
        self.list_extensions(&mut line);
        line.bytes.push(b'\n');
        line.bytes
    }

    fn target_name(&self) -> String {
        match &self.action {
            Action::Continue => String::new(),
            Action::Verdict(verdict) => verdict.to_string(),
            Action::Jump(chain) | Action::Goto(chain) => chain.value.clone(),
            Action::Target(target) => target.value.listed_as().to_owned(),
        }
    }

    fn list_extensions(&self, line: &mut Listing<'_>) {
        if let Action::Goto(_) = self.action {
            line.put("[goto] ");
        }
        for extension in &self.matches {
            extension.value.list(line);
        }
        if let Action::Target(target) = &self.action {
            target.value.list(line);
        }
    }
}

/// A line of a listing while it grows.
pub(crate) struct Listing<'a> {
    bytes: Vec<u8>,
    pub style: ListStyle<'a>,
    /// The protocol of `-p`, inverted or not; 0 without one.
    pub protocol: u8,
}

impl<'a> Listing<'a> {
    fn new(base: &BaseMatch, style: &ListStyle<'a>) -> Self {
        Self {
            bytes: Vec::new(),
            style: *style,
            protocol: base.protocol.as_ref().map_or(0, |it| it.value.value),
        }
    }

    /// Puts a text as it is.
    pub fn put(&mut self, text: impl Display) {
        self.bytes.extend_from_slice(text.to_string().as_bytes());
    }

    /// Puts bytes as they are.
    pub fn put_bytes(&mut self, text: &[u8]) {
        self.bytes.extend_from_slice(text);
    }

    /// Puts a word behind a blank.
    pub fn word(&mut self, word: impl Display) {
        self.put(format_args!(" {word}"));
    }

    /// Puts what an extension writes in a save file.
    pub fn saved(&mut self, print: impl FnOnce(&mut Line)) {
        let mut line = Line::default();
        print(&mut line);
        self.bytes.extend(line.into_bytes());
    }

    /// A host: its name, or with `-n` its address.
    pub fn host(&self, address: IpAddr) -> String {
        let name = || {
            let host = (self.style.host_name)(address);
            host.or_else(|| self.style.names.network(address))
        };
        let name = if self.style.numeric { None } else { name() };
        name.unwrap_or_else(|| Inet(address).to_string())
    }

    /// A port: the service over a protocol, or with `-n` its number.
    pub fn port(&self, port: u16, protocol: u8) -> String {
        let name = match self.style.numeric {
            true => None,
            false => self.style.names.service_at(port, protocol),
        };
        name.unwrap_or_else(|| port.to_string())
    }

    /// Puts what an extension writes in a save file, its options without their dashes.
    pub fn undashed(&mut self, print: impl FnOnce(&mut Line)) {
        let mut line = Line::default();
        print(&mut line);
        let text = line.into_bytes();
        for word in text.split_str(" ").skip(1) {
            self.bytes.push(b' ');
            self.bytes
                .extend_from_slice(word.strip_prefix(b"--").unwrap_or(word));
        }
    }

    /// Puts the range of an option behind its name, ` name:low` or ` names:low:high`, unless it tests
    /// nothing (`print_ports`, `print_spis` and others).
    pub fn range<T: Number>(&mut self, name: &str, range: &Negatable<Range<T>>) {
        self.put(Self::range_text(name, range).map_or(String::new(), |text| format!(" {text}")));
    }

    /// The same as a text of its own.
    pub fn range_text<T: Number>(name: &str, range: &Negatable<Range<T>>) -> Option<String> {
        let sign = sign(range.negated);
        let range = range.value.value;
        if range.is_everything() && sign.is_empty() {
            return None;
        }
        Some(match range.low == range.high {
            true => format!("{name}:{sign}{}", range.low),
            false => format!("{name}s:{sign}{}:{}", range.low, range.high),
        })
    }

    /// Puts the ports of a protocol, as [`Listing::range`].
    pub fn ports(&mut self, name: &str, ports: &Option<Negatable<PortRange>>, protocol: u8) {
        let Some(ports) = ports else { return };
        let sign = sign(ports.negated);
        let PortRange { low, high } = ports.value.value;
        if ports.value.value.is_everything() && sign.is_empty() {
            return;
        }
        let first = self.port(low, protocol);
        match low == high {
            true => self.word(format_args!("{name}:{sign}{first}")),
            false => {
                let last = self.port(high, protocol);
                self.word(format_args!("{name}s:{sign}{first}:{last}"));
            }
        }
    }

    fn network(
        &self,
        network: &Option<Negatable<Network>>,
        family: Family,
    ) -> (&'static str, String) {
        let everything = match (self.style.numeric, family) {
            (false, _) => "anywhere",
            (true, Family::V4) => "0.0.0.0/0",
            (true, Family::V6) => "::/0",
        };
        let Some(network) = network else {
            return (" ", everything.to_owned());
        };
        let shown = match network.value.value {
            it if it.is_everything() => everything.to_owned(),
            Network::V4 { address, mask } => self.host(address.into()) + &mask_v4(mask.to_bits()),
            // Here the tool asks for the address, not for the mask.
            Network::V6 { address, .. } if address.is_unspecified() && !self.style.numeric => {
                everything.to_owned()
            }
            Network::V6 { address, mask } => self.host(address.into()) + &mask_v6(mask.to_bits()),
        };
        (if network.negated { "!" } else { " " }, shown)
    }

    fn put_protocol(&mut self, base: &BaseMatch, width: usize) {
        let negated = base.protocol.as_ref().is_some_and(|it| it.negated);
        let number = self.protocol;
        let name = match (self.style.numeric, number) {
            (true, _) => None,
            (false, 0) => Some("all"),
            (false, number) => names::protocol_name(number),
        };
        let shown = name.map_or_else(|| number.to_string(), str::to_owned);
        let sign = if negated { "!" } else { " " };
        self.put(format_args!("{sign}{shown:<width$} "));
    }
}

/// What stands before a test that is inverted.
pub(crate) fn sign(negated: bool) -> &'static str {
    if negated { "!" } else { "" }
}

/// A mask behind an address, unless it is full (libxtables, `xtables_ipmask_to_numeric`).
pub(crate) fn mask_v4(bits: u32) -> String {
    match bits.leading_ones() {
        32 => String::new(),
        length if length == bits.count_ones() => format!("/{length}"),
        _ => format!("/{}", std::net::Ipv4Addr::from_bits(bits)),
    }
}

/// The same for IPv6.
pub(crate) fn mask_v6(bits: u128) -> String {
    match bits.leading_ones() {
        128 => String::new(),
        length if length == bits.count_ones() => format!("/{length}"),
        _ => format!("/{}", Inet(std::net::Ipv6Addr::from_bits(bits).into())),
    }
}

fn fragment(base: &BaseMatch) -> &'static str {
    match &base.fragment {
        None => "--",
        Some(Negatable { negated: false, .. }) => "-f",
        Some(Negatable { negated: true, .. }) => "!f",
    }
}

fn interface(interface: &Option<Negatable<InterfacePattern>>, any: &str) -> String {
    let Some(Negatable { negated, value }) = interface else {
        return any.to_owned();
    };
    let sign = if *negated { "!" } else { "" };
    format!("{sign}{}", value.value)
}

/// A count with its unit (libxtables, `xtables_print_num`).
fn shortened(count: u64, style: &ListStyle<'_>) -> String {
    if style.exact || count <= 99_999 {
        return count.to_string();
    }
    let mut count = count;
    for unit in ["K", "M", "G"] {
        // Counts near the greatest wrap, as they do in the tool.
        count = count.wrapping_add(500) / 1000;
        if count <= 9_999 {
            return format!("{count}{unit}");
        }
    }
    format!("{}T", count.wrapping_add(500) / 1000)
}

fn padded(count: u64, style: &ListStyle<'_>) -> String {
    let shown = shortened(count, style);
    match style.exact {
        true => format!("{shown:>8}"),
        false => format!("{shown:>5}"),
    }
}
