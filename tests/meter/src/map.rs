//! Reads and writes a file as memory, as a database does. Says `ready dax` where the kernel uses the pages of somebody else for
//! it, or `ready copy`; then answers each line of the standard input, `read AT LENGTH`, `write AT TEXT` or `sync`, by a line.
//! Called by `main`.

use std::fs::OpenOptions;
use std::io::{self, BufRead, Write};

use rustix::fs::{AtFlags, StatxAttributes, StatxFlags, statx};

use crate::sys::mapping::Mapping;

/// Answers until the input ends.
///
/// # Errors
/// When the file cannot be mapped, or nobody reads the answers.
pub fn run(path: &str) -> io::Result<()> {
    let file = OpenOptions::new().read(true).write(true).open(path)?;
    let len = usize::try_from(file.metadata()?.len()).map_err(io::Error::other)?;
    let mapping = Mapping::new(&file, len)?;
    // Only who has looked at it knows.
    mapping.read(0, 1);
    let attributes = statx(&file, c"", AtFlags::EMPTY_PATH, StatxFlags::BASIC_STATS)?.stx_attributes;
    say(if attributes.contains(StatxAttributes::DAX) { "ready dax" } else { "ready copy" })?;
    for line in io::stdin().lock().lines() {
        let line = line?;
        let answer = match line.splitn(3, ' ').collect::<Vec<_>>()[..] {
            ["read", at, len] => number(at).zip(number(len)).and_then(|(at, len)| mapping.read(at, len)).map(shown),
            ["write", at, text] => {
                number(at).and_then(|at| mapping.write(at, text.as_bytes())).map(|()| "written".into())
            }
            ["sync"] => mapping.sync().ok().map(|()| "synced".into()),
            _ => None,
        };
        say(&answer.unwrap_or_else(|| format!("! {line}")))?;
    }
    Ok(())
}

fn say(line: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()
}

fn number(word: &str) -> Option<usize> {
    word.parse().ok()
}

/// Zeroes are shown as dots.
fn shown(bytes: Vec<u8>) -> String {
    String::from_utf8_lossy(&bytes).replace('\0', ".")
}
