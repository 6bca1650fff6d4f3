//! TCP connections of the guest, to servers on the host.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use sha2::{Digest, Sha256};
use smoltcp::socket::tcp::State;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::super::{icmp, plan};
use super::guest::{Guest, LINUX};

const PORT: u16 = 40_000;

async fn server() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, SocketAddr::from((plan::HOST_V4, port)))
}

fn noise(length: usize, seed: u32) -> Vec<u8> {
    (0..length as u32).map(|at| (at.wrapping_mul(2_654_435_761).wrapping_add(seed) >> 13) as u8).collect()
}

/// Sends `data`, then the end if `finish`; returns all that comes until the other side's end.
async fn converse(guest: &mut Guest, handle: smoltcp::iface::SocketHandle, data: &[u8], finish: bool) -> Vec<u8> {
    let (mut sent, mut got) = (0, Vec::new());
    guest
        .until("the end of the conversation", |guest| {
            let socket = guest.socket(handle);
            while sent < data.len() && socket.can_send() {
                sent += socket.send_slice(&data[sent..]).unwrap();
            }
            if finish && sent == data.len() && socket.state() == State::Established {
                socket.close();
            }
            while socket.can_recv() {
                socket.recv(|bytes| (bytes.len(), got.extend_from_slice(bytes))).unwrap();
            }
            sent == data.len() && !socket.may_recv() && socket.state() != State::SynSent
        })
        .await;
    got
}

#[tokio::test]
async fn bytes_pass_both_ways_and_each_side_ends_by_itself() {
    for (features, six) in [(0, false), (LINUX, false), (0, true), (LINUX, true)] {
        let mut guest = Guest::new(features, true, "");
        let (listener, mut address) = server().await;
        if six {
            address.set_ip(plan::HOST_V6.into());
        }
        let (question, answer) = (noise(3_000_000, 1), noise(5_000_000, 2));
        let (want, reply) = (Sha256::digest(&question), answer.clone());
        let serving = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut got = Vec::new();
            // Only after the guest's end does the server begin to speak.
            stream.read_to_end(&mut got).await.unwrap();
            assert_eq!(Sha256::digest(&got), want);
            stream.write_all(&reply).await.unwrap();
        });
        let handle = guest.connect(PORT, address);
        let got = converse(&mut guest, handle, &question, true).await;
        assert!(got == answer, "{} of {} bytes", got.len(), answer.len());
        serving.await.unwrap();
    }
}

#[tokio::test]
async fn connections_that_follow_each_other_get_their_own_bytes_and_no_others() {
    let mut guest = Guest::new(LINUX, true, "");
    for round in 0..6 {
        let (listener, address) = server().await;
        let (question, answer) = (noise(300_000 - round, round as u32), noise(200_000 + round, 77 + round as u32));
        let reply = answer.clone();
        let serving = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut got = Vec::new();
            let end = stream.read_to_end(&mut got).await;
            if end.is_ok() {
                stream.write_all(&reply).await.unwrap();
            }
            got
        });
        let handle = guest.connect(PORT + round as u16, address);
        if round % 2 == 1 {
            // Broken in the middle: what its socket holds is of no use to the next one.
            let part =
                |guest: &mut Guest| guest.socket(handle).send_slice(&question[..1000]).is_ok_and(|sent| sent > 0);
            guest.until("the first bytes", part).await;
            guest.turn().await;
            guest.socket(handle).abort();
            guest.turn().await;
            assert!(question.starts_with(&serving.await.unwrap()));
        } else {
            assert!(converse(&mut guest, handle, &question, true).await == answer, "round {round}");
            assert!(serving.await.unwrap() == question, "round {round}");
        }
    }
}

#[tokio::test]
async fn a_server_that_ends_first_still_hears_the_guest() {
    let mut guest = Guest::new(LINUX, true, "");
    let (listener, address) = server().await;
    let serving = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(b"hello").await.unwrap();
        stream.shutdown().await.unwrap();
        let mut got = Vec::new();
        stream.read_to_end(&mut got).await.unwrap();
        got
    });
    let handle = guest.connect(PORT, address);
    guest.until("the server's end", |guest| guest.socket(handle).state() == State::CloseWait).await;
    let mut greeting = [0; 5];
    assert_eq!(guest.socket(handle).recv_slice(&mut greeting), Ok(5));
    let late = noise(500_000, 3);
    let mut sent = 0;
    guest
        .until("the guest's last byte", |guest| {
            let socket = guest.socket(handle);
            while sent < late.len() && socket.can_send() {
                sent += socket.send_slice(&late[sent..]).unwrap();
            }
            sent == late.len()
        })
        .await;
    guest.socket(handle).close();
    guest.until("the end", |guest| guest.socket(handle).state() == State::Closed).await;
    assert!(serving.await.unwrap() == late);
}

#[tokio::test]
async fn a_large_segment_is_left_to_the_driver_in_the_containers_size() {
    let mut guest = Guest::new(LINUX, true, "").with_mtu(1500);
    let (listener, address) = server().await;
    let data = noise(400_000, 4);
    let reply = data.clone();
    let serving = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(&reply).await.unwrap();
    });
    let handle = guest.connect(PORT, address);
    let got = converse(&mut guest, handle, &[], false).await;
    assert!(got == data);
    assert_eq!(guest.rows(), [1460], "rows of segments come, all of them of the container's size");
    serving.await.unwrap();
}

