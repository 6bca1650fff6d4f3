//! A Linux-like guest behind the mock driver: sockets with credit, ports that behave in set ways, buffers of random sizes,
//! and doorbells only when the device has asked for them. Used by `device` and `bulk`.

use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::sync::LazyLock;
use std::sync::atomic::{Ordering, fence};

use lighter_protocol::ports::{GUEST_CID, HOST_CID};

use crate::virtio::mock::{DEADLINE, Descriptor, MockDriver, NEXT, Ring, WRITE};
use crate::virtio::vsock::packet::{HEADER_LEN, Header, Op, SHUTDOWN_BOTH, SHUTDOWN_SEND, TYPE_STREAM};
use crate::virtio::vsock::{Vsock, VsockHandle};

/// Sends back what it gets, half-closes after the host has, and is done.
pub const ECHO: u32 = 1;
/// Accepts, with room for ten bytes, and never reads.
pub const STARVE: u32 = 2;
/// Sends [`pattern`] and checks that it gets the same, [`BULK_LEN`] bytes each way.
pub const BULK: u32 = 3;
/// Answers nothing at all.
pub const SILENT: u32 = 4;
/// Sends one byte more than it may.
pub const LIAR: u32 = 5;

/// Bytes in each direction of a [`BULK`] connection.
pub const BULK_LEN: u64 = 64 << 20;
const BUFFER: u32 = 256 * 1024;
const RX_BASE: u64 = 0x20_0000;
const RX_SLOT: u64 = 4096;
const TX_BASE: u64 = 0x80_0000;
const TX_SLOT: u64 = 0x1_1000;
const TX_PARTS: u16 = 4;

/// Longest piece of [`pattern`].
pub const PIECE: u64 = 100_000;
/// A prime, so that no power of two hides a piece that went astray.
const PERIOD: u64 = 1_000_003;

/// `len` bytes of a bulk stream from position `at`.
pub fn pattern(at: u64, len: u64) -> &'static [u8] {
    static BYTES: LazyLock<Vec<u8>> = LazyLock::new(|| {
        let mut dice = Dice(3);
        let mut bytes: Vec<u8> = (0..PERIOD).map(|_| dice.below(256) as u8).collect();
        bytes.extend_from_within(..PIECE as usize);
        bytes
    });
    &BYTES[(at % PERIOD) as usize..][..len as usize]
}

/// A small generator, so that every run sees the same sizes.
pub struct Dice(pub u64);

impl Dice {
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

#[derive(Default)]
struct Sock {
    unsent: VecDeque<u8>,
    produced: u64,
    received: u64,
    fwd_cnt: u32,
    buf_alloc: u32,
    sent: u32,
    peer_alloc: u32,
    peer_fwd: u32,
    peer_shutdown: u32,
    finished: bool,
}

/// The driver and its sockets.
pub struct Guest {
    pub driver: MockDriver,
    socks: BTreeMap<(u32, u32), Sock>,
    control: VecDeque<Header>,
    tx_free: Vec<u16>,
    /// Chains made available so far, of rx and tx.
    pub offered: [u16; 2],
    dice: Dice,
    /// Sizes of receive buffers, picked at random.
    rx_sizes: Vec<u32>,
}

impl Guest {
    pub fn new(sizes: &[u16], event_idx: bool, rx_sizes: &[u32]) -> Self {
        let driver = MockDriver::with_event_idx(sizes, event_idx);
        let tx_free = (0..sizes[1] / TX_PARTS).collect();
        let rx_sizes = rx_sizes.to_vec();
        let (socks, control) = (BTreeMap::new(), VecDeque::new());
        Self { driver, socks, control, tx_free, offered: [0; 2], dice: Dice(7), rx_sizes }
    }

    /// Sets DRIVER_OK and posts every receive buffer.
    pub fn start(&mut self, device: &mut Vsock) {
        self.driver.activate(device, 0);
        (0..self.driver.rings[0].layout.size).for_each(|slot| self.post(slot));
    }

    /// Forgets everything, as a rebooting guest does.
    pub fn restart(&mut self, device: &mut Vsock) {
        self.driver.rings.iter_mut().for_each(Ring::clear);
        self.socks.clear();
        self.control.clear();
        (self.offered, self.tx_free) = ([0; 2], (0..self.driver.rings[1].layout.size / TX_PARTS).collect());
        self.start(device);
    }

    /// Opens a connection to a host port.
    pub fn connect(&mut self, host: u32, guest: u32) {
        self.socks.insert((host, guest), Sock { buf_alloc: BUFFER, ..Sock::default() });
        self.control.push_back(self.header((host, guest), Op::Request, 0));
    }

    /// Serves for ever: whatever the rings allow, then waits for an interrupt.
    pub async fn run(mut self) {
        loop {
            let before = self.driver.interrupts.seen();
            if !self.step() {
                // Not `until`, which has a deadline: an idle guest is no error.
                while self.driver.interrupts.seen() == before {
                    self.driver.interrupts.changed().await;
                }
            }
        }
    }

