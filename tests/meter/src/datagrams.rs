//! Datagrams of many sizes to a server that gives them back as they are. Called by the program, in a container.

use std::io::{self, ErrorKind, Write};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::Duration;

/// For one answer.
const PATIENCE: Duration = Duration::from_secs(1);
/// A host that learns how narrow a path is loses what taught it.
const TRIES: usize = 15;

/// Sends one of each size until it comes back, and prints the size.
///
/// # Errors
/// When one does not come back, or something else does.
pub fn run(server: SocketAddr, sizes: &[usize]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    for &size in sizes {
        there_and_back(server, size).map_err(|error| io::Error::other(format!("{size} bytes: {error}")))?;
        writeln!(out, "{size}")?;
    }
    Ok(())
}

fn there_and_back(server: SocketAddr, size: usize) -> io::Result<()> {
    // A socket of its own, so that a late answer to the size before is nobody's.
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    socket.connect(server)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    let sent: Vec<u8> = (0..size).map(|at| (at * 7 + size) as u8).collect();
    let mut heard = vec![0; 65_536];
    for _ in 0..TRIES {
        socket.send(&sent)?;
        match socket.recv(&mut heard) {
            Ok(length) if heard[..length] == sent => return Ok(()),
            Ok(length) => return Err(io::Error::other(format!("{length} other bytes came back"))),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(error) => return Err(error),
        }
    }
    Err(ErrorKind::TimedOut.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_come_back_as_it_was_is_an_error() {
        let server = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = server.local_addr().unwrap();
        std::thread::spawn(move || {
            let mut buffer = [0; 2000];
            while let Ok((length, from)) = server.recv_from(&mut buffer) {
                // Long ones lose their end.
                server.send_to(&buffer[..length.min(1000)], from).unwrap();
            }
        });
        there_and_back(address, 1000).unwrap();
        assert!(there_and_back(address, 1001).unwrap_err().to_string().contains("1000 other bytes"));
    }
}
