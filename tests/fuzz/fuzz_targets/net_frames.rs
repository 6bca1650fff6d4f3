//! The whole network stack against a guest that sends what it likes: frames as they come, and packets whose headers are made
//! right so that what is behind them is reached. Time goes by in leaps. What comes back must be frames that a driver takes.
//!
//! What the stack opens goes out by this process's sockets, so the process leaves every network first and has a loopback of its
//! own only, on which somebody answers.
#![no_main]

use std::cell::RefCell;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;
use lighter::net::{HostAccess, NameFiles, Network, Policy};
use lighter_vmm::kick::Kick;
use lighter_vmm::virtio::net::{Checksum, Frame, GuestEnd, Offload, ends, header};
use rustix::thread::{UnshareFlags, unshare_unsafe};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UdpSocket};
use tokio::runtime::Runtime;

const GATEWAY_MAC: [u8; 6] = [0x02, 0x6c, 0x69, 0x67, 0x68, 0x01];
const GUEST_MAC: [u8; 6] = [0x02, 0x6c, 0x69, 0x67, 0x68, 0x02];
/// Somebody answers here on the host's loopback.
const PORT: u16 = 4000;
/// Longest frame with its Ethernet header.
const LONGEST: usize = 14 + 65_535;

#[derive(Arbitrary, Debug)]
enum Whom {
    Gateway,
    Host,
    Loopback,
    Nobody,
    Metadata,
    Any(IpAddr),
}

#[derive(Arbitrary, Debug)]
enum Step<'a> {
    /// A frame as it is.
    Raw(&'a [u8]),
    /// Behind an Ethernet header to the gateway.
    Ethernet { kind: u16, bytes: &'a [u8] },
    /// Behind an IP header as well.
    Packet { to: Whom, six: bool, protocol: u8, fragment: u16, payload: &'a [u8] },
    /// A TCP segment, with the port on which somebody answers if `known`.
    Tcp { to: Whom, six: bool, from: u8, known: bool, flags: u8, sequence: u32, acknowledged: u32, rest: &'a [u8] },
    /// The answer to the last segment that came: its numbers taken up.
    Follow { flags: u8, payload: &'a [u8] },
    /// A datagram, to the name server if `names`.
    Udp { to: Whom, six: bool, from: u8, names: bool, payload: &'a [u8] },
    /// Nothing for so many tenths of a second.
    Wait(u8),
    /// The guest takes nothing from now on, or begins again.
    Deaf(bool),
    /// The driver comes back with other features.
    Plug(u64),
}

thread_local! {
    static WORLD: RefCell<Option<(Runtime, tempfile::TempDir)>> = const { RefCell::new(None) };
}

/// Puts this process into a network namespace of its own.
fn leave_every_network() {
    let user = rustix::process::getuid();
    let flags = if user.is_root() { UnshareFlags::NEWNET } else { UnshareFlags::NEWUSER | UnshareFlags::NEWNET };
    // SAFETY: what is unshared is the network and perhaps the user's numbers, on which no code here relies; no descriptors are.
    let left = unsafe { unshare_unsafe(flags) };
    left.expect("a network namespace of its own: without it packets would leave this computer");
    if !user.is_root() {
        std::fs::write("/proc/self/uid_map", format!("0 {} 1", user.as_raw())).expect("a user of the namespace");
    }
}

fn world() -> (Runtime, tempfile::TempDir) {
    leave_every_network();
    let up = std::process::Command::new("ip").args(["link", "set", "lo", "up"]).status();
    assert!(up.is_ok_and(|status| status.success()), "`ip link set lo up` in a namespace of its own");
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().expect("a runtime");
    runtime.block_on(async {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, PORT)).await.expect("the only listener");
        tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut reader, mut writer) = client.split();
                    let _ = tokio::io::copy(&mut reader, &mut writer).await;
                    let _ = writer.shutdown().await;
                    let _ = reader.read(&mut [0; 1]).await;
                });
            }
        });
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, PORT)).await.expect("the only socket");
        tokio::spawn(async move {
            let mut buffer = [0; 2048];
            while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
                let _ = socket.send_to(&buffer[..length], from).await;
            }
        });
    });
    (runtime, tempfile::tempdir().expect("a folder"))
}

