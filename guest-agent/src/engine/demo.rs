//! The demo image: loaded into an engine that has never had an image, once. A user who removes it is not given it again.
//! Called by `engine`.

use std::fs::{self, File};
use std::io;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use lighter_protocol::paths::DEMO_IMAGE;
use rustix::event::PollFlags;

use super::api::{self, Request};
use crate::{paths, ready};

const PATIENCE: Duration = Duration::from_secs(60);

/// Loads the image if it is due; `true` if it was loaded now.
pub fn load() -> io::Result<bool> {
    let (mark, image) = (Path::new(paths::DEMO_MARK), Path::new(DEMO_IMAGE));
    if mark.try_exists()? || !image.try_exists()? {
        return Ok(false);
    }
    let empty = api::request(Request::get("/images/json"), wait)?.body.trim_ascii() == b"[]";
    if empty {
        api::request(Request::post_tar("/images/load?quiet=1", File::open(image)?), wait)?;
    }
    fs::write(mark, "")?;
    Ok(empty)
}

fn wait(socket: &UnixStream, flags: PollFlags) -> io::Result<()> {
    if ready::wait(socket, flags, Instant::now() + PATIENCE)? {
        return Ok(());
    }
    Err(io::Error::new(io::ErrorKind::TimedOut, "dockerd was silent for too long"))
}
