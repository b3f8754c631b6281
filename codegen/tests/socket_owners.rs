//! `-m owner` and `-m cgroup`: programs find in the kernel's structures what the reference is told.

mod common;
mod support;

use std::collections::HashMap;

use common::loaders::{BpfFs, kernel_function, load_with_libbpf};
use common::may_load;
use ipt2bpf_codegen::asm::{Extern, KernelField};
use ipt2bpf_codegen::compile::compile;
use ipt2bpf_codegen::evaluate::{Route, evaluate};
use ipt2bpf_codegen::log::record::{RING, Record};
use ipt2bpf_codegen::module::Hook;
use ipt2bpf_codegen::options::{ControlGroup, DeviceAccess, DeviceNames, KernelVersion, Options};
use ipt2bpf_codegen::packet::{Devices, Metadata, Opener, Packet, SendingSocket};
use ipt2bpf_codegen::routine::World;
use ipt2bpf_codegen::semantic::Verdict;
use ipt2bpf_codegen::vm::{Context, Machine, kernel_address};
use ipt2bpf_parser::ruleset::Family;
use proptest::collection::vec;
use proptest::option::of;
use proptest::prelude::*;
use proptest::sample::select;
use support::texts::filter;
use support::universe::packets;

const IDS: [u32; 7] = [0, 1, 5, 6, 1337, 0x8000_0000, 0xffff_fffe];

/// Groups by their paths.
const PATHS: [(&str, ControlGroup); 3] = [
    ("/", ControlGroup { id: 1, level: 0 }),
    (
        "/a/b",
        ControlGroup {
            id: 77 << 32,
            level: 2,
        },
    ),
    (
        "a",
        ControlGroup {
            id: 0x1_0000_0005,
            level: 1,
        },
    ),
];

/// The ids of a group and those above it.
fn groups() -> impl Strategy<Value = Vec<u64>> {
    let below = select(&[5, 77 << 32, 0x1_0000_0005][..]);
    vec(below, 0..4).prop_map(|below| [vec![1], below].concat())
}

fn known_groups() -> HashMap<Vec<u8>, ControlGroup> {
    PATHS
        .map(|(path, group)| (path.as_bytes().to_vec(), group))
        .into()
}

fn ids() -> impl Strategy<Value = String> {
    (select(&IDS), select(&IDS)).prop_map(|(a, b)| format!("{}-{}", a.min(b), a.max(b)))
}

fn not() -> impl Strategy<Value = &'static str> {
    select(&["", "! "][..])
}

fn owner() -> impl Strategy<Value = String> {
    let user = of((not(), ids()).prop_map(|(not, ids)| format!("{not}--uid-owner {ids}")));
    let suppl = select(&["", " --suppl-groups"][..]);
    let group = (not(), ids(), suppl)
        .prop_map(|(not, ids, suppl)| format!("{not}--gid-owner {ids}{suppl}"));
    let exists = not().prop_map(|not| format!("{not}--socket-exists"));
    (of(exists), user, of(group))
        .prop_filter("some option", |(a, b, c)| {
            a.is_some() || b.is_some() || c.is_some()
        })
        .prop_map(|(exists, user, group)| {
            let options: Vec<String> = [exists, user, group].into_iter().flatten().collect();
            format!("-m owner {}", options.join(" "))
        })
}

fn rule() -> impl Strategy<Value = String> {
    let class = (not(), select(&[0, 5, 0x8000_0001u32][..]))
        .prop_map(|(not, class)| format!("-m cgroup {not}--cgroup {class}"));
    let group = (not(), select(&PATHS[..]))
        .prop_map(|(not, (path, _))| format!("-m cgroup {not}--path {path}"));
    let verdict = select(&["ACCEPT", "DROP", "RETURN"][..]);
    let rule = (prop_oneof![3 => owner(), 1 => class, 1 => group], verdict)
        .prop_map(|(test, verdict)| format!("-A OUTPUT {test} -j {verdict}\n"));
    let log = select(&["-A OUTPUT -j LOG --log-uid\n", "-A OUTPUT -j LOG\n"][..]);
    prop_oneof![4 => rule, 1 => log.prop_map(str::to_owned)]
}

