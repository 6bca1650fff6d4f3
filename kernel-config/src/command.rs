//! Runs the programs that a build needs, in a plain locale, and turns their failure into an error that shows what they said.

use std::{
    collections::VecDeque,
    fs::File,
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Command, Output, Stdio},
};

use crate::error::BuildError;

const TAIL_LINES: usize = 15;

/// A command with English messages, without input, and without what a surrounding `make` or kernel tree left in the environment.
pub fn command(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new(program);
    command.env("LC_ALL", "C.UTF-8").stdin(Stdio::null());
    for name in
        ["MAKEFLAGS", "MFLAGS", "MAKELEVEL", "ARCH", "CROSS_COMPILE", "KCFLAGS", "KCONFIG_CONFIG", "LOCALVERSION"]
    {
        command.env_remove(name);
    }
    command
}

/// Runs to the end and answers standard output.
pub fn output(command: &mut Command, cure: &'static str) -> Result<Vec<u8>, BuildError> {
    let Output { status, stdout, stderr } =
        command.output().map_err(|source| BuildError::Spawn { program: name(command), source })?;
    if status.success() {
        return Ok(stdout);
    }
    let said = String::from_utf8_lossy(&stderr);
    let tail: Vec<_> = said.lines().rev().take(TAIL_LINES).collect();
    let tail = tail.into_iter().rev().collect::<Vec<_>>().join("\n");
    Err(BuildError::Failed { program: name(command), status, log: None, cure, tail })
}

/// Runs to the end with all output going to `log`, and calls `line` for each line of it.
pub fn logged(
    command: &mut Command,
    log: &Path,
    cure: &'static str,
    mut line: impl FnMut(&str),
) -> Result<(), BuildError> {
    let mut file = File::options().create(true).append(true).open(log).map_err(BuildError::io("create", log))?;
    let (reader, writer) = std::io::pipe().map_err(BuildError::io("make a pipe for", log))?;
    let second = writer.try_clone().map_err(BuildError::io("make a pipe for", log))?;
    command.stdout(writer).stderr(second);
    let spawned = command.spawn();
    // Our own ends of the pipe live in `command`: without letting go of them the reader would never see the end.
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = spawned.map_err(|source| BuildError::Spawn { program: name(command), source })?;
    let mut tail = VecDeque::new();
    let mut reader = BufReader::new(reader);
    let mut raw = Vec::new();
    while reader.read_until(b'\n', &mut raw).map_err(BuildError::io("read the output for", log))? > 0 {
        file.write_all(&raw).map_err(BuildError::io("write", log))?;
        let text = String::from_utf8_lossy(&raw);
        let text = text.trim_end();
        line(text);
        tail.push_back(text.to_owned());
        if tail.len() > TAIL_LINES {
            tail.pop_front();
        }
        raw.clear();
    }
    let status = child.wait().map_err(BuildError::io("wait for the program that wrote", log))?;
    if status.success() {
        return Ok(());
    }
    let tail = tail.make_contiguous().join("\n");
    Err(BuildError::Failed { program: name(command), status, log: Some(log.to_owned()), cure, tail })
}

fn name(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_name().unwrap_or_default().to_string_lossy().into_owned();
    let arguments = command.get_args().filter(|a| !a.to_string_lossy().contains('/')).take(3);
    arguments.fold(program, |name, argument| name + " " + &argument.to_string_lossy())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failure_shows_the_last_lines_and_the_cure() {
        let script = "echo out; echo the real reason >&2; exit 3";
        let error = output(command("sh").args(["-c", script]), "Try again.").unwrap_err().to_string();
        assert!(error.contains("Try again.") && error.contains("the real reason") && error.contains('3'), "{error}");
    }

    #[test]
    fn log_holds_both_streams_and_each_line_is_seen() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("log");
        let mut seen = Vec::new();
        let mut talk = command("sh");
        logged(talk.args(["-c", "echo a; echo b >&2"]), &log, "", |line| seen.push(line.to_owned())).unwrap();
        assert_eq!(seen, ["a", "b"]);
        assert_eq!(std::fs::read_to_string(&log).unwrap(), "a\nb\n");
        let failed = logged(command("sh").args(["-c", "echo why; exit 1"]), &log, "", |_| ()).unwrap_err().to_string();
        assert!(failed.contains("why") && failed.contains("log"), "{failed}");
    }
}
