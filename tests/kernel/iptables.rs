//! The commands of iptables on an attached filter, held to iptables-legacy itself, and what they leave
//! alone.

use std::fs::{self, File};
use std::net::UdpSocket;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use anyhow::{Context, Result, ensure};

use crate::places::{Cgroup, in_kernel, ipt2bpf, run, wire};
use crate::talk::{connects, listen};

const EMPTY: &str =
    "*filter\n:INPUT ACCEPT [0:0]\n:FORWARD ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\nCOMMIT\n";

/// The command under the names of iptables.
struct Links(PathBuf);

impl Links {
    fn new(dir: &Path) -> Result<Links> {
        for name in [
            "iptables-bpf",
            "ip6tables-bpf",
            "iptables-bpf-save",
            "iptables-bpf-restore",
        ] {
            symlink(env!("CARGO_BIN_EXE_ipt2bpf"), dir.join(name))?;
        }
        Ok(Links(dir.to_owned()))
    }

    /// Runs one with words between blanks.
    fn call(&self, name: &str, words: &str) -> Result<Output> {
        Ok(Command::new(self.0.join(name))
            .args(split(words))
            .output()?)
    }

    /// The same, which must succeed; gives what it prints.
    fn must(&self, name: &str, words: &str) -> Result<String> {
        let output = self.call(name, words)?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{name} {words}: {said}");
        Ok(String::from_utf8(output.stdout)?)
    }

    /// The same, which must fail; gives the exit code and what it says.
    fn fails(&self, name: &str, words: &str) -> Result<(i32, String)> {
        let output = self.call(name, words)?;
        let code = output.status.code().context("it was killed")?;
        Ok((code, String::from_utf8(output.stderr)?))
    }
}

/// Words between blanks; double quotes keep blanks.
fn split(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    for (number, part) in line.split('"').enumerate() {
        match number % 2 {
            0 => words.extend(part.split_whitespace().map(str::to_owned)),
            _ => words.push(part.to_owned()),
        }
    }
    words
}

/// An empty filter on a cgroup of its own.
fn attached(name: &str, dir: &Path, rules: &str) -> Result<Cgroup> {
    let cgroup = Cgroup::new(name)?;
    let path = dir.join("begin");
    fs::write(&path, rules)?;
    ipt2bpf(&format!(
        "attach --cgroup {} {}",
        cgroup.name(),
        path.display()
    ))?;
    Ok(cgroup)
}

/// What a command answers: standard output, standard error, exit code.
#[derive(Debug, PartialEq, Eq)]
struct Answer(String, String, Option<i32>);

impl Answer {
    fn of(output: Output) -> Answer {
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).replace("(legacy)", "(bpf)");
        Answer(
            text(output.stdout),
            text(output.stderr),
            output.status.code(),
        )
    }
}

/// Runs a script through both, and gives the number of commands.
fn compare(script: &str, legacy: &str, ours: impl Fn(&str) -> Result<Output>) -> Result<usize> {
    let commands = script
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    let mut different = Vec::new();
    let mut count = 0;
    for command in commands {
        let theirs = Answer::of(Command::new(legacy).args(split(command)).output()?);
        let ours = Answer::of(ours(command)?);
        count += 1;
        if ours != theirs {
            different.push(format!("{command}\nhere {ours:#?}\ntool {theirs:#?}"));
        }
    }
    let number = different.len();
    assert!(
        different.is_empty(),
        "{number} commands differ:\n{}",
        different.join("\n")
    );
    Ok(count)
}

#[test]
fn everyday_commands_answer_as_iptables_does() {
    in_kernel(|dir| {
        let links = Links::new(dir)?;
        let begin = include_str!("iptables/begin.v4");
        let cgroup = attached("everyday", dir, begin)?;
        run(
            "iptables-legacy-restore",
            &dir.join("begin").display().to_string(),
        )?;
        let script = include_str!("iptables/everyday.txt");
        let count = compare(script, "iptables-legacy", |words| {
            links.call("iptables-bpf", words)
        })?;
        assert!(count >= 200, "only {count} commands");
        ipt2bpf(&format!("detach --cgroup {}", cgroup.name()))?;
        Ok(())
    });
}

#[test]
fn everyday_commands_answer_as_ip6tables_does() {
    in_kernel(|dir| {
        let links = Links::new(dir)?;
        let cgroup = attached("everyday6", dir, EMPTY)?;
        let script = include_str!("iptables/everyday.v6.txt");
        compare(script, "ip6tables-legacy", |words| {
            links.call("ip6tables-bpf", words)
        })?;
        assert_eq!(links.must("iptables-bpf", "-S INPUT")?, "-P INPUT ACCEPT\n");
        ipt2bpf(&format!("detach --cgroup {}", cgroup.name()))?;
        Ok(())
    });
}

