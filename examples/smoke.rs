//! smoke
use ipt2bpf_codegen::{compile::compile, module::Hook, options::*};
use ipt2bpf_parser::{span::Sources, *};
fn main() {
    let mut ok = 0;
    let mut refused = 0;
    let mut bad = 0;
    for path in std::env::args().skip(1) {
        let text = std::fs::read(&path).unwrap();
        let mut sources = Sources::default();
        let id = sources.add(path.clone(), text);
        let family = if path.ends_with("v6") {
            Some(ruleset::Family::V6)
        } else {
            Some(ruleset::Family::V4)
        };
        let parsed = parse(&sources, id, &ParseOptions { family });
        let errors: Vec<_> = parsed
            .diagnostics
            .iter()
            .filter(|d| d.severity == diagnostic::Severity::Error)
            .collect();
        if !errors.is_empty() {
            println!("{path}: PARSE {}", errors[0].message);
            bad += 1;
            continue;
        }
        let options = Options {
            target_kernel: if std::env::var("NEW").is_ok() {
                Some(KernelVersion::new(6, 1))
            } else {
                None
            },
            ..Options::default()
        };
        let start = std::time::Instant::now();
        match compile(&parsed.rulesets, &options) {
            Err(d) => {
                refused += 1;
                if std::env::var("V").is_ok() {
                    println!(
                        "{path}: refused {}",
                        d.iter()
                            .find(|d| d.severity == diagnostic::Severity::Error)
                            .unwrap()
                            .message
                    )
                }
            }
            Ok(c) => {
                let t = start.elapsed();
                if std::env::var("ASM").is_ok() {
                    println!("{}", ipt2bpf_codegen::listing::listing(&c.module));
                }
                if let Ok(out) = std::env::var("OUT") {
                    std::fs::write(out, &c.object).unwrap();
                }
                let start = std::time::Instant::now();
                match ipt2bpf_runtime::load(&c.object) {
                    Ok(_) => {
                        ok += 1;
                        println!(
                            "{path}: ok {} bytes, compile {t:?} load {:?} kernel {}",
                            c.object.len(),
                            start.elapsed(),
                            c.kernel
                        )
                    }
                    Err(e) => {
                        bad += 1;
                        println!("{path}: LOAD {e}");
                    }
                }
            }
        }
    }
    let _ = Hook::ALL;
    println!("ok {ok} refused {refused} bad {bad}");
}
