//! The type information of the running kernel, as far as needed to find a function or a field.
//!
//! The format is that of Documentation/bpf/btf.rst, in the byte order of the machine. Other tools read
//! all of it; here one pass over 150,000 types must not take longer than loading a program.

/// `BTF_MAGIC`.
const MAGIC: u16 = 0xeb9f;

const KIND_INT: u32 = 1;
const KIND_ARRAY: u32 = 3;
const KIND_STRUCT: u32 = 4;
const KIND_UNION: u32 = 5;
const KIND_ENUM: u32 = 6;
const KIND_FUNC: u32 = 12;
const KIND_FUNC_PROTO: u32 = 13;
const KIND_VAR: u32 = 14;
const KIND_DATASEC: u32 = 15;
const KIND_DECL_TAG: u32 = 17;
const KIND_ENUM64: u32 = 19;

/// The size of `struct btf_type`, and of `struct btf_member`.
const TYPE_SIZE: usize = 12;
const MEMBER_SIZE: usize = 12;

/// How deep unnamed structs and unions are followed; `struct sk_buff` has three levels.
const MAX_DEPTH: usize = 8;

/// A BTF blob with the place of each of its types.
pub struct Btf<'a> {
    types: &'a [u8],
    strings: &'a [u8],
    /// Offsets into `types` by type id less one; type 0 is void and has none.
    offsets: Vec<u32>,
}

/// The fixed part of one type.
#[derive(Clone, Copy)]
struct Type {
    name: u32,
    info: u32,
    /// Where the part that depends on the kind begins in the types.
    rest: usize,
}

impl Type {
    fn kind(self) -> u32 {
        self.info >> 24 & 0x1f
    }

    /// The number of members, parameters or values.
    fn count(self) -> usize {
        (self.info & 0xffff) as usize
    }

    /// Whether member offsets carry a bitfield size in their upper 8 bits.
    fn has_bitfields(self) -> bool {
        self.info >> 31 == 1
    }

    fn rest_size(self) -> usize {
        match self.kind() {
            KIND_INT | KIND_VAR | KIND_DECL_TAG => 4,
            KIND_ARRAY => 12,
            KIND_STRUCT | KIND_UNION => self.count() * MEMBER_SIZE,
            KIND_ENUM | KIND_FUNC_PROTO => self.count() * 8,
            KIND_DATASEC | KIND_ENUM64 => self.count() * 12,
            _ => 0,
        }
    }
}

