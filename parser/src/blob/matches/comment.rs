//! `struct xt_comment_info` (netfilter/xt_comment.h).

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::blob::codec::{Context, Refused, Wire};
use crate::blob::layout::{until_nul, with_nul};
use crate::matches::comment::Comment;

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub(super) struct Comment0([u8; 256]);

impl Wire for Comment0 {
    type Value = Comment;
    const NAME: &'static str = "comment";

    fn read(&self, _: &Context<'_>) -> Result<Option<Comment>, Refused> {
        Ok(until_nul(&self.0).map(|text| Comment { text: text.into() }))
    }

    fn write(value: &Comment, _: &Context<'_>) -> Option<Self> {
        with_nul(&value.text).map(Self)
    }
}
