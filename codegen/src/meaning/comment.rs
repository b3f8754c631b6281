//! A comment tests nothing.

use ipt2bpf_parser::matches::comment::Comment;

use super::{Context, MatchMeaning, Refusal};
use crate::semantic::Step;

impl MatchMeaning for Comment {
    fn steps(&self, _: Context<'_>) -> Result<Vec<Step>, Refusal> {
        Ok(Vec::new())
    }
}
