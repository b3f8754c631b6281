//! What the tests of meaning share.

#![allow(dead_code, unused_imports, reason = "each test uses its part")]

pub mod conversation;
pub mod judges;
pub mod texts;
pub mod universe;