fn socket() -> impl Strategy<Value = Option<SendingSocket>> {
    let opener = (select(&IDS), select(&IDS), vec(select(&IDS), 0..5));
    let opener = opener.prop_map(|(user, group, mut groups)| {
        groups.sort();
        Opener {
            user,
            group,
            groups,
        }
    });
    let socket = (
        prop::bool::weighted(0.9),
        prop::option::weighted(0.9, opener),
        select(&[0, 5, 0x8000_0001u32][..]),
        any::<bool>(),
        groups(),
    );
    let socket = socket.prop_map(|(is_open, opener, class, listens, groups)| SendingSocket {
        is_open,
        opener,
        class,
        groups,
        listens,
    });
    prop::option::weighted(0.95, socket)
}

/// Each field lies at a place of its own in its structure.
fn offset(field: KernelField) -> u16 {
    8 * field as u16
}

/// The memory of a kernel with this socket behind the packet.
fn memory(socket: Option<&SendingSocket>) -> Vec<u8> {
    const SOCK: usize = 0x400;
    const SOCKET: usize = 0x800;
    const FILE: usize = 0xc00;
    const CREDENTIALS: usize = 0x1000;
    const GROUPS: usize = 0x1400;
    let mut memory = vec![0; 0x1800];
    let mut put = |at: usize, field: KernelField, bytes: &[u8]| {
        let at = at + usize::from(offset(field));
        memory[at..at + bytes.len()].copy_from_slice(bytes);
    };
    let pointer = |to: usize| kernel_address(to as u32).to_ne_bytes();
    let Some(socket) = socket else {
        return memory;
    };
    put(0, KernelField::SkbSocket, &pointer(SOCK));
    put(
        SOCK,
        KernelField::SockState,
        &[if socket.listens { 10 } else { 1 }],
    );
    let class = SOCK + usize::from(offset(KernelField::SockGroups));
    put(class, KernelField::GroupsClass, &socket.class.to_ne_bytes());
    if socket.is_open {
        put(SOCK, KernelField::SockSocket, &pointer(SOCKET));
    }
    if let Some(opener) = &socket.opener {
        put(SOCKET, KernelField::SocketFile, &pointer(FILE));
        put(FILE, KernelField::FileCredentials, &pointer(CREDENTIALS));
        put(
            CREDENTIALS,
            KernelField::CredentialsUser,
            &opener.user.to_ne_bytes(),
        );
        put(
            CREDENTIALS,
            KernelField::CredentialsGroup,
            &opener.group.to_ne_bytes(),
        );
        put(
            CREDENTIALS,
            KernelField::CredentialsGroups,
            &pointer(GROUPS),
        );
        let count = opener.groups.len() as u32;
        put(GROUPS, KernelField::GroupsCount, &count.to_ne_bytes());
        let list: Vec<u8> = opener
            .groups
            .iter()
            .flat_map(|it| it.to_ne_bytes())
            .collect();
        put(GROUPS, KernelField::GroupsList, &list);
    }
    memory
}

