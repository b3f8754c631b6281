//! The two judges: the reference evaluator and the interpreted bytecode.

use ipt2bpf_codegen::addresses::AddressEntry;
use ipt2bpf_codegen::compile::{Compiled, compile};
use ipt2bpf_codegen::evaluate::{Route, evaluate};
use ipt2bpf_codegen::field::Field;
use ipt2bpf_codegen::frame::{self, ip_packet};
use ipt2bpf_codegen::listing::listing;
use ipt2bpf_codegen::log::record::{RING, Record};
use ipt2bpf_codegen::meaning::reject::reply::{Arrival, reply};
use ipt2bpf_codegen::meaning::rewrite::path_mtu::UNBOUNDED;
use ipt2bpf_codegen::meaning::socket::HostSocket;
use ipt2bpf_codegen::meaning::tell::Telling;
use ipt2bpf_codegen::module::{ADDRESSES_MAP, Hook};
use ipt2bpf_codegen::options::{Options, XdpPath};
use ipt2bpf_codegen::packet::{Devices, Metadata, Packet};
use ipt2bpf_codegen::routine::{World, Written};
use ipt2bpf_codegen::semantic::{FamilyFilter, Test, Verdict};
use ipt2bpf_codegen::sets::live::{LiveShape, map_name};
use ipt2bpf_codegen::vm::{Context, FibAnswer, Machine};
use ipt2bpf_parser::ipset::Set;
use ipt2bpf_parser::ruleset::{Family, Ruleset};
use proptest::prelude::*;
use proptest::test_runner::TestCaseError;

use super::universe::{INTERFACES, Packet as Drawn};

/// Ticks of the clock between two packets.
const TICKS: u64 = 40;

/// Seconds of the clock between two packets: a little over seven days and eight hours.
const SECONDS: i64 = 634_567;
/// When the first packet comes: 28 December 1999.
const START: i64 = 946_339_200;
/// Nanoseconds from the time since boot to the time of day, and from that to the atomic time.
const REAL_LESS_BOOT: u64 = 900_000_000_123_456_789;
const TAI_LESS_REAL: u64 = 37_000_000_000;
/// Paris in winter.
const MINUTES_WEST: i32 = -60;

/// The clock as a loader writes it.
fn clock_value() -> Vec<u8> {
    let mut value = Vec::new();
    value.extend((REAL_LESS_BOOT as i64).to_le_bytes());
    value.extend((-(TAI_LESS_REAL as i64)).to_le_bytes());
    value.extend(MINUTES_WEST.to_le_bytes());
    value.extend(1u32.to_le_bytes());
    value
}

/// What routing prefers as the source of what the host sends.
const SOURCE: [u8; 16] = [0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff];

/// What routes let through.
const MTU: u16 = 700;

