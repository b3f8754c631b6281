//! What the tests of meaning share.

#![allow(dead_code, reason = "each test uses its part")]

pub mod conversation;
pub mod judges;
pub mod texts;
pub mod universe;
