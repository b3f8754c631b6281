//! What the binary form of an extension is: a struct of the kernel's, keyed by name and revision,
//! with a way from and to the typed value.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::entry::{RawExtension, write_extension};
use super::error::{BlobError, EncodeError, Flaw};
use super::layout::ALIGNMENT;
use super::sets::SetNames;
use crate::extension::Extension;
use crate::ruleset::{BaseMatch, Family, Negatable, TableKind};
use crate::span::{Span, Spanned};
use crate::unknown::{Data, Unknown};

/// What bears on the meaning of an extension's data.
pub(super) struct Context<'a> {
    pub family: Family,
    pub table: TableKind,
    /// The base match of the rule.
    pub base: &'a BaseMatch,
    pub sets: &'a SetNames,
}

impl Context<'_> {
    /// The protocol that the rule has, unless inverted.
    pub fn protocol(&self) -> Option<u8> {
        let protocol = self.base.protocol.as_ref().filter(|it| !it.negated);
        protocol.map(|it| it.value.value)
    }
}

/// Data that the kernel refuses, and why.
#[derive(Debug)]
pub(super) struct Refused(pub &'static str);

/// The kernel's struct for one revision of an extension. Its last bytes may be padding.
pub(super) trait Wire: Sized + FromBytes + IntoBytes + KnownLayout + Immutable {
    /// The typed value.
    type Value: Extension;
    const NAME: &'static str;
    const REVISION: u8 = 0;
    /// The family that has it, when not both do.
    const FAMILY: Option<Family> = None;
    /// The protocols that the rule must have, not inverted, when not any will do (`.proto` of
    /// `struct xt_match`, or its `checkentry`).
    const PROTOCOLS: &'static [u8] = &[];
    /// The tables that the rule may stand in.
    const TABLES: &'static [TableKind] = <Self::Value as Extension>::TABLES;

    /// The value, or none if no option gives this data.
    fn read(&self, context: &Context<'_>) -> Result<Option<Self::Value>, Refused>;

    /// The data, or none if this struct cannot hold the value.
    fn write(value: &Self::Value, context: &Context<'_>) -> Option<Self>;

    /// The same data, but what the kernel does not look at is as [`Wire::write`] leaves it.
    fn tidied(self, _: &Context<'_>) -> Self {
        self
    }
}

/// A row of a table of binary forms.
pub(super) struct Codec<E> {
    name: &'static str,
    revision: u8,
    family: Option<Family>,
    protocols: &'static [u8],
    tables: &'static [TableKind],
    size: usize,
    read: fn(&[u8], &Context<'_>) -> Result<Option<E>, Refused>,
    write: fn(&E, &Context<'_>) -> Option<Vec<u8>>,
}

/// A row of a table for this variant of an extension enum and this struct.
macro_rules! codec {
    ($enum:ident::$variant:ident, $wire:ty) => {
        $crate::blob::codec::Codec::new::<$wire>(
            |data, context| {
                let read = $crate::blob::codec::read::<$wire>(data, context)?;
                Ok(read.map($enum::$variant))
            },
            |extension, context| match extension {
                $enum::$variant(value) => $crate::blob::codec::write::<$wire>(value, context),
                _ => None,
            },
        )
    };
}
pub(super) use codec;

impl<E> Codec<E> {
    pub const fn new<W: Wire>(
        read: fn(&[u8], &Context<'_>) -> Result<Option<E>, Refused>,
        write: fn(&E, &Context<'_>) -> Option<Vec<u8>>,
    ) -> Self {
        Self {
            name: W::NAME,
            revision: W::REVISION,
            family: W::FAMILY,
            protocols: W::PROTOCOLS,
            tables: W::TABLES,
            size: size_of::<W>().next_multiple_of(ALIGNMENT),
            read,
            write,
        }
    }

    fn is_for(&self, family: Family) -> bool {
        self.family.is_none_or(|only| only == family)
    }

    /// Whether the rule has what the kernel asks for.
    fn is_placed(&self, context: &Context<'_>) -> bool {
        let is_protocol = || {
            context
                .protocol()
                .is_some_and(|it| self.protocols.contains(&it))
        };
        self.tables.contains(&context.table) && (self.protocols.is_empty() || is_protocol())
    }
}

/// The value with this very data, what nobody looks at aside.
pub(super) fn read<W: Wire>(
    data: &[u8],
    context: &Context<'_>,
) -> Result<Option<W::Value>, Refused> {
    let Ok((wire, padding)) = W::read_from_prefix(data) else {
        return Ok(None);
    };
    let Some(value) = wire.read(context)? else {
        return Ok(None);
    };
    let again = W::write(&value, context);
    let wire = wire.tidied(context);
    let is_same = again.is_some_and(|again| again.as_bytes() == wire.as_bytes());
    let is_padded = padding.iter().all(|&byte| byte == 0);
    Ok((is_same && is_padded).then_some(value))
}

/// Writes the value into the struct, and this into bytes.
pub(super) fn write<W: Wire>(value: &W::Value, context: &Context<'_>) -> Option<Vec<u8>> {
    W::write(value, context).map(|wire| wire.as_bytes().to_vec())
}

/// The extension of this data: the first in the table that has a value with it.
/// None if there is no such.
pub(super) fn decode<E>(
    codecs: &[Codec<E>],
    raw: &RawExtension<'_>,
    context: &Context<'_>,
) -> Result<Option<E>, BlobError> {
    for codec in codecs.iter().filter(|codec| {
        codec.name == raw.name && codec.revision == raw.revision && codec.is_for(context.family)
    }) {
        if raw.data.len() != codec.size {
            let flaw = Flaw::DataSize {
                name: codec.name,
                expected: codec.size,
                found: raw.data.len(),
            };
            return Err(flaw.at(raw.at));
        }
        if !codec.is_placed(context) {
            return Err(Flaw::Misplaced(codec.name).at(raw.at));
        }
        let refused = |Refused(reason)| {
            let name = codec.name;
            Flaw::Data { name, reason }.at(raw.at)
        };
        if let Some(extension) = (codec.read)(raw.data, context).map_err(refused)? {
            return Ok(Some(extension));
        }
    }
    Ok(None)
}

/// The revisions of an extension in a table.
pub(super) fn revisions<E>(codecs: &[Codec<E>], family: Family, name: &str) -> Vec<u8> {
    let mine = codecs
        .iter()
        .filter(|codec| codec.name == name && codec.is_for(family));
    mine.map(|codec| codec.revision).collect()
}

/// An extension that nobody here understands, with its bytes.
pub(super) fn unknown(raw: &RawExtension<'_>) -> Unknown {
    Unknown {
        name: raw.name.to_owned(),
        words: Vec::new(),
        data: Some(Data {
            revision: raw.revision,
            bytes: raw.data.to_vec(),
        }),
    }
}

/// The bytes of an extension with its header, by the first row that can hold it.
pub(super) fn encode<E>(
    codecs: &[Codec<E>],
    extension: &E,
    name: &str,
    context: &Context<'_>,
) -> Result<Vec<u8>, EncodeError> {
    codecs
        .iter()
        .filter(|codec| codec.is_for(context.family))
        .find_map(|codec| {
            let data = (codec.write)(extension, context)?;
            write_extension(codec.name, codec.revision, &data)
        })
        .ok_or_else(|| EncodeError::Extension(name.to_owned()))
}

/// The bytes of an extension that was kept as it is.
pub(super) fn encode_unknown(unknown: &Unknown) -> Result<Vec<u8>, EncodeError> {
    unknown
        .data
        .as_ref()
        .and_then(|data| write_extension(&unknown.name, data.revision, &data.bytes))
        .ok_or_else(|| EncodeError::Extension(unknown.name.clone()))
}

/// A value that stands in no text.
pub(super) fn spanned<T>(value: T) -> Spanned<T> {
    let span = Span::default();
    Spanned { value, span }
}

/// A test that stands in no text.
pub(super) fn test<T>(negated: bool, value: T) -> Negatable<T> {
    Negatable {
        negated,
        value: spanned(value),
    }
}

/// The flag if it is set, else no bits.
pub(super) fn flag<F: Default>(is_set: bool, flag: F) -> F {
    if is_set { flag } else { F::default() }
}

/// The flag if the test is there and inverted, else no bits.
pub(super) fn inversion<T, F: Default>(test: &Option<Negatable<T>>, bits: F) -> F {
    flag(test.as_ref().is_some_and(|test| test.negated), bits)
}

#[cfg(test)]
mod tests {
    use super::Codec;
    use crate::blob::{matches, targets};
    use crate::extension::Spec;
    use crate::ruleset::Family;
    use crate::{matches::REGISTRY as MATCHES, targets::REGISTRY as TARGETS};

    /// The extensions that lack a binary form for a family that has them.
    fn without_codec<E>(
        specs: &[Spec<E>],
        codecs: &[Codec<E>],
        wire_name: fn(&'static str) -> &'static str,
    ) -> Vec<&'static str> {
        let has_codec = |spec: &Spec<E>| {
            [Family::V4, Family::V6]
                .into_iter()
                .filter(|&family| spec.family.is_none_or(|only| only == family))
                .all(|family| {
                    let mut codecs = codecs.iter().filter(|codec| codec.is_for(family));
                    codecs.any(|codec| codec.name == wire_name(spec.name))
                })
        };
        let specs = specs.iter().filter(|&spec| !has_codec(spec));
        specs.map(|spec| spec.name).collect()
    }

    #[test]
    fn every_extension_has_a_binary_form() {
        let same = |name| name;
        assert_eq!(without_codec(MATCHES, matches::CODECS, same), [""; 0]);
        let wire_name = |name| match name {
            "NOTRACK" => "CT",
            name => name,
        };
        assert_eq!(without_codec(TARGETS, targets::CODECS, wire_name), [""; 0]);
    }
}
