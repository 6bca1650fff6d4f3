//! TCP segments made by hand: a peer that lies, repeats, overlaps and vanishes. The stack neither panics nor lets anybody break a
//! connection who does not know it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Duration, timeout};

use super::super::packet::{ICMP_V4, TCP};
use super::super::{checksum, icmp, plan};
use super::guest::{DEADLINE, Guest, LINUX, packet};

pub const FIN: u8 = 1;
pub const SYN: u8 = 2;
pub const RST: u8 = 4;
pub const PSH: u8 = 8;
pub const ACK: u8 = 16;
pub const URG: u8 = 32;

const PORT: u16 = 47_000;

/// An IPv4 packet with a segment without options and data, from a port of `source`.
pub fn segment((source, from): (IpAddr, u16), to: SocketAddr, sequence: u32, acknowledged: u32, flags: u8) -> Vec<u8> {
    with_options(source, to, from, (sequence, acknowledged, flags, 0xffff), &[], b"")
}

fn with_options(
    source: IpAddr,
    to: SocketAddr,
    from: u16,
    (sequence, acknowledged, flags, window): (u32, u32, u8, u16),
    options: &[u8],
    data: &[u8],
) -> Vec<u8> {
    let mut segment = [from.to_be_bytes(), to.port().to_be_bytes()].concat();
    segment.extend_from_slice(&sequence.to_be_bytes());
    segment.extend_from_slice(&acknowledged.to_be_bytes());
    segment.extend_from_slice(&[(((20 + options.len()) / 4) << 4) as u8, flags]);
    segment.extend_from_slice(&window.to_be_bytes());
    // Checksum, and an urgent pointer beyond the segment.
    segment.extend_from_slice(&[0, 0, 0x7f, 0xff]);
    segment.extend_from_slice(options);
    segment.extend_from_slice(data);
    let sum = checksum::transport(source, to.ip(), TCP, &segment);
    segment[16..18].copy_from_slice(&sum.to_be_bytes());
    packet(source, to.ip(), TCP, &segment)
}

/// A connection of which the guest's side is this.
struct Peer {
    guest: Guest,
    to: SocketAddr,
    stream: TcpStream,
    /// What is to be sent next, and what is expected next.
    next: u32,
    expected: u32,
}

/// Flags, sequence number and data of a segment.
fn parts(packet: &[u8]) -> (u8, u32, &[u8]) {
    let data = 20 + usize::from(packet[32] >> 4) * 4;
    (packet[33], u32::from_be_bytes([packet[24], packet[25], packet[26], packet[27]]), &packet[data..])
}

impl Peer {
    /// Shakes hands, beginning at `sequence`; `syn` may carry options and data.
    async fn new(sequence: u32, options: &[u8], data: &[u8]) -> Self {
        let guest = Guest::new(LINUX & !(3 << 7), true, "").without_client();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let to = SocketAddr::from((plan::HOST_V4, listener.local_addr().unwrap().port()));
        let mut guest = guest;
        let syn = with_options(plan::GUEST_V4.into(), to, PORT, (sequence, 0, SYN, 0xffff), options, data);
        guest.send_ip(&syn).await;
        let (stream, _) = listener.accept().await.unwrap();
        let next = sequence.wrapping_add(1);
        let mut peer = Self { guest, to, stream, next, expected: 0 };
        let (flags, theirs) = peer.wait(|flags, _, _| flags & SYN != 0).await;
        assert_eq!(flags, SYN | ACK);
        peer.expected = theirs.wrapping_add(1);
        peer.send(ACK, b"").await;
        peer
    }

    async fn send(&mut self, flags: u8, data: &[u8]) {
        let (next, window) = (self.next, 0xffff);
        self.send_at(next, flags, window, data).await;
    }

    async fn send_at(&mut self, sequence: u32, flags: u8, window: u16, data: &[u8]) {
        let own = plan::GUEST_V4.into();
        let ip = with_options(own, self.to, PORT, (sequence, self.expected, flags, window), &[], data);
        self.guest.send_ip(&ip).await;
    }

    /// Waits for a segment; its flags and sequence number.
    async fn wait(&mut self, wanted: impl Fn(u8, u32, &[u8]) -> bool) -> (u8, u32) {
        let end = std::time::Instant::now() + DEADLINE;
        loop {
            for packet in self.guest.raw_tcp() {
                let (flags, sequence, data) = parts(&packet);
                if wanted(flags, sequence, data) {
                    return (flags, sequence);
                }
            }
            assert!(std::time::Instant::now() < end, "waited in vain for a segment");
            self.guest.changed().await;
        }
    }

    /// The server reads exactly this.
    async fn arrives(&mut self, want: &[u8]) {
        let mut got = vec![0; want.len()];
        timeout(DEADLINE, self.stream.read_exact(&mut got)).await.unwrap().unwrap();
        assert_eq!(got, want);
    }

