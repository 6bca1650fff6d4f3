//! What one request costs the daemon in system calls: `strace -f -c` follows all its threads while a known number of requests
//! goes through. Tracing makes each call slower but does not change which are made, one request at a time. Used by
//! `bench proxy`.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::process::wait;

/// Calls of each name that process `pid` makes during `work`.
pub fn count<T>(pid: u32, work: impl FnOnce() -> std::io::Result<T>) -> Result<BTreeMap<String, f64>> {
    let dir = tempfile::tempdir()?;
    let table = dir.path().join("calls");
    let mut command = Command::new("strace");
    command.args(["-f", "-c", "-p", &pid.to_string(), "-o"]).arg(&table);
    let mut tracer = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().context("cannot run strace")?;
    let mut talk = BufReader::new(tracer.stderr.take().context("no pipe")?);
    let mut line = String::new();
    // It says "attached" once it follows, and why if it cannot.
    while !line.contains("attached") {
        line.clear();
        if talk.read_line(&mut line)? == 0 {
            bail!("strace could not follow the daemon (a container needs the capability SYS_PTRACE for it)");
        }
    }
    // All threads were seized before that line; it must not block on what it says later.
    let rest = std::thread::spawn(move || drop(std::io::copy(&mut talk, &mut std::io::sink())));
    let done = work();
    let tracer_pid = rustix::process::Pid::from_raw(tracer.id() as i32).context("strace has no pid")?;
    rustix::process::kill_process(tracer_pid, rustix::process::Signal::INT)?;
    wait(&mut tracer, Duration::from_secs(20))?;
    drop(rest.join());
    done?;
    let calls = parse(&std::fs::read_to_string(&table).context("strace wrote no table")?);
    ensure!(!calls.is_empty(), "strace counted nothing");
    Ok(calls)
}

/// Prints how many of the `calls` there were for each of so many things, and which; their number.
pub fn show(what: &str, calls: &BTreeMap<String, f64>, things: f64) -> f64 {
    let each = calls.values().sum::<f64>() / things;
    // What happens less often belongs to the beginning and the end of the measurement.
    let often = calls.iter().filter(|(_, calls)| **calls >= things / 50.0);
    let list: Vec<String> = often.map(|(name, calls)| format!("{name} {:.2}", calls / things)).collect();
    println!("  system calls of the daemon per {what}: {each:.2} ({})", list.join(", "));
    each
}

/// Names and counts of strace's table: `% time, seconds, usecs/call, calls, [errors,] syscall`.
fn parse(table: &str) -> BTreeMap<String, f64> {
    let rows = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let rows = rows.filter(|words| words.len() >= 5 && words.last() != Some(&"total"));
    rows.filter_map(|words| Some(((*words.last()?).to_owned(), words[3].parse().ok()?))).collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn strace_table_is_read() {
        let table = "% time     seconds  usecs/call     calls    errors syscall\n\
                     ------ ----------- ----------- --------- --------- ----------------\n \
                     60.00    0.000600           1       400        10 futex\n \
                     40.00    0.000400           2       200           sendto\n\
                     ------ ----------- ----------- --------- --------- ----------------\n\
                     100.00    0.001000           1       600        10 total\n";
        let calls = super::parse(table);
        assert_eq!((calls.len(), calls["futex"], calls["sendto"]), (2, 400.0, 200.0));
    }
}