/// Compares the two sides on one packet at one hook.
fn compare(
    compiled: &Compiled,
    machine: &mut Machine<'_>,
    hook: Hook,
    drawn: &Drawn,
    options: &Options,
    world: &mut World,
) -> Result<(), TestCaseError> {
    let before = machine.counters();
    let told_before = machine.records(RING).len();
    world.told.clear();
    let path_mtu = if drawn.local { UNBOUNDED } else { MTU.into() };
    world.path_mtu = [path_mtu; 2];
    world.written = Written::default();
    let filter = compiled
        .filters
        .iter()
        .find(|filter| filter.hook == hook)
        .expect("a filter per hook");
    let local = match options.xdp_path {
        XdpPath::Auto => drawn.local || drawn.is_always_local(),
        XdpPath::Input => true,
        XdpPath::Forward => false,
    };
    let name = INTERFACES[drawn.interface].to_owned();
    let other = INTERFACES[(drawn.interface + 1) % INTERFACES.len()];
    let route = if local {
        Route::Local
    } else {
        Route::Transit(other)
    };
    let devices = match hook {
        Hook::CgroupIngress | Hook::Xdp => Devices {
            input: name,
            output: String::new(),
        },
        Hook::CgroupEgress => Devices {
            input: String::new(),
            output: name,
        },
    };
    let frame = drawn.frame();
    let (family, bytes) = match hook {
        Hook::Xdp => match ip_packet(&frame, drawn.interface as u32 + 1) {
            Some((family, bytes)) => (family, bytes.to_vec()),
            None => (drawn.family, Vec::new()),
        },
        _ => (drawn.family, drawn.bytes.clone()),
    };
    let metadata = match hook {
        Hook::Xdp => frame::metadata(&frame, drawn.interface as u32 + 1),
        _ => Metadata {
            mark: drawn.mark,
            interface: drawn.interface as u32 + 1,
            packet_type: drawn.packet_type,
            ..Metadata::default()
        },
    };
    let metadata = Metadata {
        processor: drawn.processor,
        ..metadata
    };
    let packet = Packet::new(family, &bytes, &devices).map(|packet| packet.with(metadata));
    let rules = filter.families.iter().find(|rules| rules.family == family);
    // On a VLAN, the name of the interface is not known, and no rule is met.
    let asks = rules.is_some_and(asks_for_in_device);
    let vlan = hook == Hook::Xdp && drawn.tags.iter().any(|tag| tag & 0x0fff != 0);
    let (mut answer, mut left) = (None, None);
    let (verdict, counted) = match (packet, rules) {
        _ if vlan && asks => (Verdict::Drop, Vec::new()),
        (Some(packet), Some(rules)) => {
            let outcome = evaluate(rules, &packet, route, world);
            let counted: Vec<_> = outcome.counters(rules).collect();
            left = Some(frame_with(&frame, bytes.as_slice(), &outcome.packet.left()));
            answer = outcome.rejected.and_then(|(nf_hook, answer)| {
                let arrival = Arrival {
                    frame: &frame,
                    hook: nf_hook,
                    // The lookup gives the address where it gives a way.
                    source: (!drawn.local).then_some(SOURCE),
                    tick_rate: options.tick_rate,
                };
                reply(answer, &outcome.packet, arrival, world)
            });
            (outcome.verdict, counted)
        }
        _ => (Verdict::Accept, Vec::new()),
    };
    let mut context = Context::new(if hook == Hook::Xdp {
        &frame
    } else {
        &drawn.bytes
    });
    context.sockets = &world.sockets;
    let index = drawn.interface as u32 + 1;
    (context.ifindex, context.ingress_ifindex) = (index, index);
    context.protocol = if drawn.family == Family::V4 {
        0x0800
    } else {
        0x86dd
    };
    context.mark = drawn.mark;
    context.packet_type = drawn.packet_type.into();
    context.cpu = drawn.processor;
    context.fib = FibAnswer {
        code: if drawn.local { 4 } else { 0 },
        source: SOURCE,
        mtu: MTU,
        ifindex: ((drawn.interface + 1) % INTERFACES.len()) as u32 + 1,
    };
    context.jiffies = world.jiffies;
    context.nanoseconds = world.jiffies * 1_000_000_000 / u64::from(options.tick_rate);
    let real = u128::from(world.seconds.unsigned_abs()) * 1_000_000_000;
    context.boot_time = (real - u128::from(REAL_LESS_BOOT)) as u64;
    context.atomic_time = (real + u128::from(TAI_LESS_REAL)) as u64;
    let (returned, after) = machine
        .run_and_write(hook, &mut context)
        .map_err(|fault| TestCaseError::fail(format!("{fault}")))?;
    let passed = returned == if hook == Hook::Xdp { 2 } else { 1 };
    prop_assert_eq!(
        passed,
        verdict == Verdict::Accept,
        "verdict at {} on {:?}",
        hook,
        drawn
    );
    if let (Hook::Xdp, 2, Some(left)) = (hook, returned, left) {
        prop_assert_eq!(&after, &left, "the frame of {:?}", drawn);
    }
    let sent = (hook == Hook::Xdp && returned == 3).then_some(after);
    prop_assert_eq!(sent, answer, "answer at {} to {:?}", hook, drawn);
    let mut expected = before;
    for (counter, bytes) in counted {
        expected[counter.0 as usize].0 += 1;
        expected[counter.0 as usize].1 += bytes;
    }
    prop_assert_eq!(
        machine.counters(),
        expected,
        "counters at {} on {:?}",
        hook,
        drawn
    );
    let told: Vec<Option<Telling>> = machine.records(RING)[told_before..]
        .iter()
        .map(|bytes| Record::read(bytes).map(telling))
        .collect();
    let expected: Vec<Option<Telling>> = match vlan && asks {
        true => Vec::new(),
        false => world.told.drain(..).map(Some).collect(),
    };
    if hook != Hook::Xdp {
        let mark = world.written.mark.unwrap_or(drawn.mark);
        let priority = world.written.priority.unwrap_or(0);
        prop_assert_eq!(
            (context.mark, context.priority),
            (mark, priority),
            "at {}",
            hook
        );
    }
    prop_assert_eq!(told, expected, "records at {} on {:?}", hook, drawn);
    Ok(())
}

/// A frame whose packet has become another; what lies behind it stays.
fn frame_with(frame: &[u8], packet: &[u8], new: &[u8]) -> Vec<u8> {
    let start = frame::header_length(frame).unwrap_or(frame.len());
    let mut bytes = [&frame[..start], new].concat();
    let behind = frame.get(bytes.len()..).unwrap_or_default();
    assert!(new.len() >= packet.len(), "packets only grow");
    bytes.extend(behind);
    bytes
}