    /// Bytes still pass both ways.
    async fn is_alive(&mut self) {
        self.send(ACK | PSH, b"alive?").await;
        self.next = self.next.wrapping_add(6);
        self.arrives(b"alive?").await;
        self.stream.write_all(b"yes").await.unwrap();
        self.wait(|_, _, data| data == b"yes").await;
        self.expected = self.expected.wrapping_add(3);
        self.send(ACK, b"").await;
    }
}

#[tokio::test]
async fn n9_resets_and_acknowledgements_out_of_the_window_break_nothing() {
    let mut peer = Peer::new(1000, &[], b"").await;
    let next = peer.next;
    for far in [1 << 20, 1 << 30, u32::MAX / 2, u32::MAX - 100_000] {
        peer.send_at(next.wrapping_add(far), RST, 0xffff, b"").await;
        peer.send_at(next.wrapping_add(far), RST | ACK, 0xffff, b"").await;
        peer.send_at(next.wrapping_add(far), ACK, 0xffff, b"x").await;
        peer.send_at(next.wrapping_add(far), FIN | ACK, 0xffff, b"").await;
    }
    let expected = peer.expected;
    peer.expected = expected.wrapping_add(500_000);
    peer.send(ACK, b"").await;
    peer.expected = expected;
    peer.is_alive().await;
}

#[tokio::test]
async fn n9_overlapping_repeated_and_unordered_segments_give_the_bytes_once() {
    // The sequence numbers wrap in the middle.
    let mut peer = Peer::new(u32::MAX - 5, &[], b"").await;
    let start = peer.next;
    for (from, data) in [(4u32, &b"efgh"[..]), (0, b"abcd"), (2, b"cdef"), (0, b"abcdefgh"), (6, b"ghij"), (0, b"a")] {
        peer.send_at(start.wrapping_add(from), ACK | PSH, 0xffff, data).await;
    }
    peer.arrives(b"abcdefghij").await;
    peer.next = start.wrapping_add(10);
    peer.is_alive().await;
}

#[tokio::test]
async fn n9_urgent_data_odd_flags_and_another_syn_on_a_connection_break_nothing() {
    let mut peer = Peer::new(1000, &[], b"").await;
    let next = peer.next;
    peer.send_at(next, ACK | PSH | URG, 0xffff, b"urgent").await;
    peer.next = next.wrapping_add(6);
    peer.arrives(b"urgent").await;
    for flags in [0, URG, PSH, SYN, SYN | FIN | URG | PSH, SYN | ACK, 0xc0] {
        peer.send(flags & !RST, b"").await;
    }
    peer.is_alive().await;
}

