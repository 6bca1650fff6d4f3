//! Published ports from the agent's call to a server in the guest that `net::tests::guest` plays, with clients on loopback.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use lighter_protocol::{Port, Publish, Published, Transport, wire};
use proptest::prelude::*;
use sha2::{Digest, Sha256};
use smoltcp::iface::SocketHandle;
use smoltcp::socket::tcp::State;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::*;
use crate::guest::BoxFuture;
use crate::net::tests::guest::{DEADLINE, Guest, LINUX};
use crate::settings::Publish as Setting;

const SECRET: &str = "5ec2e7";
/// The guest of the test has no containers: its own address stands for one.
const CONTAINER: Ipv4Addr = Ipv4Addr::new(192, 168, 127, 2);

struct Calls(mpsc::UnboundedReceiver<DuplexStream>);

impl Incoming for Calls {
    fn accept(&mut self) -> BoxFuture<'_, Option<BoxedStream>> {
        Box::pin(async { Some(Box::new(self.0.recv().await?) as BoxedStream) })
    }
}

/// The host's side, and the agent's way to it.
struct Host {
    calls: mpsc::UnboundedSender<DuplexStream>,
    list: Arc<List>,
    _forwarding: Forwarding,
}

impl Host {
    fn new(inward: Option<Inward>) -> Self {
        let (calls, incoming) = mpsc::unbounded_channel();
        let list = Arc::new(List::default());
        let rules = Rules { secret: SECRET.to_owned(), publish: Setting::Localhost, inward, list: Arc::clone(&list) };
        Self { calls, list, _forwarding: Forwarding::start(Box::new(Calls(incoming)), rules) }
    }

    /// Says something in a call.
    async fn say(&self, bytes: &[u8]) -> DuplexStream {
        let (mut ours, theirs) = tokio::io::duplex(1 << 16);
        self.calls.send(theirs).unwrap();
        // Whoever says nonsense may be hung up on.
        let _ = ours.write_all(bytes).await;
        ours
    }

    async fn ask(&self, port: Port) -> (Published, DuplexStream) {
        let publish = Publish { secret: SECRET.to_owned(), port };
        let mut call = self.say(&wire::encode(&publish).unwrap()).await;
        let answer = tokio::time::timeout(DEADLINE, frames::read(&mut call)).await.unwrap().unwrap();
        (answer, call)
    }

    async fn publish(&self, port: Port) -> DuplexStream {
        let (answer, call) = self.ask(port).await;
        assert_eq!(answer, Published::Listening);
        call
    }

    async fn refusal(&self, port: Port) -> String {
        let (answer, mut call) = self.ask(port).await;
        let Published::Refused { message } = answer else { panic!("{port:?} is published") };
        call.shutdown().await.unwrap();
        gone(call).await;
        message
    }
}

/// Waits until the host has ended its side.
async fn gone(mut call: DuplexStream) {
    let mut rest = Vec::new();
    tokio::time::timeout(DEADLINE, call.read_to_end(&mut rest)).await.unwrap().unwrap();
    assert!(rest.is_empty(), "nothing is said after the answer");
}

/// Gives a port up, as the agent does; nobody listens when it returns.
async fn give_up(mut call: DuplexStream) {
    call.shutdown().await.unwrap();
    gone(call).await;
}

fn port(protocol: Transport, host_ip: &str, host_port: u16) -> Port {
    let host_ip: IpAddr = host_ip.parse().unwrap();
    Port { protocol, host_ip, host_port, container_ip: CONTAINER.into(), container_port: 80 }
}

/// A port of loopback that nobody has.
async fn free() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap().local_addr().unwrap().port()
}

