//! A request to the guest's agent through the daemon. Called by `shell` and `logs`.

use std::path::Path;

use lighter_protocol::{Reply, Request};

use crate::control::{Ask, Control, ControlError};
use crate::frames;
use crate::plain;
use crate::sys::endpoint::Stream;

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
    let mut control = Control::connect(control_socket).await?.ok_or(AgentError::NotRunning)?;
    control.ask(&Ask::Guest).await?;
    let mut stream = control.into_stream();
    frames::write(&mut stream, request).await.map_err(ControlError::from)?;
    match frames::read::<Reply>(&mut stream).await.map_err(ControlError::from)? {
        Reply::Stream => Ok(stream),
        Reply::Error { message } => Err(AgentError::Refused(plain::plain(&message))),
        Reply::Done | Reply::Info(_) => Err(ControlError::Unexpected.into()),
    }
}
