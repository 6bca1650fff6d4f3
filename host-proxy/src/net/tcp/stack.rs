//! The guest's side of one TCP connection: one smoltcp interface with one socket. A connection per interface makes a packet's
//! way independent of how many connections there are, and lets each have its own task. Knows nothing of the host's side.
//! Called by `flow`.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::num::NonZeroUsize;

use lighter_vmm::virtio::net::{
    Accepts, Checksum as Partial, Frame, LONGEST_FRAME, Offload, Segmentation, Spares, Version,
};
use smoltcp::iface::{Config, Interface, PollIngressSingleResult, PollResult, SocketHandle, SocketSet};
use smoltcp::phy::{Checksum, ChecksumCapabilities, Device, DeviceCapabilities, Medium, PacketMeta, RxToken, TxToken};
use smoltcp::socket::tcp::{Socket, State};
use smoltcp::time::{Duration, Instant};
use smoltcp::wire::{HardwareAddress, IpCidr, IpEndpoint};

use super::stock::Stock;
use super::window::Offer;
use crate::net::datagram::Egress;
use crate::net::packet::{ETHERNET, Packet, TCP};
use crate::net::{checksum, datagram, plan};

/// A guest that does not acknowledge for so long is gone.
pub(super) const SILENCE: Duration = Duration::from_secs(300);
/// How often an idle guest is asked whether it is still there.
const KEEP_ALIVE: Duration = Duration::from_secs(75);
/// Largest IP packet that the guest's driver is given to cut into segments, in bytes. Not more than the link's MTU: smoltcp
/// takes a longer one over IPv6 for one that needs fragments, and drops it each time.
const LARGEST_ROW: NonZeroUsize = NonZeroUsize::new(plan::MTU as usize).expect("it is not zero");

/// Memory of the frames that are made in one round, in bytes, before no more is begun; less where buffers are smaller. They
/// are copies of what is in the buffer, and wait until the guest takes them.
const ROUND: usize = 64 << 10;
/// A frame that is shorter than this has memory of its own length. [`Spares`] may give a longer one that of the longest.
const SHORT: usize = 16 << 10;
/// What a frame takes besides its bytes: its place in a list, and what the allocator adds.
const FRAME: usize = size_of::<Frame>() + 16;
/// Bytes for everything of a connection but its buffers and frames: its task, socket and timers, and a round's short answers.
pub(super) const REST: usize = 16 << 10;
/// Longest Ethernet, IP and TCP headers in bytes.
const HEADERS: usize = ETHERNET + 40 + 60;

/// Bytes for each direction of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Buffers(pub usize);

const fn round(size: usize) -> usize {
    if size < ROUND { size } else { ROUND }
}

/// Memory of one frame with a row out of such a buffer.
const fn row(size: usize) -> usize {
    if size < SHORT { size } else { LONGEST_FRAME }
}

/// One connection's interface, socket, and the packets on their way through.
pub struct Stack {
    interface: Interface,
    sockets: SocketSet<'static>,
    handle: SocketHandle,
    wire: Wire,
    offer: Offer,
    stock: Stock,
}

impl Stack {
    /// Most bytes that a connection with such buffers takes: two buffers, the frames of a round, and the last of them, which
    /// is begun while there is room.
    pub const fn price(Buffers(size): Buffers) -> usize {
        2 * size + round(size) + row(size) + REST
    }

    /// The socket that answers `syn` as `far`, listening already. `seed` makes its sequence numbers unpredictable.
    pub fn new(syn: Packet, far: SocketAddr, buffers: Buffers, egress: &Egress, stock: &Stock, seed: u64) -> Self {
        Self::answering(syn, far, Wire::new(buffers, egress.accepts(), egress.spares().clone()), stock, seed)
    }

    fn answering(syn: Packet, far: SocketAddr, wire: Wire, stock: &Stock, seed: u64) -> Self {
        let (mut stack, mut socket) = Self::idle(far, wire, stock, seed);
        stack.receive(syn);
        // Fails for port 0 only, which then nobody answers.
        let _ = socket.listen(IpEndpoint::from(far));
        stack.handle = stack.sockets.add(socket);
        stack
    }

