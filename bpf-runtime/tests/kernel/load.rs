//! Loading, test runs and maps, in the running kernel.

use ipt2bpf_codegen::asm::{Code, Cond, Extern, KernelField, Op, Reg, Size, Width};
use ipt2bpf_codegen::module::Hook;
use ipt2bpf_runtime::{Counter, Error, Interface, Step, TestPacket, kernel, load};

use crate::objects::{DEVICES, DROP, PASS, frame, lookup, mov, object, object_of};
use crate::places::is_root;

const RULES: &str =
    "*filter\n:INPUT ACCEPT [0:0]\n-A INPUT -m comment --comment \"für alle\"\nCOMMIT\n";

fn packet(frame: &[u8], ifindex: Option<u32>) -> TestPacket<'_> {
    TestPacket {
        frame,
        ifindex,
        repeat: 1,
    }
}

#[test]
fn programs_of_all_hooks_load_and_run_and_count() {
    if !is_root() {
        return;
    }
    let loaded = load(&object(&Hook::ALL, PASS, RULES)).unwrap();
    assert_eq!(loaded.hooks().collect::<Vec<_>>(), Hook::ALL);
    let frame = frame();
    for hook in Hook::ALL {
        for ifindex in [None, Some(1)] {
            let run = loaded.test_run(hook, &packet(&frame, ifindex)).unwrap();
            assert_eq!(run.retval, if hook == Hook::Xdp { 2 } else { 1 }, "{hook}");
        }
    }
    let twice = Counter {
        packets: 2,
        bytes: 200,
    };
    assert_eq!(loaded.maps().counters().unwrap(), [twice; 3]);
}

#[test]
fn a_repeated_run_counts_each_time_and_tells_the_mean() {
    if !is_root() {
        return;
    }
    let loaded = load(&object(&[Hook::Xdp], DROP, RULES)).unwrap();
    let frame = frame();
    let packet = TestPacket {
        repeat: 1000,
        ..packet(&frame, None)
    };
    let run = loaded.test_run(Hook::Xdp, &packet).unwrap();
    assert_eq!(run.retval, 1);
    assert!((1..100_000).contains(&run.duration.as_nanos()), "{run:?}");
    assert_eq!(loaded.maps().counters().unwrap()[2].packets, 1000);
}

#[test]
fn what_is_not_there_is_told() {
    if !is_root() {
        return;
    }
    let loaded = load(&object(&[Hook::CgroupIngress], PASS, RULES)).unwrap();
    let frame = frame();
    let error = loaded
        .test_run(Hook::Xdp, &packet(&frame, None))
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "the object holds no program for xdp; compile with `--hook xdp`"
    );
    let error = loaded
        .test_run(Hook::CgroupIngress, &packet(&frame, Some(i32::MAX as u32)))
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "the kernel refused to test the cgroup_skb/ingress program: No such device (os error 19)"
    );
}

#[test]
fn the_text_of_the_rules_travels_with_programs_that_never_read_it() {
    if !is_root() {
        return;
    }
    let loaded = load(&object(&[Hook::CgroupEgress], PASS, RULES)).unwrap();
    assert_eq!(loaded.maps().rules_text().unwrap(), RULES.as_bytes());
}

#[test]
fn counters_are_seeded_and_zeroed() {
    if !is_root() {
        return;
    }
    let loaded = load(&object(&[Hook::CgroupEgress], PASS, RULES)).unwrap();
    let maps = loaded.maps();
    let seed = [
        Counter {
            packets: 12,
            bytes: 3456,
        },
        Counter {
            packets: u64::MAX,
            bytes: 1,
        },
    ];
    maps.seed_counters(&seed).unwrap();
    let frame = frame();
    loaded
        .test_run(Hook::CgroupEgress, &packet(&frame, None))
        .unwrap();
    let wrapped = Counter {
        packets: 0,
        bytes: 101,
    };
    assert_eq!(
        maps.counters().unwrap(),
        [seed[0], wrapped, Counter::default()]
    );
    maps.zero_counters().unwrap();
    assert_eq!(maps.counters().unwrap(), [Counter::default(); 3]);
    let error = maps.seed_counters(&[seed[0]; 4]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "4 values do not fit into the map `counters` of 3"
    );
}

