//! Random packets and random host calls against a model that is too simple to be wrong: bytes in order, credit never
//! exceeded, directions that stay closed, one RST and then silence. The guest of this model lies.

use std::time::Duration;

use proptest::prelude::*;

use super::bench::{Bench, Got, op};
use super::guest::{PIECE, pattern};
use crate::virtio::vsock::connection::TX_LIMIT;
use crate::virtio::vsock::credit::WINDOW;
use crate::virtio::vsock::muxer::Id;
use crate::virtio::vsock::packet::{HEADER_LEN, Header, Op, SHUTDOWN_BOTH, SHUTDOWN_RCV, SHUTDOWN_SEND};
use crate::virtio::vsock::strays::MAX_STRAY_RESETS;

#[derive(Debug, Clone)]
enum Step {
    Dial,
    GuestData { len: u32, lie: i8 },
    GuestShutdown(u32),
    GuestOp(u16),
    Credit { buf_alloc: u32, taken: u32, lie: bool },
    Stray { op: u16, host: u32, cid: u64, kind: u16 },
    Read(u64),
    Write(u64),
    Finish,
    Release,
    Send { packets: usize, size: usize },
    Wait(u64),
    DriverReset,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => Just(Step::Dial),
        10 => (0u32..70_000, prop_oneof![30 => Just(0i8), 1 => any::<i8>()])
            .prop_map(|(len, lie)| Step::GuestData { len, lie }),
        2 => (0u32..8).prop_map(Step::GuestShutdown),
        1 => prop_oneof![Just(1u16), Just(2), Just(3), Just(7), Just(7), any::<u16>()].prop_map(Step::GuestOp),
        6 => (prop_oneof![0u32..100_000, any::<u32>()], 0u32..100_000, any::<bool>())
            .prop_map(|(buf_alloc, taken, lie)| Step::Credit { buf_alloc, taken, lie }),
        2 => (0u16..9, any::<u32>(), 0u64..5, 0u16..3)
            .prop_map(|(op, host, cid, kind)| Step::Stray { op, host, cid, kind }),
        8 => (1..PIECE).prop_map(Step::Read),
        8 => (1..PIECE).prop_map(Step::Write),
        2 => Just(Step::Finish),
        1 => Just(Step::Release),
        16 => (1usize..40, prop_oneof![0usize..60, Just(4096), Just(70_000)])
            .prop_map(|(packets, size)| Step::Send { packets, size }),
        1 => prop_oneof![Just(0u64), Just(100)].prop_map(Step::Wait),
        1 => (0u8..8).prop_map(|dice| if dice == 0 { Step::DriverReset } else { Step::Dial }),
    ]
}

/// What the model knows of one connection.
struct Twin {
    id: Id,
    ports: (u32, u32),
    /// Positions in the stream from the guest: accepted, and read by the host side.
    arrived: u64,
    read: u64,
    held: u64,
    /// Positions in the stream to the guest: written by the host side, and put on the ring or given up.
    written: u64,
    gone: u64,
    guest_closed: u32,
    told: u32,
    finished: bool,
    released: bool,
    /// The muxer owes an RST and nothing else.
    dying: bool,
    /// Nothing may come any more.
    dead: bool,
    clean: bool,
    buf_alloc: u64,
    taken: u64,
    sent: u64,
}

impl Twin {
    fn unsent(&self) -> u64 {
        self.written - self.gone
    }

    fn kill(&mut self, clean: bool) {
        (self.dying, self.clean) = (true, clean);
        self.gone = self.written;
    }

    fn open(&self) -> bool {
        !self.dying && !self.dead
    }

    fn expected_end(&self) -> Got {
        match (self.guest_closed & SHUTDOWN_SEND != 0, self.open(), self.clean) {
            (true, ..) | (_, false, true) => Got::Eof,
            (_, false, false) => Got::Reset,
            _ => Got::Wait,
        }
    }
}

struct World {
    bench: Bench,
    twins: Vec<Twin>,
}

