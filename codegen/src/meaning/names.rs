//! Names of maps for what the user names.

/// The longest name of a map (`BPF_OBJ_NAME_LEN` of include/uapi/linux/bpf.h, less the NUL).
const LONGEST: usize = 15;
/// Digits of a hash, five bits each.
const DIGITS: &[u8; 32] = b"0123456789abcdefghijklmnopqrstuv";

/// The name of a map: the prefix, and the name behind `_` where it fits, else a hash of it behind `.`, so
/// that no name looks like a hash.
pub fn map_name(prefix: &str, name: &[u8]) -> String {
    let room = LONGEST - 1 - prefix.len();
    let fits = name.len() <= room
        && name
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || *byte == b'_');
    let (mark, tail) = match fits {
        true => ('_', String::from_utf8_lossy(name).into_owned()),
        false => {
            let mut hash = hash(name);
            let digits = (0..room.min(12)).map(|_| {
                let digit = DIGITS[(hash % 32) as usize];
                hash /= 32;
                char::from(digit)
            });
            ('.', digits.collect())
        }
    };
    format!("{prefix}{mark}{tail}")
}

/// FNV-1a of 64 bits, with its bits mixed once more so that the low ones depend on all.
fn hash(name: &[u8]) -> u64 {
    let hash = name.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    (hash ^ (hash >> 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

#[cfg(test)]
mod tests {
    use super::map_name;

    #[test]
    fn names_fit_and_differ() {
        assert_eq!(map_name("HLp4", b"ssh"), "HLp4_ssh");
        assert_eq!(map_name("RC", b"DEFAULT"), "RC_DEFAULT");
        let long = map_name("RC", b"portscan-detected");
        assert_eq!(long.len(), 15);
        assert_ne!(long, map_name("RC", b"portscan-detecte"));
        assert_ne!(map_name("HLp4", b"a.b"), map_name("HLp4", b"a_b"));
    }
}
