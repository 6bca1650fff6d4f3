//! Answers the host's requests, one per connection. Called by `main` through `accept`.

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use lighter_protocol::{Reply, Request};

use crate::frames::{FrameError, Frames};
use crate::{Guest, clock, echo, fatal, shutdown};

/// What the guest knows of itself.
pub mod info;
/// Log files as a stream.
pub mod logs;
/// The program that a shell request names.
mod program;
/// Programs on a terminal or on pipes.
pub mod shell;

/// For a request to arrive and for a reply to be taken.
const PATIENCE: Duration = Duration::from_secs(10);

/// Serves one connection to its end.
pub fn serve(guest: &Guest, connection: OwnedFd) {
    let mut frames = Frames::new(connection);
    if let Err(error) = answer(guest, &mut frames) {
        let error = fatal::chain(&error);
        tracing::warn!(error, "control connection failed");
    }
}

fn answer(guest: &Guest, frames: &mut Frames) -> Result<(), FrameError> {
    let request = match frames.message::<Request>(deadline()) {
        Ok(Some(request)) => request,
        Ok(None) => return Ok(()),
        Err(error) => {
            let message = format!("Request is not understood: {}", fatal::chain(&error));
            let _hung_up = frames.send(&Reply::Error { message }, deadline());
            return Err(error);
        }
    };
    match request {
        Request::Info => frames.send(&reply(info::guest_info(guest).map(Reply::Info)), deadline()),
        Request::SetTime { unix_seconds, unix_nanos } => {
            let set = clock::correct(unix_seconds, unix_nanos).map(|()| Reply::Done);
            frames.send(&reply(set), deadline())
        }
        Request::Shell(wish) => shell::serve(&guest.reaper, &wish, frames),
        Request::Logs { source, follow, tail } => logs::serve(logs::file_of(source), follow, tail, frames),
        Request::Herald => echo::serve(frames),
        Request::Shutdown { grace_seconds } => {
            frames.send(&Reply::Done, deadline())?;
            shutdown::shut_down(guest, grace_seconds);
            Ok(())
        }
    }
}

fn reply(result: std::io::Result<Reply>) -> Reply {
    result.unwrap_or_else(|error| Reply::Error { message: fatal::chain(&error) })
}

/// The deadline of a frame that is expected now.
fn deadline() -> Instant {
    Instant::now() + PATIENCE
}
