//! Finds a disk by its virtio-blk serial number, whatever the order in which the kernel saw the disks. Called by `boot`.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::event::PollFlags;
use rustix::net::netlink::{self, SocketAddrNetlink};
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, bind, recv, socket_with};

use crate::ready;

/// Disks on virtio-mmio are there before PID 1 is; this is for those that come later.
const PATIENCE: Duration = Duration::from_secs(10);

/// A disk was not found.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    /// The kernel's disks or their events cannot be read.
    #[error("Kernel does not tell about disks")]
    Io(#[from] io::Error),
    /// There is none with this serial.
    #[error("No disk with serial {serial} came within {} s; disks that are there: {seen:?}", PATIENCE.as_secs())]
    Missing {
        /// The serial that was looked for.
        serial: String,
        /// Serials that are there.
        seen: Vec<String>,
    },
}

/// The device node of the disk with this serial, waiting for it for a while.
pub fn find(serial: &str) -> Result<PathBuf, DiskError> {
    let deadline = Instant::now() + PATIENCE;
    // Before the first look, so that no disk can come between look and wait.
    let events = uevents()?;
    loop {
        let disks = serials(Path::new("/sys/block"))?;
        if let Some((name, _)) = disks.iter().find(|(_, found)| found == serial) {
            return Ok(Path::new("/dev").join(name));
        }
        if !ready::wait(&events, PollFlags::IN, deadline)? {
            let seen = disks.into_iter().map(|(_, serial)| serial).collect();
            return Err(DiskError::Missing { serial: serial.to_owned(), seen });
        }
        // What it says does not matter: something changed, so look again.
        let mut event = [0; 4096];
        let _lost_events_are_looked_for_too = recv(&events, &mut event, RecvFlags::DONTWAIT);
    }
}

/// Names and serials under `blocks` (`/sys/block`).
pub fn serials(blocks: &Path) -> io::Result<Vec<(String, String)>> {
    let mut disks = Vec::new();
    for entry in fs::read_dir(blocks)? {
        let entry = entry?;
        // Only virtio-blk has this file; a disk that goes away while it is read has none either.
        let Ok(serial) = fs::read_to_string(entry.path().join("serial")) else { continue };
        disks.push((entry.file_name().to_string_lossy().into_owned(), serial.trim_end().to_owned()));
    }
    Ok(disks)
}

fn uevents() -> io::Result<OwnedFd> {
    let protocol = Some(netlink::KOBJECT_UEVENT);
    let socket = socket_with(AddressFamily::NETLINK, SocketType::DGRAM, SocketFlags::CLOEXEC, protocol)?;
    bind(&socket, &SocketAddrNetlink::new(0, 1))?;
    Ok(socket)
}