fn noise(length: usize, seed: u32) -> Vec<u8> {
    (0..length as u32).map(|at| (at.wrapping_mul(2_654_435_761).wrapping_add(seed) >> 13) as u8).collect()
}

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
async fn h11_a_port_to_which_nobody_comes_takes_no_room_from_others() {
    let guest = Guest::new(LINUX, true, "");
    let inward = guest.inward();
    let host = Host::new(Some(inward.clone()));
    let rooms = inward.rooms();
    let mut calls = Vec::new();
    for _ in 0..20 {
        calls.push(host.publish(port(Transport::Tcp, "0.0.0.0", free().await)).await);
    }
    // Each listener's task has had its turn when the next port's answer has come.
    tokio::task::yield_now().await;
    assert_eq!(inward.rooms(), rooms);
    for call in calls {
        give_up(call).await;
    }
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
async fn h11_a_port_in_use_is_refused_with_who_has_it() {
    let guest = Guest::new(LINUX, true, "");
    let host = Host::new(Some(guest.inward()));
    let other = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let number = other.local_addr().unwrap().port();
    let said = host.refusal(port(Transport::Tcp, "0.0.0.0", number)).await;
    assert!(said.contains(&format!("127.0.0.1:{number}/tcp is in use by another program")), "{said}");
    drop(other);
    // The same twice; then it is free again as soon as the first one has been given up.
    let call = host.publish(port(Transport::Tcp, "0.0.0.0", number)).await;
    let said = host.refusal(port(Transport::Tcp, "127.0.0.1", number)).await;
    assert!(said.contains("is published for the container at 192.168.127.2:80 already"), "{said}");
    let datagrams = host.publish(port(Transport::Udp, "127.0.0.1", number)).await;
    assert_eq!(host.list.all().len(), 2, "the two protocols have ports of their own");
    give_up(call).await;
    give_up(host.publish(port(Transport::Tcp, "127.0.0.1", number)).await).await;
    give_up(datagrams).await;
    assert!(host.list.all().is_empty());
}

#[tokio::test]
async fn h11_host_addresses_that_are_none_of_this_computer_are_refused() {
    let guest = Guest::new(LINUX, true, "");
    let host = Host::new(Some(guest.inward()));
    for (address, words) in [
        ("192.0.2.1", "192.0.2.1 is no address of this computer"),
        ("2001:db8::1", "2001:db8::1"),
        ("224.0.0.1", "no address that a port can be published on"),
        ("255.255.255.255", "no address that a port can be published on"),
        ("ff02::1", "no address that a port can be published on"),
        ("::ffff:127.0.0.1", "no address that a port can be published on"),
        ("fe80::1", "fe80::1"),
    ] {
        for protocol in [Transport::Tcp, Transport::Udp] {
            let said = host.refusal(port(protocol, address, 40_080)).await;
            assert!(said.contains(words), "{address}: {said}");
        }
    }
    assert!(host.list.all().is_empty());
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

#[tokio::test]
async fn h11_port_zero_sctp_and_a_machine_without_network_are_refused_by_name() {
    let guest = Guest::new(LINUX, true, "");
    let host = Host::new(Some(guest.inward()));
    assert!(host.refusal(port(Transport::Tcp, "0.0.0.0", 0)).await.contains("no port 0"));
    let zero = Port { container_port: 0, ..port(Transport::Udp, "0.0.0.0", 80) };
    assert!(host.refusal(zero).await.contains("no port 0"));
    assert!(host.refusal(port(Transport::Sctp, "0.0.0.0", 80)).await.contains("no sctp"));
    let host = Host::new(None);
    assert!(host.refusal(port(Transport::Tcp, "0.0.0.0", 80)).await.contains("`network = true` in config.toml"));
}

#[tokio::test]
async fn a2_without_the_secret_nobody_is_heard() {
    let guest = Guest::new(LINUX, true, "");
    let host = Host::new(Some(guest.inward()));
    let number = free().await;
    for secret in ["", "5ec2e8", "5ec2e", "5ec2e77"] {
        let publish = Publish { secret: secret.to_owned(), port: port(Transport::Tcp, "0.0.0.0", number) };
        gone(host.say(&wire::encode(&publish).unwrap()).await).await;
    }
    assert!(host.list.all().is_empty());
}

/// So many silent callers that none is left to listen to: they are hung up on in time for dockerd's patience.
#[tokio::test(start_paused = true)]
async fn a1_callers_who_say_nothing_do_not_keep_the_door() {
    let guest = Guest::new(LINUX, true, "");
    let host = Host::new(Some(guest.inward()));
    let mut silent = Vec::new();
    for _ in 0..3 * MOST_CALLERS {
        silent.push(host.say(b"\x40\0\0").await);
    }
    host.publish(port(Transport::Tcp, "0.0.0.0", free().await)).await;
}

#[tokio::test]
async fn h11_a_thousand_ports_come_and_go_and_leave_nothing() {
    let guest = Guest::new(LINUX, true, "");
    let host = Host::new(Some(guest.inward()));
    let descriptors = || std::fs::read_dir("/proc/self/fd").map(Iterator::count).ok();
    // What the runtime opens once is open then.
    give_up(host.publish(port(Transport::Tcp, "127.0.0.1", free().await)).await).await;
    let before = descriptors();
    let number = free().await;
    for round in 0..1000 {
        let protocol = if round % 2 == 0 { Transport::Tcp } else { Transport::Udp };
        // The very same port each time: if it were held a moment longer, the next round would be refused.
        let call = host.publish(port(protocol, "127.0.0.1", number)).await;
        match round % 3 {
            0 => give_up(call).await,
            1 => {
                let asks = std::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
                let _ = asks.send_to(b"x", (Ipv4Addr::LOCALHOST, number));
                give_up(call).await;
            }
            // A client that is being joined when the port goes.
            _ => {
                let client = TcpStream::connect((Ipv4Addr::LOCALHOST, number)).await;
                give_up(call).await;
                drop(client);
            }
        }
    }
    assert!(host.list.all().is_empty());
    drop(host);
    let end = tokio::time::Instant::now() + DEADLINE;
    while descriptors() != before {
        assert!(tokio::time::Instant::now() < end, "{before:?} descriptors became {:?}", descriptors());
        tokio::task::yield_now().await;
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a1_a4_whatever_a_caller_says_the_next_one_is_served(bytes in prop::collection::vec(any::<u8>(), 0..300), framed: bool) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let guest = Guest::new(LINUX, true, "");
            let host = Host::new(Some(guest.inward()));
            let length = (bytes.len() as u32).to_le_bytes();
            let said = if framed { [&length[..], &bytes].concat() } else { bytes };
            let _call = host.say(&said).await;
            host.publish(port(Transport::Tcp, "127.0.0.1", free().await)).await;
        });
    }
}