impl World {
    fn dial(&mut self) {
        let guest = 100 + self.twins.len() as u32;
        // The request must be the next packet but the strays'; they are nobody's business here.
        let id = self.bench.muxer.connect(guest).expect("a few connections only");
        let mut ports = None;
        while ports.is_none() {
            let (header, payload) = self.bench.next_into(HEADER_LEN + 1).expect("the request is due");
            if header.op == Op::Request as u16 {
                ports = Some((header.src_port, guest));
            } else {
                self.check(&header, &payload);
            }
        }
        let ports = ports.expect("the loop above ends with it");
        self.bench.buf_alloc = 0;
        self.bench.send(ports, Op::Response);
        self.twins.push(Twin {
            id,
            ports,
            arrived: 0,
            read: 0,
            held: 0,
            written: 0,
            gone: 0,
            guest_closed: 0,
            told: 0,
            finished: false,
            released: false,
            dying: false,
            dead: false,
            clean: false,
            buf_alloc: 0,
            taken: 0,
            sent: 0,
        });
    }

    /// A packet of the device, against what the model allows.
    fn check(&mut self, header: &Header, payload: &[u8]) {
        let twin = self.twins.iter_mut().find(|twin| twin.ports == (header.src_port, header.dst_port));
        let Some(twin) = twin.filter(|twin| !twin.dead) else {
            assert_eq!(op(header), Op::Rst, "strangers and the dead get RST only");
            return;
        };
        if header.kind != 1 {
            assert_eq!(op(header), Op::Rst);
            return;
        }
        match op(header) {
            Op::Rst => {
                // A live connection's ports only see RST when it dies.
                assert!(twin.dying, "reset without a reason");
                twin.dead = true;
            }
            other => {
                assert!(!twin.dying, "{other:?} instead of RST");
                assert_eq!(header.buf_alloc, WINDOW);
            }
        }
        match op(header) {
            Op::Rw => {
                assert_eq!(twin.told & SHUTDOWN_SEND, 0, "data after SHUTDOWN(SEND)");
                assert_eq!(twin.guest_closed & SHUTDOWN_RCV, 0, "data that the guest does not want");
                assert!(payload.len() as u64 <= twin.unsent(), "bytes that nobody wrote");
                assert!(payload == pattern(twin.gone, payload.len() as u64), "bytes out of order");
                twin.gone += payload.len() as u64;
                twin.sent += payload.len() as u64;
                assert!(twin.sent - twin.taken <= twin.buf_alloc, "more than the guest has room for");
            }
            Op::Shutdown => {
                let news = header.flags & !twin.told;
                assert!(news != 0, "nothing new in this SHUTDOWN");
                assert!(news & SHUTDOWN_SEND == 0 || (twin.finished && twin.unsent() == 0), "data would be lost");
                assert!(news & SHUTDOWN_RCV == 0 || twin.released, "the handle still reads");
                twin.told |= header.flags;
            }
            Op::CreditRequest => assert!(twin.unsent() > 0 && twin.sent - twin.taken >= twin.buf_alloc),
            Op::Rst | Op::CreditUpdate => {}
            other => panic!("{other:?} is never sent on an open connection"),
        }
    }

    fn run(&mut self, step: Step, which: usize) {
        match step {
            Step::Dial if self.twins.len() < 6 => return self.dial(),
            Step::Stray { op, host, cid, kind } => {
                let header = Header { src_cid: cid, kind, ..self.bench.header(host | 1 << 31, 1, op) };
                self.bench.inject(header, &[]);
                return;
            }
            Step::Send { packets, size } => {
                for _ in 0..packets {
                    let Some((header, payload)) = self.bench.next_into(size) else { break };
                    self.check(&header, &payload);
                }
                return;
            }
            Step::Wait(seconds) => {
                // A hundred seconds are more than anything waits for a guest once its handle is gone.
                self.bench.now += Duration::from_secs(seconds);
                self.bench.muxer.advance(self.bench.now);
                let late = self.twins.iter_mut().filter(|twin| twin.released && twin.open() && seconds > 60);
                late.for_each(|twin| twin.kill(false));
                return;
            }
            Step::DriverReset => {
                self.bench.muxer.reset();
                self.twins.iter_mut().filter(|twin| !twin.dead).for_each(|twin| {
                    twin.clean &= twin.dying;
                    twin.dead = true;
                    twin.gone = twin.written;
                });
                return;
            }
            _ => {}
        }
        if !self.twins.is_empty() {
            let at = which % self.twins.len();
            self.touch(step, at);
        }
    }

