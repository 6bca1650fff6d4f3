//! A request to the guest's agent through the daemon. Called by `shell`, `logs`, `disk` and `doctor`.

use std::path::Path;

use lighter_protocol::wire::StreamFrame;
use lighter_protocol::{GuestInfo, Reply, Request, Shell};

use crate::control::{Ask, Control, ControlError};
use crate::frames;
use crate::plain;
use crate::sys::endpoint::Stream;

/// Most of a program's output that [`run`] keeps, in bytes.
const MOST_WORDS: usize = 64 * 1024;

/// Why the guest did not do it.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// No daemon.
    #[error("The machine is not running: start it by `lighter start`")]
    NotRunning,
    /// The way there.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// The agent, or the daemon in its place, says no.
    #[error("{0}")]
    Refused(String),
}

/// Asks for something that goes on as stream frames; waits for a machine that is starting.
pub async fn stream(control_socket: &Path, request: &Request) -> Result<Stream, AgentError> {
    match ask(control_socket, request).await? {
        (Reply::Stream, stream) => Ok(stream),
        _ => Err(ControlError::Unexpected.into()),
    }
}

/// What the guest knows of itself.
pub async fn info(control_socket: &Path) -> Result<GuestInfo, AgentError> {
    match ask(control_socket, &Request::Info).await? {
        (Reply::Info(info), _) => Ok(info),
        _ => Err(ControlError::Unexpected.into()),
    }
}

async fn ask(control_socket: &Path, request: &Request) -> Result<(Reply, Stream), AgentError> {
    let mut control = Control::connect(control_socket).await?.ok_or(AgentError::NotRunning)?;
    control.ask(&Ask::Guest).await?;
    let mut stream = control.into_stream();
    let asked = frames::write(&mut stream, request).await;
    // A daemon without a machine says so and hangs up, and does not wait for the question.
    match (frames::read::<Reply>(&mut stream).await, asked) {
        (Ok(Reply::Error { message }), _) => Err(AgentError::Refused(plain::plain(&message))),
        (Ok(reply), Ok(())) => Ok((reply, stream)),
        (_, Err(error)) | (Err(error), _) => Err(ControlError::from(error).into()),
    }
}

/// How a program in the guest ended.
#[derive(Debug, Default)]
pub struct Ended {
    /// Its exit code, as a shell reports it.
    pub code: i32,
    /// The beginning of its standard output.
    pub stdout: Vec<u8>,
    /// The beginning of its standard error.
    pub stderr: Vec<u8>,
}

/// Runs a program in the guest to its end, without input.
pub async fn run(control_socket: &Path, command: Vec<String>) -> Result<Ended, AgentError> {
    let request = Request::Shell(Shell { command, tty: None, env: Vec::new() });
    let mut stream = stream(control_socket, &request).await?;
    frames::write_stream(&mut stream, &StreamFrame::Stdin(Vec::new())).await.map_err(ControlError::from)?;
    let mut ended = Ended::default();
    let keep = |kept: &mut Vec<u8>, bytes: &[u8]| {
        kept.extend_from_slice(&bytes[..bytes.len().min(MOST_WORDS.saturating_sub(kept.len()))]);
    };
    loop {
        match frames::read_stream(&mut stream).await.map_err(ControlError::from)? {
            StreamFrame::Stdout(bytes) => keep(&mut ended.stdout, &bytes),
            StreamFrame::Stderr(bytes) => keep(&mut ended.stderr, &bytes),
            StreamFrame::Exit(code) => return Ok(Ended { code, ..ended }),
            StreamFrame::Stdin(_) | StreamFrame::Resize(..) => (),
        }
    }
}
