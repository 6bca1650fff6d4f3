//! Text from the guest, made harmless: no escape sequence reaches the user's terminal or the log, and none is endless.
//! Called wherever a guest's words are shown.

/// Longest text that is shown, in characters.
const LONGEST: usize = 4096;

/// `text` without control characters except new lines, cut at a length that fits a screen.
pub fn plain(text: &str) -> String {
    let mut shown: String = text.chars().filter(|c| !c.is_control() || *c == '\n').take(LONGEST).collect();
    shown.truncate(shown.trim_end().len());
    shown
}

/// [`plain`] on one line.
pub fn one_line(text: &str) -> String {
    plain(text).replace('\n', " ")
}

/// The last `count` lines of a log that the guest wrote.
pub fn last_lines(bytes: &[u8], count: usize) -> String {
    let text = String::from_utf8_lossy(bytes);
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    plain(&lines[lines.len().saturating_sub(count)..].join("\n"))
}

/// Takes the control characters out of a stream of bytes, whatever the pieces are that it comes in.
#[derive(Debug, Default)]
pub struct Harmless {
    /// The last piece ended with the first half of what may be a control character in UTF-8 (U+0080 to U+009F).
    half: bool,
}

impl Harmless {
    /// `bytes` without them.
    pub fn filter(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut shown = Vec::with_capacity(bytes.len() + 1);
        for &byte in bytes {
            match (std::mem::take(&mut self.half), byte) {
                (true, 0x80..=0x9f) => continue,
                (true, _) => shown.push(0xc2),
                _ => (),
            }
            match byte {
                0xc2 => self.half = true,
                b'\n' | b'\t' | 0x20..=0x7e | 0x80.. => shown.push(byte),
                _ => (),
            }
        }
        shown
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a4_escape_codes_of_the_guest_do_not_reach_the_terminal() {
        assert_eq!(plain("a\x1b[2J\u{9b}31mb\r\x07\nc\n\n"), "a[2J31mb\nc");
        assert_eq!(plain(&"x".repeat(10_000)).len(), LONGEST);
        assert_eq!(last_lines(b"one\n\ntwo\n\xffthree\n", 2), "two\n\u{fffd}three");
    }

    #[test]
    fn a4_a_log_on_a_terminal_has_no_control_characters_wherever_it_is_cut() {
        let text = "a\x1b[31mb\r\n\u{9b}2Jé\u{a0}c\x7f";
        for cut in 0..=text.len() {
            let mut harmless = Harmless::default();
            let mut shown = harmless.filter(&text.as_bytes()[..cut]);
            shown.extend(harmless.filter(&text.as_bytes()[cut..]));
            assert_eq!(String::from_utf8(shown).unwrap(), "a[31mb\n2Jé\u{a0}c");
        }
    }
}
