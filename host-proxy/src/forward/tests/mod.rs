//! Published ports from the agent's call to a server in the guest that `net::tests::guest` plays, with clients on loopback.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use lighter_protocol::{Port, Publish, Published, Transport, wire};
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

mod callers;
mod carry;
mod refuse;

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
