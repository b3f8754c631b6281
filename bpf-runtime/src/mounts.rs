//! Where file systems of a kind are mounted.

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use crate::error::Error;

const MOUNTINFO: &str = "/proc/self/mountinfo";

/// The mount points of a file system type, in the order they were mounted.
pub fn mounts_of(fs_type: &str) -> Result<Vec<PathBuf>, Error> {
    let text = fs::read(MOUNTINFO).map_err(Error::io(MOUNTINFO))?;
    Ok(text
        .split(|&byte| byte == b'\n')
        .filter_map(|line| mount_point(line, fs_type.as_bytes()))
        .collect())
}

/// The fifth field, if the field behind the lone `-` is the type (proc_pid_mountinfo(5)).
fn mount_point(line: &[u8], fs_type: &[u8]) -> Option<PathBuf> {
    let fields: Vec<&[u8]> = line.split(|&byte| byte == b' ').collect();
    let dash = fields.iter().skip(6).position(|&field| field == b"-")? + 6;
    (*fields.get(dash + 1)? == fs_type)
        .then(|| PathBuf::from(OsString::from_vec(unescape(fields[4]))))
}

/// Undoes `\040` and its like.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(field.len());
    let mut rest = field;
    while let [first, tail @ ..] = rest {
        match (first, tail) {
            (
                b'\\',
                [
                    a @ b'0'..=b'3',
                    b @ b'0'..=b'7',
                    c @ b'0'..=b'7',
                    after @ ..,
                ],
            ) => {
                out.push((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'));
                rest = after;
            }
            _ => {
                out.push(*first);
                rest = tail;
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::mount_point;

    #[test]
    fn mount_points_are_found_by_type_and_unescaped() {
        let line =
            br"38 31 0:28 / /mnt/my\040bpf rw,nosuid shared:9 master:1 - bpf bpf rw,mode=700";
        assert_eq!(
            mount_point(line, b"bpf").as_deref(),
            Some(Path::new("/mnt/my bpf"))
        );
        assert_eq!(mount_point(line, b"cgroup2"), None);
        assert_eq!(mount_point(b"", b"bpf"), None);
    }
}