#[tokio::test]
async fn n9_malformed_options_are_no_reason_to_fall_over() {
    for options in [
        &[2, 4, 0, 0][..],
        &[2, 4, 0, 1],
        &[2, 0, 1, 1],
        &[2, 255, 0, 0],
        &[3, 3, 255, 0],
        &[5, 2, 0, 0],
        &[8, 10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        &[255, 255, 255, 255],
        &[1; 40],
    ] {
        let mut guest = Guest::new(LINUX, true, "").without_client();
        let gateway = SocketAddr::from((plan::GATEWAY_V4, 53));
        guest.send_ip(&with_options(plan::GUEST_V4.into(), gateway, PORT, (1, 0, SYN, 0xffff), options, b"")).await;
        guest.send_ip(&segment((plan::GUEST_V4.into(), PORT + 1), gateway, 1, 0, SYN)).await;
        let mut answered = false;
        guest
            .until("another connection", |guest| {
                answered |= guest.raw_tcp().iter().any(|packet| packet[22..24] == (PORT + 1).to_be_bytes());
                answered
            })
            .await;
    }
    // Without any, and with a segment size of zero, bytes pass.
    Peer::new(1000, &[2, 4, 0, 0], b"").await.is_alive().await;
}

#[tokio::test]
async fn n9_data_on_the_syn_is_taken_when_it_comes_again() {
    let mut peer = Peer::new(1000, &[], b"early").await;
    peer.send(ACK | PSH, b"early").await;
    peer.next = peer.next.wrapping_add(5);
    peer.arrives(b"early").await;
    peer.is_alive().await;
}

#[tokio::test]
async fn n9_a_window_that_closes_and_shrinks_stops_the_far_side_and_nothing_is_lost() {
    let mut peer = Peer::new(1000, &[], b"").await;
    let next = peer.next;
    peer.send_at(next, ACK, 0, b"").await;
    let data: Vec<u8> = (0..2_000u32).map(|at| at as u8).collect();
    peer.stream.write_all(&data).await.unwrap();
    let mut got: Vec<u8> = Vec::new();
    let mut windows = [0u16, 700, 10, 0, 500, 1, 4000].into_iter().cycle();
    let end = std::time::Instant::now() + DEADLINE;
    while got.len() < data.len() {
        assert!(std::time::Instant::now() < end, "{} bytes came", got.len());
        for packet in peer.guest.raw_tcp() {
            let (_, sequence, bytes) = parts(&packet);
            if sequence == peer.expected && !bytes.is_empty() {
                peer.expected = sequence.wrapping_add(bytes.len() as u32);
                got.extend_from_slice(bytes);
            }
        }
        peer.send_at(next, ACK, windows.next().unwrap(), b"").await;
        peer.guest.changed().await;
    }
    assert_eq!(got, data);
    peer.is_alive().await;
}

#[tokio::test]
async fn n9_both_sides_may_end_at_once() {
    let mut peer = Peer::new(1000, &[], b"").await;
    peer.stream.shutdown().await.unwrap();
    // Sent before the other side's end is acknowledged.
    peer.send(FIN | ACK, b"").await;
    peer.wait(|flags, _, _| flags & FIN != 0).await;
    peer.next = peer.next.wrapping_add(1);
    peer.expected = peer.expected.wrapping_add(1);
    peer.send(ACK, b"").await;
    let mut rest = Vec::new();
    timeout(DEADLINE, peer.stream.read_to_end(&mut rest)).await.unwrap().unwrap();
    assert!(rest.is_empty());
}

#[tokio::test]
async fn n9_a_reset_of_the_guest_in_mid_stream_resets_the_far_side() {
    let mut peer = Peer::new(1000, &[], b"").await;
    peer.stream.write_all(&[7; 100_000]).await.unwrap();
    peer.wait(|_, _, data| !data.is_empty()).await;
    peer.send(RST | ACK, b"").await;
    let error = timeout(DEADLINE, peer.stream.read(&mut [0; 1])).await.unwrap().unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn n9_a_reset_of_the_far_side_in_mid_stream_resets_the_guest() {
    let mut peer = Peer::new(1000, &[], b"").await;
    peer.send(ACK | PSH, &[7; 1000]).await;
    peer.next = peer.next.wrapping_add(1000);
    peer.arrives(&[7; 500]).await;
    socket2::SockRef::from(&peer.stream).set_linger(Some(Duration::ZERO)).unwrap();
    let (mut old, guest, to) = (peer.stream, peer.guest, peer.to);
    old.write_all(b"last words").await.unwrap();
    drop(old);
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let other = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let mut peer = Peer { guest, to, stream: other, next: peer.next, expected: peer.expected };
    peer.wait(|flags, _, _| flags & RST != 0).await;
}

#[tokio::test]
async fn n9_a_stranger_cannot_stop_a_connection_that_is_being_opened() {
    let (_listener, syn, to, mut guest) = {
        let mut guest = Guest::new(LINUX, true, "").without_client();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let to = SocketAddr::from((plan::HOST_V4, listener.local_addr().unwrap().port()));
        let syn = segment((plan::GUEST_V4.into(), PORT), to, 1_000_000, 0, SYN);
        guest.send_ip(&syn).await;
        (listener, syn, to, guest)
    };
    for guess in [0u32, 999_999, 1_000_002, u32::MAX] {
        guest.send_ip(&segment((plan::GUEST_V4.into(), PORT), to, guess, 0, RST)).await;
    }
    let mut answered = false;
    guest
        .until("the answer to the SYN", |guest| {
            answered |= guest.raw_tcp().iter().any(|packet| packet[33] == SYN | ACK);
            answered
        })
        .await;
    assert_eq!(syn[33], SYN);
}

#[tokio::test]
async fn n11_redirects_and_unreachables_with_forged_headers_change_nothing() {
    let mut peer = Peer::new(1000, &[], b"").await;
    let own: IpAddr = plan::GUEST_V4.into();
    let inner = segment((own, PORT), peer.to, peer.next, peer.expected, ACK);
    for (kind, code) in
        [(3, 0), (3, 1), (3, 2), (3, 3), (3, 4), (4, 0), (5, 0), (5, 1), (11, 0), (12, 0), (13, 0), (17, 0)]
    {
        for quoted in [&inner[..28], &inner[..], &[], &[0xff; 8]] {
            let mut message = vec![kind, code, 0, 0, 192, 168, 127, 9];
            message.extend_from_slice(quoted);
            let sum = checksum::plain(&message);
            message[2..4].copy_from_slice(&sum.to_be_bytes());
            for to in [IpAddr::V4(plan::GATEWAY_V4), peer.to.ip()] {
                peer.guest.send_ip(&packet(own, to, ICMP_V4, &message)).await;
            }
        }
    }
    peer.is_alive().await;
    assert!(peer.guest.others().is_empty(), "an ICMP message was answered");
    assert_eq!(icmp::protocol(own), ICMP_V4);
}
