//! Several containers, of which one means harm. Each is an address; the others keep what they have and get what they ask for.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use smoltcp::socket::tcp::State;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UdpSocket};

use super::super::packet::UDP;
use super::super::{checksum, plan};
use super::guest::{Guest, LINUX, packet, udp};
use super::raw::{ACK, SYN, segment};

/// The container that means harm.
const GREEDY: IpAddr = IpAddr::V4(Ipv4Addr::new(172, 17, 0, 66));

/// A server on the host's loopback.
async fn server() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, SocketAddr::from((plan::HOST_V4, port)))
}

/// Where a connection is neither made nor refused: a server that takes none of the two that it lets wait.
async fn black_hole() -> (socket2::Socket, Vec<std::net::TcpStream>, SocketAddr) {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).unwrap();
    socket.listen(1).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    let mut waiting = Vec::new();
    while let Ok(stream) = std::net::TcpStream::connect_timeout(&address, std::time::Duration::from_millis(200)) {
        waiting.push(stream);
        assert!(waiting.len() < 100, "this host lets everybody wait");
    }
    (socket, waiting, SocketAddr::from((plan::HOST_V4, address.port())))
}

/// One round trip over an open connection.
async fn echo(guest: &mut Guest, handle: smoltcp::iface::SocketHandle, stream: &mut tokio::net::TcpStream) {
    assert_eq!(guest.socket(handle).send_slice(b"ping"), Ok(4));
    guest.turn().await;
    let mut got = [0; 4];
    stream.read_exact(&mut got).await.unwrap();
    stream.write_all(b"pong").await.unwrap();
    guest.until("the answer", |guest| guest.socket(handle).recv_queue() == 4).await;
    guest.socket(handle).recv_slice(&mut got).unwrap();
    assert_eq!(&got, b"pong");
}

#[tokio::test]
async fn n9_a_flood_of_syns_to_nowhere_leaves_other_containers_their_connections() {
    crate::sys::process::raise_file_limit();
    let mut guest = Guest::new(LINUX, true, "");
    let (listener, address) = server().await;
    let (_hole, _waiting, nowhere) = black_hole().await;
    let standing = guest.connect(40_000, address);
    guest.until("a connection before the flood", |guest| guest.socket(standing).may_send()).await;
    let (mut before, _) = listener.accept().await.unwrap();
    for round in 0..4u16 {
        for from in 1..=1000 {
            guest.send_ip(&segment((GREEDY, round * 1000 + from), nowhere, 1, 0, SYN)).await;
        }
        echo(&mut guest, standing, &mut before).await;
        let fresh = guest.connect(41_000 + round, address);
        guest.until("a connection during the flood", |guest| guest.socket(fresh).may_send()).await;
        let (mut stream, _) = listener.accept().await.unwrap();
        echo(&mut guest, fresh, &mut stream).await;
    }
}

#[tokio::test]
async fn n9_who_has_all_connections_to_the_name_server_gives_some_to_others() {
    let mut guest = Guest::new(LINUX, true, "");
    let gateway = SocketAddr::from((plan::GATEWAY_V4, 53));
    // One container shakes hands as often as it may, and then says nothing.
    guest.keep_tcp(true);
    let mut standing = BTreeSet::new();
    for from in 1..=200 {
        guest.send_ip(&segment((GREEDY, from), gateway, 1, 0, SYN)).await;
        if from % 20 == 0 {
            guest.changed().await;
        }
        for packet in guest.raw_tcp().iter().filter(|packet| packet[33] & 0x12 == 0x12) {
            let port = u16::from_be_bytes([packet[22], packet[23]]);
            let sequence = u32::from_be_bytes([packet[24], packet[25], packet[26], packet[27]]);
            guest.send_ip(&segment((GREEDY, port), gateway, 2, sequence.wrapping_add(1), ACK)).await;
            standing.insert(port);
        }
    }
    assert!(standing.len() >= 64, "{}", standing.len());
    guest.keep_tcp(false);
    let handles: Vec<_> = (0..20).map(|index| guest.connect(42_000 + index, gateway)).collect();
    let open = |guest: &mut Guest| handles.iter().all(|&handle| guest.socket(handle).state() == State::Established);
    guest.until("another container's connections", open).await;
}

#[tokio::test]
async fn n8_a_flood_of_datagrams_to_everywhere_leaves_other_containers_their_pairs() {
    crate::sys::process::raise_file_limit();
    let mut guest = Guest::new(LINUX, true, "");
    let silent = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let nowhere = SocketAddr::from((plan::HOST_V4, silent.local_addr().unwrap().port()));
    let server = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = SocketAddr::from((plan::HOST_V4, server.local_addr().unwrap().port()));
    let mut buffer = [0; 16];
    guest.send_udp(5000, address, b"before").await;
    let (_, before) = server.recv_from(&mut buffer).await.unwrap();
    for from in 1..=3000 {
        guest.send_ip(&packet(GREEDY, nowhere.ip(), UDP, &udp(GREEDY, from, nowhere, b"noise"))).await;
    }
    for port in 5001..5020 {
        guest.send_udp(port, address, b"fresh").await;
        let (length, from) = server.recv_from(&mut buffer).await.unwrap();
        server.send_to(&buffer[..length], from).await.unwrap();
        assert!(guest.other("an answer during the flood").await.payload().ends_with(b"fresh"));
    }
    server.send_to(b"late", before).await.unwrap();
    assert!(guest.other("the old pair").await.payload().ends_with(b"late"));
}

#[tokio::test]
async fn n6_a_flood_of_fragments_leaves_other_containers_their_datagrams() {
    let mut guest = Guest::new(LINUX, true, "");
    let server = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = SocketAddr::from((plan::HOST_V4, server.local_addr().unwrap().port()));
    let piece = |source: IpAddr, id: u16, data: &[u8], from: usize, more: bool| {
        let mut ip = packet(source, address.ip(), UDP, data);
        let place = (from / 8) as u16 | if more { 0x2000 } else { 0 };
        ip[4..6].copy_from_slice(&id.to_be_bytes());
        ip[6..8].copy_from_slice(&place.to_be_bytes());
        ip[10..12].fill(0);
        let sum = checksum::plain(&ip[..20]);
        ip[10..12].copy_from_slice(&sum.to_be_bytes());
        ip
    };
    let payload = vec![0x5a; 2000];
    let own = IpAddr::V4(plan::GUEST_V4);
    let whole = udp(own, 5000, address, &payload);
    guest.send_ip(&piece(own, 7, &whole[..1000], 0, true)).await;
    for id in 0..2000 {
        guest.send_ip(&piece(GREEDY, id, &[1; 64], 0, true)).await;
    }
    guest.send_ip(&piece(own, 7, &whole[1000..], 1000, false)).await;
    let mut buffer = [0; 4000];
    let received = tokio::time::timeout(super::guest::DEADLINE, server.recv_from(&mut buffer)).await.unwrap();
    assert_eq!(buffer[..received.unwrap().0], payload);
}
