//! A published port as the guest itself sees it: on its own loopback, where dockerd looks for a registry that runs in a
//! container (`docker push localhost:5000/…`) and where a container with the guest's network looks for its neighbours. The host
//! has the port that was asked for; this one is a courtesy, and where it cannot be had nothing is said. Called by
//! `docker_proxy` in its process, with which it ends.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use lighter_protocol::{Port, Transport};

use crate::relay;

/// Most connections of one port at the same time; the next ones wait in the kernel's queue.
const MOST: usize = 64;
/// While there are so many, and after a failed accept.
const PAUSE: Duration = Duration::from_millis(100);
/// For the container to answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// A connection's thread holds no buffers on its stack.
const STACK: usize = 64 * 1024;

/// Listens for as long as the process lives, if the guest has such an address and nobody has the port.
pub fn serve(port: &Port) -> io::Result<()> {
    let (Transport::Tcp, Some(address)) = (port.protocol, loopback(port.host_ip)) else { return Ok(()) };
    let listener = TcpListener::bind((address, port.host_port))?;
    let container = SocketAddr::new(port.container_ip, port.container_port);
    thread::Builder::new().name("inside".into()).spawn(move || accept(&listener, container)).map(drop)
}

/// The loopback address that stands for the one that was asked for. One of the host's own is none of the guest's.
fn loopback(asked: IpAddr) -> Option<IpAddr> {
    match asked {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => Some(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => Some(Ipv6Addr::LOCALHOST.into()),
        address => address.is_loopback().then_some(address),
    }
}

/// For ever.
pub fn accept(listener: &TcpListener, container: SocketAddr) {
    let open = Arc::new(AtomicUsize::new(0));
    loop {
        if open.load(Ordering::Acquire) >= MOST {
            thread::sleep(PAUSE);
            continue;
        }
        let Ok((client, _)) = listener.accept() else {
            thread::sleep(PAUSE);
            continue;
        };
        open.fetch_add(1, Ordering::AcqRel);
        let own = Arc::clone(&open);
        let joining = move || {
            // A container that does not answer ends its client, which is all that there is to say.
            let _ = join(client, container);
            own.fetch_sub(1, Ordering::AcqRel);
        };
        if thread::Builder::new().name("client".into()).stack_size(STACK).spawn(joining).is_err() {
            open.fetch_sub(1, Ordering::AcqRel);
        }
    }
}

fn join(client: TcpStream, container: SocketAddr) -> io::Result<()> {
    let server = TcpStream::connect_timeout(&container, PATIENCE)?;
    // Small writes wait for nobody; without it the connection works as well.
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    relay::relay(client.into(), server.into()).map(drop)
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::Shutdown;

    use super::*;

    #[test]
    fn h11_only_addresses_that_the_guest_has_are_served_inside() {
        for (asked, served) in [
            ("0.0.0.0", Some("127.0.0.1")),
            ("::", Some("::1")),
            ("127.0.0.1", Some("127.0.0.1")),
            ("127.0.0.9", Some("127.0.0.9")),
            ("::1", Some("::1")),
            ("192.168.1.5", None),
            ("fd00::5", None),
        ] {
            assert_eq!(loopback(asked.parse().unwrap()), served.map(|served| served.parse().unwrap()), "{asked}");
        }
    }

    #[test]
    fn each_side_ends_by_itself_and_a_container_that_refuses_ends_its_client() {
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let container = server.local_addr().unwrap();
        let inside = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = inside.local_addr().unwrap();
        thread::spawn(move || accept(&inside, container));
        let mut client = TcpStream::connect(address).unwrap();
        client.write_all(b"question").unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        let (mut there, _) = server.accept().unwrap();
        let mut text = String::new();
        there.read_to_string(&mut text).unwrap();
        assert_eq!(text, "question");
        there.write_all(b"answer").unwrap();
        drop(there);
        text.clear();
        client.read_to_string(&mut text).unwrap();
        assert_eq!(text, "answer");
        drop(server);
        let mut refused = TcpStream::connect(address).unwrap();
        assert!(!matches!(refused.read(&mut [0; 8]), Ok(1..)));
    }
}
