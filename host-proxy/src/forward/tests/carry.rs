//! What passes through a published port: bytes and datagrams both ways, each side's end, resets.

use super::*;

/// Lets the guest work until the client has ended; takes what comes to `handle` and, once all has come, sends `answer`.
async fn serve<T>(guest: &mut Guest, handle: SocketHandle, answer: &[u8], client: &JoinHandle<T>) -> Vec<u8> {
    let (mut got, mut sent) = (Vec::new(), 0);
    guest
        .until("the client's end", |guest| {
            let socket = guest.socket(handle);
            while socket.can_recv() {
                socket.recv(|bytes| (bytes.len(), got.extend_from_slice(bytes))).unwrap();
            }
            if socket.state() == State::CloseWait {
                while sent < answer.len() && socket.can_send() {
                    sent += socket.send_slice(&answer[sent..]).unwrap();
                }
                if sent == answer.len() {
                    socket.close();
                }
            }
            client.is_finished()
        })
        .await;
    got
}

#[tokio::test]
async fn bytes_pass_both_ways_by_hash_and_each_side_ends_by_itself() {
    for features in [0, LINUX] {
        let mut guest = Guest::new(features, true, "");
        let host = Host::new(Some(guest.inward()));
        let number = free().await;
        let call = host.publish(port(Transport::Tcp, "0.0.0.0", number)).await;
        let handle = guest.listen(80);
        let (question, answer) = (noise(3_000_000, 1), noise(5_000_000, 2));
        let asked = question.clone();
        let client = tokio::spawn(async move {
            let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, number)).await.unwrap();
            stream.write_all(&asked).await.unwrap();
            stream.shutdown().await.unwrap();
            let mut got = Vec::new();
            stream.read_to_end(&mut got).await.unwrap();
            got
        });
        let got = serve(&mut guest, handle, &answer, &client).await;
        assert_eq!(Sha256::digest(&got), Sha256::digest(&question));
        assert_eq!(Sha256::digest(client.await.unwrap()), Sha256::digest(&answer));
        give_up(call).await;
    }
}

#[tokio::test]
async fn a_container_that_ends_first_still_hears_the_client_whom_it_sees_as_the_gateway() {
    let mut guest = Guest::new(LINUX, true, "");
    let host = Host::new(Some(guest.inward()));
    let number = free().await;
    let _call = host.publish(port(Transport::Tcp, "127.0.0.1", number)).await;
    let handle = guest.listen(80);
    let client = tokio::spawn(async move {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, number)).await.unwrap();
        let mut greeting = Vec::new();
        stream.read_to_end(&mut greeting).await.unwrap();
        stream.write_all(&noise(500_000, 3)).await.unwrap();
        greeting
    });
    guest.until("the client", |guest| guest.socket(handle).state() == State::Established).await;
    let seen = guest.socket(handle).remote_endpoint().unwrap();
    assert_eq!(seen.addr.to_string(), "192.168.127.1");
    assert!(seen.port >= 1024);
    guest.socket(handle).send_slice(b"hello").unwrap();
    guest.socket(handle).close();
    let mut got = Vec::new();
    guest
        .until("the client's last byte", |guest| {
            let socket = guest.socket(handle);
            while socket.can_recv() {
                socket.recv(|bytes| (bytes.len(), got.extend_from_slice(bytes))).unwrap();
            }
            !socket.may_recv()
        })
        .await;
    assert!(got == noise(500_000, 3));
    assert_eq!(client.await.unwrap(), b"hello");
}

