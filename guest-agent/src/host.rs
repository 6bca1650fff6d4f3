//! The event channel to the host: the agent dials it first of all, proves itself by the boot secret, learns time and name,
//! and reports on it for as long as the machine lives. Called by `boot`, `engine`, `shutdown` and `fatal`.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use lighter_protocol::engine::{Certificates, MOST_CERTIFICATE_FRAMES};
use lighter_protocol::{Boot, Event, Hello, VERSION, paths, ports};

use crate::clock;
use crate::frames::{FrameError, Frames};
use crate::sys::vsock;

/// The host listens before the machine runs, so this is only for a host that is short of breath.
const GREETING: Duration = Duration::from_secs(20);
/// An event that the host does not take for so long is lost.
const PATIENCE: Duration = Duration::from_secs(5);

/// Bytes of a text in an event; JSON makes at most six of one.
const LONGEST_TEXT: usize = 16 * 1024;

/// The host cannot be told anything.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// The initramfs lacks the secret.
    #[error("Boot secret {} cannot be read", paths::SECRET)]
    Secret(#[source] io::Error),
    /// Nobody answers.
    #[error("Host did not accept a connection on vsock port {} within {} s", ports::HELLO, GREETING.as_secs())]
    Dial(#[source] io::Error),
    /// The conversation failed.
    #[error("Host's greeting failed")]
    Frames(#[from] FrameError),
    /// It closed instead of answering.
    #[error("Host refused the boot secret")]
    Refused,
    /// Another version.
    #[error(
        "Host speaks version {0} of the agent's protocol and this agent version {VERSION}: rebuild the guest image"
    )]
    Version(u32),
}

/// The channel. Cheap to clone; events of several threads do not mix.
#[derive(Clone)]
pub struct Host(Arc<Mutex<Option<Frames>>>);

/// Reads the boot secret and removes it: nobody who comes later can.
pub fn take_secret() -> Result<String, HostError> {
    let secret = fs::read_to_string(paths::SECRET).map_err(HostError::Secret)?;
    fs::remove_file(paths::SECRET).map_err(HostError::Secret)?;
    Ok(secret.trim_end().to_owned())
}

/// Dials the host.
pub fn dial() -> Result<OwnedFd, HostError> {
    let deadline = Instant::now() + GREETING;
    let cid = u32::try_from(ports::HOST_CID).expect("the host's context id is 2");
    loop {
        // Each attempt waits up to 2 s in the kernel.
        match vsock::dial(cid, ports::HELLO) {
            Err(error) if error.kind() == io::ErrorKind::TimedOut && Instant::now() < deadline => {}
            result => return result.map_err(HostError::Dial),
        }
    }
}

/// What the host said when it was greeted.
#[derive(Debug)]
pub struct Orders {
    /// What the boot needs.
    pub boot: Boot,
    /// Root certificates that came behind it, as PEM text.
    pub certificates: String,
}

/// Shows the secret and takes what the boot needs.
pub fn greet(connection: OwnedFd, secret: String) -> Result<(Host, Orders), HostError> {
    let deadline = Instant::now() + GREETING;
    let mut frames = Frames::new(connection);
    frames.send(&Hello { version: VERSION, secret }, deadline)?;
    let boot: Boot = frames.message(deadline)?.ok_or(HostError::Refused)?;
    if boot.version != VERSION {
        return Err(HostError::Version(boot.version));
    }
    let mut certificates = String::new();
    for _ in 0..boot.engine.certificate_frames.min(MOST_CERTIFICATE_FRAMES) {
        let frame: Certificates = frames.message(deadline)?.ok_or(HostError::Refused)?;
        certificates.push_str(&frame.pem);
    }
    Ok((Host(Arc::new(Mutex::new(Some(frames)))), Orders { boot, certificates }))
}

impl Host {
    /// Reports an event. A host that is gone takes the machine with it, so failure is only logged, once.
    pub fn report(&self, event: &Event) {
        let mut frames = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(open) = frames.as_mut() else { return };
        if let Err(error) = open.send(&bounded(event), Instant::now() + PATIENCE) {
            // Half a frame may be out: what follows would be misread.
            *frames = None;
            tracing::warn!(%error, "host takes no more events");
        }
    }

    /// Reports that a stage of the boot is reached.
    pub fn stage(&self, name: &str) {
        let uptime_ms = clock::uptime_ms();
        tracing::info!(name, "stage");
        self.report(&Event::Stage { name: name.to_owned(), uptime_ms });
    }
}

/// The event with texts that fit a message however they are escaped: programs' last words can be anything.
fn bounded(event: &Event) -> Event {
    match event.clone() {
        Event::Stage { name, uptime_ms } => Event::Stage { name: cut(name), uptime_ms },
        Event::Busy { doing } => Event::Busy { doing: cut(doing) },
        Event::Ready { engine_version, uptime_ms } => Event::Ready { engine_version: cut(engine_version), uptime_ms },
        Event::EngineDown { reason } => Event::EngineDown { reason: cut(reason) },
        Event::Failed { stage, reason } => Event::Failed { stage: cut(stage), reason: cut(reason) },
        Event::Stopped => Event::Stopped,
    }
}

fn cut(mut text: String) -> String {
    if text.len() > LONGEST_TEXT {
        text.truncate(text.floor_char_boundary(LONGEST_TEXT));
        text.push('…');
    }
    text
}
