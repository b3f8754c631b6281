//! The types of addresses against the kernel's: every pair of some addresses passes raw's PREROUTING and
//! the program at XDP, before and after the host's addresses and routes change.

use std::net::IpAddr;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use ipt2bpf_codegen::module::Hook;
use ipt2bpf_difftest::checksum::checksum;
use ipt2bpf_difftest::compare::Subject;
use ipt2bpf_difftest::frame::Frame;
use ipt2bpf_difftest::host::{Host, Routing};
use ipt2bpf_difftest::netfilter::{self, Route};
use ipt2bpf_difftest::{netns, subjects, tool};
use ipt2bpf_parser::matches::addrtype::NAMES;
use ipt2bpf_parser::ruleset::Family;

const INTERFACES: [&str; 2] = ["eth0", "eth1"];

/// What rulesets use together, besides each type alone.
const TOGETHER4: [&str; 2] = ["LOCAL,BROADCAST", "BLACKHOLE,UNREACHABLE,PROHIBIT"];
/// Those of IPv6, and what rulesets use together.
const TYPES6: [&str; 8] = [
    "UNSPEC",
    "UNICAST",
    "LOCAL",
    "ANYCAST",
    "MULTICAST",
    "UNICAST,LOCAL",
    "LOCAL,ANYCAST",
    "MULTICAST,LOCAL",
];

const ADDRESSES4: [&str; 22] = [
    "0.0.0.0",
    "0.1.2.3",
    "10.1.0.1",
    "10.1.0.2",
    "10.1.0.0",
    "10.1.0.255",
    "10.1.1.1",
    "10.2.0.1",
    "10.2.0.255",
    "10.3.0.1",
    "10.3.5.1",
    "10.4.0.1",
    "10.5.0.1",
    "10.6.0.1",
    "10.7.0.1",
    "10.8.0.1",
    "127.0.0.1",
    "127.9.0.1",
    "203.0.113.1",
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
];
const ADDRESSES6: [&str; 15] = [
    "::",
    "::5",
    "::ffff:10.1.0.1",
    "fd00:1::1",
    "fd00:1::2",
    "fd00:1::",
    "fd00:2::1",
    "fd00:3::1",
    "fd00:3:1::1",
    "fd00:4::1",
    "fd00:5::1",
    "fe80::1",
    "fec0::1",
    "2001:db8::1",
    "ff02::1",
];

/// What the host is given, in steps. A rule of policy routing takes the tables of IPv4 apart.
const STEPS: [&str; 3] = [
    "addr add 10.1.0.1/24 brd + dev eth0
addr add 10.1.1.1/32 dev eth1
addr add 10.2.0.1/24 brd + dev eth1
route add local 10.3.0.0/16 dev lo
route add 10.3.5.0/24 dev eth1
route add 127.9.0.0/16 dev eth1
route add table local anycast 10.4.0.1 dev eth0
route add table local multicast 10.5.0.1 dev eth0
route add table local unreachable 10.6.0.1
route add table local throw 10.7.0.1
route add blackhole 10.8.0.1
addr add fd00:1::1/64 dev eth0 nodad
addr add fd00:2::1/64 dev eth1 nodad
addr add fe80::1/64 dev eth0 nodad
addr add fe80::1/64 dev eth1 nodad
route add local fd00:3::/32 dev lo
route add fd00:3:1::/48 dev eth1
route add table local anycast fd00:5::1 dev eth0
",
    "addr del 10.2.0.1/24 dev eth1
addr add 10.1.0.2/24 brd + dev eth0
addr add 10.1.0.1/32 dev eth1
addr del fd00:2::1/64 dev eth1
addr add fd00:4::1/64 dev eth1 nodad
",
    "rule add from 192.0.2.1 lookup main
",
];

fn rules(family: Family) -> String {
    let types = match family {
        Family::V4 => [&NAMES.map(|(name, _)| name)[..], &TOGETHER4].concat(),
        Family::V6 => TYPES6.to_vec(),
    };
    // The host would complain to itself about what seems to come from its own addresses.
    let mut rules = String::from("*raw\n:PREROUTING ACCEPT [0:0]\n:OUTPUT DROP [0:0]\n");
    for types in types {
        for side in ["src-type", "dst-type"] {
            for (not, limit) in [("", ""), ("! ", ""), ("", " --limit-iface-in")] {
                rules += &format!("-A PREROUTING -m addrtype {not}--{side} {types}{limit}\n");
            }
        }
    }
    rules + "-A PREROUTING -m addrtype --src-type LOCAL ! --dst-type LOCAL -j DROP\nCOMMIT\n"
}