#[tokio::test]
async fn a_container_that_refuses_or_breaks_off_resets_the_client() {
    let mut guest = Guest::new(LINUX, true, "");
    let host = Host::new(Some(guest.inward()));
    let number = free().await;
    let _call = host.publish(port(Transport::Tcp, "0.0.0.0", number)).await;
    let read = move || async move {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, number)).await.unwrap();
        stream.read_to_end(&mut Vec::new()).await.unwrap_err().kind()
    };
    // Nobody listens in the guest.
    let client = tokio::spawn(read());
    guest.until("the refusal", |_| client.is_finished()).await;
    assert_eq!(client.await.unwrap(), ErrorKind::ConnectionReset);
    // It has said something, and then there is a reset where the rest should be.
    let handle = guest.listen(80);
    let client = tokio::spawn(read());
    guest.until("the client", |guest| guest.socket(handle).state() == State::Established).await;
    guest.socket(handle).send_slice(b"half").unwrap();
    guest.until("its delivery", |guest| guest.socket(handle).send_queue() == 0).await;
    guest.socket(handle).abort();
    guest.until("the reset", |_| client.is_finished()).await;
    assert_eq!(client.await.unwrap(), ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn who_is_cut_off_by_the_machines_end_does_not_take_it_for_all_there_is() {
    let mut guest = Guest::new(LINUX, true, "");
    let host = Host::new(Some(guest.inward()));
    let number = free().await;
    let _call = host.publish(port(Transport::Tcp, "0.0.0.0", number)).await;
    let handle = guest.listen(80);
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, number)).await.unwrap();
    guest.until("the client", |guest| guest.socket(handle).state() == State::Established).await;
    drop(host);
    let error = tokio::time::timeout(DEADLINE, stream.read_to_end(&mut Vec::new())).await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    assert_eq!(
        TcpStream::connect((Ipv4Addr::LOCALHOST, number)).await.unwrap_err().kind(),
        ErrorKind::ConnectionRefused
    );
}

#[tokio::test]
async fn h11_udp_answers_reach_the_client_that_asked_and_no_other() {
    let mut guest = Guest::new(LINUX, true, "");
    let host = Host::new(Some(guest.inward()));
    let number = free().await;
    let call = host.publish(port(Transport::Udp, "0.0.0.0", number)).await;
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, number));
    let clients = [0; 2].map(|_| std::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap());
    let mut speakers = Vec::new();
    for (client, word) in clients.iter().zip([b"one", b"two"]) {
        client.connect(address).unwrap();
        client.set_read_timeout(Some(DEADLINE)).unwrap();
        client.send(word).unwrap();
        let packet = guest.other("the datagram").await;
        assert_eq!(&packet.payload()[8..], word);
        assert_eq!((packet.source.to_string().as_str(), &packet.payload()[2..4]), ("192.168.127.1", &[0, 80][..]));
        let speaker = u16::from_be_bytes([packet.payload()[0], packet.payload()[1]]);
        speakers.push(SocketAddr::new(packet.source, speaker));
    }
    assert_ne!(speakers[0], speakers[1]);
    // In the other order, and one from a port that nobody asked.
    guest.send_udp(81, speakers[0], b"stranger").await;
    for at in [1, 0] {
        guest.send_udp(80, speakers[at], &[b'0' + at as u8]).await;
    }
    let got = tokio::task::spawn_blocking(move || {
        clients.map(|client| {
            let mut buffer = [0; 16];
            let length = client.recv(&mut buffer).unwrap();
            buffer[..length].to_vec()
        })
    });
    assert_eq!(got.await.unwrap(), [b"0", b"1"]);
    assert_eq!(UdpSocket::bind(address).await.unwrap_err().kind(), ErrorKind::AddrInUse);
    give_up(call).await;
    UdpSocket::bind(address).await.unwrap();
}

#[tokio::test]
async fn h11_ipv6_is_published_beside_ipv4_or_not_missed() {
    let mut guest = Guest::new(LINUX, true, "");
    let host = Host::new(Some(guest.inward()));
    let number = free().await;
    let four = host.publish(port(Transport::Tcp, "0.0.0.0", number)).await;
    let six = host.publish(port(Transport::Tcp, "::", number)).await;
    let has_ipv6 = std::net::TcpListener::bind("[::1]:0").is_ok();
    assert_eq!(host.list.all().len(), if has_ipv6 { 2 } else { 1 });
    if has_ipv6 {
        let handle = guest.listen(80);
        let client = tokio::spawn(async move {
            let mut stream = TcpStream::connect(format!("[::1]:{number}")).await.unwrap();
            stream.write_all(b"six").await.unwrap();
            stream.shutdown().await.unwrap();
            stream.read_to_end(&mut Vec::new()).await.unwrap();
        });
        assert_eq!(serve(&mut guest, handle, &[], &client).await, b"six");
        client.await.unwrap();
    }
    give_up(four).await;
    give_up(six).await;
}
