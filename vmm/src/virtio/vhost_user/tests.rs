//! The transport against a hand-driven frontend: a socket pair, RAM in a sealed memfd, event descriptors, and a device that
//! echoes. No QEMU needed.

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

#[test]
fn requests_go_round_on_every_queue_and_closing_resets_the_device() {
    let mut rig = Rig::running();
    for round in 0..40u8 {
        rig.echo(0, &[round; 100]);
        rig.echo(1, &[round, 1]);
    }
    let (ended, seen) = rig.close();
    ended.unwrap();
    assert_eq!(seen.resets.load(Ordering::SeqCst), 1);
}

#[test]
fn requests_offered_before_the_device_ran_are_served_without_a_kick() {
    let mut rig = Rig::new();
    let request = rig.driver.rings[1].add(&[b"early"], &[5]);
    rig.negotiate();
    rig.share_memory();
    for index in 0..2 {
        rig.place(index, 0);
        rig.frontend.set_vring_enable(index, true).unwrap();
    }
    rig.wait_called(1);
    assert_eq!(request.written(&rig.driver.rings[1].used()[0]), b"early");
}

#[test]
fn a_stopped_device_goes_on_where_it_left_off() {
    let mut rig = Rig::running();
    for round in 0..20 {
        rig.echo(0, &[round]);
    }
    for index in 0..2 {
        rig.frontend.set_vring_enable(index, false).unwrap();
    }
    assert_eq!(rig.frontend.get_vring_base(0).unwrap(), 20);
    assert_eq!(rig.frontend.get_vring_base(1).unwrap(), 0);
    assert_eq!(rig.seen.resets.load(Ordering::SeqCst), 1);
    rig.place(0, 20);
    rig.place(1, 0);
    for index in 0..2 {
        rig.frontend.set_vring_enable(index, true).unwrap();
    }
    rig.echo(0, b"again");
    rig.echo(1, b"first");
    assert_eq!(rig.seen.activations.load(Ordering::SeqCst), 2);
}

#[test]
fn an_unfinished_request_is_offered_again_after_a_stop() {
    let mut rig = Rig::running();
    rig.echo(0, b"done");
    rig.seen.stalled.store(true, Ordering::SeqCst);
    let request = rig.driver.rings[0].add(&[b"lost"], &[4]);
    rig.kicks[0].write(1).unwrap();
    assert_eq!(rig.frontend.get_vring_base(0).unwrap(), 1);
    rig.frontend.get_vring_base(1).unwrap();
    rig.seen.stalled.store(false, Ordering::SeqCst);
    rig.place(0, 1);
    rig.place(1, 0);
    rig.wait_called(0);
    assert_eq!(request.written(&rig.driver.rings[0].used()[0]), b"lost");
}

#[test]
fn enabling_twice_activates_once() {
    let mut rig = Rig::running();
    rig.frontend.set_vring_enable(0, true).unwrap();
    rig.echo(0, b"still here");
    assert_eq!(rig.seen.activations.load(Ordering::SeqCst), 1);
}

#[test]
fn the_call_descriptor_may_change_while_the_device_runs() {
    let mut rig = Rig::running();
    rig.echo(0, b"old");
    let old = std::mem::replace(&mut rig.calls[0], EventFd::new(EFD_NONBLOCK).unwrap());
    rig.frontend.set_vring_call(0, &rig.calls[0]).unwrap();
    rig.echo(0, b"new");
    assert!(old.read().is_err(), "the old descriptor was signalled");
}

#[test]
fn the_configuration_space_is_the_devices_and_zero_behind_its_end() {
    let mut rig = Rig::new();
    rig.negotiate();
    let (_, data) = rig.frontend.get_config(2, 10, VhostUserConfigFlags::empty(), &[0; 10]).unwrap();
    assert_eq!(data, [3, 4, 5, 6, 7, 8, 0, 0, 0, 0]);
}

