//! The client as a program, for a container. It answers each line of its standard input, `kept|fresh SOCKET PATH COUNT` or
//! `vsock COUNT`, by the 50th and the 99th percentile in nanoseconds, so that one start serves many short turns.

use std::error::Error;
use std::io::{self, BufRead, Write};
use std::path::Path;

use lighter_meter::{fresh, kept, percentile, sys};

fn main() -> Result<(), Box<dyn Error>> {
    for line in io::stdin().lock().lines() {
        let line = line?;
        let samples = match &line.split_whitespace().collect::<Vec<_>>()[..] {
            ["kept", socket, path, count] => kept(Path::new(socket), path, count.parse()?)?,
            ["fresh", socket, path, count] => fresh(Path::new(socket), path, count.parse()?)?,
            ["vsock", count] => sys::vsock::refused(count.parse()?)?,
            _ => return Err(format!("`{line}` is neither kept nor fresh nor vsock").into()),
        };
        let mut out = io::stdout().lock();
        writeln!(out, "{} {}", percentile(&samples, 50), percentile(&samples, 99))?;
        out.flush()?;
    }
    Ok(())
}
