//! Pinning and attaching, on file systems, cgroups and network namespaces of the tests' own.

use std::fs;
use std::net::UdpSocket;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use ipt2bpf_codegen::module::Hook;
use ipt2bpf_runtime::{Counter, Error, Loaded, Maps, Registry, Site, XdpMode, XdpWish, load};

use crate::objects::{DROP, PASS, object};
use crate::places::{BpfFs, TestCgroup, enter_netns_with_cable, is_root};

const BOTH: [Hook; 2] = [Hook::CgroupIngress, Hook::CgroupEgress];

fn loaded(hooks: &[Hook], verdict: u32, rules: &str) -> Loaded {
    load(&object(hooks, verdict, rules)).unwrap()
}

fn tree(dir: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut open = vec![dir.to_owned()];
    while let Some(path) = open.pop() {
        for entry in fs::read_dir(&path).unwrap().flatten() {
            if entry.file_type().unwrap().is_dir() {
                open.push(entry.path());
            } else {
                let path = entry.path();
                found.push(path.strip_prefix(dir).unwrap().display().to_string());
            }
        }
    }
    found.sort();
    found
}

#[test]
fn pins_have_the_documented_layout_and_are_replaced() {
    if !is_root() {
        return;
    }
    let bpffs = BpfFs::mount();
    let dir = bpffs.path().join("web");
    loaded(&Hook::ALL, PASS, "first").pin(&dir).unwrap();
    let maps = ["maps/counters", "maps/devices", "maps/rules"];
    let programs = ["ipt2bpf_egress", "ipt2bpf_ingress", "ipt2bpf_xdp"];
    assert_eq!(tree(&dir), [&programs[..], &maps].concat());
    assert_eq!(Maps::open(&dir).unwrap().rules_text().unwrap(), b"first");

    loaded(&[Hook::Xdp], PASS, "second").pin(&dir).unwrap();
    assert_eq!(tree(&dir), [&programs[2..], &maps].concat());
    let maps = Maps::open(&dir).unwrap();
    assert_eq!(maps.rules_text().unwrap(), b"second");
    assert_eq!(maps.counters().unwrap(), [Counter::default(); 3]);
}

#[test]
fn pins_of_others_are_left_alone() {
    if !is_root() {
        return;
    }
    let bpffs = BpfFs::mount();
    let dir = bpffs.path().join("web");
    let foreign = loaded(&[Hook::Xdp], PASS, "foreign");
    foreign.pin(&bpffs.path().join("other")).unwrap();
    fs::create_dir_all(dir.join("maps")).unwrap();
    fs::rename(
        bpffs.path().join("other/maps/counters"),
        dir.join("maps/counters"),
    )
    .unwrap();
    let error = loaded(&[Hook::Xdp], PASS, "ours").pin(&dir).unwrap_err();
    assert!(
        matches!(&error, Error::NotOurs { path } if *path == dir.join("maps/counters")),
        "{error}"
    );
    assert_eq!(tree(&dir), ["maps/counters"]);
}

#[test]
fn only_a_bpf_file_system_takes_pins() {
    if !is_root() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let object = loaded(&BOTH, PASS, "rules");
    let error = object.pin(&dir.path().join("web")).unwrap_err();
    assert!(
        error.to_string().contains("is not on a BPF file system"),
        "{error}"
    );
    assert!(!dir.path().join("web").exists());
    let cgroup = TestCgroup::create();
    let error = Registry::at(dir.path())
        .attach_cgroup(&object, cgroup.path())
        .unwrap_err();
    assert!(matches!(error, Error::NotBpffs { .. }), "{error}");
}

#[test]
fn a_cgroup_is_filtered_until_detached() {
    if !is_root() {
        return;
    }
    let bpffs = BpfFs::mount();
    let registry = Registry::at(bpffs.path().join("root"));
    let cgroup = TestCgroup::create();
    assert!(cgroup.can_send());

    // The loaded object is dropped at once: nothing in this process holds what stays attached.
    registry
        .attach_cgroup(&loaded(&BOTH, DROP, "drop all"), cgroup.path())
        .unwrap();
    assert!(!cgroup.can_send());

    let attachments = registry.at_cgroup(cgroup.path()).unwrap();
    assert_eq!(attachments, registry.list().unwrap());
    let hooks: Vec<Hook> = attachments.iter().map(|a| a.hook).collect();
    assert_eq!(hooks, BOTH);
    for attachment in &attachments {
        assert!(attachment.alive);
        assert!(
            matches!(&attachment.site, Site::Cgroup { path: Some(path), .. } if path == cgroup.path()),
            "{attachment:?}"
        );
    }
    let maps = attachments[0].maps().unwrap();
    assert!(maps.same_as(&attachments[1].maps().unwrap()));
    assert_eq!(maps.rules_text().unwrap(), b"drop all");
    let counters = maps.counters().unwrap();
    assert!(counters[1].packets > 0, "{counters:?}");
    assert_eq!(counters[1].bytes, 100 * counters[1].packets);

    for attachment in &attachments {
        registry.detach(attachment).unwrap();
    }
    assert!(cgroup.can_send());
    assert_eq!(registry.list().unwrap(), []);
    assert!(!bpffs.path().join("root").exists());
}

