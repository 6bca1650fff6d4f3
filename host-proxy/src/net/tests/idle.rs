//! Connections and pairs of ports on which nothing happens for long, in time that passes quicker than on the wall.

use std::net::{Ipv4Addr, SocketAddr};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UdpSocket};
use tokio::time::{Duration, timeout};

use super::super::{plan, udp};
use super::guest::{DEADLINE, Guest, LINUX};

async fn connected() -> (Guest, smoltcp::iface::SocketHandle, tokio::net::TcpStream) {
    let mut guest = Guest::new(LINUX, true, "");
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = SocketAddr::from((plan::HOST_V4, listener.local_addr().unwrap().port()));
    let handle = guest.connect(40_000, address);
    guest.until("the connection", |guest| guest.socket(handle).may_send()).await;
    let (stream, _) = listener.accept().await.unwrap();
    (guest, handle, stream)
}

#[tokio::test]
async fn n9_a_connection_that_is_idle_for_hours_still_works() {
    let (mut guest, handle, mut stream) = connected().await;
    tokio::time::pause();
    for _ in 0..3 * 3600 / 5 {
        tokio::time::advance(Duration::from_secs(5)).await;
        tokio::task::yield_now().await;
        guest.turn().await;
    }
    tokio::time::resume();
    assert_eq!(guest.socket(handle).send_slice(b"still"), Ok(5));
    guest.turn().await;
    let mut got = [0; 5];
    timeout(DEADLINE, stream.read_exact(&mut got)).await.unwrap().unwrap();
    assert_eq!(&got, b"still");
    stream.write_all(b"here").await.unwrap();
    guest.until("the answer", |guest| guest.socket(handle).recv_queue() == 4).await;
}

#[tokio::test]
async fn n9_a_guest_that_has_vanished_does_not_keep_the_far_side_for_ever() {
    let (guest, _handle, mut stream) = connected().await;
    tokio::time::pause();
    // Nobody answers the keep-alives.
    for _ in 0..1200 {
        tokio::time::advance(Duration::from_secs(1)).await;
        tokio::task::yield_now().await;
    }
    tokio::time::resume();
    let error = timeout(DEADLINE, stream.read(&mut [0; 1])).await.unwrap().unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    drop(guest);
}

/// A datagram of the guest; the host's socket that brings it to the server.
async fn said(guest: &mut Guest, from: u16, server: &UdpSocket) -> SocketAddr {
    let address = SocketAddr::from((plan::HOST_V4, server.local_addr().unwrap().port()));
    guest.send_udp(from, address, &from.to_be_bytes()).await;
    let mut payload = [0; 8];
    let (length, socket) = timeout(DEADLINE, server.recv_from(&mut payload)).await.unwrap().unwrap();
    assert_eq!(payload[..length], from.to_be_bytes());
    socket
}

async fn pass(time: Duration) {
    tokio::time::pause();
    for _ in 0..time.as_secs() {
        tokio::time::advance(Duration::from_secs(1)).await;
        tokio::task::yield_now().await;
    }
    tokio::time::resume();
}

/// Whether the host still has the socket: its port can be had by nobody else.
async fn is_open(socket: SocketAddr) -> bool {
    UdpSocket::bind(socket).await.is_err()
}

#[tokio::test]
async fn n8_a_pair_that_is_idle_gives_its_socket_back_and_a_busy_one_keeps_it() {
    let mut guest = Guest::new(LINUX, true, "");
    let server = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let idle = said(&mut guest, 5000, &server).await;
    let [asking, answered] = [said(&mut guest, 5001, &server).await, said(&mut guest, 5002, &server).await];
    // More than twice the time of an idle pair in all. Each direction keeps a pair alive by itself.
    for sixth in 1..=6 {
        pass(udp::IDLE / 2 - Duration::from_secs(5)).await;
        if sixth == 2 {
            assert!(is_open(idle).await, "given up too early");
        }
        assert_eq!(said(&mut guest, 5001, &server).await, asking);
        server.send_to(b"still here", answered).await.unwrap();
        assert_eq!(guest.other("the server's word").await.payload()[2..4], 5002u16.to_be_bytes());
    }
    assert!(!is_open(idle).await, "the socket of the idle pair is still there");
    assert!(is_open(asking).await && is_open(answered).await);
    // Whoever was silent for too long just gets another one.
    said(&mut guest, 5000, &server).await;
    pass(udp::IDLE + Duration::from_secs(30)).await;
    assert!(!is_open(asking).await && !is_open(answered).await);
}