#[tokio::test]
async fn a_refused_port_is_refused_and_a_forbidden_one_is_forbidden() {
    let mut guest = Guest::new(LINUX, true, "");
    let (listener, address) = server().await;
    drop(listener);
    let handle = guest.connect(PORT, address);
    guest.until("a reset", |guest| guest.socket(handle).state() == State::Closed).await;
    for forbidden in ["127.0.0.1:80", "169.254.169.254:80"] {
        let handle = guest.connect(PORT + 1, forbidden.parse().unwrap());
        let message = guest.other("a message that it is prohibited").await;
        assert_eq!(message.payload()[..2], [3, 13], "{forbidden}");
        // It quotes the packet that it is about.
        assert_eq!(message.payload()[8], 0x45);
        guest.socket(handle).abort();
        guest.turn().await;
    }
}

#[tokio::test]
async fn n10_without_host_access_neither_alias_nor_own_address_leads_to_the_host() {
    let mut guest = Guest::new(LINUX, false, "");
    let (_listener, address) = server().await;
    guest.connect(PORT, address);
    let message = guest.other("a message that it is prohibited").await;
    assert_eq!((message.payload()[..2].to_vec(), message.source), (vec![3, 13], plan::HOST_V4.into()));
}

#[tokio::test]
async fn ipv6_reaches_the_hosts_loopback_whichever_version_listens() {
    let mut guest = Guest::new(LINUX, true, "");
    let Ok(listener) = TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).await else {
        println!("this host has no IPv6 loopback");
        return;
    };
    let port = listener.local_addr().unwrap().port();
    for (index, alias) in
        [SocketAddr::from((plan::HOST_V4, port)), SocketAddr::from((plan::HOST_V6, port))].into_iter().enumerate()
    {
        let handle = guest.connect(PORT + index as u16, alias);
        guest.until("the connection", |guest| guest.socket(handle).may_send()).await;
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(b"six").await.unwrap();
        drop(stream);
        assert_eq!(converse(&mut guest, handle, b"", true).await, b"six", "{alias}");
    }
}

#[tokio::test]
async fn a_reset_passes_in_both_directions() {
    let mut guest = Guest::new(LINUX, true, "");
    let (listener, address) = server().await;
    let handle = guest.connect(PORT, address);
    guest.until("the connection", |guest| guest.socket(handle).may_send()).await;
    let (stream, _) = listener.accept().await.unwrap();
    socket2::SockRef::from(&stream).set_linger(Some(std::time::Duration::ZERO)).unwrap();
    drop(stream);
    guest.until("the server's reset", |guest| guest.socket(handle).state() == State::Closed).await;

    let handle = guest.connect(PORT + 1, address);
    guest.until("the connection", |guest| guest.socket(handle).may_send()).await;
    let (mut stream, _) = listener.accept().await.unwrap();
    guest.socket(handle).abort();
    guest.turn().await;
    let error = stream.read(&mut [0; 1]).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn a_reader_that_does_not_read_stops_the_writer_on_the_other_side() {
    let mut guest = Guest::new(LINUX, true, "");
    let (listener, address) = server().await;
    let handle = guest.connect(PORT, address);
    guest.until("the connection", |guest| guest.socket(handle).may_send()).await;
    let (stream, _) = listener.accept().await.unwrap();
    // The guest writes, the server does not read: what is in flight is bounded by the buffers on the way.
    let chunk = noise(64 << 10, 5);
    let (mut sent, mut idle) = (0usize, 0);
    while idle < 20 {
        let now = guest.socket(handle).send_slice(&chunk).unwrap();
        sent += now;
        idle = if now == 0 { idle + 1 } else { 0 };
        guest.turn().await;
        guest.changed().await;
        assert!(sent < 64 << 20, "nothing stops the guest");
    }
    // It reads again, and everything comes.
    guest.socket(handle).close();
    let reading = tokio::spawn(count(stream));
    guest
        .until("the end", |guest| !guest.socket(handle).is_active() || guest.socket(handle).state() == State::TimeWait)
        .await;
    assert_eq!(reading.await.unwrap(), sent);
}

async fn count(mut stream: TcpStream) -> usize {
    let (mut total, mut buffer) = (0, vec![0; 64 << 10]);
    loop {
        match stream.read(&mut buffer).await.unwrap() {
            0 => return total,
            count => total += count,
        }
    }
}

#[tokio::test]
async fn many_connections_at_once_do_not_mix() {
    let mut guest = Guest::new(LINUX, true, "");
    let (listener, address) = server().await;
    let serving = tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let (mut read, mut write) = stream.split();
                tokio::io::copy(&mut read, &mut write).await.unwrap();
                write.shutdown().await.unwrap();
            });
        }
    });
    let handles: Vec<_> = (0..100).map(|index| guest.connect(PORT + index, address)).collect();
    let mut got = vec![Vec::new(); handles.len()];
    let want = |index: usize| noise(2000 + index, index as u32);
    guest
        .until("all answers", |guest| {
            let mut done = true;
            for (index, &handle) in handles.iter().enumerate() {
                let socket = guest.socket(handle);
                if socket.state() == State::Established
                    && got[index].is_empty()
                    && socket.can_send()
                    && socket.send_queue() == 0
                {
                    let data = want(index);
                    if socket.send_slice(&data) == Ok(data.len()) {
                        socket.close();
                    }
                }
                while socket.can_recv() {
                    socket.recv(|bytes| (bytes.len(), got[index].extend_from_slice(bytes))).unwrap();
                }
                done &= !socket.may_recv() && socket.state() != State::SynSent;
            }
            done
        })
        .await;
    for (index, got) in got.iter().enumerate() {
        assert!(*got == want(index), "connection {index}");
    }
    serving.abort();
    assert_eq!(icmp::protocol(address.ip()), 1);
}
