//! The transport against a hand-driven frontend: a socket pair, RAM in a sealed memfd, event descriptors, and a device that
//! echoes. No QEMU needed.
//! Here is what the tests share: a device that echoes, and a client of the `vhost` crate in front of it.

mod refusals;
mod service;

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::mpsc;
use std::thread::JoinHandle;

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, ftruncate, memfd_create};
use tokio::runtime::Runtime;
use vhost::vhost_user::message::{VhostUserConfigFlags, VhostUserProtocolFeatures};
use vhost::vhost_user::{Frontend, VhostUserFrontend};
use vhost::{VhostBackend, VhostUserMemoryRegionInfo, VringConfigData};
use vm_memory::{FileOffset, GuestAddress, GuestMemoryMmap};
use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};
use vmm_sys_util::poll::PollContext;

use super::*;
use crate::virtio::device::{ActivateError, Activation, Interrupt};
use crate::virtio::mock::{DEADLINE, LOW_END, MockDriver, Ram};
use crate::virtio::queue::Virtqueue;

/// Where the frontend pretends to have mapped guest address 0.
const USER_BASE: u64 = 0x7f00_0000_0000;
const FEATURES: u64 = 1 << 32 | 1 << 30 | 1 << 29 | 1 << 28;
const QUEUE_SIZE: u16 = 16;
/// Where reading the configuration space makes the device panic.
const PANIC_AT: u64 = 128;

/// What the test sees of the device from outside.
#[derive(Default)]
struct Seen {
    activations: AtomicU32,
    resets: AtomicU32,
    /// While set, requests are taken and not answered.
    stalled: AtomicBool,
}

/// Copies what it can read to where it can write.
struct Echo {
    seen: Arc<Seen>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

impl VirtioDevice for Echo {
    fn name(&self) -> &'static str {
        "echo"
    }
    fn device_type(&self) -> u32 {
        4
    }
    fn features(&self) -> u64 {
        1
    }
    fn queue_sizes(&self) -> &[u16] {
        &[QUEUE_SIZE, QUEUE_SIZE, QUEUE_SIZE]
    }
    fn read_config(&self, offset: u64, data: &mut [u8]) {
        assert!(offset < PANIC_AT, "this device has a fault");
        data.iter_mut().zip(offset..8).for_each(|(byte, at)| *byte = at as u8 + 1);
    }
    fn activate(&mut self, activation: Activation) -> Result<(), ActivateError> {
        self.seen.activations.fetch_add(1, Ordering::SeqCst);
        for queue in activation.queues {
            let (seen, interrupt) = (Arc::clone(&self.seen), Arc::clone(&activation.interrupt));
            self.tasks.push(tokio::spawn(echo(queue, seen, interrupt)));
        }
        Ok(())
    }
    fn reset(&mut self) {
        self.seen.resets.fetch_add(1, Ordering::SeqCst);
        self.tasks.drain(..).for_each(|task| task.abort());
    }
}

async fn echo(mut queue: Virtqueue, seen: Arc<Seen>, interrupt: Arc<dyn Interrupt>) {
    loop {
        while let Ok(Some(chain)) = queue.pop() {
            if seen.stalled.load(Ordering::SeqCst) {
                continue;
            }
            let mut data = vec![0; chain.readable[0].len as usize];
            queue.read(chain.readable[0].addr, &mut data).unwrap();
            queue.write(chain.writable[0].addr, &data).unwrap();
            queue.push(chain.head, data.len() as u32).unwrap();
            queue.publish().unwrap();
        }
        match queue.enable_doorbell() {
            Ok(true) => continue,
            Ok(false) => queue.kick().clone().notified().await,
            Err(_) => return interrupt.needs_reset(),
        }
    }
}

/// A frontend with RAM, one device behind a socket, and the driver's side of two queues.
struct Rig {
    _runtime: Runtime,
    frontend: Frontend,
    memory_file: OwnedFd,
    driver: MockDriver,
    kicks: Vec<EventFd>,
    calls: Vec<EventFd>,
    seen: Arc<Seen>,
    thread: JoinHandle<()>,
    ended: mpsc::Receiver<Result<(), TransportError>>,
}

fn sealed_memory(size: u64, seals: SealFlags) -> OwnedFd {
    let file = memfd_create("guest", MemfdFlags::ALLOW_SEALING | MemfdFlags::CLOEXEC).unwrap();
    ftruncate(&file, size).unwrap();
    fcntl_add_seals(&file, seals).unwrap();
    file
}

fn region(guest: u64, size: u64, user: u64, offset: u64, file: &OwnedFd) -> VhostUserMemoryRegionInfo {
    use std::os::fd::AsRawFd;
    VhostUserMemoryRegionInfo {
        guest_phys_addr: guest,
        memory_size: size,
        userspace_addr: user,
        mmap_offset: offset,
        mmap_handle: file.as_raw_fd(),
    }
}