fn telling(record: Record) -> Telling {
    Telling {
        occasion: record.occasion,
        number: record.number,
        nf_hook: record.nf_hook,
        owner: record.owner,
        mark: record.mark,
        length: record.length,
        bytes: record.bytes,
    }
}

fn asks_for_in_device(filter: &FamilyFilter) -> bool {
    let reads = |field: &Field| Field::OF_RECEIVING_INTERFACE.contains(field);
    let mut routines = filter.routines();
    let mut found = routines.any(|routine| routine.work().reads().iter().any(reads));
    filter.leaves(&mut |leaf| {
        found |= matches!(
            leaf,
            Test::Masked {
                field: Field::InDevice,
                ..
            }
        );
    });
    found
}

/// Numbers that look drawn: the golden ratio's multiples.
fn random_numbers(seed: usize) -> Vec<u32> {
    let numbers = 1..=64u32;
    numbers
        .map(|it| it.wrapping_add(64 * seed as u32).wrapping_mul(0x9e37_79b9))
        .collect()
}

/// Compiles rulesets and compares the two sides on packets at every hook of the object.
pub fn check(
    rulesets: &[Ruleset],
    packets: &[Drawn],
    options: &Options,
) -> Result<(), TestCaseError> {
    check_with_addresses(rulesets, packets, options, &[])
}

/// The same where sets are kept in maps.
pub fn check_with_live_sets(
    rulesets: &[Ruleset],
    packets: &[Drawn],
    options: &Options,
    sets: &[Set],
) -> Result<(), TestCaseError> {
    check_filled(rulesets, packets, options, World::default(), |machine| {
        for (set, number) in sets.iter().zip(0..) {
            let (name, shape) = (map_name(number), LiveShape::of(set));
            for entry in &set.entries {
                let Some(shape) = &shape else { break };
                let key = shape.key(&entry.value).expect("a whole element");
                let value = shape.value(&entry.value, 0);
                // Sets that no rule asks for have no map.
                let _ = match shape.is_trie {
                    true => machine.set_prefix(&name, &key, &value),
                    false => machine.set_entry(&name, &key, &value),
                };
            }
        }
    })
}

/// The same where the types of addresses are known.
pub fn check_with_addresses(
    rulesets: &[Ruleset],
    packets: &[Drawn],
    options: &Options,
    addresses: &[AddressEntry],
) -> Result<(), TestCaseError> {
    let mut world = World::default();
    world.addresses = addresses.to_vec();
    check_filled(rulesets, packets, options, world, |_| {})
}

/// The same where the host has sockets.
pub fn check_with_sockets(
    rulesets: &[Ruleset],
    packets: &[Drawn],
    options: &Options,
    sockets: &[HostSocket],
) -> Result<(), TestCaseError> {
    let mut world = World::default();
    world.sockets = sockets.to_vec();
    check_filled(rulesets, packets, options, world, |_| {})
}

fn check_filled(
    rulesets: &[Ruleset],
    packets: &[Drawn],
    options: &Options,
    mut world: World,
    fill: impl Fn(&mut Machine<'_>),
) -> Result<(), TestCaseError> {
    let compiled = compile(rulesets, options)
        .map_err(|diagnostics| TestCaseError::fail(format!("{diagnostics:#?}")))?;
    let mut machine =
        Machine::new(&compiled.module).map_err(|error| TestCaseError::fail(error.to_string()))?;
    for (index, name) in INTERFACES.iter().enumerate() {
        machine.set_device(index as u32 + 1, name);
    }
    machine.set_clock(&clock_value());
    let world = &mut world;
    for entry in &world.addresses {
        machine.set_prefix(ADDRESSES_MAP, &entry.key(), &entry.value());
    }
    fill(&mut machine);
    for (number, packet) in packets.iter().enumerate() {
        for filter in &compiled.filters {
            world.jiffies = TICKS * number as u64;
            world.minutes_west = MINUTES_WEST;
            world.seconds = START + SECONDS * number as i64;
            world.random = random_numbers(number);
            machine.random = world.random.clone();
            compare(&compiled, &mut machine, filter.hook, packet, options, world).map_err(
                |error| match error {
                    TestCaseError::Fail(reason) => TestCaseError::fail(format!(
                        "{reason}\n{}\n{}",
                        compiled
                            .filters
                            .iter()
                            .map(ToString::to_string)
                            .collect::<String>(),
                        listing(&compiled.module),
                    )),
                    other => other,
                },
            )?;
        }
    }
    Ok(())
}
