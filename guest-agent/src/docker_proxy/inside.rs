//! A published port as the guest itself sees it, on the addresses that the guest has: on its loopback, where dockerd looks for a
//! registry that runs in a container (`docker push localhost:5000/…`) and a container with the guest's network for its
//! neighbours; and on its bridges (`172.17.0.1:8080`), as on any Docker host. The host has the port that was asked for; this one
//! is a courtesy, and where it cannot be had nothing is said. Called by `docker_proxy` in its process, with which it ends.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use lighter_protocol::{Port, Transport};
use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};

use crate::relay;

/// Most connections of one port at the same time; the next ones wait in the kernel's queue.
const MOST: usize = 64;
/// Clients that wait to be accepted.
const BACKLOG: i32 = 128;
/// While there are so many, and after a failed accept.
const PAUSE: Duration = Duration::from_millis(100);
/// For the container to answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// A connection's thread holds no buffers on its stack.
const STACK: usize = 64 * 1024;

/// Listens for as long as the process lives, if the guest has such an address and nobody has the port.
pub fn serve(port: &Port) -> io::Result<()> {
    if port.protocol != Transport::Tcp || !is_the_guests(port.host_ip) {
        return Ok(());
    }
    let listener = listen(SocketAddr::new(port.host_ip, port.host_port))?;
    let container = SocketAddr::new(port.container_ip, port.container_port);
    thread::Builder::new().name("inside".into()).spawn(move || accept(&listener, container)).map(drop)
}

/// Whether the guest has what was asked for: all addresses, or a loopback one. One of the host's own is none of the guest's.
fn is_the_guests(asked: IpAddr) -> bool {
    asked.is_unspecified() || asked.is_loopback()
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = rustix::net::socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    if address.is_ipv6() {
        // IPv4 has a listener of its own.
        sockopt::set_ipv6_v6only(&socket, true)?;
    }
    rustix::net::bind(&socket, &address)?;
    rustix::net::listen(&socket, BACKLOG)?;
    Ok(socket.into())
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
        for asked in ["0.0.0.0", "::", "127.0.0.1", "127.0.0.9", "::1"] {
            assert!(is_the_guests(asked.parse().unwrap()), "{asked}");
        }
        for asked in ["192.168.1.5", "fd00::5", "192.168.127.1"] {
            assert!(!is_the_guests(asked.parse().unwrap()), "{asked}");
        }
        // Both at once, as dockerd starts one for each.
        let four = listen("0.0.0.0:0".parse().unwrap()).unwrap();
        let port = four.local_addr().unwrap().port();
        let six = listen(SocketAddr::new("::".parse().unwrap(), port)).unwrap();
        assert!(six.local_addr().unwrap().is_ipv6());
        assert!(listen(SocketAddr::new("0.0.0.0".parse().unwrap(), port)).is_err(), "a port is had once");
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
