//! The device as a transport sees it: a queue for what must not wait (FORGET and INTERRUPT), one or more for requests, and in
//! the configuration space the tag by which the guest mounts it. Each queue has a thread of its own ([`Worker`]).

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use super::host::HostFs;
use super::server::Server;
use super::worker::{Warnings, Worker};
use crate::dax::{Region, Window};
use crate::kick::Kick;
use crate::virtio::device::{ActivateError, Activation, VirtioDevice};

/// `VIRTIO_ID_FS`
const DEVICE_TYPE: u32 = 26;
/// Entries of each queue: a request of 1 MiB is a chain of 256 pages and a few more.
const QUEUE_SIZE: u16 = 512;
/// Number of the shared memory region.
const CACHE: u32 = 0;
/// Length of the tag's field in bytes.
const TAG: usize = 36;
/// More request queues than this gain nothing.
pub const MOST_QUEUES: usize = 4;

/// The device; see the head of this file.
pub struct Fs<H: HostFs> {
    tag: [u8; TAG],
    sizes: Vec<u16>,
    server: Arc<Server<H>>,
    /// Bytes of the window that it asks for.
    wanted: Option<u64>,
    window: Option<Arc<Window>>,
    warnings: Arc<Warnings>,
    running: Vec<Running>,
}

struct Running {
    thread: JoinHandle<()>,
    stop: Arc<AtomicBool>,
    kick: Arc<Kick>,
}

impl<H: HostFs> std::fmt::Debug for Fs<H> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Fs").field("queues", &self.sizes.len()).finish_non_exhaustive()
    }
}

impl<H: HostFs> Fs<H> {
    /// A device with this tag (at most 36 bytes; the rest is cut off) and as many request queues as the guest has CPUs, within
    /// reason.
    pub fn new(tag: &str, cpus: u8, server: Arc<Server<H>>) -> Self {
        let mut padded = [0; TAG];
        let len = tag.len().min(TAG);
        padded[..len].copy_from_slice(&tag.as_bytes()[..len]);
        let queues = usize::from(cpus).clamp(1, MOST_QUEUES);
        Self {
            tag: padded,
            sizes: vec![QUEUE_SIZE; 1 + queues],
            server,
            wanted: None,
            window: None,
            warnings: Arc::default(),
            running: Vec::new(),
        }
    }

    /// With a window of so many bytes, through which the guest sees large files, where the engine has one to give. The guest's
    /// kernel keeps 1/64 of that in RAM to know its pages by.
    #[must_use]
    pub fn with_window(mut self, bytes: u64) -> Self {
        self.wanted = Some(bytes);
        self
    }

    /// The window that it was given.
    pub fn window(&self) -> Option<&Arc<Window>> {
        self.window.as_ref()
    }

    /// The server behind it.
    pub fn server(&self) -> &Arc<Server<H>> {
        &self.server
    }

    fn start(&mut self, activation: Activation) -> io::Result<()> {
        for queue in activation.queues {
            let (stop, kick) = (Arc::new(AtomicBool::new(false)), Arc::clone(queue.kick()));
            let worker = Worker {
                queue,
                interrupt: Arc::clone(&activation.interrupt),
                server: Arc::clone(&self.server),
                window: self.window.clone(),
                warnings: Arc::clone(&self.warnings),
                stop: Arc::clone(&stop),
            };
            let thread = thread::Builder::new().name("lighter-fs".to_owned()).spawn(move || worker.run())?;
            self.running.push(Running { thread, stop, kick });
        }
        Ok(())
    }
}

impl<H: HostFs> VirtioDevice for Fs<H> {
    fn name(&self) -> &'static str {
        "fs"
    }

    fn device_type(&self) -> u32 {
        DEVICE_TYPE
    }

    fn features(&self) -> u64 {
        0
    }

    fn queue_sizes(&self) -> &[u16] {
        &self.sizes
    }

    fn waits_in_threads(&self) -> bool {
        true
    }

    fn window_bytes(&self) -> Option<u64> {
        self.wanted
    }

    fn take_window(&mut self, window: Arc<Window>) {
        self.server.use_window(Arc::clone(&window));
        self.window = Some(window);
    }

    /// `VIRTIO_FS_SHMCAP_ID_CACHE` (virtio 1.2 §5.11.6.2)
    fn shared_memory(&self, id: u32) -> Option<Region> {
        self.window.as_ref().filter(|_| id == CACHE).map(|window| window.region())
    }

    /// `struct virtio_fs_config`: the tag and the number of request queues.
    fn read_config(&self, offset: u64, data: &mut [u8]) {
        let mut config = [0; TAG + 4];
        config[..TAG].copy_from_slice(&self.tag);
        config[TAG..].copy_from_slice(&(self.sizes.len() as u32 - 1).to_le_bytes());
        let rest = usize::try_from(offset).ok().and_then(|offset| config.get(offset..)).unwrap_or_default();
        let count = rest.len().min(data.len());
        data[..count].copy_from_slice(&rest[..count]);
    }

    fn activate(&mut self, activation: Activation) -> Result<(), ActivateError> {
        self.reset();
        self.start(activation).map_err(|error| {
            self.reset();
            ActivateError { device: "fs", reason: format!("no thread for a queue: {error}") }
        })
    }

    /// Waits for the requests in hand, then lets go of all that the guest had open.
    fn reset(&mut self) {
        for running in &self.running {
            running.stop.store(true, Ordering::Release);
            running.kick.signal();
        }
        for running in self.running.drain(..) {
            if running.thread.join().is_err() {
                tracing::error!("A thread of the shared folders panicked");
            }
        }
        self.server.reset();
    }
}

impl<H: HostFs> Drop for Fs<H> {
    fn drop(&mut self) {
        self.reset();
    }
}
