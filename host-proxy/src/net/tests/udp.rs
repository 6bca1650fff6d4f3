//! Datagrams, names and echoes of the guest.

use std::net::{Ipv4Addr, SocketAddr};

use smoltcp::socket::tcp::State;
use tokio::net::UdpSocket;

use super::super::packet::{ICMP_V4, ICMP_V6, UDP};
use super::super::{checksum, icmp, plan};
use super::guest::{Guest, LINUX, packet, udp};

async fn server() -> (UdpSocket, SocketAddr) {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = socket.local_addr().unwrap().port();
    (socket, SocketAddr::from((plan::HOST_V4, port)))
}

#[tokio::test]
async fn datagrams_of_every_size_pass_both_ways_and_pairs_do_not_mix() {
    for features in [0, LINUX] {
        let mut guest = Guest::new(features, true, "");
        let (server, address) = server().await;
        let mut buffer = vec![0; 65_535];
        for (port, length) in [(5000, 0), (5001, 1), (5000, 1473), (5002, 65_507)] {
            let payload: Vec<u8> = (0..length).map(|at| at as u8).collect();
            guest.send_udp(port, address, &payload).await;
            let (count, from) = server.recv_from(&mut buffer).await.unwrap();
            assert!(buffer[..count] == payload);
            server.send_to(&payload, from).await.unwrap();
            let answer = guest.other("the answer").await;
            let segment = answer.payload();
            assert_eq!((answer.source, answer.protocol), (address.ip(), UDP));
            assert_eq!(segment[..4], [address.port().to_be_bytes(), port.to_be_bytes()].concat());
            assert!(segment[8..] == payload);
        }
    }
}

#[tokio::test]
async fn a_port_that_nobody_has_is_reported_with_the_packet_it_is_about() {
    let mut guest = Guest::new(LINUX, true, "");
    let (server, address) = server().await;
    drop(server);
    guest.send_udp(5000, address, b"anybody?").await;
    let message = guest.other("port unreachable").await;
    assert_eq!((message.protocol, &message.payload()[..2]), (ICMP_V4, &[3, 3][..]));
    let quoted = &message.payload()[8..];
    assert_eq!(quoted[20..24], [5000u16.to_be_bytes(), address.port().to_be_bytes()].concat());
}

#[tokio::test]
async fn a_stranger_cannot_answer_in_the_servers_place() {
    let mut guest = Guest::new(LINUX, true, "");
    let (server, address) = server().await;
    guest.send_udp(5000, address, b"hello").await;
    let mut buffer = [0; 16];
    let (_, from) = server.recv_from(&mut buffer).await.unwrap();
    let stranger = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    stranger.send_to(b"forged", from).await.unwrap();
    server.send_to(b"true", from).await.unwrap();
    assert_eq!(&guest.other("the answer").await.payload()[8..], b"true");
}

#[tokio::test]
async fn n6_a_datagram_in_fragments_arrives_whole() {
    let mut guest = Guest::new(LINUX, true, "");
    let (server, address) = server().await;
    let payload: Vec<u8> = (0..4000u32).map(|at| (at * 7) as u8).collect();
    let segment = udp(plan::GUEST_V4.into(), 5000, address, &payload);
    for (from, to) in [(2960, segment.len()), (0, 1480), (1480, 2960)] {
        let mut ip = packet(plan::GUEST_V4.into(), address.ip(), UDP, &segment[from..to]);
        let place = (from / 8) as u16 | if to < segment.len() { 0x2000 } else { 0 };
        ip[4..6].copy_from_slice(&[7, 7]);
        ip[6..8].copy_from_slice(&place.to_be_bytes());
        ip[10..12].fill(0);
        let sum = checksum::plain(&ip[..20]);
        ip[10..12].copy_from_slice(&sum.to_be_bytes());
        guest.send_ip(&ip).await;
    }
    let mut buffer = [0; 8000];
    let (count, _) = server.recv_from(&mut buffer).await.unwrap();
    assert!(buffer[..count] == payload);
}

/// A question for an address of `name`.
pub fn question(name: &str) -> Vec<u8> {
    let mut message = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        message.push(label.len() as u8);
        message.extend_from_slice(label.as_bytes());
    }
    message.extend_from_slice(&[0, 0, 1, 0, 1]);
    message
}

#[tokio::test]
async fn the_gateway_answers_names_over_both_transports() {
    let mut guest = Guest::new(LINUX, true, "192.0.2.7 build\n");
    let gateway = SocketAddr::from((plan::GATEWAY_V4, 53));
    guest.send_udp(5000, gateway, &question("build")).await;
    let answer = guest.other("the answer").await;
    assert_eq!(answer.source, gateway.ip());
    assert!(answer.payload().ends_with(&[192, 0, 2, 7]));

    let handle = guest.connect(40_000, gateway);
    guest.until("the connection", |guest| guest.socket(handle).may_send()).await;
    let message = question("host.docker.internal");
    let framed = [&(message.len() as u16).to_be_bytes()[..], &message].concat();
    assert_eq!(guest.socket(handle).send_slice(&framed), Ok(framed.len()));
    let want = framed.len() + 16;
    guest.until("the answer", |guest| guest.socket(handle).recv_queue() == want).await;
    let mut answer = vec![0; want];
    guest.socket(handle).recv_slice(&mut answer).unwrap();
    assert!(answer.ends_with(&plan::HOST_V4.octets()));
    guest.socket(handle).close();
    guest.until("the end", |guest| matches!(guest.socket(handle).state(), State::Closed | State::TimeWait)).await;
}

#[tokio::test]
async fn the_gateway_answers_echoes_of_both_versions() {
    let mut guest = Guest::new(LINUX, true, "");
    for (gateway, source, protocol) in [
        (plan::GATEWAY_V4.into(), plan::GUEST_V4.into(), ICMP_V4),
        (plan::GATEWAY_V6.into(), plan::GUEST_V6.into(), ICMP_V6),
    ] {
        for length in [0, 56, 65_400] {
            let data = vec![0x5a; length];
            let echo = icmp::Echo { identifier: 7, sequence: 9, data: &data };
            let mut request = echo.to_request(gateway);
            let sum = match protocol {
                ICMP_V4 => checksum::plain(&request),
                _ => checksum::transport(source, gateway, ICMP_V6, &request),
            };
            request[2..4].copy_from_slice(&sum.to_be_bytes());
            guest.send_ip(&packet(source, gateway, protocol, &request)).await;
            let reply = guest.other("the echo").await;
            assert_eq!(icmp::reply(gateway, reply.payload()), Some(echo));
        }
    }
}