/// Passes packets of interfaces whose name the map `devices` holds and begins with `l`.
fn from_l_devices() -> Code {
    let mut code = Code::default();
    let end = code.label();
    // ifindex is the eleventh word of struct __sk_buff.
    code.line("-A INPUT -i l+ -j ACCEPT");
    code.push(Op::Load(Size::W, Reg::R1, Reg::R1, 40));
    code.push(Op::Store(Size::W, Reg::R10, -4, Reg::R1.into()));
    lookup(&mut code, DEVICES, -4);
    code.push(mov(Reg::R1, Reg::R0));
    code.push(mov(Reg::R0, 0));
    code.push(Op::Branch(Width::W64, Cond::Eq, Reg::R1, 0.into(), end));
    code.push(Op::Load(Size::B, Reg::R1, Reg::R1, 0));
    code.push(Op::Branch(
        Width::W64,
        Cond::Ne,
        Reg::R1,
        i32::from(b'l').into(),
        end,
    ));
    code.push(mov(Reg::R0, 1));
    code.bind(end);
    code.push(Op::Exit);
    code
}

#[test]
fn programs_learn_the_names_of_interfaces() {
    if !is_root() {
        return;
    }
    let object = object_of(vec![(Hook::CgroupIngress, from_l_devices())], RULES);
    let loaded = load(&object).unwrap();
    let frame = frame();
    let verdict = || {
        loaded
            .test_run(Hook::CgroupIngress, &packet(&frame, Some(1)))
            .unwrap()
            .retval
    };
    let named = |index, name: &str| Interface {
        index,
        name: name.to_owned(),
    };
    assert_eq!(verdict(), DROP, "nothing is known yet");
    loaded.maps().fill_devices().unwrap();
    assert_eq!(verdict(), PASS);
    loaded.maps().set_devices(&[named(1, "eth0")]).unwrap();
    assert_eq!(verdict(), DROP, "the name is another");
    loaded.maps().set_devices(&[named(2, "lo")]).unwrap();
    assert_eq!(verdict(), DROP, "the index is another");
    let many: Vec<Interface> = (1..=65).map(|index| named(index, "lo")).collect();
    let error = loaded.maps().set_devices(&many).unwrap_err();
    assert!(
        matches!(error, Error::MapTooSmall { wanted: 65, .. }),
        "{error}"
    );
}

#[test]
fn the_kernel_tells_where_it_keeps_the_name_of_an_interface() {
    if !is_root() {
        return;
    }
    let Some(access) = kernel::device_access() else {
        eprintln!("skipped: this kernel has no bpf_cast_to_kern_ctx");
        return;
    };
    let mut code = Code::default();
    let end = code.label();
    code.line("-A INPUT -i l+ -j ACCEPT");
    code.push(Op::CallKfunc(access.function(Extern::CastToKernCtx)));
    code.push(Op::Load(
        Size::D,
        Reg::R1,
        Reg::R0,
        access.offset(KernelField::SkbDevice) as i16,
    ));
    code.push(mov(Reg::R0, 0));
    code.push(Op::Load(
        Size::B,
        Reg::R1,
        Reg::R1,
        access.offset(KernelField::DeviceName) as i16,
    ));
    code.push(Op::Branch(
        Width::W64,
        Cond::Ne,
        Reg::R1,
        i32::from(b'l').into(),
        end,
    ));
    code.push(mov(Reg::R0, 1));
    code.bind(end);
    code.push(Op::Exit);
    let loaded = load(&object_of(vec![(Hook::CgroupIngress, code)], RULES)).unwrap();
    let frame = frame();
    let run = loaded
        .test_run(Hook::CgroupIngress, &packet(&frame, Some(1)))
        .unwrap();
    assert_eq!(run.retval, PASS);
}

#[test]
fn a_rejected_program_comes_with_the_end_of_the_log_and_the_rule() {
    if !is_root() {
        return;
    }
    let mut code = Code::default();
    code.line("-A INPUT -m comment --comment \"für alle\"");
    code.push(mov(Reg::R0, Reg::R7));
    code.push(Op::Exit);
    let error = load(&object_of(vec![(Hook::Xdp, code)], RULES)).unwrap_err();
    assert!(error.kernel_refused());
    let Error::Refused { step, log, .. } = &error else {
        panic!("{error}");
    };
    assert_eq!(*step, Step::LoadProgram(Hook::Xdp));
    assert!(
        log.contains("R7 !read_ok") && log.contains("für alle"),
        "{log}"
    );
    assert!(
        error
            .to_string()
            .starts_with("the kernel refused to load the xdp program: Permission denied"),
        "{error}"
    );
}

#[test]
fn damaged_objects_are_errors_or_harmless() {
    let object = object(&Hook::ALL, PASS, RULES);
    for (at, _) in object.iter().enumerate().step_by(7) {
        let mut damaged = object.clone();
        damaged[at] ^= 0xff;
        if let Err(error) = load(&damaged) {
            assert!(
                matches!(error, Error::Object { .. } | Error::Refused { .. }),
                "{error}"
            );
        }
    }
    for length in (0..object.len()).step_by(7) {
        assert!(load(&object[..length]).is_err(), "cut to {length} bytes");
    }
}