    /// Does what can be done now; whether that was anything.
    pub fn step(&mut self) -> bool {
        let arrived = self.driver.rings[0].used();
        let returned = self.driver.rings[1].used();
        for used in &returned {
            assert_eq!(used.len, 0, "the device writes nothing into transmit buffers");
            self.tx_free.push(used.head / TX_PARTS);
        }
        for used in &arrived {
            let bytes = self.driver.ram.read(RX_BASE + u64::from(used.head) * RX_SLOT, used.len as usize);
            self.post(used.head);
            if let Some((wire, payload)) = bytes.split_first_chunk::<HEADER_LEN>() {
                let header = Header::parse(wire);
                assert_eq!(header.len as usize, payload.len());
                self.receive(&header, payload);
            }
        }
        let sent = self.flush();
        !arrived.is_empty() || !returned.is_empty() || sent
    }

    fn receive(&mut self, header: &Header, payload: &[u8]) {
        assert_eq!((header.src_cid, header.dst_cid, header.kind), (HOST_CID, GUEST_CID, TYPE_STREAM));
        let (key, port) = ((header.src_port, header.dst_port), header.dst_port);
        match Op::from_raw(header.op).unwrap() {
            Op::Request => return self.accept(key, header),
            Op::Rst => {
                self.socks.remove(&key);
                return;
            }
            _ => {}
        }
        let Some(sock) = self.socks.get_mut(&key) else {
            self.control.push_back(self.header(key, Op::Rst, 0));
            return;
        };
        (sock.peer_alloc, sock.peer_fwd) = (header.buf_alloc, header.fwd_cnt);
        match Op::from_raw(header.op).unwrap() {
            Op::Rw => {
                let held = (sock.received as u32).wrapping_sub(sock.fwd_cnt);
                assert!(held + header.len <= sock.buf_alloc, "the host sent more than we have room for");
                assert_eq!(sock.peer_shutdown & SHUTDOWN_SEND, 0, "the host said it would send no more");
                Self::consume(sock, port, payload);
                if sock.fwd_cnt % BUFFER < payload.len() as u32 || sock.fwd_cnt % (BUFFER / 2) < payload.len() as u32 {
                    self.control.push_back(self.header(key, Op::CreditUpdate, 0));
                }
            }
            Op::Shutdown => sock.peer_shutdown |= header.flags,
            Op::CreditRequest => self.control.push_back(self.header(key, Op::CreditUpdate, 0)),
            _ => {}
        }
        self.react(key);
    }

    fn accept(&mut self, key: (u32, u32), header: &Header) {
        let buf_alloc = match key.1 {
            ECHO | BULK | LIAR => BUFFER,
            STARVE => 10,
            SILENT => return,
            _ => return self.control.push_back(self.header(key, Op::Rst, 0)),
        };
        let sock = Sock { buf_alloc, peer_alloc: header.buf_alloc, peer_fwd: header.fwd_cnt, ..Sock::default() };
        self.socks.insert(key, sock);
        self.control.push_back(self.header(key, Op::Response, 0));
        if key.1 == LIAR {
            let header = Header { len: 64, ..self.header(key, Op::Rw, 0) };
            (0..=BUFFER / 64).for_each(|_| self.control.push_back(header));
        }
    }

    fn consume(sock: &mut Sock, port: u32, payload: &[u8]) {
        if port == BULK {
            let fair = pattern(sock.received, payload.len() as u64) == payload;
            assert!(fair, "bytes from the host differ after {}", sock.received);
        }
        sock.received += payload.len() as u64;
        if port != STARVE {
            sock.fwd_cnt = sock.received as u32;
        }
        if port == ECHO {
            sock.unsent.extend(payload);
        }
    }

    /// What a program with this port does next: the host's end of stream is answered by ours once all is sent.
    fn react(&mut self, key: (u32, u32)) {
        let Some(sock) = self.socks.get_mut(&key) else { return };
        if sock.peer_shutdown == SHUTDOWN_BOTH {
            self.socks.remove(&key);
            self.control.push_back(self.header(key, Op::Rst, 0));
            return;
        }
        let ended = sock.peer_shutdown & SHUTDOWN_SEND != 0 && sock.unsent.is_empty();
        if ended && !sock.finished && (key.1 == ECHO || sock.produced == BULK_LEN) {
            if key.1 == BULK {
                assert_eq!(sock.received, BULK_LEN, "the host's stream ended early");
            }
            sock.finished = true;
            self.control.push_back(self.header(key, Op::Shutdown, SHUTDOWN_SEND));
        }
    }