#[test]
fn a_device_that_panics_ends_the_connection_and_its_owner_hears_of_it() {
    let mut rig = Rig::running();
    let answer = rig.frontend.get_config(PANIC_AT as u32, 4, VhostUserConfigFlags::empty(), &[0; 4]);
    assert!(answer.is_err());
    rig.assert_refused("the device panicked");
}

#[test]
fn a_client_that_leaves_in_the_middle_of_a_request_stops_the_device() {
    let mut rig = Rig::running();
    rig.seen.stalled.store(true, Ordering::SeqCst);
    rig.driver.rings[0].add(&[b"never answered"], &[14]);
    rig.kicks[0].write(1).unwrap();
    let (ended, seen) = rig.close();
    ended.unwrap();
    assert_eq!(seen.resets.load(Ordering::SeqCst), 1);
}

#[test]
fn a_client_that_leaves_in_the_middle_of_a_message_is_no_error() {
    use std::io::Write;
    let runtime = Runtime::new().unwrap();
    let _entered = runtime.enter();
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    let device = Box::new(Echo { seen: Arc::default(), tasks: Vec::new() });
    let (sender, ended) = mpsc::channel();
    let end = move |event| {
        if let Event::Ended(result) = event {
            sender.send(result).unwrap_or_default();
        }
    };
    let thread = serve(device, || Ok(ours), Offer { queues: 2, config: true }, end).unwrap();
    theirs.write_all(&[1, 0, 0, 0, 1]).unwrap();
    drop(theirs);
    ended.recv_timeout(DEADLINE).expect("the thread ends").unwrap();
    thread.join().unwrap();
}

#[test]
fn memory_that_could_shrink_is_refused() {
    let mut rig = Rig::new();
    rig.negotiate();
    let file = sealed_memory(LOW_END, SealFlags::GROW);
    rig.frontend.set_mem_table(&[region(0, LOW_END, USER_BASE, 0, &file)]).unwrap_err();
    rig.assert_refused("not sealed");
}

#[test]
fn memory_past_the_end_of_its_file_is_refused() {
    let mut rig = Rig::new();
    rig.negotiate();
    let file = sealed_memory(0x4000, SealFlags::SHRINK);
    rig.frontend.set_mem_table(&[region(0, 0x4000, USER_BASE, 0x1000, &file)]).unwrap_err();
    rig.assert_refused("Could not map the memory region at 0x0");
}

#[test]
fn overlapping_memory_is_refused() {
    let file = sealed_memory(0x8000, SealFlags::SHRINK);
    for (guest, user) in [(0x2000, USER_BASE + 0x10_0000), (0x10_0000, USER_BASE + 0x3000)] {
        let mut rig = Rig::new();
        rig.negotiate();
        let regions = [region(0, 0x4000, USER_BASE, 0, &file), region(guest, 0x4000, user, 0x4000, &file)];
        rig.frontend.set_mem_table(&regions).unwrap_err();
        rig.assert_refused("overlap");
    }
}

#[test]
fn regions_in_any_order_keep_their_files_and_addresses() {
    let files = [sealed_memory(0x2000, SealFlags::SHRINK), sealed_memory(0x3000, SealFlags::SHRINK)];
    rustix::io::pwrite(&files[0], b"high", 0x1000).unwrap();
    rustix::io::pwrite(&files[1], b"low!", 0x2000).unwrap();
    let message =
        |guest, size, user, offset| vhost::vhost_user::message::VhostUserMemoryRegion::new(guest, size, user, offset);
    let regions = [message(0x10_0000, 0x1000, USER_BASE, 0x1000), message(0x1000, 0x3000, USER_BASE + 0x9000, 0)];
    let table = memory_table::MemoryTable::map(&regions, files.map(std::fs::File::from).into()).unwrap();
    let text = |user| {
        use vm_memory::Bytes;
        let mut text = [0; 4];
        table.memory().read_slice(&mut text, GuestAddress(table.guest_address(user).unwrap())).unwrap();
        text
    };
    assert_eq!((&text(USER_BASE), &text(USER_BASE + 0xb000)), (b"high", b"low!"));
    assert_eq!(table.guest_address(USER_BASE + 0x1000), None);
    assert_eq!(table.guest_address(USER_BASE - 1), None);
}