#[test]
fn texts_are_saved_and_restored_as_iptables_does() {
    in_kernel(|dir| {
        let links = Links::new(dir)?;
        let cgroup = attached("restore", dir, EMPTY)?;
        let texts = [
            (
                "whole",
                "*filter\n:INPUT DROP [5:6]\n:web - [0:0]\n[7:8] -A INPUT -i lo -j ACCEPT\n-A INPUT -p tcp --dport 80 -j web\n[1:1] -A web -j ACCEPT\nCOMMIT\n",
            ),
            (
                "more",
                "*filter\n[3:4] -I INPUT 1 -s 1.2.3.4 -j DROP\nCOMMIT\n",
            ),
            (
                "chain",
                "*filter\n-A INPUT -s 1.2.3.4 -j DROP\n-A nope -j DROP\nCOMMIT\n",
            ),
            (
                "option",
                "*filter\n-A INPUT -s 1.2.3.4 -j DROP\n-A INPUT --foo -j DROP\nCOMMIT\n",
            ),
            ("word", "*filter\n-A INPUT foo -j DROP\nCOMMIT\n"),
            ("number", "*filter\n-D INPUT 99\nCOMMIT\n"),
            ("target", "*filter\n-A INPUT -j NOSUCH\nCOMMIT\n"),
            ("outside", "foo\n*filter\nCOMMIT\n"),
            ("endless", "*filter\n-A INPUT -s 1.2.3.4 -j DROP\n"),
        ];
        for (name, text) in texts {
            fs::write(dir.join(name), text)?;
        }
        let path = |name: &str| dir.join(name).display().to_string();
        let steps = [
            ("-restore", path("whole")),
            ("-save", "-c".to_owned()),
            ("-restore", format!("-c {}", path("whole"))),
            ("-save", String::new()),
            ("-save", "-c -t filter".to_owned()),
            ("-restore", format!("-n {}", path("more"))),
            ("-restore", format!("--noflush --counters {}", path("more"))),
            ("", "-S -v INPUT".to_owned()),
            ("-restore", format!("-n {}", path("chain"))),
            ("-restore", format!("-n {}", path("option"))),
            ("-restore", format!("-n {}", path("word"))),
            ("-restore", format!("-n {}", path("number"))),
            ("-restore", format!("-n {}", path("target"))),
            ("-restore", format!("-n {}", path("outside"))),
            ("-restore", format!("-n {}", path("endless"))),
            ("-restore", format!("-t {}", path("whole"))),
            ("-restore", format!("-w 5 -T filter {}", path("whole"))),
            ("", "-S".to_owned()),
        ];
        // Legacy loses the counter of a policy at the next change; `iptables -P` says so nowhere.
        let plain = |answer: Answer| {
            let lines = answer.0.lines().filter(|line| !line.starts_with("# "));
            let lines = lines.map(|line| match line.split_once(" [") {
                Some((chain, _)) if line.starts_with(':') => chain.to_owned(),
                _ => line.to_owned(),
            });
            (lines.collect::<Vec<_>>(), answer.1, answer.2)
        };
        for (program, words) in steps {
            let theirs = Command::new(format!("iptables-legacy{program}"))
                .args(split(&words))
                .output()?;
            let ours = links.call(&format!("iptables-bpf{program}"), &words)?;
            assert_eq!(
                plain(Answer::of(ours)),
                plain(Answer::of(theirs)),
                "{program} {words}"
            );
        }
        let saved = links.must("iptables-bpf-save", "")?;
        assert!(
            saved.starts_with("# Generated by iptables-save v1.8.9 on "),
            "{saved}"
        );
        ipt2bpf(&format!("detach --cgroup {}", cgroup.name()))?;
        Ok(())
    });
}

#[test]
fn callers_at_once_lose_no_change_of_each_other() {
    const EACH: usize = 12;
    in_kernel(|dir| {
        let links = Links::new(dir)?;
        let cgroup = attached("callers", dir, EMPTY)?;
        thread::scope(|scope| {
            let callers: Vec<_> = (1..=2)
                .map(|caller| {
                    let links = &links;
                    scope.spawn(move || -> Result<()> {
                        for number in 1..=EACH {
                            let rule = format!("-s 10.0.{caller}.{number} -j DROP");
                            links.must("iptables-bpf", &format!("-w -A INPUT {rule}"))?;
                            if number % 3 == 0 {
                                links.must("iptables-bpf", &format!("-w 60 -D INPUT {rule}"))?;
                            }
                        }
                        Ok(())
                    })
                })
                .collect();
            callers
                .into_iter()
                .try_for_each(|caller| caller.join().expect("no panic"))
        })?;
        let rules = links.must("iptables-bpf", "-S INPUT")?;
        for caller in 1..=2 {
            for number in 1..=EACH {
                let rule = format!("-A INPUT -s 10.0.{caller}.{number}/32 -j DROP\n");
                assert_eq!(rules.contains(&rule), number % 3 != 0, "{rule}{rules}");
            }
        }

        let other = File::open("/sys/fs/bpf")?;
        other.lock()?;
        let held = "Another app is currently holding the xtables lock. ";
        assert_eq!(
            links.fails("iptables-bpf", "-A INPUT -j DROP")?,
            (4, format!("{held}Perhaps you want to use the -w option?\n"))
        );
        assert_eq!(
            links.fails("iptables-bpf", "-w 1 -A INPUT -j DROP")?,
            (4, format!("{held}Stopped waiting after 1s.\n"))
        );
        drop(other);
        ipt2bpf(&format!("detach --cgroup {}", cgroup.name()))?;
        Ok(())
    });
}

