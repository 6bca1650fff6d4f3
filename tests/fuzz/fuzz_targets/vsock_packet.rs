//! The vsock state machine between a lying guest and a busy host: arbitrary packets, and arbitrary calls of the host side in
//! between. It never panics, stays within its bounds, and what it sends is well-formed and fits the buffer.
#![no_main]

use std::task::Waker;
use std::time::{Duration, Instant};

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use lighter_protocol::ports::{GUEST_CID, HELLO, HOST_CID};
use lighter_vmm::virtio::vsock::muxer::{Id, MAX_CONNECTIONS, Muxer};
use lighter_vmm::virtio::vsock::packet::{HEADER_LEN, Header, Op, TYPE_STREAM};

#[derive(Debug, Arbitrary)]
enum Step<'a> {
    /// Any 44 bytes.
    Raw([u8; 32], [u8; 12], &'a [u8]),
    /// A packet that belongs to one of few connections, so that states are reached.
    Packet {
        op: u8,
        guest: u8,
        to_hello: bool,
        host: u8,
        flags: u32,
        buf_alloc: u32,
        fwd_cnt: u32,
        data: &'a [u8],
    },
    /// The n-th connection of the host side.
    Read(u8, u16),
    Write(u8, &'a [u8]),
    Finish(u8),
    Release(u8),
    Connect(u8),
    Accept,
    Listen(bool),
    Send(u16),
    Wait(u8),
    Reset,
}

struct World {
    muxer: Muxer,
    held: Vec<Id>,
    listener: u64,
    now: Instant,
    /// Host ports that the guest has seen, for its answers.
    host_ports: Vec<u32>,
}

impl World {
    fn step(&mut self, step: &Step) {
        let waker = Waker::noop();
        let held = |n: &u8| self.held.get(usize::from(*n)).copied();
        match step {
            Step::Raw(front, back, data) => {
                let mut wire = [0; HEADER_LEN];
                wire[..32].copy_from_slice(front);
                wire[32..].copy_from_slice(back);
                self.receive(&Header::parse(&wire), data);
            }
            Step::Packet { op, guest, to_hello, host, flags, buf_alloc, fwd_cnt, data } => {
                let known = self.host_ports.get(usize::from(*host)).copied().unwrap_or(HELLO);
                let header = Header {
                    src_cid: GUEST_CID,
                    dst_cid: HOST_CID,
                    src_port: u32::from(guest % 4),
                    dst_port: if *to_hello { HELLO } else { known },
                    len: data.len() as u32,
                    kind: TYPE_STREAM,
                    op: u16::from(op % 10),
                    flags: *flags,
                    buf_alloc: *buf_alloc,
                    fwd_cnt: *fwd_cnt,
                };
                self.receive(&header, data);
            }
            Step::Read(n, want) => {
                let Some(id) = held(n) else { return };
                let mut came = 0;
                let _ = self.muxer.read(id, usize::from(*want), waker, |bytes| came += bytes.len());
                assert!(came <= usize::from(*want));
            }
            Step::Write(n, data) => {
                let Some(id) = held(n) else { return };
                if let Some(Ok(count)) = self.muxer.write(id, data, waker) {
                    assert!(count <= data.len());
                }
            }
            Step::Finish(n) => held(n).into_iter().for_each(|id| self.muxer.finish(id)),
            Step::Release(n) if held(n).is_some() => {
                let id = self.held.swap_remove(usize::from(*n));
                self.muxer.release(id, self.now);
            }
            Step::Release(_) => {}
            Step::Connect(port) => self.held.extend(self.muxer.connect(u32::from(port % 4)).ok()),
            Step::Accept => self.held.extend(self.muxer.accept(HELLO, self.listener, waker).flatten()),
            Step::Listen(true) => self.listener = self.muxer.listen(HELLO),
            Step::Listen(false) => self.muxer.unlisten(HELLO, self.listener),
            Step::Send(room) => self.send(usize::from(*room)),
            Step::Wait(seconds) => {
                self.now += Duration::from_secs(u64::from(*seconds));
                self.muxer.advance(self.now);
            }
            Step::Reset => self.muxer.reset(),
        }
    }

    fn receive(&mut self, header: &Header, data: &[u8]) {
        self.muxer.receive(header, data).expect("a slice never fails");
    }

    fn send(&mut self, room: usize) {
        self.muxer.has_output();
        let ports = &mut self.host_ports;
        let put = |header: &Header, first: &[u8], second: &[u8]| {
            assert_eq!(header.len as usize, first.len() + second.len());
            assert!(Op::from_raw(header.op).is_some());
            ports.push(header.src_port);
            Ok(())
        };
        if let Some(used) = self.muxer.next(room, put).expect("`put` never fails") {
            assert!((HEADER_LEN..=room).contains(&used));
        }
        let excess = self.host_ports.len().saturating_sub(8);
        self.host_ports.drain(..excess);
    }
}

fuzz_target!(|steps: Vec<Step>| {
    let mut muxer = Muxer::new(GUEST_CID);
    let listener = muxer.listen(HELLO);
    let mut world = World { muxer, held: Vec::new(), listener, now: Instant::now(), host_ports: Vec::new() };
    for step in &steps {
        world.step(step);
        assert!(world.muxer.connections() <= MAX_CONNECTIONS);
        world.muxer.take_wakes();
        world.muxer.take_attention();
    }
    world.muxer.close();
    for id in world.held {
        world.muxer.release(id, world.now);
    }
    world.muxer.unlisten(HELLO, world.listener);
    assert_eq!(world.muxer.connections(), 0, "something is still held after everything was closed");
});