#[test]
fn a_new_memory_table_under_a_running_device_is_refused() {
    let rig = Rig::running();
    rig.frontend.set_mem_table(&[region(0, LOW_END, USER_BASE, 0, &rig.memory_file)]).unwrap_err();
    rig.assert_refused("while the device is running");
}

#[test]
fn q3_ring_addresses_outside_the_memory_table_are_refused() {
    for wrong in [0, USER_BASE - 16, USER_BASE + LOW_END, u64::MAX - 15] {
        let mut rig = Rig::new();
        rig.negotiate();
        rig.share_memory();
        let addresses = VringConfigData { desc_table_addr: wrong, ..rig.addresses(0) };
        rig.frontend.set_vring_addr(0, &addresses).unwrap_err();
        rig.assert_refused("outside the memory table");
    }
}

#[test]
fn q3_a_ring_that_begins_inside_and_ends_outside_is_refused() {
    let mut rig = Rig::new();
    rig.negotiate();
    rig.share_memory();
    rig.place(0, 0);
    rig.place(1, 0);
    let addresses = VringConfigData { used_ring_addr: USER_BASE + LOW_END - 16, ..rig.addresses(1) };
    rig.frontend.set_vring_addr(1, &addresses).unwrap();
    rig.frontend.set_vring_enable(0, true).unwrap();
    rig.frontend.set_vring_enable(1, true).unwrap_err();
    rig.assert_refused("queue 1");
}

#[test]
fn q3_a_ring_larger_than_1024_is_refused() {
    let mut rig = Rig::new();
    rig.negotiate();
    rig.share_memory();
    rig.place(0, 0);
    rig.place(1, 0);
    rig.frontend.set_vring_num(1, 2048).unwrap();
    rig.frontend.set_vring_enable(0, true).unwrap();
    rig.frontend.set_vring_enable(1, true).unwrap_err();
    rig.assert_refused("queue 1");
}

#[test]
fn ring_addresses_before_the_memory_table_are_refused() {
    let mut rig = Rig::new();
    rig.negotiate();
    rig.frontend.set_vring_addr(0, &rig.addresses(0)).unwrap_err();
    rig.assert_refused("before the memory table");
}

#[test]
fn kicks_before_set_up_start_nothing() {
    let mut rig = Rig::new();
    rig.negotiate();
    rig.frontend.set_vring_kick(0, &rig.kicks[0]).unwrap();
    rig.kicks[0].write(1).unwrap();
    rig.frontend.set_vring_enable(0, true).unwrap();
    assert_eq!(rig.seen.activations.load(Ordering::SeqCst), 0);
    let (ended, seen) = rig.close();
    ended.unwrap();
    assert_eq!(seen.resets.load(Ordering::SeqCst), 0);
}

#[test]
fn features_that_were_not_offered_are_refused() {
    let mut rig = Rig::new();
    rig.negotiate();
    rig.frontend.set_features(FEATURES | 1 << 26).unwrap_err();
    rig.assert_refused("not offered");
}

#[test]
fn a_driver_without_virtio_1_is_refused() {
    let mut rig = Rig::new();
    rig.negotiate();
    rig.frontend.set_features(FEATURES & !(1 << 32)).unwrap();
    rig.share_memory();
    rig.place(0, 0);
    rig.place(1, 0);
    rig.frontend.set_vring_enable(0, true).unwrap();
    rig.frontend.set_vring_enable(1, true).unwrap_err();
    rig.assert_refused("virtio 1.0");
}