fn address(whom: &Whom, six: bool) -> IpAddr {
    let ours = |last: u16| -> IpAddr {
        if six {
            Ipv6Addr::new(0xfd6c, 0x6967, 0x6874, 0x6572, 0, 0, 0, last).into()
        } else {
            Ipv4Addr::new(192, 168, 127, last as u8).into()
        }
    };
    match whom {
        Whom::Gateway => ours(1),
        Whom::Host => ours(3),
        Whom::Nobody => ours(5),
        Whom::Loopback if six => Ipv6Addr::LOCALHOST.into(),
        Whom::Loopback => Ipv4Addr::LOCALHOST.into(),
        Whom::Metadata => Ipv4Addr::new(169, 254, 169, 254).into(),
        Whom::Any(address) => *address,
    }
}

fn ip(to: IpAddr, protocol: u8, fragment: u16, payload: &[u8]) -> Vec<u8> {
    let mut packet = Vec::new();
    match to {
        IpAddr::V4(to) => {
            packet.extend_from_slice(&[0x45, 0]);
            packet.extend_from_slice(&((payload.len() + 20) as u16).to_be_bytes());
            packet.extend_from_slice(&[0, 1]);
            packet.extend_from_slice(&fragment.to_be_bytes());
            packet.extend_from_slice(&[64, protocol, 0, 0, 192, 168, 127, 2]);
            packet.extend_from_slice(&to.octets());
            let sum: u32 = packet.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
            let folded = (sum & 0xffff) + (sum >> 16);
            let sum = !((folded & 0xffff) + (folded >> 16)) as u16;
            packet[10..12].copy_from_slice(&sum.to_be_bytes());
        }
        IpAddr::V6(to) => {
            packet.extend_from_slice(&[0x60, 0, 0, 0]);
            packet.extend_from_slice(&(payload.len() as u16).to_be_bytes());
            packet.extend_from_slice(&[protocol, 64]);
            packet.extend_from_slice(&Ipv6Addr::new(0xfd6c, 0x6967, 0x6874, 0x6572, 0, 0, 0, 2).octets());
            packet.extend_from_slice(&to.octets());
        }
    }
    packet.extend_from_slice(payload);
    packet
}

fn framed(kind: u16, packet: &[u8]) -> Frame {
    let mut bytes = [&GATEWAY_MAC[..], &GUEST_MAC, &kind.to_be_bytes(), packet].concat();
    bytes.truncate(LONGEST);
    // A checksum that the driver left undone: what is behind it shall be reached.
    let offload = Offload { checksum: Some(Checksum { start: 34, offset: 16 }), segmentation: None };
    Frame { offload, bytes }
}

fn packet(to: IpAddr, protocol: u8, fragment: u16, payload: &[u8]) -> Frame {
    framed(if to.is_ipv4() { 0x0800 } else { 0x86dd }, &ip(to, protocol, fragment, payload))
}

/// What the last TCP segment for the guest said.
struct Last {
    to: IpAddr,
    ports: [u8; 4],
    next: u32,
    acknowledged: u32,
}