    fn touch(&mut self, step: Step, at: usize) {
        let Self { bench, twins } = self;
        let twin = &mut twins[at];
        let (host, guest) = twin.ports;
        bench.buf_alloc = twin.buf_alloc as u32;
        let fwd_cnt = twin.taken as u32;
        let base = |op: u16, bench: &Bench| Header { fwd_cnt, ..bench.header(host, guest, op) };
        match step {
            Step::GuestData { len, lie } => {
                let data = pattern(twin.arrived, u64::from(len));
                let said = len.saturating_add_signed(i32::from(lie));
                bench.inject(Header { len: said, ..base(Op::Rw as u16, bench) }, data);
                if twin.open() {
                    let fits = twin.held + u64::from(said) <= u64::from(WINDOW);
                    if said > len || twin.guest_closed & SHUTDOWN_SEND != 0 || !fits {
                        twin.kill(false);
                    } else {
                        twin.held += u64::from(said);
                        twin.arrived += u64::from(said);
                    }
                }
            }
            Step::GuestShutdown(flags) => {
                bench.inject(Header { flags, ..base(Op::Shutdown as u16, bench) }, &[]);
                if twin.open() {
                    twin.guest_closed |= flags & SHUTDOWN_BOTH;
                    if twin.guest_closed & SHUTDOWN_RCV != 0 {
                        twin.gone = twin.written;
                    }
                    if twin.guest_closed == SHUTDOWN_BOTH {
                        twin.kill(true);
                    }
                }
            }
            Step::GuestOp(op) => {
                // A REQUEST on ports that only wait for their last RST is a new connection, to a port nobody listens on.
                let leaving = op == 1 && twin.told == SHUTDOWN_BOTH && twin.open();
                bench.inject(base(op, bench), &[]);
                if op == 3 || leaving {
                    twin.clean |= leaving;
                    twin.dead = true;
                    twin.gone = twin.written;
                } else if twin.open() && !(4..=7).contains(&op) {
                    twin.kill(false);
                }
            }
            Step::Credit { buf_alloc, taken, lie } => {
                let told = if lie { taken.wrapping_mul(40_503) } else { (twin.taken as u32).wrapping_add(taken) };
                bench.buf_alloc = buf_alloc;
                bench.inject(Header { fwd_cnt: told, ..bench.header(host, guest, Op::CreditUpdate as u16) }, &[]);
                if twin.open() {
                    let ahead = u64::from(told.wrapping_sub(twin.taken as u32));
                    if twin.taken + ahead <= twin.sent {
                        twin.taken += ahead;
                    }
                    twin.buf_alloc = u64::from(buf_alloc);
                }
            }
            Step::Read(want) if !twin.released => {
                let count = want.min(twin.arrived - twin.read);
                let bytes = Got::Bytes(pattern(twin.read, count).to_vec());
                twin.read += count;
                twin.held -= count;
                let expected = if count > 0 { bytes } else { twin.expected_end() };
                assert_eq!(bench.read(twin.id, want as usize), expected);
            }
            Step::Write(len) if !twin.released => {
                let data = pattern(twin.written, len);
                let room = TX_LIMIT as u64 - twin.unsent();
                let expected = match twin.open() {
                    false if twin.clean => Err(Got::Eof),
                    false => Err(Got::Reset),
                    true if twin.finished || twin.guest_closed & SHUTDOWN_RCV != 0 => Err(Got::Eof),
                    true if room == 0 => Err(Got::Wait),
                    true => Ok(len.min(room) as usize),
                };
                assert_eq!(bench.write(twin.id, data), expected);
                twin.written += expected.unwrap_or(0) as u64;
            }
            Step::Finish if !twin.released => {
                bench.muxer.finish(twin.id);
                twin.finished = true;
            }
            Step::Release if !twin.released => {
                bench.release(twin.id);
                (twin.released, twin.finished) = (true, true);
                if twin.open() && twin.arrived > twin.read {
                    twin.kill(false);
                }
            }
            _ => {}
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn random_packets_and_calls_never_break_a_promise(
        steps in prop::collection::vec((step(), any::<usize>()), 1..150),
    ) {
        let mut world = World { bench: Bench::new(), twins: Vec::new() };
        for (step, which) in steps {
            world.run(step, which);
            prop_assert!(world.bench.muxer.connections() <= world.twins.len());
        }
        // Whatever happened: once the handles are gone and the guest has had its time, nothing is left.
        for at in 0..world.twins.len() {
            world.touch(Step::Release, at);
        }
        world.run(Step::Send { packets: MAX_STRAY_RESETS * 10, size: 70_000 }, 0);
        world.run(Step::Wait(100), 0);
        world.run(Step::Send { packets: MAX_STRAY_RESETS * 10, size: HEADER_LEN }, 0);
        prop_assert_eq!(world.bench.muxer.connections(), 0);
        prop_assert!(!world.bench.muxer.has_output());
    }
}