    /// The socket that connects to `guest` as `far`.
    pub fn towards(
        guest: SocketAddr,
        far: SocketAddr,
        buffers: Buffers,
        egress: &Egress,
        stock: &Stock,
        seed: u64,
    ) -> Self {
        let wire = Wire::new(buffers, egress.accepts(), egress.spares().clone());
        let (mut stack, mut socket) = Self::idle(far, wire, stock, seed);
        // Fails for addresses that make no sense together; then the socket stays closed, which is what a refusal looks like.
        let _ = socket.connect(stack.interface.context(), IpEndpoint::from(guest), IpEndpoint::from(far));
        stack.handle = stack.sockets.add(socket);
        stack
    }

    /// An interface with the address of `far`, and a socket that does nothing yet.
    fn idle(far: SocketAddr, mut wire: Wire, stock: &Stock, seed: u64) -> (Self, Socket<'static>) {
        let mut config = Config::new(HardwareAddress::Ip);
        config.random_seed = seed;
        let mut interface = Interface::new(config, &mut wire, Instant::ZERO);
        interface.update_ip_addrs(|addresses| {
            // The prefix makes everybody a neighbour, so that no route is needed. An empty list has room for one.
            let _ = addresses.push(IpCidr::new(far.ip().into(), 0));
        });
        let mut socket = stock.take(whole_rows(wire.buffers.0, far.is_ipv4()));
        // What is acknowledged or sent at once was collected in one round already.
        socket.set_ack_delay(None);
        socket.set_nagle_enabled(false);
        socket.set_timeout(Some(SILENCE));
        socket.set_keep_alive(Some(KEEP_ALIVE));
        let sockets = SocketSet::new(Vec::with_capacity(1));
        (
            Self {
                interface,
                sockets,
                handle: SocketHandle::default(),
                wire,
                offer: Offer::default(),
                stock: stock.clone(),
            },
            socket,
        )
    }

    /// A packet of the guest, for the next round.
    pub fn receive(&mut self, mut packet: Packet) {
        self.offer.hold(packet.payload_mut());
        self.wire.received.push_back(packet);
    }

    /// Takes what was received. What has to be said about it waits for [`send`](Self::send), so that one packet can
    /// acknowledge it, open the window for what has been read meanwhile, and carry bytes.
    pub fn take(&mut self, now: Instant) {
        while self.interface.poll_ingress_single(now, &mut self.wire, &mut self.sockets)
            != PollIngressSingleResult::None
        {}
    }

    /// Sends what can be sent.
    pub fn send(&mut self, now: Instant) {
        while self.interface.poll_egress(now, &mut self.wire, &mut self.sockets) != PollResult::None {}
    }

    /// When the next round is due although nothing happens.
    pub fn deadline(&mut self, now: Instant) -> Option<Duration> {
        self.interface.poll_delay(now, &self.sockets)
    }

    /// Frames for the guest, made by the rounds so far.
    pub fn sent(&mut self) -> &mut Vec<Frame> {
        &mut self.wire.sent
    }

    /// The socket.
    pub fn socket(&mut self) -> &mut Socket<'static> {
        self.sockets.get_mut(self.handle)
    }

    /// The socket's state.
    pub fn state(&self) -> State {
        self.sockets.get::<Socket<'_>>(self.handle).state()
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        let smoltcp::socket::Socket::Tcp(socket) = self.sockets.remove(self.handle);
        self.stock.put(socket);
    }
}

/// The largest size up to `size` that whole rows fill, if one does: a row ends where the buffer does, and the next one would
/// be the few bytes that are left.
fn whole_rows(size: usize, v4: bool) -> usize {
    let row = LARGEST_ROW.get() - if v4 { 40 } else { 60 };
    if size < row { size } else { size - size % row }
}

/// The interface's device: packets in, frames out.
struct Wire {
    received: VecDeque<Packet>,
    sent: Vec<Frame>,
    accepts: Accepts,
    spares: Spares,
    buffers: Buffers,
}

impl Wire {
    fn new(buffers: Buffers, accepts: Accepts, spares: Spares) -> Self {
        Self { received: VecDeque::new(), sent: Vec::new(), accepts, spares, buffers }
    }

