//! `lighter shell`: a command or a login shell in the guest, on a terminal if there is one. Its exit code becomes ours.

use std::io::IsTerminal;
use std::process::ExitCode;

use clap::Args;
use lighter_protocol::wire::{MAX_PAYLOAD, StreamFrame};
use lighter_protocol::{Request, Shell as Command};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::{Target, block_on};
use crate::agent;
use crate::frames;
use crate::sys::process::StopSignals;
use crate::sys::terminal::{self, RawMode, Resizes};

/// What a program that was asked to end exits with by custom: 128 + SIGTERM.
const TERMINATED: i32 = 143;

#[derive(Debug, Args)]
pub struct Shell {
    /// Program and arguments; without, a login shell.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "CMD")]
    command: Vec<String>,
}

impl Shell {
    pub fn run(&self, target: &Target) -> anyhow::Result<ExitCode> {
        let code = block_on(self.attach(target))?;
        // A code beyond a byte is as wrong as any other.
        Ok(ExitCode::from(u8::try_from(code).unwrap_or(u8::MAX)))
    }

    async fn attach(&self, target: &Target) -> anyhow::Result<i32> {
        let on_terminal = std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
        let tty = on_terminal.then(|| terminal::size().unwrap_or((80, 24)));
        let term = std::env::var("TERM").ok().filter(|_| on_terminal);
        let env = term.map(|term| ("TERM".to_owned(), term)).into_iter().collect();
        let request = Request::Shell(Command { command: self.command.clone(), tty, env });
        let stream = agent::stream(&target.profile.control_socket(), &request).await?;
        let mut signals = StopSignals::listen()?;
        let mut resizes = Resizes::listen()?;
        // Only now, so that errors up to here look as they should; dropped on every way out.
        let _raw = if on_terminal { RawMode::enter()? } else { None };
        let (from_guest, to_guest) = tokio::io::split(stream);
        tokio::select! {
            code = show(from_guest) => code,
            // Ends only with an error: the guest's end is what counts.
            error = feed(to_guest, &mut resizes, on_terminal) => Err(error),
            _ = signals.next() => Ok(TERMINATED),
        }
    }
}

/// Guest → stdout and stderr, until the exit code comes.
async fn show(mut guest: impl AsyncRead + Unpin) -> anyhow::Result<i32> {
    let (mut stdout, mut stderr) = (tokio::io::stdout(), tokio::io::stderr());
    loop {
        let written = match frames::read_stream(&mut guest).await? {
            StreamFrame::Stdout(bytes) => put(&mut stdout, &bytes).await,
            StreamFrame::Stderr(bytes) => put(&mut stderr, &bytes).await,
            StreamFrame::Exit(code) => return Ok(code),
            StreamFrame::Stdin(_) | StreamFrame::Resize(..) => Ok(()),
        };
        match written {
            // The reader has seen enough: as a program that SIGPIPE ends.
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => return Ok(141),
            other => other?,
        }
    }
}

async fn put(out: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) -> std::io::Result<()> {
    out.write_all(bytes).await?;
    out.flush().await
}

/// stdin and window sizes → guest. Returns only if that fails.
async fn feed(mut guest: impl AsyncWrite + Unpin, resizes: &mut Resizes, on_terminal: bool) -> anyhow::Error {
    let mut stdin = tokio::io::stdin();
    let mut buffer = vec![0; MAX_PAYLOAD.min(16 * 1024)];
    let mut open = true;
    loop {
        let frame = tokio::select! {
            read = stdin.read(&mut buffer), if open => match read {
                Ok(count) => {
                    open = count > 0;
                    // An empty one is the end of input.
                    StreamFrame::Stdin(buffer[..count].to_vec())
                }
                Err(error) => return error.into(),
            },
            () = resizes.next() => match terminal::size() {
                Some((columns, rows)) if on_terminal => StreamFrame::Resize(columns, rows),
                _ => continue,
            },
        };
        if frames::write_stream(&mut guest, &frame).await.is_err() {
            // The program ended; what it said last is still on its way to the other task.
            return std::future::pending().await;
        }
    }
}
