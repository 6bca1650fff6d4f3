//! Colours for people: on a terminal that shows them, unless NO_COLOR says no. Called by the verbs that print tables and by
//! whatever warns.

use std::io::{self, IsTerminal};

use crate::sys::terminal;

/// See the head of this file.
#[derive(Debug, Clone, Copy)]
pub struct Paint(bool);

impl Paint {
    /// For standard output.
    pub fn stdout() -> Paint {
        Paint::on(io::stdout().is_terminal())
    }

    /// For standard error.
    pub fn stderr() -> Paint {
        Paint::on(io::stderr().is_terminal())
    }

    fn on(terminal: bool) -> Paint {
        // https://no-color.org: any value but an empty one.
        let no_colour = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Paint(terminal && !no_colour && terminal::shows_colours())
    }

    /// Without colours.
    #[cfg(test)]
    pub fn none() -> Paint {
        Paint(false)
    }

    /// Something is wrong.
    pub fn red(self, text: &str) -> String {
        self.paint("31", text)
    }
    /// Look at this.
    pub fn yellow(self, text: &str) -> String {
        self.paint("33", text)
    }
    /// All is well.
    pub fn green(self, text: &str) -> String {
        self.paint("32", text)
    }
    /// A heading.
    pub fn bold(self, text: &str) -> String {
        self.paint("1", text)
    }
    /// Beside the point.
    pub fn dim(self, text: &str) -> String {
        self.paint("2", text)
    }

    fn paint(self, code: &str, text: &str) -> String {
        if self.0 { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn c9_without_colours_nothing_but_the_text_is_printed() {
        assert_eq!(Paint::none().red("x"), "x");
        assert_eq!(Paint(true).red("x"), "\x1b[31mx\x1b[0m");
        // A test's output is no terminal.
        assert!(!Paint::on(false).0);
    }
}
