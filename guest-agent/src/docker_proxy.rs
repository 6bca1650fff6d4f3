//! What dockerd runs for each published port, in place of its own `docker-proxy`: asks the agent, and through it the host, to
//! listen, and lives as long as the port is to be published. Called by `main` when the agent runs under that name.
//!
//! dockerd (26.1, `libnetwork/portmapper`) gives the port in arguments and a pipe as descriptor 3, reads `0\n` from it for "it
//! listens" or `1\n` and an error, which becomes that of `docker run`, and sends SIGINT when the port is to be given up; SIGTERM
//! comes when dockerd itself dies. The process ends only when the host listens no more, so that what `docker stop` has
//! given up can be taken again at once.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Write};
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process;
use std::str::FromStr;
use std::time::{Duration, Instant};

use lighter_protocol::{Port, Published};
use rustix::event::{PollFd, PollFlags};

use crate::frames::{FrameError, Frames};
use crate::{fatal, paths, ready, sys};

/// The same port on the guest's own loopback.
pub mod inside;

/// dockerd waits for 16 s, and a reason is better than none.
const PATIENCE: Duration = Duration::from_secs(15);
/// For the host to listen no more.
const FAREWELL: Duration = Duration::from_secs(5);
/// Where dockerd wants to hear how it went: a pipe that it gave us.
const REPORT: &str = "/proc/self/fd/3";

/// What dockerd asked for is no port.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ArgumentError {
    /// Left out.
    #[error("dockerd did not say {0}")]
    Missing(&'static str),
    /// Not understood.
    #[error("dockerd said {0} {1:?}, which makes no sense")]
    Senseless(&'static str, String),
}

/// Whether this program was started under the name that dockerd knows.
pub fn is_meant() -> bool {
    let name = std::env::args_os().next();
    name.is_some_and(|name| Path::new(&name).file_name() == Path::new(paths::DOCKER_PROXY).file_name())
}

/// Publishes the port that this process's arguments name, until a signal comes.
pub fn run() -> ! {
    let ended = publish().unwrap_or_else(|error| {
        report(&format!("1\n{error}"));
        false
    });
    process::exit(if ended { 0 } else { 1 });
}

/// `true` if the end was asked for, an error if it never listened.
fn publish() -> Result<bool, String> {
    let chain = |error: &dyn std::error::Error| fatal::chain(error);
    let port = parse(std::env::args().skip(1)).map_err(|error| chain(&error))?;
    let signals = sys::signals::requests_to_end().map_err(|error| chain(&error))?;
    let (answer, agent) = ask(Path::new(paths::PUBLISH_SOCKET), &port).map_err(|error| chain(&error))?;
    match answer {
        Published::Refused { message } => Err(message),
        Published::Listening => {
            // Before dockerd hears of it, so that whoever waits for `docker run` finds it there.
            let _a_courtesy = inside::serve(&port);
            report("0\n");
            hold(&signals, agent).map_err(|error| chain(&error))
        }
    }
}

/// The port that the arguments name, each a word with a dash and its value.
pub fn parse(arguments: impl Iterator<Item = String>) -> Result<Port, ArgumentError> {
    let arguments: Vec<String> = arguments.collect();
    let pairs = arguments.chunks_exact(2).map(|pair| (pair[0].trim_start_matches('-'), pair[1].as_str()));
    let said: HashMap<&str, &str> = pairs.collect();
    fn value<T: FromStr>(said: &HashMap<&str, &str>, name: &'static str) -> Result<T, ArgumentError> {
        let text = said.get(name).ok_or(ArgumentError::Missing(name))?;
        text.parse().map_err(|_| ArgumentError::Senseless(name, (*text).to_owned()))
    }
    Ok(Port {
        protocol: value(&said, "proto")?,
        host_ip: value::<IpAddr>(&said, "host-ip")?,
        host_port: value(&said, "host-port")?,
        container_ip: value::<IpAddr>(&said, "container-ip")?,
        container_port: value(&said, "container-port")?,
    })
}

/// The agent's answer, and the connection on which the port depends from then on.
pub fn ask(socket: &Path, port: &Port) -> Result<(Published, Frames), FrameError> {
    let deadline = Instant::now() + PATIENCE;
    let mut agent = Frames::new(OwnedFd::from(UnixStream::connect(socket)?));
    agent.send(port, deadline)?;
    let answer = agent.message(deadline)?.ok_or(FrameError::Cut)?;
    Ok((answer, agent))
}

/// Until `signals` is readable, which gives the port up, or the host has given it up itself.
pub fn hold(signals: &OwnedFd, mut agent: Frames) -> io::Result<bool> {
    loop {
        let asked = {
            let mut waiting = [PollFd::new(signals, PollFlags::IN), PollFd::new(&agent, PollFlags::IN)];
            ready::wait_any(&mut waiting, None)?;
            !waiting[0].revents().is_empty()
        };
        if asked {
            agent.finish(Instant::now() + FAREWELL);
            return Ok(true);
        }
        if !matches!(agent.discard(), Ok(None | Some(1..))) {
            return Ok(false);
        }
    }
}

/// Tells dockerd. If that is gone, a signal follows.
fn report(text: &str) {
    let told = File::options().write(true).open(REPORT).and_then(|mut pipe| pipe.write_all(text.as_bytes()));
    if told.is_err() {
        eprintln!("docker-proxy: {}", text.trim_end());
    }
}
