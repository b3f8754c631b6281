//! The figures in the README.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

const BEGIN: &str = "<!-- speed -->\n";
const END: &str = "<!-- end of speed -->";

/// Puts a text between the marks of a file, in the place of what is there.
///
/// # Errors
/// When the file cannot be read or written, or has no marks.
pub fn update(path: &Path, text: &str) -> Result<()> {
    let old =
        fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let new = between_marks(&old, text)
        .with_context(|| format!("{} has no place for figures", path.display()))?;
    fs::write(path, new).with_context(|| format!("cannot write {}", path.display()))
}

fn between_marks(old: &str, text: &str) -> Option<String> {
    let begin = old.find(BEGIN)? + BEGIN.len();
    let end = begin + old[begin..].find(END)?;
    Some([&old[..begin], text, &old[end..]].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_between_the_marks_changes() {
        let old = format!("a\n{BEGIN}old\n{END}\nb\n");
        let new = format!("a\n{BEGIN}new\n{END}\nb\n");
        assert_eq!(between_marks(&old, "new\n"), Some(new));
        assert_eq!(between_marks("nothing", "new"), None);
    }
}
