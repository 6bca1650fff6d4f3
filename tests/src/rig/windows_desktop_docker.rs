//! The docker CLI for Windows as a person uses it after `lighter.exe start`: no flag says where the engine is, the context that
//! lighter made does. After the clients of `windows_desktop`, whose image it uses.

use std::fs;
use std::io::{Cursor, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpStream};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::windows_desktop::{PATIENCE, on_c, on_z};
use super::wine::Wine;
use crate::process::Run;

const IMAGE: &str = "bb:latest";
/// What a connection's answer may take.
const ANSWER: Duration = Duration::from_secs(120);

struct Cli<'a> {
    wine: &'a Wine,
    program: &'a Path,
    home: &'a Path,
}

type Check = (&'static str, fn(&Cli<'_>) -> Result<()>);

const CHECKS: &[Check] = &[
    ("context_leads_to_lighter", context),
    ("run_i_takes_input_and_tells_its_exit_code", run_input),
    ("run_t_is_a_terminal", run_terminal),
    ("run_v_shares_a_folder_of_drive_c", run_folder),
    ("run_p_publishes_a_port_and_exec_and_cp_reach_it", run_port),
];

/// Makes all checks; a line for each.
pub(super) fn used(wine: &Wine, program: &Path, home: &Path) -> Result<()> {
    let cli = Cli { wine, program, home };
    let mut failed = Vec::new();
    for (name, check) in CHECKS {
        let begun = std::time::Instant::now();
        match check(&cli) {
            Ok(()) => println!("windows: desktop: docker_{name} ok {:.0} s", begun.elapsed().as_secs_f64()),
            Err(error) => {
                println!("windows: desktop: docker_{name} FAILED: {error:#}");
                failed.push(*name);
            }
        }
    }
    ensure!(failed.is_empty(), "docker.exe: {}", failed.join(", "));
    Ok(())
}

impl Cli<'_> {
    fn run<S: AsRef<std::ffi::OsStr>>(&self, words: impl IntoIterator<Item = S>) -> Run {
        self.wine.run([on_z(self.program)]).args(words).within(PATIENCE)
    }
}

fn context(cli: &Cli<'_>) -> Result<()> {
    let context = cli.run(["context", "show"]).ok()?.text();
    ensure!(context == "lighter", "the current context is {context}");
    let version = cli.run(["version", "--format", "{{.Client.Os}} {{.Server.Os}}"]).ok()?.text();
    ensure!(version == "windows linux", "version says {version}");
    Ok(())
}

/// The end of the input is the container's to see, and its answer comes after that.
fn run_input(cli: &Cli<'_>) -> Result<()> {
    let script = "wc -c; echo done; exit 9";
    let run = cli.run(["run", "--rm", "--interactive", IMAGE, "sh", "-c", script]);
    let done = run.stdin(Cursor::new(vec![b'x'; 300_000])).finish()?;
    ensure!(done.status.code() == Some(9), "it ended with {}: {}", done.status, done.talk());
    ensure!(done.text() == "300000\ndone", "it printed {}", done.text());
    Ok(())
}

fn run_terminal(cli: &Cli<'_>) -> Result<()> {
    let done = cli.run(["run", "--rm", "--tty", IMAGE, "sh", "-c", "test -t 1 && tty"]).ok()?;
    ensure!(done.text().starts_with("/dev/pts/"), "it printed {}", done.text());
    Ok(())
}

fn run_folder(cli: &Cli<'_>) -> Result<()> {
    let folder = cli.home.join("from docker");
    fs::create_dir_all(&folder)?;
    fs::write(folder.join("ours.txt"), "ours")?;
    let bind = format!("{}:/it", on_c(cli.home, "from docker"));
    let script = "cat /it/ours.txt && echo theirs > /it/theirs.txt && mv /it/ours.txt /it/moved.txt";
    let done = cli.run(["run", "--rm", "-v", &bind, IMAGE, "sh", "-c", script]).ok()?;
    ensure!(done.text() == "ours", "it printed {}", done.text());
    ensure!(fs::read_to_string(folder.join("theirs.txt"))? == "theirs\n", "their file");
    ensure!(folder.join("moved.txt").exists() && !folder.join("ours.txt").exists(), "what they moved");
    Ok(())
}

fn run_port(cli: &Cli<'_>) -> Result<()> {
    let serve = ["nc", "-ll", "-p", "7", "-e", "cat"];
    cli.run(["run", "--detach", "--name", "served", "--init", "-p", "7", IMAGE].iter().chain(&serve)).ok()?;
    let told = cli.run(["port", "served", "7"]).ok()?.text();
    let port = told.lines().find_map(|line| line.rsplit(':').next()?.trim().parse().ok());
    let port: u16 = port.with_context(|| format!("docker port says {told}"))?;
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).context("connect")?;
    stream.set_read_timeout(Some(ANSWER))?;
    stream.write_all(b"through a port")?;
    stream.shutdown(Shutdown::Write)?;
    let mut came = String::new();
    stream.read_to_string(&mut came).context("what comes back, and its end")?;
    ensure!(came == "through a port", "back came {came}");
    let said = cli.run(["exec", "served", "sh", "-c", "echo in there > /said; cat /said"]).ok()?.text();
    ensure!(said == "in there", "exec says {said}");
    let copy = cli.home.join("said.txt");
    cli.run(["cp", "served:/said", &on_c(cli.home, "said.txt")]).ok()?;
    ensure!(fs::read_to_string(copy)? == "in there\n", "the copy");
    cli.run(["rm", "--force", "served"]).ok().map(drop)
}