/// The packets of the rule whose text ends so, from `-S -v`.
fn packets(links: &Links, rule: &str) -> Result<u64> {
    let rules = links.must("iptables-bpf", "-S -v")?;
    let line = rules
        .lines()
        .find(|line| line.contains(rule))
        .context("no such rule")?;
    let count = line
        .split(" -c ")
        .nth(1)
        .and_then(|rest| rest.split(' ').next());
    Ok(count.context("no counters")?.parse()?)
}

#[test]
fn a_change_keeps_what_other_rules_have_counted_and_remembered() {
    const RULES: &str = "*filter\n:INPUT ACCEPT [0:0]\n:FORWARD ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n\
        -A INPUT -p udp -m udp --dport 7005\n\
        -A INPUT -p tcp -m tcp --dport 7001 --syn -m recent --set --name seen\n\
        -A INPUT -m conntrack --ctstate ESTABLISHED -j ACCEPT\n\
        COMMIT\n";
    in_kernel(|dir| {
        let links = Links::new(dir)?;
        let cgroup = attached("keeps", dir, RULES)?;
        let _inside = cgroup.inside(|| listen(&["127.0.0.1"], &[7001, 7002]))??;
        let receiver = cgroup.inside(|| UdpSocket::bind("127.0.0.1:7005"))??;
        let sender = UdpSocket::bind("127.0.0.1:0")?;
        sender.connect(receiver.local_addr()?)?;
        let stop = AtomicBool::new(false);
        let sent = thread::scope(|scope| -> Result<u64> {
            let traffic = scope.spawn(|| -> Result<u64> {
                let mut sent = 0;
                while !stop.load(Ordering::Relaxed) {
                    sender.send(&[0; 10])?;
                    sent += 1;
                    thread::sleep(std::time::Duration::from_micros(200));
                }
                Ok(sent)
            });
            let change = || -> Result<()> {
                assert!(connects("127.0.0.1", 7001));
                for words in [
                    "-I INPUT 1 -s 192.0.2.1 -j DROP",
                    "-A INPUT -p tcp --dport 7002 -m recent --rcheck --name seen -j DROP",
                    "-R INPUT 1 -s 192.0.2.2 -j DROP",
                    "-D INPUT 1",
                    "-N mine",
                    "-E mine ours",
                    "-X ours",
                    "-P FORWARD DROP",
                ] {
                    links.must("iptables-bpf", words)?;
                }
                // The list is the same one.
                assert!(!connects("127.0.0.1", 7002));
                Ok(())
            };
            let changed = change();
            stop.store(true, Ordering::Relaxed);
            let sent = traffic.join().expect("no panic");
            changed.and(sent)
        })?;
        let counted = packets(&links, "--dport 7005")?;
        assert_eq!(counted, sent);
        assert!(packets(&links, "--dport 7002 ")? > 0);

        links.must("iptables-bpf", "-Z INPUT 1")?;
        assert_eq!(packets(&links, "--dport 7005")?, 0);
        assert!(packets(&links, "--dport 7002 ")? > 0);
        links.must("iptables-bpf", "-Z")?;
        assert_eq!(packets(&links, "--dport 7002 ")?, 0);
        ipt2bpf(&format!("detach --cgroup {}", cgroup.name()))?;
        Ok(())
    });
}