    fn sending(&mut self) -> Sending<'_> {
        Sending { sent: &mut self.sent, accepts: self.accepts, spares: &self.spares, segment: None }
    }
}

impl Device for Wire {
    type RxToken<'a> = Received;
    type TxToken<'a> = Sending<'a>;

    fn receive(&mut self, _now: Instant) -> Option<(Received, Sending<'_>)> {
        let packet = self.received.pop_front()?;
        Some((Received { packet, spares: self.spares.clone() }, self.sending()))
    }

    fn transmit(&mut self, _now: Instant) -> Option<Sending<'_>> {
        let made: usize = self.sent.iter().map(|frame| frame.bytes.capacity() + FRAME).sum();
        (made < round(self.buffers.0)).then_some(())?;
        Some(self.sending())
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ip;
        capabilities.max_transmission_unit = usize::from(plan::MTU);
        // `Packet` has verified what comes in; checksums of what goes out are the driver's, if it wants.
        let mut sums = ChecksumCapabilities::ignored();
        sums.ipv4 = Checksum::Tx;
        if self.accepts.partial_checksums {
            let row = |accepted: bool| accepted.then_some(LARGEST_ROW);
            capabilities.segmentation.tcpv4 = row(self.accepts.segments_v4);
            capabilities.segmentation.tcpv6 = row(self.accepts.segments_v6);
        } else {
            sums.tcp = Checksum::Tx;
        }
        capabilities.checksum = sums;
        capabilities
    }
}

struct Received {
    packet: Packet,
    spares: Spares,
}

impl RxToken for Received {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, read: F) -> R {
        let result = read(self.packet.ip());
        self.spares.put(self.packet.into_frame());
        result
    }
}

struct Sending<'a> {
    sent: &'a mut Vec<Frame>,
    accepts: Accepts,
    spares: &'a Spares,
    segment: Option<u16>,
}

impl TxToken for Sending<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, length: usize, write: F) -> R {
        let mut bytes = self.spares.take(ETHERNET + length);
        // Memory that was another kind of frame's may have grown beyond what any needs.
        bytes.shrink_to(LONGEST_FRAME);
        // smoltcp writes headers field by field; what it may ever leave out shall not be another connection's.
        let headers = bytes.len().min(HEADERS);
        bytes[..headers].fill(0);
        let result = write(&mut bytes[ETHERNET..]);
        let partial = self.accepts.partial_checksums;
        if let Some(frame) = finish(bytes, partial, self.segment) {
            self.sent.push(frame);
        }
        result
    }

    fn set_meta(&mut self, meta: PacketMeta) {
        self.segment = meta.segmentation_offload_size.map(u16::from);
    }
}

/// Puts the Ethernet header before an IP packet that smoltcp made, and says what the driver has to do with it.
fn finish(mut bytes: Vec<u8>, partial: bool, segment: Option<u16>) -> Option<Frame> {
    let ip = bytes.get(ETHERNET..)?;
    let (version, header, source, destination) = match ip.first()? >> 4 {
        4 => {
            let address = |at: usize| <[u8; 4]>::try_from(ip.get(at..at + 4)?).ok();
            (Version::V4, 20, address(12)?.into(), address(16)?.into())
        }
        _ => {
            let address = |at: usize| <[u8; 16]>::try_from(ip.get(at..at + 16)?).ok();
            (Version::V6, 40, address(8)?.into(), address(24)?.into())
        }
    };
    bytes[..ETHERNET].copy_from_slice(&datagram::ethernet(destination));
    let start = ETHERNET + header;
    let mut offload = Offload::default();
    if partial {
        let tcp = bytes.get_mut(start..)?;
        let sum = checksum::pseudo(source, destination, TCP, tcp.len());
        tcp.get_mut(16..18)?.copy_from_slice(&sum.to_be_bytes());
        let headers = (start + usize::from(tcp[12] >> 4) * 4) as u16;
        offload.checksum = Some(Partial { start: start as u16, offset: 16 });
        offload.segmentation = segment.map(|size| Segmentation { version, size, headers });
    }
    Some(Frame { offload, bytes })
}

#[cfg(test)]
pub(super) mod tests;