    fn flush(&mut self) -> bool {
        let mut sent = false;
        while !self.tx_free.is_empty() {
            let Some(header) = self.control.pop_front() else { break };
            let fresh = self.refresh(header);
            self.transmit(&fresh, &vec![0; header.len as usize]);
            sent = true;
        }
        let keys: Vec<_> = self.socks.keys().copied().collect();
        for key in keys {
            while let Some(data) = self.produce(key) {
                let header = Header { len: data.len() as u32, ..self.header(key, Op::Rw, 0) };
                self.transmit(&header, &data);
                sent = true;
            }
            self.react(key);
        }
        sent
    }

    /// Bytes that socket `key` may and wants to send in one packet.
    fn produce(&mut self, key: (u32, u32)) -> Option<Vec<u8>> {
        let want = 1 + self.dice.below(48 * 1024) as usize;
        let sock = self.socks.get_mut(&key).filter(|sock| sock.peer_alloc > 0)?;
        if key.1 == BULK && sock.unsent.is_empty() {
            let more = (BULK_LEN - sock.produced).min(PIECE);
            sock.unsent.extend(pattern(sock.produced, more));
            sock.produced += more;
        }
        let credit = sock.peer_alloc - sock.sent.wrapping_sub(sock.peer_fwd);
        let len = want.min(sock.unsent.len()).min(credit as usize);
        if len == 0 || self.tx_free.is_empty() {
            return None;
        }
        sock.sent = sock.sent.wrapping_add(len as u32);
        Some(sock.unsent.drain(..len).collect())
    }

    fn header(&self, (host, guest): (u32, u32), op: Op, flags: u32) -> Header {
        let header = Header {
            src_cid: GUEST_CID,
            dst_cid: HOST_CID,
            src_port: guest,
            dst_port: host,
            kind: TYPE_STREAM,
            op: op as u16,
            flags,
            ..Header::default()
        };
        self.refresh(header)
    }

    fn refresh(&self, header: Header) -> Header {
        let sock = self.socks.get(&(header.dst_port, header.src_port));
        let (buf_alloc, fwd_cnt) = sock.map_or((0, 0), |sock| (sock.buf_alloc, sock.fwd_cnt));
        Header { buf_alloc, fwd_cnt, ..header }
    }

    /// Puts a packet on the ring, cut into spans at random.
    fn transmit(&mut self, header: &Header, payload: &[u8]) {
        let slot = self.tx_free.pop().unwrap();
        let base = TX_BASE + u64::from(slot) * TX_SLOT;
        let bytes = [&header.to_wire(), payload].concat();
        self.driver.ram.write(base, &bytes);
        let mut cuts: Vec<u64> = (1..TX_PARTS).map(|_| self.dice.below(bytes.len() as u64 + 1)).collect();
        cuts.extend([0, bytes.len() as u64]);
        cuts.sort_unstable();
        cuts.dedup();
        let head = slot * TX_PARTS;
        for (n, pair) in cuts.windows(2).enumerate() {
            let index = head + n as u16;
            let flags = if n + 2 < cuts.len() { NEXT } else { 0 };
            let len = (pair[1] - pair[0]) as u32;
            self.driver.rings[1].set_descriptor(index, Descriptor::new(base + pair[0], len, flags, index + 1));
        }
        self.offer(1, head);
    }

    fn post(&mut self, slot: u16) {
        let size = self.rx_sizes[self.dice.below(self.rx_sizes.len() as u64) as usize];
        let addr = RX_BASE + u64::from(slot) * RX_SLOT;
        self.driver.rings[0].set_descriptor(slot, Descriptor::new(addr, size, WRITE, 0));
        self.offer(0, slot);
    }

    /// Makes a chain available and rings the doorbell if, and only if, the device has asked for it.
    fn offer(&mut self, index: usize, head: u16) {
        let event_idx = self.driver.event_idx();
        let ring = &mut self.driver.rings[index];
        ring.offer(head);
        fence(Ordering::SeqCst);
        let wanted = if event_idx { ring.avail_event() == self.offered[index] } else { ring.used_flags() & 1 == 0 };
        self.offered[index] = self.offered[index].wrapping_add(1);
        if wanted {
            ring.kick();
        }
    }
}

/// Runs `body` beside a guest; a failed assertion in the guest fails the test, and nothing may take longer than [`DEADLINE`].
pub async fn beside<R>(guest: Guest, body: impl Future<Output = R>) -> R {
    let mut guest = tokio::spawn(guest.run());
    let outcome = tokio::select! {
        outcome = tokio::time::timeout(3 * DEADLINE, body) => outcome.expect("the host side waited in vain"),
        ended = &mut guest => panic!("the guest never ends by itself: {ended:?}"),
    };
    guest.abort();
    outcome
}

/// A started device with a guest behind it.
pub fn machine(event_idx: bool, rx_sizes: &[u32]) -> (Vsock, VsockHandle, Guest) {
    let (mut device, handle) = Vsock::new(GUEST_CID);
    let mut guest = Guest::new(&[256, 256, 16], event_idx, rx_sizes);
    guest.start(&mut device);
    (device, handle, guest)
}