#[test]
fn attaching_again_replaces_the_program_in_the_same_link() {
    if !is_root() {
        return;
    }
    let bpffs = BpfFs::mount();
    let registry = Registry::at(bpffs.path().join("root"));
    let cgroup = TestCgroup::create();
    registry
        .attach_cgroup(&loaded(&BOTH, DROP, "first"), cgroup.path())
        .unwrap();
    let before = registry.list().unwrap();
    registry
        .attach_cgroup(&loaded(&BOTH[..1], PASS, "second"), cgroup.path())
        .unwrap();
    let after = registry.list().unwrap();

    assert_eq!(after[0].link_id, before[0].link_id);
    assert_ne!(after[0].program_id, before[0].program_id);
    assert_eq!(after[0].maps().unwrap().rules_text().unwrap(), b"second");
    assert_eq!(after[1], before[1], "the other hook keeps what it has");
    for attachment in &after {
        registry.detach(attachment).unwrap();
    }
}

#[test]
fn no_packet_slips_through_while_programs_are_replaced() {
    if !is_root() {
        return;
    }
    let bpffs = BpfFs::mount();
    let registry = Registry::at(bpffs.path().join("root"));
    let cgroup = TestCgroup::create();
    let replace = || {
        let object = loaded(&BOTH, DROP, "rules");
        registry.attach_cgroup(&object, cgroup.path()).unwrap();
    };
    replace();
    let mut sender = cgroup.spawn_sender(20_000);
    let mut replaced = 0;
    let status = loop {
        if let Some(status) = sender.try_wait().unwrap() {
            break status;
        }
        replace();
        replaced += 1;
    };
    assert_eq!(status.code(), Some(1), "no packet went out");
    assert!(replaced > 10, "{replaced}");
}

#[test]
fn an_attachment_that_fails_half_way_changes_nothing() {
    if !is_root() {
        return;
    }
    let bpffs = BpfFs::mount();
    let registry = Registry::at(bpffs.path().join("root"));
    let cgroup = TestCgroup::create();
    registry
        .attach_cgroup(&loaded(&BOTH[..1], PASS, "first"), cgroup.path())
        .unwrap();
    let before = registry.list().unwrap();
    // Something that is no link stands where the link of the second hook should go.
    let taken = before[0].pin.with_file_name("ipt2bpf_egress");
    loaded(&BOTH[1..], PASS, "foreign")
        .pin(bpffs.path())
        .unwrap();
    fs::rename(bpffs.path().join("ipt2bpf_egress"), &taken).unwrap();

    let error = registry
        .attach_cgroup(&loaded(&BOTH, DROP, "second"), cgroup.path())
        .unwrap_err();
    assert!(
        matches!(&error, Error::NotOurs { path } if *path == taken),
        "{error}"
    );
    assert_eq!(registry.list().unwrap(), before);
    registry.detach(&before[0]).unwrap();

    let error = registry
        .attach_cgroup(&loaded(&BOTH, DROP, "third"), cgroup.path())
        .unwrap_err();
    assert!(matches!(error, Error::NotOurs { .. }), "{error}");
    assert_eq!(registry.list().unwrap(), [], "the new link is undone too");
    assert!(cgroup.can_send());
}

#[test]
fn what_was_attached_to_a_removed_cgroup_is_dead_and_can_be_detached() {
    if !is_root() {
        return;
    }
    let bpffs = BpfFs::mount();
    let registry = Registry::at(bpffs.path().join("root"));
    let cgroup = TestCgroup::create();
    registry
        .attach_cgroup(&loaded(&BOTH[..1], DROP, "rules"), cgroup.path())
        .unwrap();
    fs::remove_dir(cgroup.path()).unwrap();
    // The kernel lets go of the links of a removed cgroup some time later.
    let attachment = eventually(|| {
        let attachment = registry.list().unwrap().remove(0);
        (!attachment.alive).then_some(attachment)
    });
    assert!(matches!(attachment.site, Site::Cgroup { path: None, .. }));
    registry.detach(&attachment).unwrap();
    assert_eq!(registry.list().unwrap(), []);
}

#[test]
fn a_place_that_someone_else_detached_can_be_attached_again() {
    if !is_root() {
        return;
    }
    let bpffs = BpfFs::mount();
    let registry = Registry::at(bpffs.path().join("root"));
    let cgroup = TestCgroup::create();
    let attach = |rules| {
        let object = loaded(&BOTH[1..], DROP, rules);
        registry.attach_cgroup(&object, cgroup.path()).unwrap();
        registry.list().unwrap().remove(0)
    };
    let before = attach("first");
    let status = Command::new("bpftool")
        .args(["link", "detach", "pinned"])
        .arg(&before.pin)
        .status()
        .unwrap();
    assert!(status.success());
    assert!(!registry.list().unwrap()[0].alive);
    assert!(cgroup.can_send());

    let after = attach("second");
    assert!(after.alive);
    assert_ne!(after.link_id, before.link_id);
    assert!(!cgroup.can_send());
    registry.detach(&after).unwrap();
}