/// A packet of no protocol.
fn packet(source: IpAddr, destination: IpAddr) -> Vec<u8> {
    match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let mut bytes = vec![0; 20];
            bytes[..4].copy_from_slice(&[0x45, 0, 0, 20]);
            (bytes[8], bytes[9]) = (64, 253);
            bytes[12..16].copy_from_slice(&source.octets());
            bytes[16..].copy_from_slice(&destination.octets());
            let sum = checksum(&bytes);
            bytes[10..12].copy_from_slice(&sum.to_be_bytes());
            bytes
        }
        (source, destination) => {
            let mut bytes = vec![0; 40];
            (bytes[0], bytes[6], bytes[7]) = (0x60, 59, 64);
            for (place, address) in [(8, source), (24, destination)] {
                if let IpAddr::V6(address) = address {
                    bytes[place..place + 16].copy_from_slice(&address.octets());
                }
            }
            bytes
        }
    }
}

fn agree(family: Family, subjects: &mut [Box<dyn Subject>]) -> Result<()> {
    let counted = netfilter::counters(family)?;
    for subject in subjects {
        let counters = subject.counters()?;
        for theirs in counted.iter().filter(|it| !it.text.starts_with(":OUTPUT")) {
            let ours = counters.get(&theirs.key).context("a counter of ours")?;
            ensure!(
                *ours == theirs.counters,
                "{} counts {ours:?}, netfilter {:?} at {}",
                subject.name(),
                theirs.counters,
                theirs.text,
            );
        }
    }
    Ok(())
}

fn compare(family: Family) -> Result<()> {
    let interfaces = INTERFACES.map(String::from);
    let host = Host::new(&interfaces, &Routing::transit())?;
    let text = rules(family);
    let addresses: &[&str] = match family {
        Family::V4 => &ADDRESSES4,
        Family::V6 => &ADDRESSES6,
    };
    let addresses: Vec<IpAddr> = addresses
        .iter()
        .map(|it| it.parse())
        .collect::<Result<_, _>>()?;
    for (number, step) in STEPS.iter().enumerate() {
        let of_family = step.lines().filter(|line| {
            line.starts_with("rule") || line.contains(':') == (family == Family::V6)
        });
        let lines: Vec<&str> = of_family.collect();
        let arguments: &[&str] = match family {
            Family::V4 => &["-4", "-batch", "-"],
            Family::V6 => &["-6", "-batch", "-"],
        };
        // Rules of policy routing for IPv6 would need an address of it.
        if family == Family::V4 || !step.starts_with("rule") {
            tool::run("ip", arguments, &(lines.join("\n") + "\n"))?;
        }
        // IPv6 puts the routes of new addresses in from a work queue (addrconf_dad_work).
        thread::sleep(Duration::from_millis(300));
        let ruleset = subjects::ruleset(family, &text)?;
        let mut subjects = subjects::all(&ruleset, &[Hook::Xdp])?;
        netfilter::load(family, &text)?;
        for interface in &interfaces {
            // The kernel drops IPv6 packets from groups before any table.
            let dropped = |it: &IpAddr| it.is_ipv6() && it.is_multicast();
            for &source in addresses.iter().filter(|it| !dropped(it)) {
                for &destination in &addresses {
                    let bytes = packet(source, destination);
                    let frame = Frame::received(family, interface, &bytes);
                    host.inject(&frame)?;
                    for subject in &mut subjects {
                        subject.verdict(&frame, &Route::Refused)?;
                    }
                    agree(family, &mut subjects).with_context(|| {
                        format!("step {number}, {interface}, {source} to {destination}")
                    })?;
                }
            }
        }
    }
    Ok(())
}

#[test]
fn addresses_have_the_types_that_the_kernel_gives_them() {
    if let Err(reason) = netns::prerequisites() {
        eprintln!("skipped: {reason:#}");
        return;
    }
    for family in [Family::V4, Family::V6] {
        netns::isolated(|| compare(family)).unwrap_or_else(|error| panic!("{error:#}"));
    }
}
