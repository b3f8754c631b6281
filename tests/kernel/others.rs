//! Where others have programs, too.

use std::fs;

use anyhow::{Result, ensure};

use crate::places::{Cgroup, both_families, in_kernel, ipt2bpf, run, wire};

/// Programs that pass everything, loaded and pinned for others to attach.
fn pinned(dir: &std::path::Path) -> Result<&'static str> {
    let rules = both_families(dir, "theirs", "-A INPUT -p tcp --dport 1 -j DROP\n")?;
    ipt2bpf(&format!("load --pin /sys/fs/bpf/theirs {rules}"))?;
    Ok("/sys/fs/bpf/theirs")
}

#[test]
fn list_tells_the_order_of_programs_of_others_and_of_cgroups_above() {
    in_kernel(|dir| {
        let rules = both_families(dir, "rules", "-A INPUT -p tcp --dport 2 -j DROP\n")?;
        let theirs = pinned(dir)?;
        let above = Cgroup::new("above")?;
        let below = above.path.join("below");
        fs::create_dir(&below)?;
        let attach = |cgroup: &str| {
            let hook = "cgroup_inet_ingress";
            run(
                "bpftool",
                &format!("cgroup attach {cgroup} {hook} pinned {theirs}/ipt2bpf_ingress multi"),
            )
        };
        let result = (|| -> Result<()> {
            let place = below.display().to_string();
            ipt2bpf(&format!(
                "attach --hook cgroup_skb/ingress --cgroup {place} {rules}"
            ))?;
            ensure!(
                ipt2bpf("list")?.lines().count() == 1,
                "nobody else is there"
            );
            attach(&above.name())?;
            attach(&place)?;
            let listed = ipt2bpf("list")?;
            let lines: Vec<&str> = listed.lines().collect();
            ensure!(lines.len() == 4, "{listed}");
            let this = lines[0].rsplit(' ').next().unwrap_or_default();
            let ours = |line: &str| {
                line.contains(&format!("program {this} ")) && line.ends_with("(this one)")
            };
            // The kernel runs those of the cgroup before those of the cgroups above.
            ensure!(
                lines[1..].iter().filter(|line| ours(line)).count() == 1,
                "{listed}"
            );
            let at = |line: &str, cgroup: &str| {
                line.trim_end_matches("  (this one)")
                    .ends_with(&format!(" of {cgroup}"))
            };
            ensure!(at(lines[1], &place) && at(lines[2], &place), "{listed}");
            ensure!(at(lines[3], &above.name()), "{listed}");
            ipt2bpf(&format!("detach --cgroup {place}"))?;
            Ok(())
        })();
        fs::remove_dir(&below)?;
        result
    });
}

#[test]
fn an_interface_with_a_program_of_others_is_left_to_them_with_advice() {
    in_kernel(|dir| {
        let rules = both_families(dir, "rules", "-A INPUT -p tcp --dport 2 -j DROP\n")?;
        let theirs = pinned(dir)?;
        let _neighbour = wire()?;
        run(
            "ip",
            &format!("link set dev near xdp pinned {theirs}/ipt2bpf_xdp"),
        )?;
        let attach = format!("attach --xdp near {rules}");
        let said = format!("{:#}", ipt2bpf(&attach).expect_err("it is taken"));
        let shown = run("bpftool", &format!("prog show pinned {theirs}/ipt2bpf_xdp"))?;
        let id = shown.split(':').next().unwrap_or_default();
        for told in [
            format!("id {id} (ipt2bpf_xdp)"),
            "ip link set dev near xdp off".into(),
        ] {
            ensure!(said.contains(&told), "{told}: {said}");
        }
        ensure!(said.contains("exit status: 3"), "{said}");
        // The advice helps.
        run("ip", "link set dev near xdp off")?;
        ipt2bpf(&attach)?;
        ipt2bpf("detach --xdp near")?;
        Ok(())
    });
}

#[test]
fn the_mode_of_an_interface_can_be_chosen() {
    in_kernel(|dir| {
        let rules = both_families(dir, "rules", "-A INPUT -p tcp --dport 2 -j DROP\n")?;
        let _neighbour = wire()?;
        for (mode, shown) in [
            ("native", " xdp "),
            ("skb", " xdpgeneric "),
            ("auto", " xdp "),
        ] {
            ipt2bpf(&format!("attach --xdp near --xdp-mode {mode} {rules}"))?;
            let link = run("ip", "link show dev near")?;
            ensure!(link.contains(shown), "{mode}: {link}");
            // What is attached already stays where it is.
            ipt2bpf(&format!("attach --xdp near --xdp-mode native {rules}"))?;
            let link = run("ip", "link show dev near")?;
            ensure!(link.contains(shown), "{mode}: {link}");
            ipt2bpf("detach --xdp near")?;
        }
        let refused = ipt2bpf(&format!("attach --xdp lo --xdp-mode native {rules}"));
        let said = format!("{:#}", refused.expect_err("lo has no driver"));
        ensure!(said.contains("--xdp-mode skb"), "{said}");
        Ok(())
    });
}