impl<'a> Btf<'a> {
    /// Finds the types; `None` if the bytes are no BTF.
    pub fn parse(bytes: &'a [u8]) -> Option<Btf<'a>> {
        if u16::from_ne_bytes(*bytes.first_chunk()?) != MAGIC {
            return None;
        }
        // struct btf_header: magic, version, flags; hdr_len, type_off, type_len, str_off, str_len.
        let header: usize = word(bytes, 4)? as usize;
        let section = |offset: usize, size: usize| {
            let start = header.checked_add(word(bytes, offset)? as usize)?;
            bytes.get(start..start.checked_add(word(bytes, size)? as usize)?)
        };
        let mut btf = Btf {
            types: section(8, 12)?,
            strings: section(16, 20)?,
            offsets: Vec::new(),
        };
        let mut at = 0;
        while at < btf.types.len() {
            let found = btf.type_at(at)?;
            btf.offsets.push(at as u32);
            at = found.rest + found.rest_size();
        }
        Some(btf)
    }

    /// The id of a function.
    pub fn function(&self, name: &str) -> Option<u32> {
        self.find(KIND_FUNC, name).map(|(id, _)| id)
    }

    /// The offset in bytes of a field of a struct, also of one inside unnamed structs and unions.
    pub fn field_offset(&self, structure: &str, field: &str) -> Option<u16> {
        let (_, found) = self.find(KIND_STRUCT, structure)?;
        let bits = self.field_bits(found, field, MAX_DEPTH)?;
        (bits % 8 == 0).then(|| u16::try_from(bits / 8).ok())?
    }

    fn field_bits(&self, structure: Type, field: &str, depth: usize) -> Option<u32> {
        (0..structure.count()).find_map(|index| {
            let member = structure.rest + index * MEMBER_SIZE;
            let (name, type_id, offset) = (
                word(self.types, member)?,
                word(self.types, member + 4)?,
                word(self.types, member + 8)?,
            );
            let offset = if structure.has_bitfields() {
                offset & 0x00ff_ffff
            } else {
                offset
            };
            if name != 0 {
                return self.is_named(name, field).then_some(offset);
            }
            let inner = self.type_by_id(type_id)?;
            if depth == 0 || !matches!(inner.kind(), KIND_STRUCT | KIND_UNION) {
                return None;
            }
            Some(offset + self.field_bits(inner, field, depth - 1)?)
        })
    }

    fn find(&self, kind: u32, name: &str) -> Option<(u32, Type)> {
        (1..).zip(&self.offsets).find_map(|(id, &offset)| {
            let found = self.type_at(offset as usize)?;
            (found.kind() == kind && self.is_named(found.name, name)).then_some((id, found))
        })
    }

    fn type_by_id(&self, id: u32) -> Option<Type> {
        let index = (id as usize).checked_sub(1)?;
        self.type_at(*self.offsets.get(index)? as usize)
    }

    fn type_at(&self, offset: usize) -> Option<Type> {
        Some(Type {
            name: word(self.types, offset)?,
            info: word(self.types, offset + 4)?,
            rest: offset + TYPE_SIZE,
        })
    }

    fn is_named(&self, offset: u32, name: &str) -> bool {
        self.strings
            .get(offset as usize..)
            .and_then(|rest| rest.strip_prefix(name.as_bytes()))
            .is_some_and(|rest| rest.first() == Some(&0))
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..)?.first_chunk()?;
    Some(u32::from_ne_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// ```c
    /// struct outer { int a; union { int b; struct { int c; int d; }; }; };
    /// void call(void);
    /// ```
    fn sample() -> Vec<u8> {
        let strings = b"\0int\0outer\0a\0b\0c\0d\0call\0";
        let name = |name: &[u8]| -> u32 {
            let mut wanted = name.to_vec();
            wanted.push(0);
            strings
                .windows(wanted.len())
                .position(|window| window == wanted)
                .unwrap() as u32
        };
        let info = |kind: u32, count: u32| kind << 24 | count;
        let types = [
            // 1: int
            vec![name(b"int"), info(KIND_INT, 0), 4, 32],
            // 2: struct { int c; int d; }
            vec![
                0,
                info(KIND_STRUCT, 2),
                8,
                name(b"c"),
                1,
                0,
                name(b"d"),
                1,
                32,
            ],
            // 3: union { int b; struct 2; }
            vec![0, info(KIND_UNION, 2), 8, name(b"b"), 1, 0, 0, 2, 0],
            // 4: struct outer
            vec![
                name(b"outer"),
                info(KIND_STRUCT, 2),
                12,
                name(b"a"),
                1,
                0,
                0,
                3,
                32,
            ],
            // 5: void (void), 6: call
            vec![0, info(KIND_FUNC_PROTO, 0), 0],
            vec![name(b"call"), info(KIND_FUNC, 0), 5],
        ]
        .concat();
        let header = [24, 0, types.len() as u32 * 4, types.len() as u32 * 4, 24];
        let mut bytes = MAGIC.to_ne_bytes().to_vec();
        bytes.extend([1, 0]);
        for value in header.iter().chain(&types) {
            bytes.extend(value.to_ne_bytes());
        }
        bytes.extend(strings);
        let length = strings.len() as u32;
        bytes[20..24].copy_from_slice(&length.to_ne_bytes());
        bytes
    }

    #[test]
    fn functions_and_fields_are_found() {
        let bytes = sample();
        let btf = Btf::parse(&bytes).unwrap();
        assert_eq!(btf.function("call"), Some(6));
        assert_eq!(btf.function("cal"), None);
        assert_eq!(btf.field_offset("outer", "a"), Some(0));
        assert_eq!(btf.field_offset("outer", "b"), Some(4));
        assert_eq!(btf.field_offset("outer", "d"), Some(8));
        assert_eq!(btf.field_offset("outer", "e"), None);
        assert_eq!(btf.field_offset("inner", "a"), None);
    }

    #[test]
    fn damaged_bytes_are_no_btf_and_do_no_harm() {
        let bytes = sample();
        for length in 0..bytes.len() {
            if let Some(btf) = Btf::parse(&bytes[..length]) {
                btf.field_offset("outer", "d");
            }
        }
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0xff;
            if let Some(btf) = Btf::parse(&damaged) {
                btf.field_offset("outer", "d");
                btf.function("call");
            }
        }
    }
}