impl Rig {
    fn new() -> Self {
        let runtime = Runtime::new().unwrap();
        let (ours, theirs) = UnixStream::pair().unwrap();
        // A backend that goes silent must fail the test, not hang it.
        theirs.set_read_timeout(Some(DEADLINE)).unwrap();
        let seen = Arc::new(Seen::default());
        let device = Box::new(Echo { seen: Arc::clone(&seen), tasks: Vec::new() });
        let (sender, ended) = mpsc::channel();
        let entered = runtime.enter();
        let end = move |event| {
            if let Event::Ended(result) = event {
                sender.send(result).unwrap_or_default();
            }
        };
        let thread = serve(device, || Ok(ours), Offer { queues: 2, config: true }, end).unwrap();
        drop(entered);
        let memory_file = sealed_memory(LOW_END, SealFlags::SHRINK);
        let file = FileOffset::new(memory_file.try_clone().unwrap().into(), 0);
        let memory =
            GuestMemoryMmap::from_ranges_with_files([(GuestAddress(0), LOW_END as usize, Some(file))]).unwrap();
        let driver = MockDriver::over(Ram::over(Arc::new(memory)), &[QUEUE_SIZE, QUEUE_SIZE], true);
        let events = || (0..2).map(|_| EventFd::new(EFD_NONBLOCK).unwrap()).collect::<Vec<_>>();
        let frontend = Frontend::from_stream(theirs, 2);
        frontend.set_hdr_flags(vhost::vhost_user::message::VhostUserHeaderFlag::NEED_REPLY);
        let (kicks, calls) = (events(), events());
        Self { _runtime: runtime, frontend, memory_file, driver, kicks, calls, seen, thread, ended }
    }

    fn negotiate(&mut self) {
        self.frontend.set_owner().unwrap();
        assert_eq!(self.frontend.get_features().unwrap(), FEATURES | 1);
        self.frontend.set_features(FEATURES).unwrap();
        let offered = self.frontend.get_protocol_features().unwrap();
        let wanted =
            VhostUserProtocolFeatures::CONFIG | VhostUserProtocolFeatures::MQ | VhostUserProtocolFeatures::REPLY_ACK;
        assert_eq!(offered, wanted);
        self.frontend.set_protocol_features(wanted).unwrap();
        assert_eq!(self.frontend.get_queue_num().unwrap(), 2);
    }

    fn share_memory(&mut self) {
        self.frontend.set_mem_table(&[region(0, LOW_END, USER_BASE, 0, &self.memory_file)]).unwrap();
    }

    fn place(&mut self, index: usize, base: u16) {
        let layout = self.driver.rings[index].layout;
        self.frontend.set_vring_num(index, layout.size).unwrap();
        self.frontend.set_vring_base(index, base).unwrap();
        self.frontend.set_vring_addr(index, &self.addresses(index)).unwrap();
        self.frontend.set_vring_call(index, &self.calls[index]).unwrap();
        self.frontend.set_vring_kick(index, &self.kicks[index]).unwrap();
    }

    fn addresses(&self, index: usize) -> VringConfigData {
        let layout = self.driver.rings[index].layout;
        VringConfigData {
            queue_max_size: QUEUE_SIZE,
            queue_size: QUEUE_SIZE,
            flags: 0,
            desc_table_addr: USER_BASE + layout.desc,
            used_ring_addr: USER_BASE + layout.used,
            avail_ring_addr: USER_BASE + layout.avail,
            log_addr: None,
        }
    }

    /// Everything up to the running device.
    fn running() -> Self {
        let mut rig = Self::new();
        rig.negotiate();
        rig.share_memory();
        for index in 0..2 {
            rig.place(index, 0);
        }
        for index in 0..2 {
            rig.frontend.set_vring_enable(index, true).unwrap();
        }
        assert_eq!(rig.seen.activations.load(Ordering::SeqCst), 1);
        rig
    }

    /// Sends `text` through queue `index` and waits for its echo by the call descriptor alone.
    fn echo(&mut self, index: usize, text: &[u8]) {
        let request = self.driver.rings[index].add(&[text], &[text.len() as u32]);
        self.kicks[index].write(1).unwrap();
        self.wait_called(index);
        let used = self.driver.rings[index].used();
        assert_eq!(used.len(), 1);
        assert_eq!(request.written(&used[0]), text);
    }

    fn wait_called(&self, index: usize) {
        let call = &self.calls[index];
        let waiting: PollContext<u32> = PollContext::new().unwrap();
        waiting.add(call, 0).unwrap();
        assert!(waiting.wait_timeout(DEADLINE).unwrap().iter().next().is_some(), "no interrupt from queue {index}");
        call.read().unwrap();
    }

    /// Closes the connection and returns how the backend saw it end.
    fn close(self) -> (Result<(), TransportError>, Arc<Seen>) {
        drop(self.frontend);
        let ended = self.ended.recv_timeout(DEADLINE).expect("the control thread ends with its socket");
        self.thread.join().unwrap();
        (ended, self.seen)
    }

    /// The backend must have ended the connection because of the last message; its device is reset if it ever ran.
    fn assert_refused(self, reason: &str) {
        let ended = self.ended.recv_timeout(DEADLINE).expect("the connection ends");
        let error = std::error::Error::source(&ended.unwrap_err()).unwrap().to_string();
        assert!(error.contains(reason), "{error:?} does not speak of {reason:?}");
        self.thread.join().unwrap();
        let (activations, resets) = (&self.seen.activations, &self.seen.resets);
        assert_eq!(activations.load(Ordering::SeqCst), resets.load(Ordering::SeqCst));
    }
}
