//! What a build tells the person who waits for it: which step, how far, how long. The builder calls, xtask and the
//! `build-image` program print.

use std::{
    io::Write,
    time::{Duration, Instant},
};

use crate::error::BuildError;

/// Receives the progress of a build.
pub trait Progress {
    /// A step begins, for example `kernel: compile`.
    fn begin(&mut self, step: &str);
    /// A long step is `percent` done, `elapsed` after its beginning. Never decreases within a step.
    fn advance(&mut self, step: &str, percent: u8, elapsed: Duration);
    /// A step ended well; `result` is a few words on what came of it, or empty.
    fn finish(&mut self, step: &str, result: &str, elapsed: Duration);
}

/// Plain lines, for logs and pipes: one at the beginning, one at each tenth of a long step, one at the end.
#[derive(Debug)]
pub struct PlainLines<W> {
    output: W,
    tenth: u8,
}

impl<W: Write> PlainLines<W> {
    /// Writes to `output`; what cannot be written is dropped, for progress is not worth a failed build.
    pub fn new(output: W) -> Self {
        Self { output, tenth: 0 }
    }
}

impl<W: Write> Progress for PlainLines<W> {
    fn begin(&mut self, step: &str) {
        self.tenth = 0;
        let _ = writeln!(self.output, "image: {step} …");
    }

    fn advance(&mut self, step: &str, percent: u8, elapsed: Duration) {
        if percent / 10 > self.tenth {
            self.tenth = percent / 10;
            let _ = writeln!(self.output, "image: {step} {percent} % ({})", human(elapsed));
        }
    }

    fn finish(&mut self, step: &str, result: &str, elapsed: Duration) {
        let gap = if result.is_empty() { "" } else { " " };
        let _ = writeln!(self.output, "image: {step} done{gap}{result} ({})", human(elapsed));
    }
}

/// `elapsed` as a person says it: `0.4 s`, `12 s`, `3 min 05 s`.
pub fn human(elapsed: Duration) -> String {
    match elapsed.as_secs() {
        0..=9 => format!("{:.1} s", elapsed.as_secs_f64()),
        seconds @ 10..=59 => format!("{seconds} s"),
        seconds => format!("{} min {:02} s", seconds / 60, seconds % 60),
    }
}

/// Runs `work` as the step called `step`; its answer carries the few words for [`Progress::finish`].
pub(crate) fn step<T>(
    progress: &mut dyn Progress,
    step: &str,
    work: impl FnOnce(&mut dyn Progress) -> Result<(T, String), BuildError>,
) -> Result<T, BuildError> {
    let start = Instant::now();
    progress.begin(step);
    let (value, result) = work(progress)?;
    progress.finish(step, &result, start.elapsed());
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_lines_are_few() {
        let mut output = Vec::new();
        let mut lines = PlainLines::new(&mut output);
        lines.begin("kernel: compile");
        (0..=100).for_each(|percent| lines.advance("kernel: compile", percent, Duration::from_secs(65)));
        lines.finish("kernel: compile", "18.9 MB", Duration::from_secs(305));
        let text = String::from_utf8(output).unwrap();
        assert_eq!(text.lines().count(), 12, "{text}");
        assert!(text.contains("compile 30 % (1 min 05 s)"), "{text}");
        assert!(text.ends_with("compile done 18.9 MB (5 min 05 s)\n"), "{text}");
    }
}
