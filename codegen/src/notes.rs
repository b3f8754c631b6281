//! Comment lines above the rules that an object keeps, for what the rules do not say: lists of words, in as
//! many lines as they take.

use std::fmt::Write;

/// Bytes of words in a line, at most. iptables-restore reads lines of some ten thousand bytes.
const WIDTH: usize = 4096;

/// The lines that hold some words behind a head; none for no words.
pub fn write(head: &str, words: impl Iterator<Item = String>) -> String {
    let mut lines = String::new();
    let mut room = 0;
    for word in words {
        if room < word.len() {
            if !lines.is_empty() {
                lines.push('\n');
            }
            lines.push_str(head);
            room = WIDTH;
        }
        room = room.saturating_sub(word.len() + 1);
        // Writing to a string cannot fail.
        let _ = write!(lines, " {word}");
    }
    if !lines.is_empty() {
        lines.push('\n');
    }
    lines
}

/// The words behind a head among the comments that a text begins with.
pub fn read<'a>(text: &'a [u8], head: &'a str) -> impl Iterator<Item = &'a str> {
    let lines = text.split(|&byte| byte == b'\n');
    let comments = lines.take_while(|line| line.starts_with(b"#"));
    let ours = comments.filter_map(move |line| str::from_utf8(line).ok()?.strip_prefix(head));
    ours.flat_map(str::split_whitespace)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_words_take_lines_that_iptables_restore_reads() {
        let words: Vec<String> = (1000..4000).map(|word| word.to_string()).collect();
        let text = write("# Words:", words.iter().cloned());
        assert!(text.lines().count() > 2);
        assert!(
            text.lines()
                .all(|line| line.len() < 5000 && line.starts_with("# Words: "))
        );
        let text = format!("# Something else 9\n{text}*filter\n# Words: 9\n");
        assert_eq!(
            read(text.as_bytes(), "# Words:").collect::<Vec<&str>>(),
            words
        );
        assert_eq!(write("# Words:", std::iter::empty()), "");
    }
}
