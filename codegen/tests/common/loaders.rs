//! The two loaders that objects are tried with.

use std::path::{Path, PathBuf};
use std::process::Command;

use aya::programs::{CgroupSkb, Xdp};
use ipt2bpf_codegen::asm::{Extern, KfuncId};
use ipt2bpf_codegen::module::{FunctionKind, Hook, Module};
use ipt2bpf_codegen::object;

/// A BPF file system of its own, gone with the value.
pub struct BpfFs(tempfile::TempDir);

impl BpfFs {
    pub fn mount() -> Self {
        let dir = tempfile::tempdir().unwrap();
        run(Command::new("mount")
            .args(["-t", "bpf", "none"])
            .arg(dir.path()));
        BpfFs(dir)
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for BpfFs {
    fn drop(&mut self) {
        run(Command::new("umount").arg(self.path()));
    }
}

/// Runs a command that must succeed and gives what it printed.
pub fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{command:?}: {text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    text
}

pub fn bpftool() -> Command {
    Command::new("bpftool")
}

/// The BTF id of a function of the running kernel; says so when it has none.
pub fn kernel_function(function: Extern) -> Option<KfuncId> {
    let dump = run(bpftool().args(["btf", "dump", "file", "/sys/kernel/btf/vmlinux"]));
    let wanted = format!("] FUNC '{}' ", function.name());
    let Some(found) = dump.lines().find(|line| line.contains(&wanted)) else {
        eprintln!("skipped: the kernel has no {}", function.name());
        return None;
    };
    let id = found.strip_prefix('[')?.split(']').next()?;
    id.parse().ok().map(KfuncId)
}

/// Loads a module with both loaders; gives the xlated dump of the program at `hook`.
pub fn loads(module: &Module, hook: Hook) -> String {
    let fs = BpfFs::mount();
    let pins = load_with_libbpf(module, &fs);
    load_with_aya(module);
    let command = &mut bpftool();
    let command = command.args(["prog", "dump", "xlated", "pinned"]);
    run(command.arg(pins.join(hook.program_name())).arg("linum"))
}

/// Gives the directory of the pinned programs.
pub fn load_with_libbpf(module: &Module, fs: &BpfFs) -> PathBuf {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), object::write(module).unwrap()).unwrap();
    let pins = fs.path().join("programs");
    let command = &mut bpftool();
    run(command
        .args(["prog", "loadall"])
        .arg(file.path())
        .arg(&pins));
    pins
}

/// Gives the number of maps that each program holds.
pub fn load_with_aya(module: &Module) -> Vec<usize> {
    let mut object = aya::Ebpf::load(&object::write(module).unwrap()).unwrap();
    let mut maps = Vec::new();
    for function in &module.functions {
        let FunctionKind::Program(hook) = function.kind else {
            continue;
        };
        let program = object.program_mut(&function.name).unwrap();
        match hook {
            Hook::Xdp => <&mut Xdp>::try_from(&mut *program).unwrap().load(),
            _ => <&mut CgroupSkb>::try_from(&mut *program).unwrap().load(),
        }
        .unwrap_or_else(|error| panic!("{}: {error:?}", function.name));
        maps.push(program.info().unwrap().map_ids().unwrap().unwrap().len());
    }
    maps
}
