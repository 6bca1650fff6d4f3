//! Progress of a start or stop: one line that changes on a terminal, plain lines elsewhere. Called by `start` and `stop`.

use std::io::{self, IsTerminal, Write};
use std::time::Instant;

use super::output;
use crate::control::Stage;

/// Stages whose text is news, not progress: on a terminal they are not drawn over.
const TO_BE_READ: [&str; 3] = ["engine-chosen", "disk-new", "engine-down"];

/// See the head of this file.
pub struct Progress {
    since: Instant,
    terminal: bool,
    drawn: bool,
}

impl Progress {
    /// Begins now.
    pub fn new() -> Progress {
        Progress { since: Instant::now(), terminal: io::stderr().is_terminal(), drawn: false }
    }

    /// Shows a stage.
    pub fn stage(&mut self, stage: &Stage) {
        let seconds = self.since.elapsed().as_secs_f32();
        if self.terminal && TO_BE_READ.contains(&stage.name.as_str()) {
            self.say(&stage.text);
        } else if self.terminal {
            // Cut, because a line that wraps cannot be drawn over.
            let text: String = stage.text.chars().take(68).collect();
            let _ = write!(io::stderr().lock(), "\r\x1b[K{seconds:5.1} s  {text}");
            self.drawn = true;
        } else {
            output::talk(&format!("{seconds:5.1} s  {}", stage.text));
        }
    }

    /// Says something that stays.
    pub fn say(&mut self, text: &str) {
        self.clear();
        output::talk(text);
    }

    /// Seconds so far.
    pub fn seconds(&self) -> f32 {
        self.since.elapsed().as_secs_f32()
    }

    fn clear(&mut self) {
        if std::mem::take(&mut self.drawn) {
            let _ = write!(io::stderr().lock(), "\r\x1b[K");
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.clear();
    }
}