proptest! {
    #[test]
    fn bytecode_is_reference(
        rules in vec(rule(), 1..5),
        drawn in packets(20),
        sockets in vec(socket(), 20),
    ) {
        for family in [Family::V4, Family::V6] {
            let options = Options {
                hooks: vec![Hook::CgroupEgress],
                device_names: DeviceNames::Kernel(
                    DeviceAccess::new(|_| Some(1), |field| Some(offset(field))).expect("all are there"),
                ),
                groups: known_groups(),
                ..Options::default()
            };
            let compiled = compile(&filter(family, &rules.concat()), &options).expect("compiles");
            let rules = &compiled.filters[0].families[0];
            let mut machine = Machine::new(&compiled.module).expect("encodes");
            let of_family = drawn.iter().zip(&sockets).filter(|(it, _)| it.family == family);
            for (drawn, socket) in of_family {
                let metadata = Metadata { socket: socket.clone(), ..Metadata::default() };
                let packet = Packet::new(family, &drawn.bytes, &Devices::default());
                let Some(packet) = packet.map(|it| it.with(metadata)) else { continue };
                let world = &mut World::default();
                let outcome = evaluate(rules, &packet, Route::Local, world);
                let memory = memory(socket.as_ref());
                let mut context = Context::new(&drawn.bytes);
                context.protocol = if family == Family::V4 { 0x0800 } else { 0x86dd };
                context.kernel = &memory;
                context.groups = socket.as_ref().map_or(&[], |socket| &socket.groups);
                let before = machine.counters();
                let told_before = machine.records(RING).len();
                let returned = machine.run(Hook::CgroupEgress, &context).expect("no fault");
                let told: Vec<_> = machine.records(RING)[told_before..]
                    .iter()
                    .map(|record| Record::read(record).map(|record| record.owner))
                    .collect();
                let expected: Vec<_> = world.told.iter().map(|told| Some(told.owner)).collect();
                prop_assert_eq!(told, expected, "{:?}", socket);
                prop_assert_eq!(returned == 1, outcome.verdict == Verdict::Accept, "{:?}", socket);
                let mut expected = before;
                for (counter, bytes) in outcome.counters(rules) {
                    expected[counter.0 as usize].0 += 1;
                    expected[counter.0 as usize].1 += bytes;
                }
                prop_assert_eq!(machine.counters(), expected, "{:?}", socket);
            }
        }
    }
}

#[test]
fn the_verifier_takes_it() {
    if !may_load() || kernel_function(Extern::CastToKernCtx).is_none() {
        return;
    }
    let rules = "-A OUTPUT -m owner --uid-owner 5-1337 ! --gid-owner 6 --suppl-groups -j DROP
-A OUTPUT -m owner ! --socket-exists -j DROP
-A OUTPUT -m owner --socket-exists -j ACCEPT
-A OUTPUT -m owner ! --uid-owner 0 -j DROP
-A OUTPUT -m owner --socket-exists --gid-owner 0 -j DROP
-A OUTPUT -m cgroup ! --cgroup 5 -j DROP
-A OUTPUT -m cgroup ! --path /a/b -j DROP";
    let mut rulesets = filter(Family::V4, rules);
    rulesets.extend(filter(Family::V6, rules));
    for target_kernel in [
        Some(KernelVersion::BASELINE),
        Some(KernelVersion::KERNEL_CONTEXT),
    ] {
        let options = Options {
            hooks: vec![Hook::CgroupEgress],
            device_names: DeviceNames::Relocated,
            target_kernel,
            groups: known_groups(),
            ..Options::default()
        };
        let compiled = compile(&rulesets, &options).expect("compiles");
        assert_eq!(compiled.kernel, KernelVersion::KERNEL_CONTEXT);
        load_with_libbpf(&compiled.module, &BpfFs::mount());
    }
}

#[test]
fn what_a_hook_does_not_know_is_refused() {
    let relocated = DeviceNames::Relocated;
    for (rule, hook, device_names, code) in [
        (
            "-A OUTPUT -m owner --uid-owner 0",
            Hook::CgroupEgress,
            DeviceNames::Table,
            "kernel-structure",
        ),
        (
            "-A OUTPUT -m cgroup --cgroup 1",
            Hook::CgroupEgress,
            DeviceNames::Table,
            "kernel-structure",
        ),
        (
            "-A OUTPUT -m cgroup --path a/b",
            Hook::CgroupEgress,
            relocated,
            "unknown-cgroup",
        ),
        (
            "-A INPUT -m cgroup --cgroup 1",
            Hook::CgroupIngress,
            relocated,
            "unseen",
        ),
        (
            "-A INPUT -m cgroup --cgroup 1",
            Hook::Xdp,
            relocated,
            "unseen",
        ),
    ] {
        let options = Options {
            hooks: vec![hook],
            device_names,
            ..Options::default()
        };
        let said = compile(&filter(Family::V4, rule), &options).expect_err("is refused");
        assert_eq!(said[0].code, code, "{rule}: {said:?}");
    }
}
