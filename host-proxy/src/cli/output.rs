//! stdout is data, stderr is talk. Called by every verb.

use std::io::{self, Write};
use std::process::ExitCode;

use super::paint::Paint;
use crate::plain;

/// Says something to the person; the words `error:` and `warning:` at its beginning are coloured on a terminal.
pub fn talk(text: &str) {
    let paint = Paint::stderr();
    let text = match (text.strip_prefix("error: "), text.strip_prefix("warning: ")) {
        (Some(rest), _) => format!("{} {rest}", paint.red("error:")),
        (_, Some(rest)) => format!("{} {rest}", paint.yellow("warning:")),
        _ => text.to_owned(),
    };
    // Nobody listens: nothing to do about it.
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// Prints data. A reader that has seen enough (`lighter list | head -1`) is no failure.
pub fn data(text: &str) -> anyhow::Result<ExitCode> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(ExitCode::SUCCESS),
        Err(error) => Err(anyhow::Error::new(error).context("Cannot write to standard output")),
    }
}

/// Rows as lines whose columns stand below each other, three blanks apart. Control characters are left out.
pub fn columns(rows: &[Vec<String>]) -> Vec<String> {
    let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
    let line = |row: &Vec<String>| {
        let cells = row.iter().enumerate().map(|(column, cell)| {
            let width = width(column).unwrap_or_default() + 3;
            format!("{:<width$}", plain::one_line(cell))
        });
        cells.collect::<String>().trim_end().to_owned()
    };
    rows.iter().map(line).collect()
}

/// So many bytes, for a person.
pub fn size(bytes: u64) -> String {
    let gib = bytes as f64 / f64::from(1 << 30);
    if gib >= 1.0 { format!("{} GiB", (gib * 10.0).round() / 10.0) } else { format!("{} MiB", bytes >> 20) }
}