fn segment(ports: [u8; 4], sequence: u32, acknowledged: u32, flags: u8, rest: &[u8]) -> Vec<u8> {
    let mut segment = ports.to_vec();
    segment.extend_from_slice(&sequence.to_be_bytes());
    segment.extend_from_slice(&acknowledged.to_be_bytes());
    segment.extend_from_slice(&[0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
    segment.extend_from_slice(rest);
    segment
}

fn take(guest: &GuestEnd, last: &mut Option<Last>) {
    while let Some(Frame { bytes, .. }) = guest.next_frame() {
        assert!((14..=LONGEST).contains(&bytes.len()) && bytes[..6] == GUEST_MAC && bytes[6..12] == GATEWAY_MAC);
        if bytes[12..14] == [8, 0] {
            let length = usize::from(u16::from_be_bytes([bytes[16], bytes[17]]));
            assert!(bytes[14] == 0x45 && length + 14 == bytes.len(), "an IP length that lies");
            if bytes[23] == 6 {
                let word = |at: usize| u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
                let data = bytes.len() - 34 - usize::from(bytes[46] >> 4) * 4;
                let controls = u32::from(bytes[47] & 1) + u32::from(bytes[47] >> 1 & 1);
                *last = Some(Last {
                    to: Ipv4Addr::new(bytes[26], bytes[27], bytes[28], bytes[29]).into(),
                    ports: [bytes[36], bytes[37], bytes[34], bytes[35]],
                    next: word(38).wrapping_add(data as u32 + controls),
                    acknowledged: word(42),
                });
            }
        }
    }
}

async fn play(steps: &[Step<'_>], names: NameFiles) {
    let (guest, host) = ends();
    let network = Network::behind(host, Policy { host_access: HostAccess::All }, names);
    guest.plug(Arc::new(Kick::default()), header::F_GUEST_CSUM | header::F_GUEST_TSO4 | header::F_MRG_RXBUF);
    let (mut last, mut deaf) = (None, false);
    for step in steps.iter().take(64) {
        let frame = match step {
            Step::Raw(bytes) => Some(Frame { offload: Offload::default(), bytes: bytes.to_vec() }),
            Step::Ethernet { kind, bytes } => Some(framed(*kind, bytes)),
            Step::Packet { to, six, protocol, fragment, payload } => {
                Some(packet(address(to, *six), *protocol, *fragment, payload))
            }
            Step::Tcp { to, six, from, known, flags, sequence, acknowledged, rest } => {
                let port = if *known { PORT } else { 53 };
                let [high, low] = port.to_be_bytes();
                let bytes = segment([0x80, *from, high, low], *sequence, *acknowledged, *flags, rest);
                Some(packet(address(to, *six), 6, 0, &bytes))
            }
            Step::Follow { flags, payload } => last.as_ref().map(|last: &Last| {
                packet(last.to, 6, 0, &segment(last.ports, last.acknowledged, last.next, *flags, payload))
            }),
            Step::Udp { to, six, from, names, payload } => {
                let port: u16 = if *names { 53 } else { PORT };
                let mut bytes =
                    [&[0x90, *from][..], &port.to_be_bytes(), &((payload.len() + 8) as u16).to_be_bytes(), &[0, 0]]
                        .concat();
                bytes.extend_from_slice(payload);
                Some(packet(address(to, *six), 17, 0, &bytes))
            }
            Step::Wait(tenths) => {
                tokio::time::advance(Duration::from_millis(100) * u32::from(*tenths)).await;
                None
            }
            Step::Deaf(choice) => {
                deaf = *choice;
                None
            }
            Step::Plug(features) => {
                guest.plug(Arc::new(Kick::default()), *features);
                None
            }
        };
        if let Some(frame) = frame {
            // A full queue is what a slow stack looks like.
            let _ = guest.frames.try_send(frame);
        }
        for _ in 0..4 {
            tokio::task::yield_now().await;
        }
        if !deaf {
            take(&guest, &mut last);
        }
    }
    drop(network);
    guest.close();
}

fuzz_target!(|steps: Vec<Step<'_>>| {
    WORLD.with_borrow_mut(|world| {
        let (runtime, folder) = world.get_or_insert_with(self::world);
        let names = NameFiles { hosts: folder.path().join("hosts"), resolv_conf: folder.path().join("resolv.conf") };
        runtime.block_on(play(&steps, names));
    });
});
