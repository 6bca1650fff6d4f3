//! Connections on which nothing happens for long, in time that passes quicker than on the wall.

use std::net::{Ipv4Addr, SocketAddr};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::time::{Duration, timeout};

use super::super::plan;
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
