//! The guest: its end of the link, a TCP client on it, and frames made by hand.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use lighter_vmm::kick::Kick;
use lighter_vmm::virtio::net::{Frame, GuestEnd, Offload, Segmentation, ends, header};
use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::phy::{Checksum, ChecksumCapabilities, Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::socket::tcp::{Socket, SocketBuffer};
use smoltcp::time::Instant;
use smoltcp::wire::{HardwareAddress, IpCidr, IpEndpoint};

use super::super::packet::{ETHERNET, Packet, TYPE_IPV4, TYPE_IPV6};
use super::super::{HostAccess, Inward, NameFiles, Network, Policy, checksum, datagram, plan};
use super::stays;

/// How long a test waits before it fails.
pub const DEADLINE: Duration = Duration::from_secs(120);
/// Everything that Linux negotiates.
pub const LINUX: u64 = header::F_GUEST_CSUM | header::F_GUEST_TSO4 | header::F_GUEST_TSO6 | header::F_MRG_RXBUF;

/// A guest with a network behind it.
pub struct Guest {
    pub end: GuestEnd,
    kick: Arc<Kick>,
    wire: Wire,
    interface: Interface,
    sockets: SocketSet<'static>,
    began: std::time::Instant,
    network: Network,
    policy: Policy,
    _names: tempfile::TempDir,
}

#[derive(Default)]
struct Wire {
    received: VecDeque<Vec<u8>>,
    sent: Vec<Vec<u8>>,
    /// Packets that are not TCP, for tests that look at them.
    others: Vec<Packet>,
    /// TCP packets, if they are to be kept.
    log: Option<Vec<Vec<u8>>>,
    /// Segmentation of each frame received.
    rows: Vec<Option<Segmentation>>,
    mtu: usize,
}

impl Guest {
    /// A guest whose driver negotiated `features`, at a network with these rules and hosts file.
    pub fn new(features: u64, host_access: bool, hosts: &str) -> Self {
        let names = tempfile::tempdir().unwrap();
        let files = NameFiles { hosts: names.path().join("hosts"), resolv_conf: names.path().join("resolv.conf") };
        std::fs::write(&files.hosts, hosts).unwrap();
        // Other names are asked where no system sends anything without being told that a broadcast is meant.
        std::fs::write(&files.resolv_conf, "nameserver 255.255.255.255\n").unwrap();
        let (end, link) = ends();
        let host_access = if host_access { HostAccess::Unprivileged } else { HostAccess::No };
        let policy = Policy { host_access };
        let network = Network::behind(link, policy, files);
        let kick = Arc::new(Kick::default());
        end.plug(Arc::clone(&kick), features);
        let mut wire = Wire { mtu: usize::from(plan::MTU), ..Wire::default() };
        let mut interface = Interface::new(Config::new(HardwareAddress::Ip), &mut wire, Instant::ZERO);
        interface.update_ip_addrs(|addresses| {
            addresses.push(IpCidr::new(IpAddr::V4(plan::GUEST_V4).into(), 0)).unwrap();
            addresses.push(IpCidr::new(IpAddr::V6(plan::GUEST_V6).into(), 0)).unwrap();
        });
        let sockets = SocketSet::new(Vec::new());
        let began = std::time::Instant::now();
        Self { end, kick, wire, interface, sockets, began, network, policy, _names: names }
    }

    /// Gives the guest's interface the MTU of a container's.
    pub fn with_mtu(mut self, mtu: usize) -> Self {
        self.wire.mtu = mtu;
        let mut interface = Interface::new(Config::new(HardwareAddress::Ip), &mut self.wire, Instant::ZERO);
        interface.update_ip_addrs(|addresses| {
            addresses.push(IpCidr::new(IpAddr::V4(plan::GUEST_V4).into(), 0)).unwrap();
        });
        self.interface = interface;
        self
    }

    /// The way into this guest.
    pub fn inward(&self) -> Inward {
        self.network.inward()
    }

    /// Waits for a client on `port`.
    pub fn listen(&mut self, port: u16) -> SocketHandle {
        let buffer = || SocketBuffer::new(vec![0; 256 << 10]);
        let mut socket = Socket::new(buffer(), buffer());
        socket.set_ack_delay(None);
        socket.listen(port).unwrap();
        self.sockets.add(socket)
    }

    /// Begins to connect from `port`.
    pub fn connect(&mut self, port: u16, to: SocketAddr) -> SocketHandle {
        let buffer = || SocketBuffer::new(vec![0; 256 << 10]);
        let mut socket = Socket::new(buffer(), buffer());
        socket.set_ack_delay(None);
        socket.connect(self.interface.context(), IpEndpoint::from(to), port).unwrap();
        self.sockets.add(socket)
    }

    pub fn socket(&mut self, handle: SocketHandle) -> &mut Socket<'static> {
        self.sockets.get_mut(handle)
    }

    /// Lets the network work until `reached`; panics after [`DEADLINE`] naming `what`.
    pub async fn until(&mut self, what: &str, mut reached: impl FnMut(&mut Self) -> bool) {
        let end = tokio::time::Instant::now() + DEADLINE;
        loop {
            self.turn().await;
            if reached(self) {
                return;
            }
            assert!(tokio::time::Instant::now() < end, "waited in vain for {what}");
            let now = self.now();
            let delay = self.interface.poll_delay(now, &self.sockets).map_or(50, |delay| delay.total_millis().min(50));
            let _ = tokio::time::timeout(Duration::from_millis(delay), self.kick.notified()).await;
        }
    }

    /// Takes what has come, and sends what is to be sent.
    pub async fn turn(&mut self) {
        self.collect();
        let now = self.now();
        self.interface.poll(now, &mut self.wire, &mut self.sockets);
        for ip in std::mem::take(&mut self.wire.sent) {
            self.send_ip(&ip).await;
        }
    }

    fn collect(&mut self) {
        while let Some(frame) = self.end.next_frame() {
            self.wire.rows.push(frame.offload.segmentation);
            let kind = u16::from_be_bytes([frame.bytes[12], frame.bytes[13]]);
            assert_eq!(frame.bytes[..6], plan::GUEST_MAC);
            if ![TYPE_IPV4, TYPE_IPV6].contains(&kind) {
                continue;
            }
            let bytes = completed(frame);
            let ip = bytes[ETHERNET..].to_vec();
            if ip[if kind == TYPE_IPV4 { 9 } else { 6 }] == 6 {
                match &mut self.wire.log {
                    Some(log) => log.push(ip),
                    None => self.wire.received.push_back(ip),
                }
            } else {
                self.wire.others.push(other(bytes, kind));
            }
        }
    }

    /// Sends an IP packet as a frame without offloads.
    pub async fn send_ip(&mut self, ip: &[u8]) {
        let kind = if ip[0] >> 4 == 4 { TYPE_IPV4 } else { TYPE_IPV6 };
        let mut bytes = [&plan::GATEWAY_MAC[..], &plan::GUEST_MAC, &kind.to_be_bytes()].concat();
        bytes.extend_from_slice(ip);
        self.send_frame(bytes).await;
    }

    /// Sends a frame made by hand; panics if it could leave this computer.
    pub async fn send_frame(&mut self, bytes: Vec<u8>) {
        stays::check(self.policy, &bytes);
        self.end.frames.send(Frame { offload: Offload::default(), bytes }).await.unwrap();
    }

    /// Sends a UDP datagram.
    pub async fn send_udp(&mut self, from: u16, to: SocketAddr, payload: &[u8]) {
        let source: IpAddr = if to.is_ipv4() { plan::GUEST_V4.into() } else { plan::GUEST_V6.into() };
        let ip = packet(source, to.ip(), 17, &udp(source, from, to, payload));
        self.send_ip(&ip).await;
    }

    /// Waits for a packet that is not TCP.
    pub async fn other(&mut self, what: &str) -> Packet {
        self.until(what, |guest| !guest.wire.others.is_empty()).await;
        self.wire.others.remove(0)
    }

    /// Whether TCP packets are kept from now on for [`raw_tcp`](Self::raw_tcp) instead of being given to the client.
    pub fn keep_tcp(&mut self, keep: bool) {
        self.wire.log = keep.then(Vec::new);
    }

    /// Keeps TCP packets for [`raw_tcp`](Self::raw_tcp) instead of giving them to the client.
    pub fn without_client(mut self) -> Self {
        self.wire.log = Some(Vec::new());
        self
    }

    /// TCP packets received so far.
    pub fn raw_tcp(&mut self) -> Vec<Vec<u8>> {
        self.collect();
        self.wire.log.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// All other packets received so far.
    pub fn others(&mut self) -> Vec<Packet> {
        self.collect();
        std::mem::take(&mut self.wire.others)
    }

    /// Whether rows of segments have come, and only of this size.
    pub fn rows(&self) -> Vec<u16> {
        let mut sizes: Vec<u16> = self.wire.rows.iter().flatten().map(|row| row.size).collect();
        sizes.dedup();
        sizes
    }

    /// Waits for a frame.
    pub async fn changed(&self) {
        let _ = tokio::time::timeout(Duration::from_millis(50), self.kick.notified()).await;
    }

    fn now(&self) -> Instant {
        Instant::from_micros(self.began.elapsed().as_micros() as i64 + 1)
    }
}

/// A frame with its checksum complete, as the guest's kernel would see it.
fn completed(Frame { offload, mut bytes }: Frame) -> Vec<u8> {
    if let Some(sum) = offload.checksum {
        let (start, at) = (usize::from(sum.start), usize::from(sum.start + sum.offset));
        let value = checksum::plain(&bytes[start..]);
        bytes[at..at + 2].copy_from_slice(&value.to_be_bytes());
    }
    bytes
}

/// Reads a packet from the gateway, whose source no guest's packet may have.
fn other(mut bytes: Vec<u8>, kind: u16) -> Packet {
    let source: IpAddr = if kind == TYPE_IPV4 {
        IpAddr::from(<[u8; 4]>::try_from(&bytes[26..30]).unwrap())
    } else {
        IpAddr::from(<[u8; 16]>::try_from(&bytes[22..38]).unwrap())
    };
    // Everybody else is plausible; stands in for the checks, and is put back.
    let place = if kind == TYPE_IPV4 { 26..30 } else { 22..38 };
    let valid = {
        let mut packet = bytes.clone();
        if kind == TYPE_IPV4 {
            assert!(checksum::is_plain_valid(&packet[ETHERNET..ETHERNET + 20]));
        }
        let payload = if kind == TYPE_IPV4 { ETHERNET + 20 } else { ETHERNET + 40 };
        let protocol = packet[if kind == TYPE_IPV4 { 23 } else { 20 }];
        let segment = packet.split_off(payload);
        match protocol {
            1 => checksum::is_plain_valid(&segment),
            _ => checksum::is_transport_valid(source, destination(&bytes, kind), protocol, &segment),
        }
    };
    assert!(valid, "a packet for the guest has a wrong checksum");
    let stand_in: IpAddr =
        if kind == TYPE_IPV4 { "192.0.2.1".parse().unwrap() } else { "2001:db8::1".parse().unwrap() };
    match stand_in {
        IpAddr::V4(address) => bytes[place].copy_from_slice(&address.octets()),
        IpAddr::V6(address) => bytes[place].copy_from_slice(&address.octets()),
    }
    if kind == TYPE_IPV4 {
        bytes[24..26].fill(0);
        let sum = checksum::plain(&bytes[ETHERNET..ETHERNET + 20]);
        bytes[24..26].copy_from_slice(&sum.to_be_bytes());
    }
    let mut packet = Packet::parse(bytes, kind).unwrap();
    packet.source = source;
    packet
}

fn destination(bytes: &[u8], kind: u16) -> IpAddr {
    if kind == TYPE_IPV4 {
        IpAddr::from(<[u8; 4]>::try_from(&bytes[30..34]).unwrap())
    } else {
        IpAddr::from(<[u8; 16]>::try_from(&bytes[38..54]).unwrap())
    }
}

/// A UDP segment with its checksum.
pub fn udp(source: IpAddr, from: u16, to: SocketAddr, payload: &[u8]) -> Vec<u8> {
    let mut segment = [from.to_be_bytes(), to.port().to_be_bytes()].concat();
    segment.extend_from_slice(&(8 + payload.len() as u16).to_be_bytes());
    segment.extend_from_slice(&[0, 0]);
    segment.extend_from_slice(payload);
    let sum = checksum::transport(source, to.ip(), 17, &segment);
    segment[6..8].copy_from_slice(&sum.to_be_bytes());
    segment
}

/// An IP packet.
pub fn packet(source: IpAddr, destination: IpAddr, protocol: u8, payload: &[u8]) -> Vec<u8> {
    let mut packet = datagram::header(source, destination, protocol, payload.len());
    packet.extend_from_slice(payload);
    packet
}

impl Device for Wire {
    type RxToken<'a> = Received;
    type TxToken<'a> = Sending<'a>;

    fn receive(&mut self, _now: Instant) -> Option<(Received, Sending<'_>)> {
        let packet = self.received.pop_front()?;
        Some((Received(packet), Sending(&mut self.sent)))
    }

    fn transmit(&mut self, _now: Instant) -> Option<Sending<'_>> {
        Some(Sending(&mut self.sent))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ip;
        capabilities.max_transmission_unit = self.mtu;
        let mut sums = ChecksumCapabilities::default();
        sums.tcp = Checksum::Both;
        capabilities.checksum = sums;
        capabilities
    }
}

struct Received(Vec<u8>);

impl RxToken for Received {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, read: F) -> R {
        read(&self.0)
    }
}

struct Sending<'a>(&'a mut Vec<Vec<u8>>);

impl TxToken for Sending<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, length: usize, write: F) -> R {
        let mut bytes = vec![0; length];
        let result = write(&mut bytes);
        self.0.push(bytes);
        result
    }
}