#[test]
fn the_filter_is_the_only_one_or_the_one_that_is_said() {
    in_kernel(|dir| {
        let links = Links::new(dir)?;
        let (code, said) = links.fails("iptables-bpf", "-L")?;
        assert_eq!(code, 3, "{said}");
        assert!(
            said.contains("no filter is attached; attach one with `ipt2bpf attach"),
            "{said}"
        );

        let _neighbour = wire()?;
        let cgroup = attached("chosen", dir, EMPTY)?;
        links.must("iptables-bpf", "-A INPUT -s 192.0.2.1 -j DROP")?;
        let rules = dir.join("begin").display().to_string();
        ipt2bpf(&format!("attach --xdp near {rules}"))?;
        ipt2bpf(&format!("load --pin /sys/fs/bpf/mine {rules}"))?;

        let (code, said) = links.fails("iptables-bpf", "-L")?;
        assert_eq!(code, 3, "{said}");
        assert!(said.contains("several filters are attached"), "{said}");
        assert!(said.contains("--xdp near"), "{said}");

        let places = [
            format!("--cgroup {}", cgroup.name()),
            "--xdp near".into(),
            "--pin /sys/fs/bpf/mine".into(),
        ];
        for (number, place) in (1..).zip(&places) {
            let rule = format!("-s 10.0.0.{number}/32 -j DROP");
            ipt2bpf(&format!("iptables {place} -A INPUT {rule}"))?;
            assert_eq!(ipt2bpf(&format!("iptables {place} -C INPUT {rule}"))?, "");
        }
        let list = |place: &str| ipt2bpf(&format!("iptables {place} -S INPUT"));
        assert_eq!(
            list(&places[0])?,
            "-P INPUT ACCEPT\n-A INPUT -s 192.0.2.1/32 -j DROP\n-A INPUT -s 10.0.0.1/32 -j DROP\n"
        );
        assert_eq!(
            list(&places[1])?,
            "-P INPUT ACCEPT\n-A INPUT -s 10.0.0.2/32 -j DROP\n"
        );

        let output = Command::new(links.0.join("iptables-bpf"))
            .args(["-S", "INPUT"])
            .env("IPT2BPF_FILTER", "pin:/sys/fs/bpf/mine")
            .output()?;
        assert_eq!(
            String::from_utf8(output.stdout)?,
            "-P INPUT ACCEPT\n-A INPUT -s 10.0.0.3/32 -j DROP\n"
        );
        let output = Command::new(links.0.join("iptables-bpf"))
            .arg("-L")
            .env("IPT2BPF_FILTER", "near")
            .output()?;
        assert!(
            String::from_utf8(output.stderr)?.contains("write cgroup:PATH, xdp:IFACE or pin:DIR")
        );
        ipt2bpf("detach --xdp near")?;
        ipt2bpf(&format!("detach --cgroup {}", cgroup.name()))?;
        Ok(())
    });
}

#[test]
fn a_rule_that_cannot_be_had_leaves_the_filter_as_it_is() {
    in_kernel(|dir| {
        let links = Links::new(dir)?;
        let cgroup = attached("refused", dir, EMPTY)?;
        // The kernel alone has these.
        let (code, said) = links.fails(
            "iptables-bpf",
            "-A INPUT -p tcp -m osf --genre Linux -j DROP",
        )?;
        assert_eq!(code, 1, "{said}");
        assert!(said.contains("command line:1:"), "{said}");
        // The saved text of these would be that of other rules.
        for rule in ["-A FORWARD ! -o + -j DROP", "-A INPUT -i \"a b\" -j DROP"] {
            let (code, said) = links.fails("iptables-bpf", rule)?;
            assert_eq!(code, 1, "{said}");
            assert!(said.contains("read as others"), "{said}");
        }
        // What means less here than in the kernel is told, and done.
        let output = links.call("iptables-bpf", "-A INPUT -p udp -j REJECT")?;
        let said = String::from_utf8(output.stderr)?;
        assert!(
            output.status.success() && said.contains("warning"),
            "{said}"
        );
        assert_eq!(
            links.must("iptables-bpf", "-S INPUT")?,
            "-P INPUT ACCEPT\n-A INPUT -p udp -j REJECT --reject-with icmp-port-unreachable\n"
        );
        // It is not told again with every change.
        let output = links.call("iptables-bpf", "-A INPUT -p tcp -j DROP")?;
        assert_eq!(String::from_utf8(output.stderr)?, "");
        ipt2bpf(&format!("detach --cgroup {}", cgroup.name()))?;
        Ok(())
    });
}

#[test]
fn choices_of_the_compiler_stay_with_the_filter() {
    const NAT: &str =
        "*nat\n-A PREROUTING -p tcp -m tcp --dport 80 -j REDIRECT --to-ports 8080\nCOMMIT\n";
    in_kernel(|dir| {
        let _neighbour = wire()?;
        let rules = dir.join("nat");
        fs::write(&rules, format!("{EMPTY}{NAT}"))?;
        ipt2bpf(&format!(
            "attach --xdp near --ignore-nat --connections 4096 {}",
            rules.display()
        ))?;
        ipt2bpf("iptables -A INPUT -p tcp --dport 8080 -m conntrack --ctstate NEW -j ACCEPT")?;
        ipt2bpf("iptables -A INPUT -p tcp --dport 8081 -j ACCEPT")?;
        let flows = run("bpftool", "map show name flows")?;
        assert!(flows.contains("max_entries 4096"), "{flows}");
        ipt2bpf("detach --xdp near")?;
        Ok(())
    });
}