#[test]
fn only_cgroup_directories_are_cgroups() {
    if !is_root() {
        return;
    }
    let object = loaded(&BOTH, PASS, "rules");
    let error = Registry::at("/nowhere")
        .attach_cgroup(&object, Path::new("/tmp"))
        .unwrap_err();
    assert_eq!(error.to_string(), "/tmp is not a cgroup v2 directory");
    assert!(!error.kernel_refused());
    let cgroup = TestCgroup::create();
    let error = Registry::at("/nowhere")
        .attach_cgroup(&loaded(&[Hook::Xdp], PASS, "rules"), cgroup.path())
        .unwrap_err();
    assert!(matches!(error, Error::NoProgram { .. }), "{error}");
}

#[test]
fn interfaces_are_filtered_until_detached() {
    if !is_root() {
        return;
    }
    enter_netns_with_cable();
    let bpffs = BpfFs::mount();
    let registry = Registry::at(bpffs.path().join("root"));
    let modes = registry
        .attach_xdp(
            &loaded(&[Hook::Xdp], DROP, "first"),
            &["left", "right"],
            XdpWish::Auto,
        )
        .unwrap();
    assert_eq!(modes, [XdpMode::Native, XdpMode::Native]);
    assert_eq!(registry.list().unwrap().len(), 2);

    let [attachment] = &registry.at_interface("right").unwrap()[..] else {
        panic!("one attachment at right");
    };
    assert!(
        matches!(&attachment.site, Site::Interface { name: Some(name), .. } if name == "right"),
        "{attachment:?}"
    );
    // Nobody answers; the question arrives at the other end of the cable.
    UdpSocket::bind("192.0.2.1:0")
        .unwrap()
        .send_to(b"hello", "192.0.2.2:9")
        .unwrap();
    let maps = attachment.maps().unwrap();
    eventually(|| (maps.counters().unwrap()[2].packets > 0).then_some(()));

    let modes = registry
        .attach_xdp(
            &loaded(&[Hook::Xdp], PASS, "second"),
            &["right"],
            XdpWish::Auto,
        )
        .unwrap();
    assert_eq!(modes, [XdpMode::Kept]);
    let after = registry.at_interface("right").unwrap().remove(0);
    assert_eq!(after.link_id, attachment.link_id);
    assert_eq!(after.maps().unwrap().rules_text().unwrap(), b"second");

    for attachment in registry.list().unwrap() {
        registry.detach(&attachment).unwrap();
    }
    let links = Command::new("ip").args(["link"]).output().unwrap();
    assert!(!String::from_utf8_lossy(&links.stdout).contains("xdp"));
}

#[test]
fn all_interfaces_get_the_program_or_none() {
    if !is_root() {
        return;
    }
    enter_netns_with_cable();
    let bpffs = BpfFs::mount();
    let ours = Registry::at(bpffs.path().join("ours"));
    let others = Registry::at(bpffs.path().join("others"));
    others
        .attach_xdp(
            &loaded(&[Hook::Xdp], PASS, "other"),
            &["right"],
            XdpWish::Auto,
        )
        .unwrap();
    let object = loaded(&[Hook::Xdp], DROP, "rules");
    let error = ours
        .attach_xdp(&object, &["left", "right"], XdpWish::Auto)
        .unwrap_err();
    let there = others.list().unwrap()[0].program_id;
    assert!(
        matches!(&error, Error::OtherXdp { interface, program }
            if interface == "right" && program.id == there && program.is_ours()),
        "{error}"
    );
    assert_eq!(ours.list().unwrap(), []);
    assert!(!bpffs.path().join("ours").exists());
    let error = ours
        .attach_xdp(&object, &["left", "middle"], XdpWish::Auto)
        .unwrap_err();
    assert_eq!(error.to_string(), "there is no network interface middle");
}

#[test]
fn where_the_driver_has_no_xdp_the_stack_runs_it() {
    if !is_root() {
        return;
    }
    enter_netns_with_cable();
    let bpffs = BpfFs::mount();
    let registry = Registry::at(bpffs.path().join("root"));
    let object = loaded(&[Hook::Xdp], PASS, "rules");
    let error = registry
        .attach_xdp(&object, &["lo"], XdpWish::Native)
        .unwrap_err();
    assert!(error.to_string().contains("--xdp-mode skb"), "{error}");
    let modes = registry
        .attach_xdp(&object, &["lo"], XdpWish::Auto)
        .unwrap();
    assert!(
        matches!(&modes[..], [XdpMode::Refused { reason }] if reason.contains("not supported")),
        "{modes:?}"
    );
}

/// Asks again and again, for ten seconds at most.
fn eventually<T>(mut ask: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(
            start.elapsed() < Duration::from_secs(10),
            "it never happens"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}
