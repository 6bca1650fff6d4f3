//! Block device (virtio 1.2 §5.2) over a raw image file. Built by `machine`, one for each disk; a thread of its own does the
//! blocking work ([`serve`]).

mod config;
mod disk;
mod request;
mod serve;
#[cfg(test)]
mod tests;
mod trouble;

use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use self::config::{F_DISCARD, F_FLUSH, F_WRITE_ZEROES, Kind, QUEUE_SIZE, SECTOR, SERIAL};
use self::disk::{Disk, RawDisk};
use self::request::Limits;
use self::serve::{Backend, Worker};
pub use self::trouble::Trouble;
use super::device::{ActivateError, Activation, VirtioDevice};
use super::queue::Virtqueue;
use crate::config::DiskConfig;
use crate::kick::Kick;
use crate::rate_limit::RateLimit;

/// A disk cannot be offered to the guest.
#[derive(Debug, thiserror::Error)]
pub enum BlockError {
    /// Its size could not be found out.
    #[error("Could not find out the size of disk {path}")]
    Size {
        /// Where it was opened from.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// It has not even one sector.
    #[error("Disk {0} is empty: it was cut short, or never written")]
    Empty(PathBuf),
    /// The serial does not fit.
    #[error("Disk serial {0:?} is longer than 20 bytes or not ASCII")]
    Serial(String),
}

/// The device.
pub struct Block {
    kind: Kind,
    /// Held by the worker while the device is active.
    backend: Arc<Mutex<Backend>>,
    running: Option<Running>,
}

struct Running {
    thread: JoinHandle<()>,
    stop: Arc<AtomicBool>,
    kick: Arc<Kick>,
}

impl Block {
    /// A device over an open image. What is not a whole sector at its end is not shown.
    pub fn new(config: DiskConfig, trouble: Trouble) -> Result<Self, BlockError> {
        let DiskConfig { file, path, read_only, serial } = config;
        let disk = RawDisk::new(file).map_err(|source| BlockError::Size { path: path.clone(), source })?;
        Self::with_disk(Box::new(disk), path, read_only, serial, trouble)
    }

    fn with_disk(
        disk: Box<dyn Disk>,
        path: PathBuf,
        read_only: bool,
        serial: String,
        trouble: Trouble,
    ) -> Result<Self, BlockError> {
        let sectors = disk.size() / SECTOR;
        if sectors == 0 {
            return Err(BlockError::Empty(path));
        }
        if serial.len() > SERIAL || !serial.is_ascii() {
            return Err(BlockError::Serial(serial));
        }
        let mut padded = [0; SERIAL];
        padded[..serial.len()].copy_from_slice(serial.as_bytes());
        let kind = Kind { sectors, read_only, can_discard: disk.can_discard() };
        let backend = Backend {
            disk,
            path,
            read_only,
            serial: padded,
            failed: false,
            trouble,
            warnings: RateLimit::default(),
            broken: RateLimit::default(),
        };
        Ok(Self { kind, backend: Arc::new(Mutex::new(backend)), running: None })
    }

    fn worker(&self, queue: Virtqueue, activation: Activation, stop: Arc<AtomicBool>) -> Worker {
        let negotiated = activation.features & self.kind.features();
        let limits = Limits {
            size: self.kind.sectors * SECTOR,
            read_only: self.kind.read_only,
            discard: negotiated & F_DISCARD != 0,
            write_zeroes: negotiated & F_WRITE_ZEROES != 0,
        };
        Worker { queue, interrupt: activation.interrupt, limits, write_through: negotiated & F_FLUSH == 0, stop }
    }
}

impl VirtioDevice for Block {
    fn name(&self) -> &'static str {
        "blk"
    }

    fn device_type(&self) -> u32 {
        2
    }

    fn features(&self) -> u64 {
        self.kind.features()
    }

    fn queue_sizes(&self) -> &[u16] {
        &[QUEUE_SIZE]
    }

    fn read_config(&self, offset: u64, data: &mut [u8]) {
        let space = self.kind.space();
        let Some(rest) = usize::try_from(offset).ok().and_then(|offset| space.get(offset..)) else { return };
        let len = rest.len().min(data.len());
        data[..len].copy_from_slice(&rest[..len]);
    }

    fn activate(&mut self, mut activation: Activation) -> Result<(), ActivateError> {
        self.reset();
        let failed = |reason| ActivateError { device: "blk", reason };
        let Ok([queue]) = <[Virtqueue; 1]>::try_from(std::mem::take(&mut activation.queues)) else {
            return Err(failed("it needs exactly one queue".to_owned()));
        };
        let (stop, kick) = (Arc::new(AtomicBool::new(false)), Arc::clone(queue.kick()));
        let worker = self.worker(queue, activation, Arc::clone(&stop));
        let backend = Arc::clone(&self.backend);
        let serve = move || worker.run(&mut backend.lock().unwrap_or_else(PoisonError::into_inner));
        let thread = thread::Builder::new().name("lighter-blk".to_owned()).spawn(serve);
        let thread = thread.map_err(|error| failed(format!("no thread for its I/O: {error}")))?;
        self.running = Some(Running { thread, stop, kick });
        Ok(())
    }

    /// Waits for the request in hand, which is of bounded size.
    fn reset(&mut self) {
        let Some(Running { thread, stop, kick }) = self.running.take() else { return };
        stop.store(true, Ordering::Release);
        kick.signal();
        if thread.join().is_err() {
            tracing::error!("The thread of a disk panicked");
        }
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        self.reset();
    }
}
