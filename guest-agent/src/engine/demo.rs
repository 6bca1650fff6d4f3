//! The demo image: loaded into an engine that has never had an image, once. A user who removes it is not given it again.
//! Called by `engine`.

use std::fs::{self, File};
use std::io;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use lighter_protocol::paths::{DEMO_IMAGE, DOCKER_SOCKET};
use rustix::event::PollFlags;

use super::api::{self, Answer, Request};
use crate::{paths, ready};

const PATIENCE: Duration = Duration::from_secs(60);

/// Loads the image if it is due; `true` if it was loaded now.
pub fn load() -> io::Result<bool> {
    let (mark, image) = (Path::new(paths::DEMO_MARK), Path::new(DEMO_IMAGE));
    if mark.try_exists()? || !image.try_exists()? {
        return Ok(false);
    }
    let empty = request(Request::get("/images/json"))?.body.trim_ascii() == b"[]";
    if empty {
        request(Request::post_tar("/images/load?quiet=1", File::open(image)?))?;
    }
    fs::write(mark, "")?;
    Ok(empty)
}

fn request(request: Request<'_>) -> io::Result<Answer> {
    api::request(&UnixStream::connect(DOCKER_SOCKET)?, request, wait)
}

fn wait(socket: &UnixStream, flags: PollFlags) -> io::Result<()> {
    if ready::wait(socket, flags, Instant::now() + PATIENCE)? {
        return Ok(());
    }
    Err(io::Error::new(io::ErrorKind::TimedOut, "dockerd was silent for too long"))
}
